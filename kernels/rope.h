/* The frequencies of rotary positions, the same on every device. */
#ifndef BAM_ROPE_H
#define BAM_ROPE_H

#include <math.h>

#include "function.h"
#include "kernels.h"

/* How far YaRN (Peng et al. 2023) slows down pair i, from 0 to 1 by the factor: linear between the last pair
   that turns `high` times within the context and the first that turns `low` times. */
BAM_FUNCTION double bam_rope_yarn(const bam_rope *r, int64_t i) {
  const double pairs = (double)r->width / (2 * log(r->base)), turn = 6.28318530717958647693;
  const double from = floor(pairs * log(r->context / (r->high * turn)));
  const double to = ceil(pairs * log(r->context / (r->low * turn)));
  const double first = from > 0 ? from : 0, most = (double)r->width - 1;
  const double last = to < most ? to : most;
  const double share = ((double)i - first) / (last > first ? last - first : 0.001);
  return share < 0 ? 0 : share > 1 ? 1 : share;
}

/* Of pair i: base^(-2i/K), divided by `factor`. With a `context`, as Llama 3 has it: pairs that turn more
   than `high` times within the context keep theirs, those that turn less than `low` times are slowed down
   by the factor, and between the two is interpolated. */
BAM_FUNCTION double bam_rope_frequency(const bam_rope *r, int64_t i) {
  const double frequency = pow(r->base, -2.0 * (double)i / (double)r->width);
  const double turns = r->context * frequency / 6.28318530717958647693;
  if (r->context == 0 || (turns < r->low && !r->yarn))
    return frequency / r->factor;
  if (turns > r->high && !r->yarn)
    return frequency;
  const double share = r->yarn ? 1 - bam_rope_yarn(r, i) : (turns - r->low) / (r->high - r->low);
  return (1 - share) * frequency / r->factor + share * frequency;
}

#endif
