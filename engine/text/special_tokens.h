/* Added tokens: words that are found in text as they stand, before it is cut into pieces. As in the
   tokenizers package they are looked for in two passes: first those that are not `normalized`, over
   the whole text, then the others in what lies between. In a pass the leftmost match counts, and of
   those the longest. */
#ifndef BAM_TEXT_ADDED_H
#define BAM_TEXT_ADDED_H

#include "aho_corasick.h"
#include "bpe.h"

#define BAM_SPECIAL_TOKENS_PASSES 2

/* One pass over a text. */
typedef struct bam_special_tokens_pass {
  bam_aho_corasick automaton;
  bam_storage *tokens; /* one for each word of the automaton */
  bam_storage *found;  /* bam_occurrence: those in the text at hand, last first */
  int64_t left;        /* how many of them are not passed yet */
  const char *text;
  int64_t size;
  int64_t at;         /* where the last token ended, with the white space that it took */
  int64_t match_end;  /* where the last match ended, a token or not */
  int64_t space_end;  /* where the white space after a token was last seen to end */
} bam_special_tokens_pass;

/* Empty: all zeros but for the contexts. */
typedef struct bam_special_tokens {
  bam_context *context;
  bam_storage *is_added; /* bool for each word of the vocabulary */
  bam_special_tokens_pass passes[BAM_SPECIAL_TOKENS_PASSES];
} bam_special_tokens;

/* A token found in a text: text[start .. end) becomes its id. A token that lies in white space which
   the token before it took starts before that one ends, as in the tokenizers package. */
typedef struct bam_special_tokens_match {
  int64_t start, end;
  int32_t id;
} bam_special_tokens_match;

/* Make the set of tokens of `words`, which are in range, different and not empty. On failure *out
   must still be released. */
bam_status bam_special_tokens_make(bam_context *context, const bam_vocab *words, const bam_special_token *added,
                          int64_t count, bam_special_tokens *out);

/* Begin a pass over a text, which is borrowed until its last match. */
bam_status bam_special_tokens_begin(bam_special_tokens_pass *pass, const char *text, int64_t size);

/* The next token in the text; false: there is none. Special tokens are passed over unless `special`
   is set: like any match they hide others that overlap them. */
bool bam_special_tokens_next(bam_special_tokens_pass *pass, bool special, bam_special_tokens_match *match);

/* Is the word `id` one of them? */
bool bam_special_tokens_has(const bam_special_tokens *set, int64_t id);

/* Give back the memory that a long text needed, if it is more than `kept` bytes. */
void bam_special_tokens_trim(bam_special_tokens *set, int64_t kept);

/* Free the memory. */
void bam_special_tokens_release(bam_special_tokens *set);

#endif
