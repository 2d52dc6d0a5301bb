/* The merges of byte pair encoding, and applying them to a piece of text. */
#ifndef BAM_TEXT_MERGES_H
#define BAM_TEXT_MERGES_H

#include "heap.h"
#include "pairs.h"
#include "tokens.h"

/* A merge is the rank and, in the lower half, the word that the pair becomes. All zeros except the context is no
   merges. */
typedef struct bam_merges {
  bam_context *context;
  int32_t bytes[256];       /* the words of single bytes, set by the owner */
  bam_storage *byte_of;     /* uint16_t for each word: 1 + the byte that it is, or 0 */
  bam_storage *byte_merges; /* int64_t for each two bytes: the merge of their words, or -1 */
  bam_pairs pairs;          /* the merges of all pairs */
  bam_storage *narrow;      /* the same in half the memory; NULL if 16 bits are too few */
  int narrow_bits;          /* log2 of its slots */
  bam_storage *symbols;     /* of the current piece */
  bam_heap heap;            /* keys: rank, then position; ties: the pair */
} bam_merges;

/* Allocate the tables for `n` merges of `words` words. `context` and `bytes` are set. */
bam_status bam_merges_make(bam_merges *merges, int64_t words, int64_t n);

/* Add the merge of a pair that has none, into `word`. */
void bam_merges_add(bam_merges *merges, int64_t rank, int32_t left, int32_t right, int32_t word);

/* The rank of a pair's merge, or -1. */
static inline int64_t bam_merges_rank(const bam_merges *merges, int32_t left, int32_t right) {
  const int64_t merge = bam_pairs_find(&merges->pairs, bam_pair_key(left, right));
  return merge < 0 ? -1 : merge >> 32;
}

/* Append the words of a piece: those of its bytes, merged in the order of ranks, from the left where ranks are equal,
   until no merge applies. `out` must have room for a word per byte. */
bam_status bam_merges_apply(bam_merges *merges, const char *piece, int64_t size, bam_tokens *out);

/* Free the memory used for a long piece if it is more than `kept` bytes. */
void bam_merges_trim(bam_merges *merges, int64_t kept);

void bam_merges_release(bam_merges *merges);

#endif
