/* A hash table from pairs of word ids, such as the merges of byte pair encoding, to integers. */
#ifndef BAM_TEXT_PAIRS_H
#define BAM_TEXT_PAIRS_H

#include "../core/tensor.h"

typedef struct bam_pair_slot {
  uint64_t key;
  int64_t value; /* -1: the slot is free */
} bam_pair_slot;

/* All zeros except the context is an empty table. */
typedef struct bam_pairs {
  bam_context *context;
  bam_storage *slots;  /* NULL: not allocated */
  int64_t count, room; /* entries; slots, a power of two and more than twice the count */
} bam_pairs;

/* Pack a pair of nonnegative ids into one number that sorts like the pair. */
static inline uint64_t bam_pair_key(int32_t left, int32_t right) {
  return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline int32_t bam_pair_left(uint64_t key) { return (int32_t)(key >> 32); }
static inline int32_t bam_pair_right(uint64_t key) { return (int32_t)(uint32_t)key; }

/* Reserve room for `more` additional pairs. */
bam_status bam_pairs_reserve(bam_pairs *pairs, int64_t more);

/* Insert a pair that is not in the table, with a value >= 0. Room must have been reserved. */
void bam_pairs_add(bam_pairs *pairs, uint64_t key, int64_t value);

/* The first slot to probe. Taken from the high bits of the product, because the low bits depend only on the
   right word. */
static inline int64_t bam_pairs_first(const bam_pairs *pairs, uint64_t key) {
  const uint64_t product = key * 0x9e3779b97f4a7c15;
  return (int64_t)(product >> 32 ^ product) & (pairs->room - 1);
}

/* The value of a pair, or -1 if it is not in the table. */
static inline int64_t bam_pairs_find(const bam_pairs *pairs, uint64_t key) {
  if (pairs->slots == NULL)
    return -1;
  const bam_pair_slot *slots = pairs->slots->data;
  int64_t i = bam_pairs_first(pairs, key);
  while (slots[i].value >= 0 && slots[i].key != key)
    i = (i + 1) & (pairs->room - 1);
  return slots[i].value;
}

/* Free the memory. */
void bam_pairs_release(bam_pairs *pairs);

#endif
