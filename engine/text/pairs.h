/* A hash table from pairs of word ids, as byte pair encoding merges them, to integers. */
#ifndef BAM_TEXT_PAIRS_H
#define BAM_TEXT_PAIRS_H

#include "../core/tensor.h"

/* Empty: all zeros but for the context. */
typedef struct bam_pairs {
  bam_context *context;
  bam_storage *slots; /* NULL: none yet */
  int64_t count, room; /* slots, a power of two and more than twice the count */
} bam_pairs;

/* A pair as one number; pairs are ordered as these are. Ids are not negative. */
static inline uint64_t bam_pair_key(int32_t left, int32_t right) {
  return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline int32_t bam_pair_left(uint64_t key) { return (int32_t)(key >> 32); }
static inline int32_t bam_pair_right(uint64_t key) { return (int32_t)(uint32_t)key; }

/* Make room for `more` further pairs. */
bam_status bam_pairs_reserve(bam_pairs *pairs, int64_t more);

/* Add a pair that is not there, with a value of at least 0; there is room for it. */
void bam_pairs_add(bam_pairs *pairs, uint64_t key, int64_t value);

/* The value of a pair, or -1 when it is not there. */
int64_t bam_pairs_find(const bam_pairs *pairs, uint64_t key);

/* Free the memory. */
void bam_pairs_release(bam_pairs *pairs);

#endif
