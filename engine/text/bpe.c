/* The encoder. Recent pieces are cached. Other pieces become a linked list of symbols, whose pairs are
   merged in the order of a heap. A heap entry whose pair no longer exists is stale and skipped. */
#include "bpe.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "heap.h"
#include "pairs.h"
#include "special_tokens.h"

#define CACHE_SLOTS 65536
#define CACHE_BYTES 30
#define CACHE_IDS 6
#define KEPT_BYTES (1 << 20) /* working memory kept between pieces; a long piece's is freed */

/* A piece and its ids: one line of the processor's cache. */
typedef struct cached {
  uint64_t hash;
  uint8_t size, count; /* bytes and ids; size 0: the slot is free */
  char bytes[CACHE_BYTES];
  int32_t ids[CACHE_IDS];
} cached;

/* A node of the linked list of words that represents a piece during merging. */
typedef struct symbol {
  int32_t id;             /* -1: merged into the previous symbol */
  int32_t previous, next; /* -1: none */
} symbol;

struct bam_bpe {
  bam_context *context;
  bam_vocab words;
  bam_pattern *pattern;
  bam_cutter *cutter;
  bam_special_tokens added;
  bool whole_words;
  int32_t bytes[256]; /* the ids of single bytes */
  bam_pairs ranks;
  bam_storage *results; /* int32_t for each rank: the id of the merged word */
  bam_storage *cache;   /* of CACHE_SLOTS */
  bam_storage *symbols; /* of the current piece */
  bam_heap heap;        /* keys: rank, then position; ties: the pair */
};

/* ---- making ---- */

static bam_status find_bytes(bam_bpe *bpe, const bam_vocab *words) {
  for (int i = 0; i < 256; i++) {
    char byte = (char)i;
    int64_t id = bam_vocab_find(words, &byte, 1);
    if (id < 0)
      return bam_fail(bpe->context, BAM_ERROR_ARGUMENT,
                      "the vocabulary has no word for the byte 0x%02x, so some texts cannot be "
                      "encoded; train it with all 256 bytes in its alphabet",
                      (unsigned)i);
    bpe->bytes[i] = (int32_t)id;
  }
  return BAM_OK;
}

/* The id of the concatenation of the two words of `merge`, or -1. */
static int64_t find_joined(bam_bpe *bpe, const bam_vocab *words, const int32_t merge[2]) {
  int64_t n_left, n_right;
  const char *left = bam_vocab_get(words, merge[0], &n_left);
  const char *right = bam_vocab_get(words, merge[1], &n_right);
  if (bam_storage_grow(bpe->context, &bpe->symbols, n_left + n_right) != BAM_OK)
    return -2;
  char *joined = bpe->symbols->data;
  memcpy(joined, left, (size_t)n_left);
  memcpy(joined + n_left, right, (size_t)n_right);
  return bam_vocab_find(words, joined, n_left + n_right);
}

static bam_status check_id(bam_bpe *bpe, const bam_vocab *words, const char *what, int64_t i,
                           int32_t id) {
  if (id >= 0 && id < words->count)
    return BAM_OK;
  return bam_fail(bpe->context, BAM_ERROR_ARGUMENT, "%s %lld: id %d is out of range for %lld words",
                  what, (long long)i + 1, id, (long long)words->count);
}

static bam_status add_merge(bam_bpe *bpe, const bam_vocab *words, int64_t rank,
                            const int32_t merge[2]) {
  uint64_t key = bam_pair_key(merge[0], merge[1]);
  BAM_TRY(check_id(bpe, words, "merge", rank, merge[0]));
  BAM_TRY(check_id(bpe, words, "merge", rank, merge[1]));
  int64_t id = find_joined(bpe, words, merge);
  if (id < -1)
    return BAM_ERROR_MEMORY;
  if (id < 0)
    return bam_fail(bpe->context, BAM_ERROR_ARGUMENT,
                    "merge %lld: the vocabulary lacks the concatenation of words %d and %d",
                    (long long)rank + 1, merge[0], merge[1]);
  if (bam_pairs_find(&bpe->ranks, key) >= 0)
    return bam_fail(bpe->context, BAM_ERROR_ARGUMENT,
                    "merge %lld: the words %d and %d are already merged by merge %lld",
                    (long long)rank + 1, merge[0], merge[1],
                    (long long)bam_pairs_find(&bpe->ranks, key) + 1);
  bam_pairs_add(&bpe->ranks, key, rank);
  ((int32_t *)bpe->results->data)[rank] = (int32_t)id;
  return BAM_OK;
}

static bam_status check_added(bam_bpe *bpe, const bam_bpe_parts *parts) {
  for (int64_t i = 0; i < parts->n_added; i++) {
    int32_t id = parts->added[i].id;
    BAM_TRY(check_id(bpe, &parts->words, "added token", i, id));
    int64_t size;
    bam_vocab_get(&parts->words, id, &size);
    if (size == 0)
      return bam_fail(bpe->context, BAM_ERROR_ARGUMENT, "added token %lld is empty",
                      (long long)i + 1);
  }
  return BAM_OK;
}

/* The fallible part of bam_bpe_new: parts->words and parts->pattern still belong to the caller. */
static bam_status fill(bam_bpe *bpe, bam_bpe_parts *parts) {
  bam_context *context = bpe->context;
  const int64_t cache_bytes = CACHE_SLOTS * (int64_t)sizeof(cached);
  if (parts->n_merges > INT32_MAX)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "more than 2^31 merges");
  BAM_TRY(find_bytes(bpe, &parts->words));
  BAM_TRY(bam_pairs_reserve(&bpe->ranks, parts->n_merges));
  BAM_TRY(bam_storage_grow(context, &bpe->results, parts->n_merges * (int64_t)sizeof(int32_t)));
  for (int64_t i = 0; i < parts->n_merges; i++)
    BAM_TRY(add_merge(bpe, &parts->words, i, parts->merges[i]));
  BAM_TRY(check_added(bpe, parts));
  BAM_TRY(bam_storage_grow(context, &bpe->cache, cache_bytes));
  memset(bpe->cache->data, 0, (size_t)cache_bytes);
  BAM_TRY(bam_cutter_new(context, parts->pattern, &bpe->cutter));
  return bam_special_tokens_make(context, &parts->words, parts->added, parts->n_added, &bpe->added);
}

bam_status bam_bpe_new(bam_context *context, bam_bpe_parts *parts, bam_bpe **out) {
  bam_bpe *bpe = bam_object_alloc(context, sizeof *bpe);
  if (bpe == NULL)
    return BAM_ERROR_MEMORY;
  *bpe = (bam_bpe){ .context = context,
                    .whole_words = parts->whole_words,
                    .words.context = context,
                    .ranks.context = context,
                    .heap.context = context,
                    .added.context = context };
  bam_status status = fill(bpe, parts);
  if (status != BAM_OK) {
    bam_bpe_release(bpe);
    return status;
  }
  bpe->words = parts->words;
  bpe->pattern = parts->pattern;
  parts->words = (bam_vocab){ .context = context };
  parts->pattern = NULL;
  *out = bpe;
  return BAM_OK;
}

void bam_bpe_release(bam_bpe *bpe) {
  if (bpe == NULL)
    return;
  bam_special_tokens_release(&bpe->added);
  bam_cutter_release(bpe->cutter);
  bam_pattern_release(bpe->pattern);
  bam_vocab_release(&bpe->words);
  bam_pairs_release(&bpe->ranks);
  bam_heap_release(&bpe->heap);
  bam_storage_release(bpe->context, bpe->results);
  bam_storage_release(bpe->context, bpe->cache);
  bam_storage_release(bpe->context, bpe->symbols);
  bam_object_free(bpe->context, bpe, sizeof *bpe);
}

const bam_vocab *bam_bpe_words(const bam_bpe *bpe) { return &bpe->words; }

/* ---- merging one piece ---- */

/* Push the pair that begins at `left` onto the heap, if there is a merge for it. */
static void propose(bam_bpe *bpe, const symbol *symbols, int32_t left) {
  if (left < 0 || symbols[left].next < 0)
    return;
  uint64_t pair = bam_pair_key(symbols[left].id, symbols[symbols[left].next].id);
  int64_t rank = bam_pairs_find(&bpe->ranks, pair);
  if (rank >= 0)
    bam_heap_push(&bpe->heap, (bam_heap_entry){ (uint64_t)rank << 32 | (uint32_t)left, pair });
}

/* Merge pairs until no merge applies. The heap must have room. */
static void merge_symbols(bam_bpe *bpe, symbol *symbols, int32_t n) {
  const int32_t *results = bpe->results->data;
  for (int32_t i = 0; i + 1 < n; i++)
    propose(bpe, symbols, i);
  while (bpe->heap.count > 0) {
    bam_heap_entry top = bam_heap_pop(&bpe->heap);
    int32_t left = (int32_t)(uint32_t)top.key, right = symbols[left].next;
    if (right < 0 || bam_pair_key(symbols[left].id, symbols[right].id) != top.tie)
      continue;
    int32_t after = symbols[right].next;
    symbols[left].id = results[top.key >> 32];
    symbols[left].next = after;
    symbols[right].id = symbols[right].next = -1;
    if (after >= 0)
      symbols[after].previous = left;
    propose(bpe, symbols, symbols[left].previous);
    propose(bpe, symbols, left);
  }
}

static bam_status check_piece(bam_bpe *bpe, int64_t size) {
  if (size <= INT32_MAX / 4)
    return BAM_OK;
  return bam_fail(bpe->context, BAM_ERROR_ARGUMENT,
                  "a piece of %lld bytes is too long to encode; split the text", (long long)size);
}

/* Encode a piece by merging. Each merge removes one of the n - 1 pairs and pushes at most two, which bounds
   the heap. */
static bam_status merge_piece(bam_bpe *bpe, const char *bytes, int64_t size, bam_tokens *out) {
  BAM_TRY(check_piece(bpe, size));
  BAM_TRY(bam_storage_grow(bpe->context, &bpe->symbols, size * (int64_t)sizeof(symbol)));
  BAM_TRY(bam_heap_reserve(&bpe->heap, 3 * size));
  symbol *symbols = bpe->symbols->data;
  int32_t n = (int32_t)size;
  for (int32_t i = 0; i < n; i++)
    symbols[i] = (symbol){ bpe->bytes[(unsigned char)bytes[i]], i - 1, i + 1 < n ? i + 1 : -1 };
  merge_symbols(bpe, symbols, n);
  for (int32_t i = 0; i >= 0; i = symbols[i].next)
    bam_tokens_push(out, symbols[i].id);
  return BAM_OK;
}

/* ---- encoding ---- */

/* The id of a piece that is itself a word and may skip merging, or -1. */
static int64_t find_whole(const bam_bpe *bpe, const bam_piece *piece) {
  int64_t id = bam_vocab_find(&bpe->words, piece->data, piece->size);
  return id >= 0 && !bam_special_tokens_has(&bpe->added, id) ? id : -1;
}

/* Append the ids of a piece that is not cached. `out` must have room for one id per byte. */
static bam_status encode_new(bam_bpe *bpe, const bam_piece *piece, bam_tokens *out) {
  int64_t id = bpe->whole_words ? find_whole(bpe, piece) : -1;
  if (id < 0)
    return merge_piece(bpe, piece->data, piece->size, out);
  bam_tokens_push(out, (int32_t)id);
  return BAM_OK;
}

static const int32_t *ids_from(const bam_tokens *out, int64_t first) {
  return (const int32_t *)out->storage->data + first;
}

/* Append the ids of a piece, from the cache if possible. */
static bam_status encode_piece(bam_bpe *bpe, const bam_piece *piece, bam_tokens *out) {
  if (piece->size > CACHE_BYTES)
    return encode_new(bpe, piece, out);
  size_t size = (size_t)piece->size;
  uint64_t hash = XXH3_64bits(piece->data, size);
  cached *slot = (cached *)bpe->cache->data + hash % CACHE_SLOTS;
  if (slot->hash == hash && slot->size == size && memcmp(slot->bytes, piece->data, size) == 0) {
    for (int i = 0; i < slot->count; i++)
      bam_tokens_push(out, slot->ids[i]);
    return BAM_OK;
  }
  int64_t first = out->count;
  bam_status status = encode_new(bpe, piece, out);
  int64_t count = out->count - first;
  if (status != BAM_OK || count > CACHE_IDS)
    return status;
  slot->hash = hash;
  slot->size = (uint8_t)size;
  slot->count = (uint8_t)count;
  memcpy(slot->bytes, piece->data, size);
  memcpy(slot->ids, ids_from(out, first), (size_t)count * sizeof(int32_t));
  return BAM_OK;
}

/* Append the ids of text that contains no special tokens. */
static bam_status encode_plain(bam_bpe *bpe, const char *text, int64_t size, bam_tokens *out) {
  bam_piece piece;
  int found;
  bam_cutter_begin(bpe->cutter, text, size);
  while ((found = bam_cutter_next(bpe->cutter, &piece)) > 0) {
    BAM_TRY(bam_tokens_reserve(out, piece.size));
    BAM_TRY(encode_piece(bpe, &piece, out));
  }
  if (found < 0)
    return bam_cutter_fail(bpe->cutter);
  return BAM_OK;
}

/* Append the ids of text, searching it for special tokens in passes `pass` and later. */
static bam_status encode_from(bam_bpe *bpe, int pass, const char *text, int64_t size, bool special,
                              bam_tokens *out) {
  bam_special_tokens_match match;
  int64_t at = 0;
  if (pass == BAM_SPECIAL_TOKENS_PASSES)
    return encode_plain(bpe, text, size, out);
  BAM_TRY(bam_special_tokens_begin(&bpe->added.passes[pass], text, size));
  while (bam_special_tokens_next(&bpe->added.passes[pass], special, &match)) {
    if (match.start > at)
      BAM_TRY(encode_from(bpe, pass + 1, text + at, match.start - at, special, out));
    BAM_TRY(bam_tokens_reserve(out, 1));
    bam_tokens_push(out, match.id);
    at = match.end;
  }
  if (at < size)
    BAM_TRY(encode_from(bpe, pass + 1, text + at, size - at, special, out));
  return BAM_OK;
}

static void trim(bam_bpe *bpe) {
  bam_special_tokens_trim(&bpe->added, KEPT_BYTES);
  if (bpe->symbols == NULL || bpe->symbols->bytes <= KEPT_BYTES)
    return;
  bam_storage_release(bpe->context, bpe->symbols);
  bpe->symbols = NULL;
  bam_heap_release(&bpe->heap);
}

bam_status bam_bpe_encode(bam_bpe *bpe, const char *text, int64_t size, bool special,
                          bam_tokens *out) {
  int64_t before = out->count;
  bam_status status = encode_from(bpe, 0, text, size, special, out);
  if (status != BAM_OK)
    out->count = before;
  trim(bpe);
  return status;
}

bam_status bam_bpe_cut(bam_bpe *bpe, const char *text, int64_t size, bam_tokens *out) {
  bam_status status = BAM_OK;
  bam_piece piece;
  int64_t before = out->count;
  int found;
  bam_cutter_begin(bpe->cutter, text, size);
  while ((found = bam_cutter_next(bpe->cutter, &piece)) > 0) {
    BAM_TRY_OR_DONE(check_piece(bpe, piece.data + piece.size - text));
    BAM_TRY_OR_DONE(bam_tokens_reserve(out, 2));
    bam_tokens_push(out, (int32_t)(piece.data - text));
    bam_tokens_push(out, (int32_t)piece.size);
    text = piece.data + piece.size;
  }
  if (found < 0)
    status = bam_cutter_fail(bpe->cutter);
done:
  if (status != BAM_OK)
    out->count = before;
  return status;
}
