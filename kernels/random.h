/* Distributions from random bits, the same on every device. A number uses one word of a Philox block for
   float, and two for double and i64. */
#ifndef BAM_RANDOM_NUMBERS_H
#define BAM_RANDOM_NUMBERS_H

#include "philox.h"
#include "real.h"

#if BAM_SINGLE
#define PER_BLOCK 4
typedef uint32_t random_bits;
#else
#define PER_BLOCK 2
typedef uint64_t random_bits;
#endif

BAM_FUNCTION uint64_t long_word(uint32_t low, uint32_t high) { return (uint64_t)high << 32 | low; }

/* Uniform in [0, 1), with as many random bits as the mantissa of a real. */
BAM_FUNCTION real unit(random_bits bits) {
#if BAM_SINGLE
  return (float)(int32_t)(bits >> 8) * 0x1p-24f;
#else
  return (double)(int64_t)(bits >> 11) * 0x1p-53;
#endif
}

/* Uniform in (0, 1], down to 2^-33: the argument of the logarithm in Box-Muller. */
BAM_FUNCTION real unit_above_zero(random_bits bits) {
#if BAM_SINGLE
  return ((float)(bits >> 1) + 0.25f) * 0x1p-31f;
#else
  return ((double)(int64_t)(bits >> 11) + 1) * 0x1p-53;
#endif
}

/* A product that is rounded before a following addition: no FMA contraction. */
BAM_FUNCTION real rounded_product(real a, real b) {
#if defined(__CUDA_ARCH__) && BAM_SINGLE
  return __fmul_rn(a, b);
#elif defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

/* Uniform in [low, high), where width = high - low.
   Rounding may give `high`, which is then replaced. */
BAM_FUNCTION real uniform(random_bits bits, real low, real high, real width) {
  real v = low + rounded_product(unit(bits), width);
  return v < high ? v : low;
}

/* Compute low + floor(u width / 2^64) for 64 random bits u. The bias is below width / 2^64. */
BAM_FUNCTION int64_t integer_from(uint64_t bits, int64_t low, uint64_t width) {
  return (int64_t)((uint64_t)low + (uint64_t)(((unsigned __int128)bits * width) >> 64));
}

#define TWO_PI ((real)6.283185307179586477)

#endif
