/* Philox4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1,
   2, 3", 2011): block `counter` of the stream `seed` is four 32-bit words and depends on nothing
   else, so any thread can make any part of the sequence. */
#ifndef BAM_CPU_PHILOX_H
#define BAM_CPU_PHILOX_H

#include <stdint.h>

#define PHILOX_LANES 16 /* blocks made together, a vector of them */

typedef struct {
  uint32_t word[4][PHILOX_LANES]; /* word[w][j] is word w of block j */
} philox_blocks;

static inline void philox_round(uint32_t *c, uint32_t k0, uint32_t k1) {
  uint64_t p0 = (uint64_t)c[0] * 0xD2511F53, p1 = (uint64_t)c[2] * 0xCD9E8D57;
  uint32_t c1 = c[1], c3 = c[3];
  c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
  c[1] = (uint32_t)p1;
  c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
  c[3] = (uint32_t)p0;
}

/* Encrypt the 128-bit counter c[4] in place. */
static inline void philox(uint32_t *c, uint64_t key) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; round++) {
    philox_round(c, k0, k1);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
}

/* Blocks counter .. counter + PHILOX_LANES - 1 of the stream `seed`. */
static inline void philox_fill(philox_blocks *blocks, uint64_t seed, uint64_t counter) {
#pragma omp simd
  for (int j = 0; j < PHILOX_LANES; j++) {
    uint64_t block = counter + (uint64_t)j;
    uint32_t c[4] = { (uint32_t)block, (uint32_t)(block >> 32), 0, 0 };
    philox(c, seed);
    blocks->word[0][j] = c[0];
    blocks->word[1][j] = c[1];
    blocks->word[2][j] = c[2];
    blocks->word[3][j] = c[3];
  }
}

#endif
