/* Byte pair encoding: lossless conversion of any bytes to token ids and back. The words of a vocabulary
   are byte strings with ids from 0, including all 256 single bytes. Text is cut into pieces (pattern.h).
   A piece starts as single bytes; then the adjacent pair with the lowest rank is merged, leftmost first,
   until no merge applies. Added tokens are matched literally before the text is cut, the special ones
   among them only on request (special_tokens.h). */
#ifndef BAM_TEXT_BPE_H
#define BAM_TEXT_BPE_H

#include "pattern.h"
#include "tokens.h"
#include "vocab.h"

typedef struct bam_bpe bam_bpe;

/* An added token: a word that is matched literally (special_tokens.h). */
typedef struct bam_special_token {
  int32_t id;
  bool special;        /* matched only on request */
  bool normalized;     /* matched in the second pass, between the matches of the first */
  bool lstrip, rstrip; /* the match includes the white space before, or after it */
} bam_special_token;

typedef struct bam_bpe_parts {
  bam_vocab words;            /* the index of a word is its id */
  const int32_t (*merges)[2]; /* pairs of ids, by ascending rank */
  int64_t n_merges;
  const bam_special_token *added;
  int64_t n_added;
  bool whole_words; /* a piece that is a word, but not an added token, is not merged */
  bam_pattern *pattern;
} bam_bpe_parts;

/* Make an encoder in *out. Takes ownership of parts->words and parts->pattern, which become empty and NULL;
   on failure the caller keeps them. Merges and added tokens are copied. Fails with BAM_ERROR_ARGUMENT if a
   byte has no word, if the result of a merge is not a word, if a pair is merged twice, or if an id is
   out of range. Messages count merges from 1 and ids from 0. */
bam_status bam_bpe_new(bam_context *context, bam_bpe_parts *parts, bam_bpe **out);

void bam_bpe_release(bam_bpe *bpe); /* NULL is allowed */

/* Append the ids of `size` bytes to `out`. With `special`, special tokens in the text become their ids;
   otherwise they are ordinary text. Fails if a piece has 2^31 bytes or more; on failure `out` is
   unchanged. Takes O(n log n) time for any bytes and any added tokens. */
bam_status bam_bpe_encode(bam_bpe *bpe, const char *text, int64_t size, bool special,
                          bam_tokens *out);

/* Cut text into pieces, ignoring added tokens, and append two numbers for each piece: the number of bytes
   removed before it, and its size. Both are less than 2^31. On failure `out` is unchanged. */
bam_status bam_bpe_cut(bam_bpe *bpe, const char *text, int64_t size, bam_tokens *out);

/* The vocabulary, borrowed. */
const bam_vocab *bam_bpe_words(const bam_bpe *bpe);

#endif
