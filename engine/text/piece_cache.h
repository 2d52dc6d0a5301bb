/* A cache of short pieces and their ids: a hash table of buckets of two, each a line of the processor's cache. The
   piece that came first stays first: it is the more frequent one most of the time, so where a piece is found is
   predicted. If a bucket is full the one beside it is used, and if that is full too the second piece of the first
   makes room. */
#ifndef BAM_TEXT_PIECE_CACHE_H
#define BAM_TEXT_PIECE_CACHE_H

#include <string.h>

#include "../core/tensor.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BAM_CACHED_BYTES 14 /* of the longest piece */
#define BAM_CACHED_IDS 8    /* at most; half as many if an id may need more than 16 bits */

/* By the size of a piece: its bytes in a key. */
extern const uint8_t bam_piece_masks[BAM_CACHED_BYTES + 2][16];

/* The bytes of a piece, padded with zeros, its size in the last byte. */
typedef struct bam_piece_key {
  uint64_t low, high;
} bam_piece_key;

/* A piece in the cache. The last but one byte of the key is the number of ids; 0: the entry is free. */
typedef struct bam_cached_piece {
  bam_piece_key key;
  union {
    uint16_t narrow[BAM_CACHED_IDS];
    int32_t wide[BAM_CACHED_IDS / 2];
  } ids;
} bam_cached_piece;

typedef struct bam_piece_cache {
  bam_context *context;
  bam_storage *buckets; /* bam_cached_piece[2] for each */
  int shift;            /* 64 - log2 of the number of buckets */
  bool wide;            /* whether an id may need more than 16 bits */
  int64_t added;        /* pieces so far */
} bam_piece_cache;

/* Allocate an empty cache. `context` and `wide` are set. */
bam_status bam_piece_cache_make(bam_piece_cache *cache);

void bam_piece_cache_release(bam_piece_cache *cache);

/* The entry of a piece in the bucket beside its own, or NULL. */
const bam_cached_piece *bam_piece_cache_find_beside(const bam_piece_cache *cache,
                                                    bam_piece_key key);

/* Add a piece that is not in the cache, unless it has too many ids. Up to a limit the cache is kept half empty. */
bam_status bam_piece_cache_add(bam_piece_cache *cache, bam_piece_key key, const int32_t *ids,
                               int count);

/* The key of a piece of any size. Those of pieces that are too long for the cache are never in it. `bytes` has 16
   readable bytes. */
static inline bam_piece_key bam_piece_key_of(const char *bytes, size_t size) {
  bam_piece_key key, mask;
  size = size > BAM_CACHED_BYTES ? BAM_CACHED_BYTES + 1 : size;
  memcpy(&key, bytes, sizeof key);
  memcpy(&mask, bam_piece_masks[size], sizeof mask);
  return (bam_piece_key){ key.low & mask.low, (key.high & mask.high) | (uint64_t)size << 56 };
}

/* The hash of a key, in the high bits. */
static inline uint64_t bam_piece_key_hash(bam_piece_key key) {
  return key.low * 0x9e3779b97f4a7c15 + key.high * 0xd6e8feb86659fd93;
}

static inline bool bam_cached_is(const bam_cached_piece *piece, bam_piece_key key) {
  const uint64_t without_count = ~((uint64_t)0xff << 48);
  return ((piece->key.low ^ key.low) | ((piece->key.high ^ key.high) & without_count)) == 0;
}

static inline int bam_cached_count(const bam_cached_piece *piece) {
  return (int)(piece->key.high >> 48 & 0xff);
}

/* The most ids of a piece in the cache. */
static inline int bam_piece_cache_most(const bam_piece_cache *cache) {
  return cache->wide ? BAM_CACHED_IDS / 2 : BAM_CACHED_IDS;
}

/* Write the ids of a piece, and after them anything up to BAM_CACHED_IDS. Returns their end. */
static inline int32_t *bam_cached_write(const bam_cached_piece *piece, bool wide, int32_t *ids) {
#ifdef __SSE2__
  const __m128i all = _mm_loadu_si128((const __m128i *)&piece->ids), zero = _mm_setzero_si128();
  _mm_storeu_si128((__m128i *)ids, wide ? all : _mm_unpacklo_epi16(all, zero));
  _mm_storeu_si128((__m128i *)(ids + 4), _mm_unpackhi_epi16(all, zero));
#else
  for (int i = 0; i < BAM_CACHED_IDS; i++)
    ids[i] = !wide ? piece->ids.narrow[i] : i < BAM_CACHED_IDS / 2 ? piece->ids.wide[i] : 0;
#endif
  return ids + bam_cached_count(piece);
}

/* The index of a key's bucket. */
static inline size_t bam_piece_cache_index(const bam_piece_cache *cache, bam_piece_key key) {
  return bam_piece_key_hash(key) >> cache->shift;
}

/* The bucket with an index. */
static inline bam_cached_piece *bam_piece_cache_bucket(const bam_piece_cache *cache, size_t index) {
  return (bam_cached_piece *)cache->buckets->data + 2 * index;
}

/* The entry of a piece in its bucket, or NULL. */
static inline const bam_cached_piece *bam_cached_find(const bam_cached_piece *bucket,
                                                      bam_piece_key key) {
  if (__builtin_expect(bam_cached_is(&bucket[0], key), 1))
    return &bucket[0];
  return bam_cached_is(&bucket[1], key) ? &bucket[1] : NULL;
}

#endif
