#include "special_tokens.h"

#include <string.h>

#include "../core/utf8.h"

/* A token searched for in a pass. */
typedef struct token {
  bam_special_token added;
  int64_t size;
} token;

/* ---- making ---- */

/* Allocate the tokens of each pass, and one flag per word of the vocabulary. */
static bam_status reserve(bam_special_tokens *set, const bam_vocab *words, int64_t count) {
  BAM_TRY(bam_storage_grow(set->context, &set->is_added, words->count + 1));
  memset(set->is_added->data, 0, (size_t)words->count + 1);
  for (int k = 0; k < BAM_SPECIAL_TOKENS_PASSES; k++)
    BAM_TRY(
      bam_storage_grow(set->context, &set->passes[k].tokens, (count + 1) * (int64_t)sizeof(token)));
  return BAM_OK;
}

/* Build the automaton of pass `k`. `list` has room for all tokens. */
static bam_status make_pass(bam_special_tokens *set, int k, const bam_vocab *words,
                            const bam_special_token *added, int64_t count, bam_word *list) {
  bam_special_tokens_pass *pass = &set->passes[k];
  token *tokens = pass->tokens->data;
  int64_t n = 0;
  pass->all_special = true;
  for (int64_t i = 0; i < count; i++) {
    if (added[i].normalized != (k == 1))
      continue;
    list[n].data = bam_vocab_get(words, added[i].id, &list[n].size);
    tokens[n] = (token){ added[i], list[n].size };
    pass->all_special = pass->all_special && added[i].special;
    ((bool *)set->is_added->data)[added[i].id] = true;
    n++;
  }
  return bam_aho_corasick_build(set->context, list, n, &pass->automaton);
}

bam_status bam_special_tokens_make(bam_context *context, const bam_vocab *words,
                                   const bam_special_token *added, int64_t count,
                                   bam_special_tokens *out) {
  bam_status status = BAM_OK;
  bam_storage *list = NULL;
  *out = (bam_special_tokens){ .context = context };
  for (int k = 0; k < BAM_SPECIAL_TOKENS_PASSES; k++)
    out->passes[k].automaton = (bam_aho_corasick){ .context = context,
                                                   .children.context = context };
  BAM_TRY_OR_DONE(reserve(out, words, count));
  BAM_TRY_OR_DONE(bam_storage_grow(context, &list, (count + 1) * (int64_t)sizeof(bam_word)));
  for (int k = 0; k < BAM_SPECIAL_TOKENS_PASSES; k++)
    BAM_TRY_OR_DONE(make_pass(out, k, words, added, count, list->data));
done:
  bam_storage_release(context, list);
  return status;
}

/* ---- finding ---- */

bam_status bam_special_tokens_begin(bam_special_tokens_pass *pass, const char *text, int64_t size,
                                    bool special) {
  pass->text = text;
  pass->size = size;
  pass->at = pass->match_end = pass->space_end = pass->left = 0;
  if (pass->all_special && !special)
    return BAM_OK;
  return bam_aho_corasick_find(&pass->automaton, text, size, &pass->found, &pass->left);
}

/* The start of the white space before `start`, but not before `from`. */
static int64_t spaces_before(const char *text, int64_t from, int64_t start) {
  if (start < from)
    return from;
  for (int64_t size; start > from; start -= size) {
    size = 1;
    while (start - size > from && (text[start - size] & 0xc0) == 0x80)
      size++;
    if (bam_utf8_space(text + start - size, size) != size)
      break;
  }
  return start;
}

/* The end of the white space after `end`. Remembers the last result, so no white space is scanned twice. */
static int64_t spaces_after(bam_special_tokens_pass *pass, int64_t end) {
  if (end >= pass->space_end) {
    int64_t size = 1;
    while (end < pass->size && size > 0)
      end += size = bam_utf8_space(pass->text + end, pass->size - end);
    pass->space_end = end;
  }
  return pass->space_end;
}

bool bam_special_tokens_next(bam_special_tokens_pass *pass, bool special,
                             bam_special_tokens_match *match) {
  while (pass->left > 0) {
    bam_occurrence here = ((const bam_occurrence *)pass->found->data)[--pass->left];
    if (here.start < pass->match_end)
      continue;
    const token *found = (const token *)pass->tokens->data + here.word;
    int64_t start = here.start, end = pass->match_end = start + found->size;
    if (found->added.special && !special)
      continue;
    if (found->added.lstrip)
      start = spaces_before(pass->text, pass->at, start);
    if (found->added.rstrip)
      end = spaces_after(pass, end);
    *match = (bam_special_tokens_match){ start, end, found->added.id };
    pass->at = end;
    if (start < end) /* else the previous token's white space covers it */
      return true;
  }
  return false;
}

bool bam_special_tokens_has(const bam_special_tokens *set, int64_t id) {
  return ((const bool *)set->is_added->data)[id];
}

/* ---- releasing ---- */

void bam_special_tokens_trim(bam_special_tokens *set, int64_t kept) {
  for (int k = 0; k < BAM_SPECIAL_TOKENS_PASSES; k++) {
    bam_special_tokens_pass *pass = &set->passes[k];
    if (pass->found == NULL || pass->found->bytes <= kept)
      continue;
    bam_storage_release(set->context, pass->found);
    pass->found = NULL;
  }
}

void bam_special_tokens_release(bam_special_tokens *set) {
  for (int k = 0; k < BAM_SPECIAL_TOKENS_PASSES; k++) {
    bam_aho_corasick_release(&set->passes[k].automaton);
    bam_storage_release(set->context, set->passes[k].tokens);
    bam_storage_release(set->context, set->passes[k].found);
  }
  bam_storage_release(set->context, set->is_added);
  *set = (bam_special_tokens){ .context = set->context };
}
