/* The encoder. Recent pieces are cached, short ones in one table and longer ones in another; others are merged. */
#include "bpe.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "merges.h"
#include "piece_cache.h"
#include "special_tokens.h"

#define CACHE_SLOTS 32768
#define CACHE_ROOM 54        /* bytes of a piece and of its ids together */
#define GROUP 64             /* pieces that are looked up together */
#define LIKELY_BYTES 2       /* of a token */
#define KEPT_BYTES (1 << 20) /* working memory kept between pieces; a long piece's is freed */

/* A longer piece and its ids: one line of the processor's cache. */
typedef struct cached {
  uint64_t hash;
  uint8_t size, count;   /* bytes and ids; size 0: the slot is free */
  char room[CACHE_ROOM]; /* the ids, then the bytes */
} cached;

struct bam_bpe {
  bam_context *context;
  bam_vocab words;
  bam_pattern *pattern;
  bam_cutter *cutter;
  bam_special_tokens added;
  bool whole_words;
  bam_merges merges;
  bam_piece_cache pieces;
  bam_storage *cache;  /* of longer pieces: CACHE_SLOTS */
  bam_storage *joined; /* scratch of find_joined */
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
    bpe->merges.bytes[i] = (int32_t)id;
  }
  return BAM_OK;
}

/* The id of the concatenation of the two words of `merge`, or -1. */
static int64_t find_joined(bam_bpe *bpe, const bam_vocab *words, const int32_t merge[2]) {
  int64_t n_left, n_right;
  const char *left = bam_vocab_get(words, merge[0], &n_left);
  const char *right = bam_vocab_get(words, merge[1], &n_right);
  if (bam_storage_grow(bpe->context, &bpe->joined, n_left + n_right) != BAM_OK)
    return -2;
  char *joined = bpe->joined->data;
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
  BAM_TRY(check_id(bpe, words, "merge", rank, merge[0]));
  BAM_TRY(check_id(bpe, words, "merge", rank, merge[1]));
  int64_t id = find_joined(bpe, words, merge);
  if (id < -1)
    return BAM_ERROR_MEMORY;
  if (id < 0)
    return bam_fail(bpe->context, BAM_ERROR_ARGUMENT,
                    "merge %lld: the vocabulary lacks the concatenation of words %d and %d",
                    (long long)rank + 1, merge[0], merge[1]);
  const int64_t before = bam_merges_rank(&bpe->merges, merge[0], merge[1]);
  if (before >= 0)
    return bam_fail(bpe->context, BAM_ERROR_ARGUMENT,
                    "merge %lld: the words %d and %d are already merged by merge %lld",
                    (long long)rank + 1, merge[0], merge[1], (long long)before + 1);
  bam_merges_add(&bpe->merges, rank, merge[0], merge[1], (int32_t)id);
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
  BAM_TRY(find_bytes(bpe, &parts->words));
  BAM_TRY(bam_merges_make(&bpe->merges, parts->words.count, parts->n_merges));
  for (int64_t i = 0; i < parts->n_merges; i++)
    BAM_TRY(add_merge(bpe, &parts->words, i, parts->merges[i]));
  BAM_TRY(check_added(bpe, parts));
  bpe->pieces.wide = parts->words.count > UINT16_MAX + 1;
  BAM_TRY(bam_piece_cache_make(&bpe->pieces));
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
                    .merges.context = context,
                    .pieces.context = context,
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
  bam_merges_release(&bpe->merges);
  bam_piece_cache_release(&bpe->pieces);
  bam_storage_release(bpe->context, bpe->cache);
  bam_storage_release(bpe->context, bpe->joined);
  bam_object_free(bpe->context, bpe, sizeof *bpe);
}

const bam_vocab *bam_bpe_words(const bam_bpe *bpe) { return &bpe->words; }

/* ---- encoding ---- */

static bam_status check_piece(bam_bpe *bpe, int64_t size) {
  if (size <= INT32_MAX / 4)
    return BAM_OK;
  return bam_fail(bpe->context, BAM_ERROR_ARGUMENT,
                  "a piece of %lld bytes is too long to encode; split the text", (long long)size);
}

/* The id of a piece that is itself a word and may skip merging, or -1. */
static int64_t find_whole(const bam_bpe *bpe, const bam_piece *piece) {
  int64_t id = bam_vocab_find(&bpe->words, piece->data, piece->size);
  return id >= 0 && !bam_special_tokens_has(&bpe->added, id) ? id : -1;
}

/* Append the ids of a piece that is not cached. `out` must have room for one id per byte. */
static bam_status encode_new(bam_bpe *bpe, const bam_piece *piece, bam_tokens *out) {
  int64_t id = bpe->whole_words ? find_whole(bpe, piece) : -1;
  if (id < 0) {
    BAM_TRY(check_piece(bpe, piece->size));
    return bam_merges_apply(&bpe->merges, piece->data, piece->size, out);
  }
  bam_tokens_push(out, (int32_t)id);
  return BAM_OK;
}

static const int32_t *ids_from(const bam_tokens *out, int64_t first) {
  return (const int32_t *)out->storage->data + first;
}

/* An id in a slot: it has 16 bits there unless ids are wide. */
static int32_t read_id(const cached *slot, size_t i, bool wide) {
  int32_t id;
  uint16_t narrow;
  if (wide) {
    memcpy(&id, slot->room + i * sizeof id, sizeof id);
    return id;
  }
  memcpy(&narrow, slot->room + i * sizeof narrow, sizeof narrow);
  return narrow;
}

static void write_id(cached *slot, size_t i, bool wide, int32_t id) {
  const uint16_t narrow = (uint16_t)id;
  if (wide)
    memcpy(slot->room + i * sizeof id, &id, sizeof id);
  else
    memcpy(slot->room + i * sizeof narrow, &narrow, sizeof narrow);
}

/* Append the ids of a slot. */
static void push_slot(const cached *slot, bool wide, bam_tokens *out) {
  for (size_t i = 0; i < slot->count; i++)
    bam_tokens_push(out, read_id(slot, i, wide));
}

static void fill_slot(cached *slot, uint64_t hash, const bam_piece *piece, const int32_t *ids,
                      size_t count, bool wide) {
  slot->hash = hash;
  slot->size = (uint8_t)piece->size;
  slot->count = (uint8_t)count;
  for (size_t i = 0; i < count; i++)
    write_id(slot, i, wide, ids[i]);
  memcpy(slot->room + count * (wide ? sizeof(int32_t) : sizeof(uint16_t)), piece->data,
         (size_t)piece->size);
}

/* Append the ids of a piece, from the cache of longer pieces if possible. */
static bam_status encode_longer(bam_bpe *bpe, const bam_piece *piece, bam_tokens *out) {
  const bool wide = bpe->pieces.wide;
  const int64_t width = wide ? sizeof(int32_t) : sizeof(uint16_t), first = out->count;
  if (piece->size > CACHE_ROOM - width)
    return encode_new(bpe, piece, out);
  const uint64_t hash = XXH3_64bits(piece->data, (size_t)piece->size);
  cached *slot = (cached *)bpe->cache->data + hash % CACHE_SLOTS;
  if (slot->hash == hash && slot->size == piece->size &&
      memcmp(slot->room + slot->count * width, piece->data, (size_t)piece->size) == 0) {
    push_slot(slot, wide, out);
    return BAM_OK;
  }
  BAM_TRY(encode_new(bpe, piece, out));
  const int64_t count = out->count - first;
  if (count * width + piece->size <= CACHE_ROOM)
    fill_slot(slot, hash, piece, ids_from(out, first), (size_t)count, wide);
  return BAM_OK;
}

/* Append the ids of a piece that is not where short ones are looked for first. */
static bam_status encode_missing(bam_bpe *bpe, const char *data, int64_t size, bam_piece_key key,
                                 bam_tokens *out) {
  const bam_piece piece = { data, size, true };
  const int64_t first = out->count;
  if (size > BAM_CACHED_BYTES)
    return encode_longer(bpe, &piece, out);
  const bam_cached_piece *beside = bam_piece_cache_find_beside(&bpe->pieces, key);
  if (beside != NULL) {
    bam_cached_write(beside, bpe->pieces.wide, (int32_t *)out->storage->data + first);
    out->count += bam_cached_count(beside);
    return BAM_OK;
  }
  BAM_TRY(encode_new(bpe, &piece, out));
  return bam_piece_cache_add(&bpe->pieces, key, ids_from(out, first), (int)(out->count - first));
}

/* The key of a piece after which fewer than 16 bytes may be readable. */
static bam_piece_key key_at_end(const char *bytes, size_t size) {
  char copy[16] = { 0 };
  memcpy(copy, bytes, size < sizeof copy ? size : sizeof copy);
  return bam_piece_key_of(copy, size);
}

/* A piece that is looked up: where its entry would be is known. */
typedef struct lookup {
  bam_piece_key key;
  bam_cached_piece *bucket;
} lookup;

/* Prepare the lookups of `n` pieces, and request their entries from memory. `start` is where the first begins. */
static void prepare(const bam_bpe *bpe, const char *data, int64_t start, const uint16_t *ends,
                    int n, const char *end, lookup *lookups) {
  bam_cached_piece *const buckets = bam_piece_cache_bucket(&bpe->pieces, 0);
  const int shift = bpe->pieces.shift;
  const bool safe = end - data - (n > 1 ? ends[n - 2] : start) >= 16;
  for (int i = 0; i < n; i++) {
    const char *bytes = data + start;
    const size_t size = (size_t)(ends[i] - start);
    start = ends[i];
    const bam_piece_key key = safe || end - bytes >= 16 ? bam_piece_key_of(bytes, size)
                                                        : key_at_end(bytes, size);
    lookups[i] = (lookup){ key, buckets + 2 * (bam_piece_key_hash(key) >> shift) };
    __builtin_prefetch(lookups[i].bucket, 1);
  }
}

/* Append the ids of `n` pieces, at most GROUP, in a text that ends at `end`. `out` must have room. */
static bam_status encode_group(bam_bpe *bpe, const char *data, int64_t start, const uint16_t *ends,
                               int n, const char *end, bam_tokens *out) {
  lookup lookups[GROUP];
  const bool wide = bpe->pieces.wide;
  prepare(bpe, data, start, ends, n, end, lookups);
  int32_t *ids = (int32_t *)out->storage->data + out->count;
  for (int i = 0; i < n; i++) {
    const bam_cached_piece *found = bam_cached_find(lookups[i].bucket, lookups[i].key);
    if (__builtin_expect(found != NULL, 1)) {
      ids = bam_cached_write(found, wide, ids);
      continue;
    }
    const bam_storage *buckets = bpe->pieces.buckets;
    const int64_t from = i > 0 ? ends[i - 1] : start;
    out->count = ids - (int32_t *)out->storage->data;
    BAM_TRY(encode_missing(bpe, data + from, ends[i] - from, lookups[i].key, out));
    ids = (int32_t *)out->storage->data + out->count;
    if (bpe->pieces.buckets != buckets) /* the cache has grown */
      prepare(bpe, data, start, ends, n, end, lookups);
  }
  out->count = ids - (int32_t *)out->storage->data;
  return BAM_OK;
}

/* Append the ids of pieces in a text that ends at `end`. */
static bam_status encode_pieces(bam_bpe *bpe, const bam_pieces *pieces, const char *end,
                                bam_tokens *out) {
  BAM_TRY(bam_tokens_reserve(out, pieces->size + BAM_CACHED_IDS));
  const uint16_t size = (uint16_t)pieces->size;
  if (pieces->ends == NULL && size == pieces->size)
    return encode_group(bpe, pieces->data, 0, &size, 1, end, out);
  if (pieces->ends == NULL)
    return encode_longer(bpe, &(bam_piece){ pieces->data, pieces->size, true }, out);
  for (int i = 0; i < pieces->count; i += GROUP) {
    const int n = pieces->count - i < GROUP ? pieces->count - i : GROUP;
    const int64_t start = i > 0 ? pieces->ends[i - 1] : 0;
    BAM_TRY(encode_group(bpe, pieces->data, start, pieces->ends + i, n, end, out));
  }
  return BAM_OK;
}

/* Append the ids of text that contains no special tokens. */
static bam_status encode_plain(bam_bpe *bpe, const char *text, int64_t size, bam_tokens *out) {
  bam_pieces pieces;
  int found;
  bam_cutter_begin(bpe->cutter, text, size);
  while ((found = bam_cutter_next_pieces(bpe->cutter, &pieces)) > 0)
    BAM_TRY(encode_pieces(bpe, &pieces, text + size, out));
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
  BAM_TRY(bam_special_tokens_begin(&bpe->added.passes[pass], text, size, special));
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
  bam_merges_trim(&bpe->merges, KEPT_BYTES);
}

bam_status bam_bpe_encode(bam_bpe *bpe, const char *text, int64_t size, bool special,
                          bam_tokens *out) {
  int64_t before = out->count;
  /* most texts have fewer ids; one allocation is cheaper than several and their copies */
  bam_status status = bam_tokens_reserve(out, size / LIKELY_BYTES);
  if (status == BAM_OK)
    status = encode_from(bpe, 0, text, size, special, out);
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
