/* Byte pair encoding: text to token ids and back, exactly, for any bytes. The words of a vocabulary
   are byte strings with ids from 0 on, all 256 bytes among them. Text is cut into pieces
   (pattern.h); in each piece, which begins as single bytes, the pair of neighbours with the lowest
   rank is merged, the leftmost first, until no pair can be. Added tokens are words that are found in
   text as they stand, before it is cut; the special ones only when asked for. */
#ifndef BAM_TEXT_BPE_H
#define BAM_TEXT_BPE_H

#include "pattern.h"
#include "tokens.h"
#include "vocab.h"

typedef struct bam_bpe bam_bpe;

/* An added token: a word that is found in text as it stands (special_tokens.h). */
typedef struct bam_special_token {
  int32_t id;
  bool special;        /* found only when special tokens are asked for */
  bool normalized;     /* looked for in what the others leave */
  bool lstrip, rstrip; /* takes the white space before, or after it */
} bam_special_token;

typedef struct bam_bpe_parts {
  bam_vocab words;           /* a word's number is its id */
  const int32_t (*merges)[2]; /* of these ids; the first has the lowest rank */
  int64_t n_merges;
  const bam_special_token *added;
  int64_t n_added;
  bool whole_words;      /* a piece that is a word, and not an added one, is not merged */
  bam_pattern *pattern;
} bam_bpe_parts;

/* An encoder in *out. It takes over parts->words and parts->pattern, which are then empty and NULL;
   on failure the caller still has them. Merges and added tokens are copied. Fails with
   BAM_ERROR_ARGUMENT when a byte is no word, when what a merge makes is none, when a pair is merged
   twice, and when an id is out of range; the message counts merges from 1 and ids from 0. */
bam_status bam_bpe_new(bam_context *context, bam_bpe_parts *parts, bam_bpe **out);

void bam_bpe_release(bam_bpe *bpe); /* NULL is legal */

/* Append the ids of `size` bytes to `out`. `special`: special tokens in it become their ids; else
   they are ordinary text. A piece has less than 2^31 bytes. On failure `out` is as before. The time
   is O(n log n) for any bytes and any added tokens. */
bam_status bam_bpe_encode(bam_bpe *bpe, const char *text, int64_t size, bool special,
                          bam_tokens *out);

/* Append two numbers for each piece that text is cut into, as if there were no added tokens: how many
   bytes were removed before it, and its size. They are less than 2^31. On failure `out` is as
   before. */
bam_status bam_bpe_cut(bam_bpe *bpe, const char *text, int64_t size, bam_tokens *out);

/* The vocabulary, borrowed. */
const bam_vocab *bam_bpe_words(const bam_bpe *bpe);

#endif
