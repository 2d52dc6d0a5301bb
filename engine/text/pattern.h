/* The pre-tokenizer: regular expressions that cut a text into pieces, within which a tokenizer then
   merges. Every byte of the text is in exactly one piece, in order, for any bytes whatever, unless an
   expression removes its matches. Bytes that are not UTF-8 form pieces of their own, which no
   expression sees.
   Expressions are PCRE2's; ^ and $ match at every line. PCRE2 knows the characters of the Unicode it
   was built for (14 in Debian 12). So an expression can have a second form, for texts that hold
   characters which are more recent: it names them. */
#ifndef BAM_TEXT_PATTERN_H
#define BAM_TEXT_PATTERN_H

#include "../core/context.h"
#include "code_ranges.h"

#define BAM_PATTERN_STEPS 8 /* the most expressions in a row */

/* Compiled expressions in a row; each cuts the pieces that the one before it made. Not changed by
   use, so threads may share them. */
typedef struct bam_pattern bam_pattern;

/* What becomes of the matches of an expression, and of what lies between them. */
typedef enum bam_behavior {
  BAM_ISOLATED,             /* each is a piece */
  BAM_REMOVED,              /* matches are left out */
  BAM_CONTIGUOUS,           /* matches in a row are one piece */
  BAM_MERGED_WITH_PREVIOUS, /* a match belongs to what lies before it */
  BAM_MERGED_WITH_NEXT,     /* a match belongs to what lies after it */
} bam_behavior;

typedef struct bam_expression {
  const char *text;
  int64_t size;
  bam_behavior behavior;
  bool invert; /* what lies between matches counts as a match, and they do not */
} bam_expression;

/* Compile `n` expressions, 0 of them too: then each run of UTF-8 is one piece. Runs of UTF-8 that hold
   a character of `recent` are cut by the expressions of `recent_forms`, of which there are `n` too;
   both may be NULL. Fails, naming the expression and the byte, when one is malformed. */
bam_status bam_pattern_compile(bam_context *context, const bam_expression *expressions, int n,
                               const bam_code_ranges *recent, const bam_expression *recent_forms,
                               bam_pattern **out);

void bam_pattern_release(bam_pattern *pattern); /* NULL is legal */

typedef struct bam_piece {
  const char *data;
  int64_t size; /* at least 1 */
  bool is_text; /* valid UTF-8 */
} bam_piece;

/* A text being cut; for one thread at a time. */
typedef struct bam_cutter bam_cutter;

/* A cutter for `pattern`, which must outlive it. */
bam_status bam_cutter_new(bam_context *context, const bam_pattern *pattern, bam_cutter **out);

void bam_cutter_release(bam_cutter *cutter); /* NULL is legal */

/* Begin with a text, which is borrowed until its last piece. Any earlier text is forgotten. */
void bam_cutter_begin(bam_cutter *cutter, const char *text, int64_t size);

/* The next piece: 1, or 0 at the end of the text, or -1 when an expression needs too many steps.
   Leaves the context alone, so that several threads may cut at once. */
int bam_cutter_next(bam_cutter *cutter, bam_piece *piece);

/* After a -1: record why and return BAM_ERROR_ARGUMENT. */
bam_status bam_cutter_fail(const bam_cutter *cutter);

#endif
