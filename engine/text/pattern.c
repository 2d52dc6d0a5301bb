/* Compiling expressions with PCRE2, and recognizing those of common tokenizers. */
#include "compiled_pattern.h"

#include <string.h>

#include "../core/quote.h"

#define LONGEST_EXPRESSION (1 << 20)
#define ERROR_TEXT 160

#define CONTRACTIONS "\\'s|\\'t|\\'re|\\'ve|\\'m|\\'ll|\\'d"
#define GPT2 CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define GPT4(digits)                                                  \
  "(?i:" CONTRACTIONS ")|[^\\x{a}\\x{d}\\p{L}\\p{N}]?\\p{L}+|" digits \
  "| ?[^\\s\\p{L}\\p{N}]+[\\x{a}\\x{d}]*|\\s*[\\x{a}\\x{d}]+|\\s+(?!\\S)|\\s+"

static bool is_isolated(const bam_expression *e, const char *text) {
  return e->size == (int64_t)strlen(text) && memcmp(e->text, text, strlen(text)) == 0 &&
         e->behavior == BAM_ISOLATED && !e->invert;
}

/* What cuts like the expressions. */
static bam_cut_style style_of(const bam_expression *expressions, int n) {
  if (n == 2 && is_isolated(&expressions[0], "\\p{N}") && is_isolated(&expressions[1], GPT2))
    return BAM_CUT_GPT2_DIGITS;
  if (n != 1)
    return BAM_CUT_ANY;
  return is_isolated(expressions, GPT2)                  ? BAM_CUT_GPT2
         : is_isolated(expressions, GPT4("\\p{N}{1,3}")) ? BAM_CUT_GPT4
         : is_isolated(expressions, GPT4("\\p{N}"))      ? BAM_CUT_GPT4_DIGITS
                                                         : BAM_CUT_ANY;
}

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
  pattern->style = style_of(expressions, n);
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
