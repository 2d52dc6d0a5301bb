/* Random numbers for tensors, from the context's counter-based generator (Philox4x32-10). What a
   call draws depends on seed and counter alone, never on the number of threads; each call moves the
   counter on. All fill an existing tensor, count as an in-place change, and are not recorded by
   autograd. */
#ifndef BAM_RANDOM_H
#define BAM_RANDOM_H

#include "tensor.h"

/* Everything the generator is: a checkpoint stores it, recomputation restores it. */
typedef struct bam_random_state {
  uint64_t seed, counter;
} bam_random_state;

bam_random_state bam_random_get_state(const bam_context *context);
void bam_random_set_state(bam_context *context, bam_random_state state);

/* Uniform in [low, high); low == high gives low. Fails unless `tensor` is a float and the bounds
   are finite. */
bam_status bam_random_uniform(bam_tensor *tensor, double low, double high);

/* Normal. Fails unless `tensor` is a float, deviation >= 0 and both are finite. */
bam_status bam_random_normal(bam_tensor *tensor, double mean, double deviation);

/* Whole numbers in [low, high], both included, in any dtype that holds the bounds. */
bam_status bam_random_integers(bam_tensor *tensor, int64_t low, int64_t high);

/* 1 (true) with this probability, else 0, in any dtype. */
bam_status bam_random_bernoulli(bam_tensor *tensor, double probability);

/* The positions 1 .. n in random order, where n is the size of `tensor`, a 1-dimensional i32 or
   i64. */
bam_status bam_random_permutation(bam_tensor *tensor);

#endif
