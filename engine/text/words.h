/* Different byte strings, numbered from 0 in the order they were added, and found by their bytes: a
   vocabulary, or the pieces of text that a tokenizer is trained on. */
#ifndef BAM_TEXT_WORDS_H
#define BAM_TEXT_WORDS_H

#include "../tensor.h"

/* Empty: all zeros but for the context. */
typedef struct bam_words {
  bam_context *context;
  bam_storage *bytes; /* of all words, one behind the other */
  bam_storage *ends;  /* int64_t for each word: where it ends there */
  bam_storage *slots; /* of the hash table */
  int64_t count, used; /* words, and bytes of them */
  int64_t room;        /* slots, a power of two, at least twice the words there is room for */
} bam_words;

/* Make room for `count` more words of `bytes` bytes together. There can be 2^31 - 1 words. */
bam_status bam_words_reserve(bam_words *words, int64_t count, int64_t bytes);

/* Is there room for one more word of `size` bytes? */
bool bam_words_have_room(const bam_words *words, int64_t size);

/* The number of a word, which is added unless it is there. There is room for it. `bytes` are not
   this structure's own. Allocates nothing, so that any thread may call it. */
int64_t bam_words_add(bam_words *words, const char *bytes, int64_t size);

/* The number of a word, or -1 when it is not there. */
int64_t bam_words_find(const bam_words *words, const char *bytes, int64_t size);

/* The bytes of word `i`, which exists. Borrowed until more room is made. */
const char *bam_words_get(const bam_words *words, int64_t i, int64_t *size);

/* Free the memory. */
void bam_words_release(bam_words *words);

#endif
