/* Philox4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1,
   2, 3", 2011): block `counter` of the stream `seed` is four 32-bit words that depend on nothing else,
   so any thread of any device can compute any part of the sequence. */
#ifndef BAM_PHILOX_H
#define BAM_PHILOX_H

#include "function.h"

BAM_FUNCTION void philox_round(uint32_t *c, uint32_t k0, uint32_t k1) {
  uint64_t p0 = (uint64_t)c[0] * 0xD2511F53, p1 = (uint64_t)c[2] * 0xCD9E8D57;
  uint32_t c1 = c[1], c3 = c[3];
  c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
  c[1] = (uint32_t)p1;
  c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
  c[3] = (uint32_t)p0;
}

/* Encrypt the 128-bit counter c[4] in place. */
BAM_FUNCTION void philox(uint32_t *c, uint64_t key) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#ifndef __CUDACC__ /* nvcc unrolls the loop by itself */
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; round++) {
    philox_round(c, k0, k1);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
}

/* Compute block `counter` of the stream `seed` in c[4]. */
BAM_FUNCTION void philox_block(uint32_t *c, uint64_t seed, uint64_t counter) {
  c[0] = (uint32_t)counter;
  c[1] = (uint32_t)(counter >> 32);
  c[2] = c[3] = 0;
  philox(c, seed);
}

#endif
