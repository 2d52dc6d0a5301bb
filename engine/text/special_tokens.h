/* Added tokens: words that are matched literally before a text is cut into pieces; those marked `special`
   only on request. As in the tokenizers package there are two passes: the tokens that are not
   `normalized` are matched in the whole text, the others in the gaps between. Within a pass the leftmost
   match wins, and among those the longest. */
#ifndef BAM_TEXT_ADDED_H
#define BAM_TEXT_ADDED_H

#include "aho_corasick.h"
#include "bpe.h"

#define BAM_SPECIAL_TOKENS_PASSES 2

/* One pass over a text. */
typedef struct bam_special_tokens_pass {
  bam_aho_corasick automaton;
  bam_storage *tokens; /* one per word of the automaton */
  bool all_special;    /* every one of them is */
  bam_storage *found;  /* bam_occurrence in the current text, in descending order of position */
  int64_t left;        /* how many of them are still ahead */
  const char *text;
  int64_t size;
  int64_t at;        /* end of the last token, including its white space */
  int64_t match_end; /* end of the last match, returned or not */
  int64_t space_end; /* end of the white space scanned last */
} bam_special_tokens_pass;

/* All zeros except the contexts is an empty set. */
typedef struct bam_special_tokens {
  bam_context *context;
  bam_storage *is_added; /* bool per word of the vocabulary */
  bam_special_tokens_pass passes[BAM_SPECIAL_TOKENS_PASSES];
} bam_special_tokens;

/* A token found in a text: text[start .. end) becomes its id. If a token lies inside the white space taken
   by the previous one, the two overlap, as in the tokenizers package. */
typedef struct bam_special_tokens_match {
  int64_t start, end;
  int32_t id;
} bam_special_tokens_match;

/* Make the set of the tokens `added`. Their ids must be in range of `words`, distinct, and not empty. *out must
   be released even on failure. */
bam_status bam_special_tokens_make(bam_context *context, const bam_vocab *words,
                                   const bam_special_token *added, int64_t count,
                                   bam_special_tokens *out);

/* Begin a pass over a text, which is borrowed until the last match. `special` is that of the calls of
   bam_special_tokens_next. */
bam_status bam_special_tokens_begin(bam_special_tokens_pass *pass, const char *text, int64_t size,
                                    bool special);

/* Get the next token in the text; false if there is none. Special tokens are skipped unless `special` is
   set, but even then they hide matches that overlap them. */
bool bam_special_tokens_next(bam_special_tokens_pass *pass, bool special,
                             bam_special_tokens_match *match);

/* Whether the word `id` is an added token. */
bool bam_special_tokens_has(const bam_special_tokens *set, int64_t id);

/* Free the memory used for a long text if it is more than `kept` bytes. */
void bam_special_tokens_trim(bam_special_tokens *set, int64_t kept);

/* Free the memory. */
void bam_special_tokens_release(bam_special_tokens *set);

#endif
