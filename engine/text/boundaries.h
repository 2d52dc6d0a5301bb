/* The boundaries of pieces for the expressions of the common pre-tokenizers, without a regular expression engine.
   Bytes are classified 64 at a time into words of bits; where a piece begins then follows from a few shifts. The
   result is that of the expression, which is what tests compare it with. */
#ifndef BAM_TEXT_BOUNDARIES_H
#define BAM_TEXT_BOUNDARIES_H

#include "char_class.h"

#define BAM_BOUNDARY_WORDS 64 /* of 64 bytes each: what is cut at once */
#define BAM_BOUNDARY_BYTES (64 * BAM_BOUNDARY_WORDS)

/* What cuts a text. */
typedef enum bam_cut_style {
  BAM_CUT_ANY, /* an expression that only PCRE2 knows */
  BAM_CUT_GPT2, /* GPT-2's: words with the space before them, contractions, numbers, other characters */
  BAM_CUT_GPT2_DIGITS, /* after a step that isolates every digit: Cohere's, StarCoder's */
  BAM_CUT_GPT4,        /* GPT-4's and Llama 3's: up to three digits, line ends at punctuation */
  BAM_CUT_GPT4_DIGITS, /* the same with single digits: Qwen 2's */
} bam_cut_style;

/* Of each byte of a window, with the words before and after it. */
typedef uint64_t bam_class_bits[BAM_BOUNDARY_WORDS + 2];

typedef struct bam_boundaries {
  bam_cut_style style;
  bool long_s; /* whether 'ſ is a contraction, as 's is: ſ is a lower-case S */
  bam_char_classes classes;
  bam_class_bits letter, digit, space, other; /* each byte is in one */
  bam_class_bits blank, line_end, apostrophe; /* U+0020; \r and \n; ' */
  bam_class_bits high,
    inner;            /* bytes of characters that are not ASCII; the second and later of them */
  bam_class_bits cut; /* bytes at which a piece begins */
  int n;              /* bytes in the window */
  uint16_t ends[BAM_BOUNDARY_BYTES +
                8]; /* of pieces, from the start of the window; a few more are written */
} bam_boundaries;

/* Find the pieces that begin a text of valid UTF-8, which itself begins a piece. Returns their number; 0 if the
   first is longer than a window. At the end of the text the last piece ends too. */
int bam_boundaries_find(bam_boundaries *b, const char *text, int64_t size);

#endif
