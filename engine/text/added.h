/* Added tokens: words that are found in text as they stand, before it is cut into pieces. */
#ifndef BAM_TEXT_ADDED_H
#define BAM_TEXT_ADDED_H

#include "bpe.h"

/* The added tokens of a vocabulary, sorted by their bytes. Empty: all zeros but for the context. */
typedef struct bam_added_set {
  bam_context *context;
  const bam_words *words; /* of the vocabulary; not owned */
  bam_storage *sorted;    /* of bam_added */
  int64_t count;
  bool begins[256]; /* does one begin with this byte? */
} bam_added_set;

/* Make the set of tokens of `words`, which are in range and not empty. */
bam_status bam_added_make(bam_context *context, const bam_words *words, const bam_added *added,
                          int64_t count, bam_added_set *out);

/* The first place in the text where a token stands, and the longest there: its id and size. Without
   one, `size` is returned. Tokens that are not `always` count when `special` is set. */
int64_t bam_added_find(const bam_added_set *set, const char *text, int64_t size, bool special,
                       int32_t *id, int64_t *length);

/* Is this word one of them? */
bool bam_added_has(const bam_added_set *set, int64_t id);

/* Free the memory. */
void bam_added_release(bam_added_set *set);

#endif
