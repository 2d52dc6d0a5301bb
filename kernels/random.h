/* Numbers of several distributions from random bits, the same on every device: f32 takes a word of
   a Philox block for each, f64 and i64 take two. */
#ifndef BAM_RANDOM_NUMBERS_H
#define BAM_RANDOM_NUMBERS_H

#include "philox.h"
#include "real.h"

#ifdef BAM_TYPE_f32
#define PER_BLOCK 4
typedef uint32_t random_bits;
#else
#define PER_BLOCK 2
typedef uint64_t random_bits;
#endif

BAM_FUNCTION uint64_t long_word(uint32_t low, uint32_t high) { return (uint64_t)high << 32 | low; }

/* In [0, 1), of as many bits as a real has. */
BAM_FUNCTION real unit(random_bits bits) {
#ifdef BAM_TYPE_f32
  return (float)(int32_t)(bits >> 8) * 0x1p-24f;
#else
  return (double)(int64_t)(bits >> 11) * 0x1p-53;
#endif
}

/* In (0, 1], down to 2^-33: what the logarithm of Box-Muller takes. */
BAM_FUNCTION real unit_above_zero(random_bits bits) {
#ifdef BAM_TYPE_f32
  return ((float)(bits >> 1) + 0.25f) * 0x1p-31f;
#else
  return ((double)(int64_t)(bits >> 11) + 1) * 0x1p-53;
#endif
}

/* A product that is rounded before something is added to it. */
BAM_FUNCTION real rounded_product(real a, real b) {
#if defined(__CUDA_ARCH__) && defined(BAM_TYPE_f32)
  return __fmul_rn(a, b);
#elif defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

/* In [low, high) with high = low + width: rounding may reach the upper bound, which is not part of
   the interval. */
BAM_FUNCTION real uniform(random_bits bits, real low, real high, real width) {
  real v = low + rounded_product(unit(bits), width);
  return v < high ? v : low;
}

/* low + floor(u width / 2^64) for 64 random bits u: the bias is below width / 2^64. */
BAM_FUNCTION int64_t integer_from(uint64_t bits, int64_t low, uint64_t width) {
  return (int64_t)((uint64_t)low + (uint64_t)(((unsigned __int128)bits * width) >> 64));
}

#define TWO_PI ((real)6.283185307179586477)

#endif
