/* The sorted list is searched as a trie: tokens that share their first bytes are neighbours. */
#include "added.h"

#include <stdlib.h>
#include <string.h>

/* One token while sorting. */
typedef struct item {
  const char *bytes;
  int64_t size;
  bam_added added;
} item;

static int by_bytes(const void *a, const void *b) {
  const item *x = a, *y = b;
  int order = memcmp(x->bytes, y->bytes, (size_t)(x->size < y->size ? x->size : y->size));
  return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

bam_status bam_added_make(bam_context *context, const bam_words *words, const bam_added *added,
                          int64_t count, bam_added_set *out) {
  bam_status status = BAM_OK;
  bam_storage *items = NULL;
  *out = (bam_added_set){ .context = context, .words = words, .count = count };
  BAM_TRY(bam_storage_grow(context, &items, count * (int64_t)sizeof(item)));
  BAM_TRY(bam_storage_grow(context, &out->sorted, count * (int64_t)sizeof(bam_added)));
  item *list = items->data;
  for (int64_t i = 0; i < count; i++) {
    list[i].added = added[i];
    list[i].bytes = bam_words_get(words, added[i].id, &list[i].size);
    out->begins[(unsigned char)list[i].bytes[0]] = true;
  }
  qsort(list, (size_t)count, sizeof *list, by_bytes);
  for (int64_t i = 0; i < count; i++)
    ((bam_added *)out->sorted->data)[i] = list[i].added;
done:
  bam_storage_release(context, items);
  return status;
}

/* The first of sorted[from .. to) whose byte at `depth` is at least `byte`; one that ends there
   comes before all. */
static int64_t lower_bound(const bam_added_set *set, int64_t from, int64_t to, int64_t depth,
                           int byte) {
  const bam_added *sorted = set->sorted->data;
  while (from < to) {
    int64_t middle = from + (to - from) / 2, size;
    const char *word = bam_words_get(set->words, sorted[middle].id, &size);
    if (size > depth && (unsigned char)word[depth] >= byte)
      to = middle;
    else
      from = middle + 1;
  }
  return from;
}

/* The longest token that text[0 .. size) begins with: its length, or 0. */
static int64_t match(const bam_added_set *set, const char *text, int64_t size, bool special,
                     int32_t *id) {
  const bam_added *sorted = set->sorted->data;
  int64_t from = 0, to = set->count, longest = 0, word_size;
  for (int64_t depth = 0; depth < size; depth++) {
    int byte = (unsigned char)text[depth];
    from = lower_bound(set, from, to, depth, byte);
    to = lower_bound(set, from, to, depth, byte + 1);
    if (from == to)
      break;
    bam_words_get(set->words, sorted[from].id, &word_size);
    if (word_size != depth + 1 || !(special || sorted[from].always))
      continue;
    longest = word_size;
    *id = sorted[from].id;
  }
  return longest;
}

int64_t bam_added_find(const bam_added_set *set, const char *text, int64_t size, bool special,
                       int32_t *id, int64_t *length) {
  if (set->count == 0)
    return size;
  for (int64_t at = 0; at < size; at++) {
    if (!set->begins[(unsigned char)text[at]])
      continue;
    *length = match(set, text + at, size - at, special, id);
    if (*length > 0)
      return at;
  }
  return size;
}

bool bam_added_has(const bam_added_set *set, int64_t id) {
  int64_t size;
  int32_t found = -1;
  const char *word = bam_words_get(set->words, id, &size);
  return set->count > 0 && match(set, word, size, true, &found) == size;
}

void bam_added_release(bam_added_set *set) {
  bam_storage_release(set->context, set->sorted);
  *set = (bam_added_set){ .context = set->context };
}
