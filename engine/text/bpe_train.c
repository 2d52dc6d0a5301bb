/* The trainer. All distinct pieces lie in one array of symbols, linked within each piece. Every pair of
   adjacent symbols has a record: its frequency, weighted by the counts of the pieces, and a list of the
   positions where it may begin. Stale positions are skipped. The heap yields the most frequent pair; an
   entry whose count has changed is pushed again with the current count. Merging creates only pairs that
   contain the new word, so only their counts can grow. */
#include "bpe_train.h"

#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "pairs.h"

typedef struct symbol {
  int32_t id;             /* -1: merged into the previous symbol */
  int32_t previous, next; /* -1: none in this piece */
  int32_t piece;
} symbol;

typedef struct record {
  int64_t count;
  int32_t first, last; /* of the list of positions; -1: empty */
  int64_t merge;       /* the last merge that increased its count */
} record;

typedef struct node {
  int32_t place, next;
} node;

struct bam_trainer {
  bam_context *context;
  bam_pattern *pattern;
  bam_counter *counter;
  bam_vocab words;
  int64_t n_special;
  bam_storage *merges; /* of pairs of ids */
  int64_t n_merges;
  const int64_t *counts; /* of pieces; borrowed from the counter */
  bam_storage *symbols;
  bam_pairs pairs; /* to records */
  bam_storage *records;
  bam_storage *nodes; /* of all lists */
  int64_t n_nodes;
  int32_t free_nodes; /* head of the free list; -1: empty */
  bam_storage *grown; /* keys of pairs whose counts grew in the current merge */
  int64_t n_grown;
  bam_storage *places; /* of the current merge */
  bam_storage *joined; /* the bytes of the word being made */
  bam_heap heap;       /* keys: minus the count; ties: the pair */
};

/* ---- making ---- */

/* Add the 256 bytes in the order of their characters in the ByteLevel alphabet: first the bytes that are
   printable in Latin-1, which represent themselves, then the others. */
static void add_bytes(bam_vocab *words) {
  for (int printing = 1; printing >= 0; printing--)
    for (int i = 0; i < 256; i++) {
      char byte = (char)i;
      bool prints = (i > 32 && i < 127) || (i > 160 && i != 173);
      if (prints == printing)
        bam_vocab_add(words, &byte, 1);
    }
}

static bam_status add_special(bam_trainer *t, const bam_expression *special, int n) {
  for (int i = 0; i < n; i++) {
    if (special[i].size < 2)
      return bam_fail(t->context, BAM_ERROR_ARGUMENT,
                      "special token %d has %lld bytes; it needs at least 2", i + 1,
                      (long long)special[i].size);
    BAM_TRY(bam_vocab_reserve(&t->words, 1, special[i].size));
    if (bam_vocab_add(&t->words, special[i].text, special[i].size) < i)
      return bam_fail(t->context, BAM_ERROR_ARGUMENT, "special token %d occurs twice", i + 1);
  }
  t->n_special = n;
  BAM_TRY(bam_vocab_reserve(&t->words, 256, 256));
  add_bytes(&t->words);
  return BAM_OK;
}

bam_status bam_trainer_new(bam_context *context, bam_pattern *pattern,
                           const bam_expression *special, int n_special, bam_trainer **out) {
  bam_status status = BAM_OK;
  bam_trainer *t = bam_object_alloc(context, sizeof *t);
  if (t == NULL)
    return BAM_ERROR_MEMORY;
  *t = (bam_trainer){ .context = context,
                      .words.context = context,
                      .pairs.context = context,
                      .heap.context = context,
                      .free_nodes = -1 };
  BAM_TRY_OR_DONE(add_special(t, special, n_special));
  BAM_TRY_OR_DONE(bam_counter_new(context, pattern, &t->counter));
  t->pattern = pattern;
  *out = t;
  t = NULL;
done:
  bam_trainer_release(t);
  return status;
}

void bam_trainer_release(bam_trainer *trainer) {
  if (trainer == NULL)
    return;
  bam_storage *const all[] = { trainer->merges, trainer->symbols, trainer->records, trainer->nodes,
                               trainer->grown,  trainer->places,  trainer->joined };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    bam_storage_release(trainer->context, all[i]);
  bam_heap_release(&trainer->heap);
  bam_pairs_release(&trainer->pairs);
  bam_vocab_release(&trainer->words);
  bam_counter_release(trainer->counter);
  bam_pattern_release(trainer->pattern);
  bam_object_free(trainer->context, trainer, sizeof *trainer);
}

bam_status bam_trainer_add(bam_trainer *trainer, const char *text, int64_t size) {
  return bam_counter_add(trainer->counter, text, size);
}

const bam_vocab *bam_trainer_words(const bam_trainer *trainer) { return &trainer->words; }

const int32_t (*bam_trainer_merges(const bam_trainer *trainer, int64_t *count))[2] {
  *count = trainer->n_merges;
  return trainer->merges != NULL ? trainer->merges->data : NULL;
}

/* ---- pairs and their positions ---- */

static bam_status fail_too_much(bam_trainer *t) {
  return bam_fail(t->context, BAM_ERROR_ARGUMENT,
                  "the distinct pieces of the text have more than 2^31 bytes; train on a part");
}

/* Reserve room for `more` new pairs and positions. */
static bam_status reserve(bam_trainer *t, int64_t more) {
  int64_t records = t->pairs.count + more, nodes = t->n_nodes + more;
  if (nodes > INT32_MAX)
    return fail_too_much(t);
  BAM_TRY(bam_pairs_reserve(&t->pairs, more));
  BAM_TRY(bam_storage_grow(t->context, &t->records, records * (int64_t)sizeof(record)));
  BAM_TRY(bam_storage_grow(t->context, &t->nodes, nodes * (int64_t)sizeof(node)));
  BAM_TRY(bam_storage_grow(t->context, &t->grown, more * (int64_t)sizeof(uint64_t)));
  return bam_heap_reserve(&t->heap, more);
}

static record *find_record(const bam_trainer *t, uint64_t key) {
  return (record *)t->records->data + bam_pairs_find(&t->pairs, key);
}

/* The record of a pair, created if necessary. */
static record *get_record(bam_trainer *t, uint64_t key) {
  int64_t i = bam_pairs_find(&t->pairs, key);
  if (i >= 0)
    return (record *)t->records->data + i;
  i = t->pairs.count;
  bam_pairs_add(&t->pairs, key, i);
  record *r = (record *)t->records->data + i;
  *r = (record){ .first = -1, .last = -1, .merge = -1 };
  return r;
}

static void append_place(bam_trainer *t, record *r, int32_t place) {
  node *nodes = t->nodes->data;
  int32_t i = t->free_nodes;
  if (i >= 0)
    t->free_nodes = nodes[i].next;
  else
    i = (int32_t)t->n_nodes++;
  nodes[i] = (node){ place, -1 };
  if (r->last >= 0)
    nodes[r->last].next = i;
  else
    r->first = i;
  r->last = i;
}

static int64_t times(const bam_trainer *t, int32_t place) {
  return t->counts[((symbol *)t->symbols->data)[place].piece];
}

static uint64_t key_at(const symbol *symbols, int32_t place) {
  return bam_pair_key(symbols[place].id, symbols[symbols[place].next].id);
}

/* Count the pair at `place`, which is new there. */
static void add_pair(bam_trainer *t, int32_t place) {
  uint64_t key = key_at(t->symbols->data, place);
  record *r = get_record(t, key);
  r->count += times(t, place);
  append_place(t, r, place);
  if (r->merge == t->n_merges)
    return;
  r->merge = t->n_merges;
  ((uint64_t *)t->grown->data)[t->n_grown++] = key;
}

/* Uncount the pair at `place`, before it is destroyed. */
static void drop_pair(bam_trainer *t, int32_t place) {
  find_record(t, key_at(t->symbols->data, place))->count -= times(t, place);
}

static void push(bam_trainer *t, uint64_t key, int64_t count) {
  if (count > 0)
    bam_heap_push(&t->heap, (bam_heap_entry){ UINT64_MAX - (uint64_t)count, key });
}

/* Push all pairs whose counts grew onto the heap. */
static void push_grown(bam_trainer *t) {
  const uint64_t *keys = t->grown->data;
  for (int64_t i = 0; i < t->n_grown; i++)
    push(t, keys[i], find_record(t, keys[i])->count);
  t->n_grown = 0;
}

/* ---- the pieces as symbols ---- */

static void add_piece(bam_trainer *t, int32_t piece, const char *bytes, int64_t size,
                      int32_t start) {
  symbol *symbols = (symbol *)t->symbols->data;
  int32_t end = start + (int32_t)size;
  for (int32_t i = start; i < end; i++) {
    int64_t id = bam_vocab_find(&t->words, bytes + (i - start), 1);
    symbols[i] = (symbol){ (int32_t)id, i > start ? i - 1 : -1, i + 1 < end ? i + 1 : -1, piece };
  }
  for (int32_t i = start; i + 1 < end; i++)
    add_pair(t, i);
}

static bam_status add_pieces(bam_trainer *t) {
  const bam_vocab *pieces;
  int64_t size, start = 0;
  BAM_TRY(bam_counter_finish(t->counter, &pieces, &t->counts));
  if (pieces->used > INT32_MAX)
    return fail_too_much(t);
  BAM_TRY(bam_storage_grow(t->context, &t->symbols, pieces->used * (int64_t)sizeof(symbol)));
  BAM_TRY(reserve(t, 0));
  for (int64_t i = 0; i < pieces->count; i++) {
    const char *piece = bam_vocab_get(pieces, i, &size);
    BAM_TRY(reserve(t, t->n_grown + size));
    add_piece(t, (int32_t)i, piece, size, (int32_t)start);
    start += size;
  }
  push_grown(t);
  return BAM_OK;
}

/* ---- merging ---- */

/* Concatenate the two words of a pair into t->joined. */
static bam_status join(bam_trainer *t, uint64_t key, int64_t *size) {
  int64_t n_left, n_right;
  const char *left = bam_vocab_get(&t->words, bam_pair_left(key), &n_left);
  const char *right = bam_vocab_get(&t->words, bam_pair_right(key), &n_right);
  *size = n_left + n_right;
  BAM_TRY(bam_storage_grow(t->context, &t->joined, *size));
  memcpy(t->joined->data, left, (size_t)n_left);
  memcpy((char *)t->joined->data + n_left, right, (size_t)n_right);
  return BAM_OK;
}

static int64_t count_places(const bam_trainer *t, const record *r) {
  const node *nodes = t->nodes->data;
  int64_t n = 0;
  for (int32_t i = r->first; i >= 0; i = nodes[i].next)
    n++;
  return n;
}

static int by_place(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

/* Move the positions of a pair to t->places, in ascending order. *n gets their number. */
static bam_status take_places(bam_trainer *t, record *r, int64_t *n) {
  *n = count_places(t, r);
  bam_status status = bam_storage_grow(t->context, &t->places, *n * (int64_t)sizeof(int32_t));
  if (status != BAM_OK || *n == 0)
    return status;
  node *nodes = t->nodes->data;
  int32_t *places = t->places->data;
  bool sorted = true;
  int64_t k = 0;
  for (int32_t i = r->first; i >= 0; i = nodes[i].next) {
    places[k] = nodes[i].place;
    sorted = sorted && (k == 0 || places[k - 1] <= places[k]);
    k++;
  }
  nodes[r->last].next = t->free_nodes;
  t->free_nodes = r->first;
  r->first = r->last = -1;
  r->count = 0;
  if (!sorted) /* an existing word may get new positions in any order */
    qsort(places, (size_t)*n, sizeof *places, by_place);
  return BAM_OK;
}

/* Replace the pair at `place` by one symbol. */
static void merge_at(bam_trainer *t, int32_t place, int32_t id) {
  symbol *symbols = t->symbols->data, *left = &symbols[place], *right = &symbols[left->next];
  int32_t before = left->previous, after = right->next;
  if (before >= 0)
    drop_pair(t, before);
  if (after >= 0)
    drop_pair(t, left->next);
  left->id = id;
  left->next = after;
  right->id = right->next = -1;
  if (before >= 0)
    add_pair(t, before);
  if (after < 0)
    return;
  symbols[after].previous = place;
  add_pair(t, place);
}

/* Merge all occurrences of a pair into the word `id`. */
static bam_status merge_everywhere(bam_trainer *t, uint64_t key, int32_t id) {
  int64_t n;
  BAM_TRY(take_places(t, find_record(t, key), &n));
  BAM_TRY(reserve(t, 2 * n));
  const int32_t *places = t->places->data;
  const symbol *symbols = t->symbols->data;
  for (int64_t i = 0; i < n; i++)
    if (symbols[places[i]].next >= 0 && key_at(symbols, places[i]) == key)
      merge_at(t, places[i], id);
  find_record(t, key)->count = 0; /* overlapping occurrences, as in "aaa", made it negative */
  push_grown(t);
  return BAM_OK;
}

/* Pop the most frequent pair; false if none is left. */
static bool next_pair(bam_trainer *t, uint64_t *key) {
  while (t->heap.count > 0) {
    bam_heap_entry top = bam_heap_pop(&t->heap);
    int64_t count = find_record(t, top.tie)->count;
    *key = top.tie;
    if (UINT64_MAX - (uint64_t)count == top.key)
      return true;
    push(t, top.tie, count); /* has room, as one was just popped */
  }
  return false;
}

/* Merge the most frequent pair. *done is set if there is none. */
static bam_status merge_next(bam_trainer *t, bool *done) {
  uint64_t key;
  int64_t size;
  *done = !next_pair(t, &key);
  if (*done)
    return BAM_OK;
  BAM_TRY(join(t, key, &size));
  int64_t id = bam_vocab_find(&t->words, t->joined->data, size);
  if (id >= 0 && id < t->n_special) {
    find_record(t, key)->count = 0; /* never merge it */
    return BAM_OK;
  }
  BAM_TRY(bam_vocab_reserve(&t->words, 1, size));
  BAM_TRY(
    bam_storage_grow(t->context, &t->merges, (t->n_merges + 1) * (int64_t)sizeof(int32_t[2])));
  id = bam_vocab_add(&t->words, t->joined->data, size);
  int32_t *merge = (int32_t *)t->merges->data + 2 * t->n_merges++;
  merge[0] = bam_pair_left(key);
  merge[1] = bam_pair_right(key);
  return merge_everywhere(t, key, (int32_t)id);
}

bam_status bam_trainer_train(bam_trainer *trainer, int64_t size) {
  bool done = false;
  if (size < trainer->words.count)
    return bam_fail(trainer->context, BAM_ERROR_ARGUMENT,
                    "a vocabulary of %lld is too small for 256 bytes and %lld special tokens; it "
                    "needs at least %lld",
                    (long long)size, (long long)trainer->n_special,
                    (long long)trainer->words.count);
  BAM_TRY(add_pieces(trainer));
  while (trainer->words.count < size && !done)
    BAM_TRY(merge_next(trainer, &done));
  if (trainer->words.count < size)
    return bam_fail(trainer->context, BAM_ERROR_ARGUMENT,
                    "the text yields only %lld words, not %lld; use vocab = %lld or add text",
                    (long long)trainer->words.count, (long long)size,
                    (long long)trainer->words.count);
  return BAM_OK;
}
