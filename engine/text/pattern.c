/* Cutting text with PCRE2. The text is first split into runs of valid and of invalid UTF-8, because PCRE2
   would otherwise validate the whole subject again for every match. The cost of an expression is bounded
   by limits on its steps, per match and per text, and on its stack. Empty matches follow Oniguruma,
   which the tokenizers package uses: an empty match cuts the text, but is ignored directly after
   another match. */
#include "pattern.h"
#include "../core/quote.h"

#include <stdio.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "../core/utf8.h"
#include "../io/atomic_file.h"

#define FEW_STEPS 4096                /* enough for nearly every match */
#define MORE_STEPS 16                 /* factor for the next attempt */
#define MOST_STEPS (50 * 1000 * 1000) /* of one match */
#define TEXT_STEPS \
  (4LL * MOST_STEPS)                /* a text's budget for matches that need more than FEW_STEPS, */
#define BYTE_STEPS 128              /* added per byte of the text */
#define MOST_KIBIBYTES (256 * 1024) /* of memory for one match, without the JIT compiler */
#define JIT_STACK (8 << 20)
#define LONGEST_EXPRESSION (1 << 20)
#define ERROR_TEXT 160

struct bam_pattern {
  bam_context *context;
  int count;
  pcre2_code *codes[BAM_PATTERN_STEPS];
  pcre2_code *recent_codes[BAM_PATTERN_STEPS]; /* shared with `codes` where the forms are equal */
  bam_behavior behaviors[BAM_PATTERN_STEPS];
  bool inverts[BAM_PATTERN_STEPS];
  bam_code_ranges recent;
};

/* ---- compiling ---- */

static bam_status fail_compile(bam_context *context, const bam_expression *e, int error,
                               size_t offset) {
  char reason[ERROR_TEXT], quoted[BAM_QUOTE_TEXT];
  if (error == PCRE2_ERROR_HEAP_FAILED) /* out of memory during compilation */
    return bam_fail(context, BAM_ERROR_MEMORY, "out of memory while compiling a pattern");
  pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof reason);
  return bam_fail(context, BAM_ERROR_ARGUMENT, "malformed pattern %s: at byte %zu: %s",
                  bam_quote(e->text, quoted), offset + 1, reason);
}

static bam_status compile_one(bam_pattern *pattern, pcre2_compile_context *settings,
                              const bam_expression *e, pcre2_code **out) {
  int error;
  size_t offset;
  if (e->size > LONGEST_EXPRESSION)
    return bam_fail(pattern->context, BAM_ERROR_ARGUMENT,
                    "a pattern of %lld bytes is too long; the limit is %d", (long long)e->size,
                    LONGEST_EXPRESSION);
  uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  *out = pcre2_compile((PCRE2_SPTR)e->text, (size_t)e->size, options, &error, &offset, settings);
  if (*out == NULL)
    return fail_compile(pattern->context, e, error, offset);
  /* not under a memory checker: JIT code reads strings 16 bytes at a time, past their end. If the
     system forbids JIT, matching is only slower */
  if (!pattern->context->memory.no_cache)
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
  return BAM_OK;
}

static bool are_equal(const bam_expression *a, const bam_expression *b) {
  return a->size == b->size && memcmp(a->text, b->text, (size_t)a->size) == 0;
}

/* Compile both forms of an expression; `recent` may be NULL. */
static bam_status compile_forms(bam_pattern *pattern, pcre2_compile_context *settings,
                                const bam_expression *e, const bam_expression *recent) {
  int k = pattern->count++;
  pattern->behaviors[k] = e->behavior;
  pattern->inverts[k] = e->invert;
  BAM_TRY(compile_one(pattern, settings, e, &pattern->codes[k]));
  if (recent != NULL && !are_equal(e, recent))
    return compile_one(pattern, settings, recent, &pattern->recent_codes[k]);
  pattern->recent_codes[k] = pattern->codes[k];
  return BAM_OK;
}

bam_status bam_pattern_compile(bam_context *context, const bam_expression *expressions, int n,
                               const bam_code_ranges *recent, const bam_expression *recent_forms,
                               bam_pattern **out) {
  bam_status status = BAM_OK;
  pcre2_compile_context *settings = NULL;
  bam_pattern *pattern = NULL;
  if (n > BAM_PATTERN_STEPS)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "a sequence of %d patterns is too long; the limit is %d", n, BAM_PATTERN_STEPS);
  pattern = bam_object_alloc(context, sizeof *pattern);
  if (pattern == NULL)
    return BAM_ERROR_MEMORY;
  *pattern = (bam_pattern){ .context = context };
  if (recent != NULL && recent_forms != NULL)
    pattern->recent = *recent;
  settings = pcre2_compile_context_create(NULL);
  if (settings == NULL)
    BAM_TRY_OR_DONE(bam_fail(context, BAM_ERROR_MEMORY, "out of memory while compiling a pattern"));
  pcre2_set_newline(settings, PCRE2_NEWLINE_LF);
  for (int i = 0; i < n; i++)
    BAM_TRY_OR_DONE(compile_forms(pattern, settings, &expressions[i],
                                  recent_forms != NULL ? &recent_forms[i] : NULL));
  *out = pattern;
  pattern = NULL;
done:
  pcre2_compile_context_free(settings);
  bam_pattern_release(pattern);
  return status;
}

void bam_pattern_release(bam_pattern *pattern) {
  if (pattern == NULL)
    return;
  for (int i = 0; i < pattern->count; i++) {
    if (pattern->recent_codes[i] != pattern->codes[i])
      pcre2_code_free(pattern->recent_codes[i]);
    pcre2_code_free(pattern->codes[i]);
  }
  bam_object_free(pattern->context, pattern, sizeof *pattern);
}

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
  bool is_recent;    /* whether the current run contains a recent character */
  int64_t steps;     /* the rest of the text's budget */
  int error, failed; /* PCRE2's error, and the index of the expression */
  level levels[BAM_PATTERN_STEPS];
};

static void begin_level(level *l, const bam_piece *subject) {
  *l = (level){ .text = subject->data, .size = subject->size, .last = -1 };
}

/* Search for a match from l->from, within the step limits. Returns like pcre2_match. */
static int match(bam_cutter *c, int k) {
  const level *l = &c->levels[k];
  const pcre2_code *code = c->is_recent ? c->pattern->recent_codes[k] : c->pattern->codes[k];
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
  c->is_recent = run->is_text && bam_code_ranges_meet(&c->pattern->recent, c->text, size);
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

int bam_cutter_next(bam_cutter *cutter, bam_piece *piece) {
  return next_of(cutter, cutter->pattern->count, piece);
}

void bam_cutter_begin(bam_cutter *cutter, const char *text, int64_t size) {
  cutter->text = text;
  cutter->left = size;
  cutter->steps = TEXT_STEPS + BYTE_STEPS * size;
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
  *out = c;
  return BAM_OK;
}

void bam_cutter_release(bam_cutter *cutter) {
  if (cutter == NULL)
    return;
  pcre2_match_data_free(cutter->found);
  pcre2_match_context_free(cutter->limits);
  pcre2_jit_stack_free(cutter->stack);
  bam_object_free(cutter->context, cutter, sizeof *cutter);
}
