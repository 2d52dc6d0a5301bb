/* Cutting text with a pattern. The text is first split into runs of valid and of invalid UTF-8, because PCRE2
   would otherwise validate the whole subject again for every match. The cost of an expression is bounded
   by limits on its steps, per match and per text, and on its stack. Empty matches follow Oniguruma,
   which the tokenizers package uses: an empty match cuts the text, but is ignored directly after
   another match. The expressions of common tokenizers are not matched: boundaries.c cuts like them. */
#include "compiled_pattern.h"

#include <string.h>

#include "../core/utf8.h"

#define FEW_STEPS 4096                /* enough for nearly every match */
#define MORE_STEPS 16                 /* factor for the next attempt */
#define MOST_STEPS (50 * 1000 * 1000) /* of one match */
#define TEXT_STEPS \
  (4LL * MOST_STEPS)                /* a text's budget for matches that need more than FEW_STEPS, */
#define BYTE_STEPS 128              /* added per byte of the text */
#define MOST_KIBIBYTES (256 * 1024) /* of memory for one match, without the JIT compiler */
#define JIT_STACK (8 << 20)
#define ERROR_TEXT 160

/* ---- one expression cutting one subject ---- */

/* A subject, and the progress of cutting it. */
typedef struct level {
  const char *text;
  int64_t size;
  int64_t done;       /* end of the last piece returned */
  int64_t from;       /* start of the next search; beyond the size: searching is finished */
  int64_t last;       /* end of the last match; -1: none yet */
  int64_t start, end; /* the last match found */
  bool waiting;       /* that match is not yet a segment */
  int64_t segment;    /* end of the current segment: a match, or the gap before one */
  bool any, is_match; /* whether there is a current segment, and whether it counts as a match */
} level;

struct bam_cutter {
  bam_context *context;
  const bam_pattern *pattern;
  pcre2_match_data *found;
  pcre2_match_context *limits;
  pcre2_jit_stack *stack;
  const char *text; /* the rest of the text */
  int64_t left;
  bam_piece run;     /* the current run */
  bool is_recent;    /* whether it contains a recent character */
  bool is_checked;   /* whether `is_recent` is known */
  int64_t steps;     /* the rest of the text's budget */
  int error, failed; /* PCRE2's error, and the index of the expression */
  level levels[BAM_PATTERN_STEPS];
  /* for a known style */
  bam_boundaries *boundaries;
  const char
    *gap_end; /* the first byte that a step before isolates; up to the current run: not known */
  bam_pieces found_pieces; /* that are next, from the piece `at` on */
  int at;
};

static void begin_level(level *l, const bam_piece *subject) {
  *l = (level){ .text = subject->data, .size = subject->size, .last = -1 };
}

/* Whether the current run contains a recent character. */
static bool is_recent(bam_cutter *c) {
  if (!c->is_checked)
    c->is_recent = bam_code_ranges_meet(&c->pattern->recent, c->run.data, c->run.size);
  c->is_checked = true;
  return c->is_recent;
}

/* Search for a match from l->from, within the step limits. Returns like pcre2_match. */
static int match(bam_cutter *c, int k) {
  const level *l = &c->levels[k];
  const pcre2_code *code = is_recent(c) ? c->pattern->recent_codes[k] : c->pattern->codes[k];
  return pcre2_match(code, (PCRE2_SPTR)l->text, (size_t)l->size, (size_t)l->from,
                     PCRE2_NO_UTF_CHECK, c->found, c->limits);
}

/* Search again after FEW_STEPS were not enough. The first FEW_STEPS of a match are free, so their sum is
   proportional to the text; all further steps are charged to the budget of the text. */
static int match_longer(bam_cutter *c, int k) {
  int found = PCRE2_ERROR_MATCHLIMIT;
  for (int64_t steps = FEW_STEPS; found == PCRE2_ERROR_MATCHLIMIT && steps < MOST_STEPS;) {
    steps *= MORE_STEPS;
    c->steps -= steps;
    if (c->steps < 0)
      break;
    pcre2_set_match_limit(c->limits, (uint32_t)(steps < MOST_STEPS ? steps : MOST_STEPS));
    found = match(c, k);
  }
  pcre2_set_match_limit(c->limits, FEW_STEPS);
  return found;
}

/* Find the next match. Returns 1, 0 if there is none, or -1 on an error. */
static int search(bam_cutter *c, int k) {
  level *l = &c->levels[k];
  while (l->from <= l->size) {
    int found = match(c, k);
    if (found == PCRE2_ERROR_MATCHLIMIT)
      found = match_longer(c, k);
    if (found == PCRE2_ERROR_NOMATCH)
      break;
    if (found < 0) {
      c->error = found;
      c->failed = k;
      return -1;
    }
    const size_t *ends = pcre2_get_ovector_pointer(c->found);
    l->start = (int64_t)ends[0];
    l->end = (int64_t)ends[1];
    if (l->start == l->end && l->end == l->last) {
      l->from += l->from < l->size ? bam_utf8_character(l->text + l->from, l->size - l->from) : 1;
      continue;
    }
    l->from = l->last = l->end;
    return 1;
  }
  l->from = l->size + 1;
  return 0;
}

/* Emit the piece that ends at `end`. False if it is empty. */
static bool emit_piece(level *l, int64_t end, bam_piece *piece) {
  if (end <= l->done)
    return false;
  *piece = (bam_piece){ l->text + l->done, end - l->done, true };
  l->done = end;
  return true;
}

/* Get the end of the next segment of level k's subject, and whether it is a match. Returns 1, 0 if there is
   none, or -1 on an error. Matches may be empty; the gaps between them are not. */
static int next_segment(bam_cutter *c, int k, int64_t *end, bool *is_match) {
  level *l = &c->levels[k];
  if (!l->waiting) {
    int found = search(c, k);
    if (found < 0)
      return -1;
    l->waiting = found;
  }
  *is_match = l->waiting && l->start <= l->segment;
  *end = *is_match ? l->end : l->waiting ? l->start : l->size;
  if (*is_match)
    l->waiting = false;
  return *is_match || *end > l->segment;
}

/* Whether a segment belongs to the same piece as the previous one. */
static bool are_joined(bam_behavior behavior, bool before, bool is_match) {
  return behavior == BAM_CONTIGUOUS             ? before == is_match
         : behavior == BAM_MERGED_WITH_PREVIOUS ? is_match && !before
         : behavior == BAM_MERGED_WITH_NEXT     ? before && !is_match
                                                : false; /* BAM_REMOVED */
}

/* Emit the piece before l->segment. False if there is none. */
static bool end_piece(level *l, bam_behavior behavior, bam_piece *piece) {
  if (behavior == BAM_REMOVED && l->is_match)
    l->done = l->segment;
  return emit_piece(l, l->segment, piece);
}

/* next_in_level for BAM_ISOLATED, the behavior of nearly all tokenizers. */
static int next_isolated(bam_cutter *c, int k, bam_piece *piece) {
  level *l = &c->levels[k];
  while (l->done < l->size) {
    if (l->waiting) {
      l->waiting = false;
      if (emit_piece(l, l->end, piece))
        return 1;
    }
    int found = search(c, k);
    if (found < 0)
      return -1;
    l->waiting = found;
    if (emit_piece(l, found ? l->start : l->size, piece))
      return 1;
  }
  return 0;
}

/* Get the next piece of level k's subject. Returns like bam_cutter_next. */
static int next_in_level(bam_cutter *c, int k, bam_piece *piece) {
  level *l = &c->levels[k];
  bam_behavior behavior = c->pattern->behaviors[k];
  if (behavior == BAM_ISOLATED)
    return next_isolated(c, k, piece);
  while (l->done < l->size) {
    int64_t end;
    bool is_match;
    int found = next_segment(c, k, &end, &is_match);
    if (found < 0)
      return -1;
    if (found == 0)
      return end_piece(l, behavior, piece);
    is_match = is_match != c->pattern->inverts[k];
    bool ends = l->any && !are_joined(behavior, l->is_match, is_match);
    bool handed = ends && end_piece(l, behavior, piece);
    l->segment = end;
    l->is_match = is_match;
    l->any = true;
    if (handed)
      return 1;
  }
  return 0;
}

/* ---- all expressions ---- */

/* Get the next run of valid UTF-8, or of other bytes. */
static int next_run(bam_cutter *c, bam_piece *run) {
  if (c->left == 0)
    return 0;
  int64_t size = bam_utf8_prefix(c->text, c->left);
  *run = (bam_piece){ c->text, size, size > 0 };
  if (size == 0)
    do
      size++;
    while (size < c->left && bam_utf8_character(c->text + size, c->left - size) == 0);
  run->size = size;
  c->run = *run;
  c->is_checked = false;
  c->text += size;
  c->left -= size;
  return 1;
}

/* Get the next piece of the text as cut by the first k expressions. */
static int next_of(bam_cutter *c, int k, bam_piece *piece) {
  if (k == 0)
    return next_run(c, piece);
  for (;;) {
    int found = next_in_level(c, k - 1, piece);
    if (found != 0)
      return found;
    found = next_of(c, k - 1, piece);
    if (found <= 0 || !piece->is_text)
      return found;
    begin_level(&c->levels[k - 1], piece);
  }
}

/* ---- known styles ---- */

/* Whether the expression takes the first `size` bytes of `text` for one piece. */
static bool is_one_piece(bam_cutter *c, const pcre2_code *code, const char *text, int size) {
  const int found = pcre2_match(code, (PCRE2_SPTR)text, (size_t)size, 0, PCRE2_NO_UTF_CHECK,
                                c->found, c->limits);
  return found > 0 && pcre2_get_ovector_pointer(c->found)[1] == (size_t)size;
}

/* The class of a character: that of the ASCII character with which it makes one piece. */
static bam_char_class probe(void *cutter, const char *character, int size, uint32_t code) {
  bam_cutter *c = cutter;
  const bam_pattern *pattern = c->pattern;
  const int k = pattern->count - 1;
  const bool recent = bam_code_ranges_have(&pattern->recent, code);
  const pcre2_code *expression = recent ? pattern->recent_codes[k] : pattern->codes[k];
  char text[32] = { 0 };
  memcpy(text + 1, character, (size_t)size);
  text[1 + size] = 'a';
  for (int kind = BAM_CHAR_LETTER; kind <= BAM_CHAR_OTHER;
       kind++) { /* others go with letters too */
    text[0] = "a1!"[kind];
    if (is_one_piece(c, expression, text, 1 + size))
      return (bam_char_class)kind;
  }
  /* where every digit is a piece of its own, only white space goes with a letter after it */
  const bool is_digit = pattern->style == BAM_CUT_GPT4_DIGITS &&
                        !is_one_piece(c, expression, text + 1, size + 1);
  return is_digit ? BAM_CHAR_DIGIT : BAM_CHAR_SPACE;
}

/* Set `gap` to the rest of the current run up to what the first of two expressions isolates. It is searched for
   once: the rest may have many pieces before it. */
static int find_gap(bam_cutter *c, bam_piece *gap) {
  if (c->gap_end <= c->run.data) {
    begin_level(&c->levels[0], &c->run);
    const int found = search(c, 0);
    if (found < 0)
      return found;
    c->gap_end = c->run.data + (found > 0 ? c->levels[0].start : c->run.size);
  }
  *gap = (bam_piece){ c->run.data, c->gap_end - c->run.data, true };
  return 1;
}

/* Get the first piece of the rest of the current run, which the first of two expressions does not isolate, from the
   last expression. */
static int next_of_rest(bam_cutter *c, bam_pieces *pieces) {
  bam_piece piece, rest = c->run;
  const int k = c->pattern->count - 1;
  int found = k > 0 ? find_gap(c, &rest) : 1;
  if (found < 0)
    return found;
  begin_level(&c->levels[k], &rest);
  found = next_in_level(c, k, &piece);
  *pieces = (bam_pieces){ piece.data, piece.size, NULL, 1 };
  return found;
}

/* Get the next pieces of a known style. */
static int next_known(bam_cutter *c, bam_pieces *pieces) {
  int found = 1;
  if (c->run.size == 0) {
    if (next_run(c, &c->run) == 0)
      return 0;
    if (!c->run.is_text) {
      *pieces = (bam_pieces){ c->run.data, c->run.size, NULL, 1 };
      c->run.size = 0;
      return 1;
    }
  }
  const int n = bam_boundaries_find(c->boundaries, c->run.data, c->run.size);
  if (n > 0)
    *pieces = (bam_pieces){ c->run.data, c->boundaries->ends[n - 1], c->boundaries->ends, n };
  else
    found = next_of_rest(c, pieces);
  c->run.data += pieces->size;
  c->run.size -= pieces->size;
  return found;
}

int bam_cutter_next_pieces(bam_cutter *cutter, bam_pieces *pieces) {
  bam_piece piece;
  if (cutter->boundaries != NULL)
    return next_known(cutter, pieces);
  const int found = next_of(cutter, cutter->pattern->count, &piece);
  if (found > 0)
    *pieces = (bam_pieces){ piece.data, piece.size, NULL, 1 };
  return found;
}

int bam_cutter_next(bam_cutter *cutter, bam_piece *piece) {
  bam_cutter *c = cutter;
  if (c->boundaries == NULL)
    return next_of(c, c->pattern->count, piece);
  if (c->at == c->found_pieces.count) {
    c->at = c->found_pieces.count = 0;
    const int found = next_known(c, &c->found_pieces);
    if (found <= 0)
      return found;
  }
  const bam_pieces *all = &c->found_pieces;
  const int64_t start = c->at > 0 ? all->ends[c->at - 1] : 0;
  const int64_t end = all->ends != NULL ? all->ends[c->at] : all->size;
  *piece = (bam_piece){ all->data + start, end - start, true };
  c->at++;
  return 1;
}

void bam_cutter_begin(bam_cutter *cutter, const char *text, int64_t size) {
  cutter->text = text;
  cutter->left = size;
  cutter->steps = TEXT_STEPS + BYTE_STEPS * size;
  cutter->run = (bam_piece){ text, 0, true };
  cutter->gap_end = text;
  cutter->at = cutter->found_pieces.count = 0;
  for (int k = 0; k < cutter->pattern->count; k++)
    begin_level(&cutter->levels[k], &(bam_piece){ text, 0, true });
}

bam_status bam_cutter_fail(const bam_cutter *cutter) {
  char reason[ERROR_TEXT];
  const level *l = &cutter->levels[cutter->failed];
  pcre2_get_error_message(cutter->error, (PCRE2_UCHAR *)reason, sizeof reason);
  return bam_fail(
    cutter->context, BAM_ERROR_ARGUMENT,
    "the pattern gave up at byte %lld of a text or piece of %lld bytes: %s; use a pattern "
    "that backtracks less",
    (long long)l->from + 1, (long long)l->size, reason);
}

/* ---- making and releasing a cutter ---- */

static bam_status make_boundaries(bam_cutter *c) {
  bam_boundaries *b = bam_object_alloc(c->context, sizeof *b);
  if (b == NULL)
    return BAM_ERROR_MEMORY;
  c->boundaries = b;
  b->style = c->pattern->style;
  b->classes = (bam_char_classes){ .context = c->context, .probe = probe, .data = c };
  static const char text[32] = "'\xc5\xbf"; /* 'ſ */
  b->long_s = is_one_piece(c, c->pattern->codes[c->pattern->count - 1], text, 3);
  return bam_char_classes_make(&b->classes);
}

bam_status bam_cutter_new(bam_context *context, const bam_pattern *pattern, bam_cutter **out) {
  bam_cutter *c = bam_object_alloc(context, sizeof *c);
  if (c == NULL)
    return BAM_ERROR_MEMORY;
  *c = (bam_cutter){ .context = context, .pattern = pattern };
  c->found = pcre2_match_data_create(1, NULL);
  c->limits = pcre2_match_context_create(NULL);
  c->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK,
                                    NULL); /* NULL: PCRE2 uses a small default stack */
  if (c->found == NULL || c->limits == NULL) {
    bam_cutter_release(c);
    return bam_fail(context, BAM_ERROR_MEMORY, "out of memory for cutting text");
  }
  pcre2_set_match_limit(c->limits, FEW_STEPS);
  pcre2_set_heap_limit(c->limits, MOST_KIBIBYTES);
  pcre2_jit_stack_assign(c->limits, NULL, c->stack);
  if (pattern->style != BAM_CUT_ANY && make_boundaries(c) != BAM_OK) {
    bam_cutter_release(c);
    return BAM_ERROR_MEMORY;
  }
  *out = c;
  return BAM_OK;
}

void bam_cutter_release(bam_cutter *cutter) {
  if (cutter == NULL)
    return;
  if (cutter->boundaries != NULL)
    bam_char_classes_release(&cutter->boundaries->classes);
  bam_object_free(cutter->context, cutter->boundaries, sizeof *cutter->boundaries);
  pcre2_match_data_free(cutter->found);
  pcre2_match_context_free(cutter->limits);
  pcre2_jit_stack_free(cutter->stack);
  bam_object_free(cutter->context, cutter, sizeof *cutter);
}
