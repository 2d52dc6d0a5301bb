/* What kernels/master.h promises of a master, computed another way: by distances in double precision, which are exact.
   Shared by the whole check (make check-masters) and its sample (tests/engine/test_masters.c). */
#ifndef MASTER_ORACLE_H
#define MASTER_ORACLE_H

#include <math.h>
#include <string.h>

#include "../../kernels/master.h"

typedef void split_master(float master, uint16_t *high, int16_t *low);

static inline float master_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline uint32_t bits_of_master(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* The number that a bf16 of these bits without a sign stands for; 2^128 for the infinity, as in rounding. */
static inline double magnitude_of(uint32_t half) {
  return half == 0x7f80 ? 0x1p128 : (double)master_of(half << 16);
}

/* The bf16 nearest to a finite master without a sign; of two that are equally near the larger. */
static inline uint32_t nearest_half(uint32_t magnitude) {
  const double x = (double)master_of(magnitude);
  const uint32_t below = magnitude >> 16;
  return x - magnitude_of(below) < magnitude_of(below + 1) - x ? below : below + 1;
}

/* What is wrong with the halves of the master with these bits; NULL if nothing is. */
static inline const char *find_master_fault(uint32_t bits, split_master *split) {
  const uint32_t sign = bits & 0x80000000u, magnitude = bits & 0x7fffffffu;
  uint16_t high;
  int16_t low;
  split(master_of(bits), &high, &low);
  const uint32_t back = bits_of_master(bam_master_join(high, low));
  if (high >> 15 != sign >> 31)
    return "the high half has another sign";
  const uint32_t half = high & 0x7fffu;
  if (magnitude > BAM_MASTER_INFINITE)
    return half > 0x7f80 && isnan(master_of(back)) ? NULL : "a NaN is lost";
  if (magnitude == BAM_MASTER_INFINITE)
    return half == 0x7f80 && back == bits ? NULL : "an infinity is lost";
  if (nearest_half(magnitude) == 0x7f80) /* would overflow */
    return half == 0x7f7f && back == (sign | BAM_MASTER_LARGEST) ? NULL : "not the largest";
  if (half != nearest_half(magnitude))
    return "the high half is not the nearest";
  return back == bits ? NULL : "the halves do not give the master back";
}

#endif
