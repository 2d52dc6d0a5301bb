/* The frequencies of rotary positions, the same on every device. */
#ifndef BAM_ROPE_H
#define BAM_ROPE_H

#include <math.h>

#include "function.h"
#include "kernels.h"

/* Of pair i: base^(-2i/K), divided by `factor`. With a `context`, as Llama 3 has it: pairs that turn more
   than `high` times within the context keep theirs, those that turn less than `low` times are slowed down
   by the factor, and between the two is interpolated. */
BAM_FUNCTION double bam_rope_frequency(const bam_rope *r, int64_t i) {
  const double frequency = pow(r->base, -2.0 * (double)i / (double)r->width);
  const double turns = r->context * frequency / 6.28318530717958647693;
  if (r->context == 0 || turns < r->low)
    return frequency / r->factor;
  if (turns > r->high)
    return frequency;
  const double share = (turns - r->low) / (r->high - r->low);
  return (1 - share) * frequency / r->factor + share * frequency;
}

#endif
