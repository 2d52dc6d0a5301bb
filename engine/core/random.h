/* Random numbers for tensors, from the context's counter-based generator (Philox4x32-10). The draws of
   a call depend only on seed and counter, never on the number of threads; each call advances the
   counter. All functions fill an existing tensor, count as an in-place change, and are not recorded
   by autograd. */
#ifndef BAM_RANDOM_H
#define BAM_RANDOM_H

#include "tensor.h"

/* The whole state of the generator: checkpoints store it, recomputation restores it. */
typedef struct bam_random_state {
  uint64_t seed, counter;
} bam_random_state;

bam_random_state bam_random_get_state(const bam_context *context);
void bam_random_set_state(bam_context *context, bam_random_state state);

/* Fill with uniform numbers in [low, high), or with low if low == high. Fails unless `tensor` is of a
   float dtype and the bounds are finite. */
bam_status bam_random_uniform(bam_tensor *tensor, double low, double high);

/* Fill with normal numbers. Fails unless `tensor` is of a float dtype, deviation >= 0, and both
   parameters are finite. */
bam_status bam_random_normal(bam_tensor *tensor, double mean, double deviation);

/* Fill with integers drawn uniformly from [low, high], both included. Fails unless the dtype represents
   both bounds exactly. */
bam_status bam_random_integers(bam_tensor *tensor, int64_t low, int64_t high);

/* Fill with 1 (true) with this probability, else 0. Any dtype. */
bam_status bam_random_bernoulli(bam_tensor *tensor, double probability);

/* Fill a 1-dimensional i32 or i64 tensor of n elements with a random permutation of 1 .. n. */
bam_status bam_random_permutation(bam_tensor *tensor);

#endif
