/* The pre-tokenizer: regular expressions that cut a text into pieces; a tokenizer merges only within
   pieces. Every byte of any text belongs to exactly one piece, in order, unless an expression removes
   its matches. Bytes that are not UTF-8 form separate pieces, which no expression sees.
   Expressions use PCRE2 syntax; ^ and $ match at every line. PCRE2 knows only the characters of the
   Unicode version it was built for (14 in Debian 12). So an expression can have a second form, for
   texts with newer characters, which lists them explicitly. */
#ifndef BAM_TEXT_PATTERN_H
#define BAM_TEXT_PATTERN_H

#include "../core/context.h"
#include "code_ranges.h"

#define BAM_PATTERN_STEPS 8 /* the maximum number of expressions in a pattern */

/* A sequence of compiled expressions; each cuts the pieces made by the previous one. Immutable, so threads
   may share it. */
typedef struct bam_pattern bam_pattern;

/* What becomes of the matches of an expression and of the gaps between them. */
typedef enum bam_behavior {
  BAM_ISOLATED,             /* each match and each gap is a piece */
  BAM_REMOVED,              /* matches are dropped */
  BAM_CONTIGUOUS,           /* adjacent matches form one piece */
  BAM_MERGED_WITH_PREVIOUS, /* a match joins the gap before it */
  BAM_MERGED_WITH_NEXT,     /* a match belongs to what lies after it */
} bam_behavior;

typedef struct bam_expression {
  const char *text;
  int64_t size;
  bam_behavior behavior;
  bool invert; /* swap the roles of matches and gaps */
} bam_expression;

/* Compile `n` expressions. With n = 0 each run of UTF-8 is one piece. Runs of UTF-8 that contain a character
   of `recent` are cut by recent_forms[0 .. n) instead; both may be NULL. Fails, naming the expression and
   the byte, if one is malformed. */
bam_status bam_pattern_compile(bam_context *context, const bam_expression *expressions, int n,
                               const bam_code_ranges *recent, const bam_expression *recent_forms,
                               bam_pattern **out);

void bam_pattern_release(bam_pattern *pattern); /* NULL is allowed */

typedef struct bam_piece {
  const char *data;
  int64_t size; /* at least 1 */
  bool is_text; /* valid UTF-8 */
} bam_piece;

/* The state of cutting one text. For one thread at a time. */
typedef struct bam_cutter bam_cutter;

/* Make a cutter for `pattern`, which must outlive it. */
bam_status bam_cutter_new(bam_context *context, const bam_pattern *pattern, bam_cutter **out);

void bam_cutter_release(bam_cutter *cutter); /* NULL is allowed */

/* Pieces that follow each other in a text: `ends` counts from `data`. A single piece has no ends. */
typedef struct bam_pieces {
  const char *data;
  int64_t size; /* of all of them */
  const uint16_t *ends;
  int count;
} bam_pieces;

/* Begin to cut a text, which is borrowed until its last piece. Abandons any earlier text. */
void bam_cutter_begin(bam_cutter *cutter, const char *text, int64_t size);

/* Get the next piece. Returns 1, 0 at the end of the text, or -1 if an expression needs too many steps. Does
   not touch the context, so several threads may use a cutter each. */
int bam_cutter_next(bam_cutter *cutter, bam_piece *piece);

/* Get the next pieces, several at once where that is faster. Returns like bam_cutter_next. `pieces` are valid until the
   next call. */
int bam_cutter_next_pieces(bam_cutter *cutter, bam_pieces *pieces);

/* After bam_cutter_next returned -1: record the reason and return BAM_ERROR_ARGUMENT. */
bam_status bam_cutter_fail(const bam_cutter *cutter);

#endif
