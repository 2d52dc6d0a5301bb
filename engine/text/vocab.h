/* Different byte strings, numbered from 0 in the order they were added, and found by their bytes: a
   vocabulary, or the pieces of text that a tokenizer is trained on. */
#ifndef BAM_TEXT_WORDS_H
#define BAM_TEXT_WORDS_H

#include "../core/tensor.h"

/* Empty: all zeros but for the context. */
typedef struct bam_vocab {
  bam_context *context;
  bam_storage *bytes; /* of all words, one behind the other */
  bam_storage *ends;  /* int64_t for each word: where it ends there */
  bam_storage *slots; /* of the hash table */
  int64_t count, used; /* words, and bytes of them */
  int64_t room;        /* slots, a power of two, at least twice the words there is room for */
} bam_vocab;

/* Make room for `count` more words of `bytes` bytes together. There can be 2^31 - 1 words. */
bam_status bam_vocab_reserve(bam_vocab *words, int64_t count, int64_t bytes);

/* Is there room for one more word of `size` bytes? */
bool bam_vocab_has_room(const bam_vocab *words, int64_t size);

/* The number of a word, which is added unless it is there. There is room for it. `bytes` are not
   this structure's own. Allocates nothing, so that any thread may call it. */
int64_t bam_vocab_add(bam_vocab *words, const char *bytes, int64_t size);

/* The number of a word, or -1 when it is not there. */
int64_t bam_vocab_find(const bam_vocab *words, const char *bytes, int64_t size);

/* The bytes of word `i`, which exists. Borrowed until more room is made. */
const char *bam_vocab_get(const bam_vocab *words, int64_t i, int64_t *size);

/* Free the memory. */
void bam_vocab_release(bam_vocab *words);

#endif
