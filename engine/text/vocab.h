/* A set of distinct byte strings, numbered from 0 in the order of insertion and found by a hash table: a
   vocabulary, or the pieces of text that a tokenizer is trained on. */
#ifndef BAM_TEXT_WORDS_H
#define BAM_TEXT_WORDS_H

#include "../core/tensor.h"

/* All zeros except the context is an empty set. */
typedef struct bam_vocab {
  bam_context *context;
  bam_storage *bytes;  /* of all words, stored back to back */
  bam_storage *ends;   /* int64_t for each word: its end in `bytes` */
  bam_storage *slots;  /* of the hash table */
  int64_t count, used; /* words, and bytes in `bytes` */
  int64_t room;        /* slots, a power of two, at least twice the number of words reserved */
} bam_vocab;

/* Reserve room for `count` more words of `bytes` bytes in total. Fails beyond 2^31 - 1 words. */
bam_status bam_vocab_reserve(bam_vocab *words, int64_t count, int64_t bytes);

/* Whether there is room for one more word of `size` bytes. */
bool bam_vocab_has_room(const bam_vocab *words, int64_t size);

/* Insert a word if it is missing, and return its number. Room must have been reserved. `bytes` must not
   point into this set. Does not allocate, so it may be called from any thread. */
int64_t bam_vocab_add(bam_vocab *words, const char *bytes, int64_t size);

/* The number of a word, or -1 if it is not in the set. */
int64_t bam_vocab_find(const bam_vocab *words, const char *bytes, int64_t size);

/* The bytes of word `i`, which must exist. Borrowed until the next reserve. */
const char *bam_vocab_get(const bam_vocab *words, int64_t i, int64_t *size);

/* Free the memory. */
void bam_vocab_release(bam_vocab *words);

#endif
