#include "piece_cache.h"

enum { LEAST = 12, MOST = 18 }; /* log2 of the number of buckets: 256 KiB to 16 MiB */

#define ONES(n) [n] = { [0 ... n - 1] = 0xff }
const uint8_t bam_piece_masks[BAM_CACHED_BYTES + 2][16] = {
  ONES(1), ONES(2), ONES(3),  ONES(4),  ONES(5),  ONES(6),  ONES(7),
  ONES(8), ONES(9), ONES(10), ONES(11), ONES(12), ONES(13), ONES(14),
};

static bam_status make_buckets(bam_piece_cache *cache, int bits, bam_storage **out) {
  const int64_t bytes = (int64_t)(2 * sizeof(bam_cached_piece)) << bits;
  BAM_TRY(bam_storage_alloc(cache->context, &cache->context->cpu, bytes, out));
  memset((*out)->data, 0, (size_t)bytes);
  return BAM_OK;
}

bam_status bam_piece_cache_make(bam_piece_cache *cache) {
  cache->shift = 64 - LEAST;
  cache->added = 0;
  return make_buckets(cache, LEAST, &cache->buckets);
}

void bam_piece_cache_release(bam_piece_cache *cache) {
  bam_storage_release(cache->context, cache->buckets);
  cache->buckets = NULL;
}

/* A free entry of a bucket, or NULL. */
static bam_cached_piece *find_free(bam_cached_piece *bucket) {
  return bam_cached_count(&bucket[0]) == 0   ? &bucket[0]
         : bam_cached_count(&bucket[1]) == 0 ? &bucket[1]
                                             : NULL;
}

static void insert(bam_piece_cache *cache, const bam_cached_piece *piece) {
  const uint64_t without_count = ~((uint64_t)0xff << 48);
  const bam_piece_key key = { piece->key.low, piece->key.high & without_count };
  const size_t index = bam_piece_cache_index(cache, key);
  bam_cached_piece *to = find_free(bam_piece_cache_bucket(cache, index));
  if (to == NULL)
    to = find_free(bam_piece_cache_bucket(cache, index ^ 1));
  if (to == NULL)
    to = bam_piece_cache_bucket(cache, index) + 1;
  *to = *piece;
}

const bam_cached_piece *bam_piece_cache_find_beside(const bam_piece_cache *cache,
                                                    bam_piece_key key) {
  return bam_cached_find(bam_piece_cache_bucket(cache, bam_piece_cache_index(cache, key) ^ 1), key);
}

static bam_status grow(bam_piece_cache *cache) {
  const int bits = 64 - cache->shift;
  bam_storage *old = cache->buckets, *grown;
  BAM_TRY(make_buckets(cache, bits + 1, &grown));
  cache->buckets = grown;
  cache->shift--;
  const bam_cached_piece *pieces = old->data;
  for (int64_t i = 0; i < (int64_t)2 << bits; i++)
    if (bam_cached_count(&pieces[i]) > 0)
      insert(cache, &pieces[i]);
  bam_storage_release(cache->context, old);
  return BAM_OK;
}

bam_status bam_piece_cache_add(bam_piece_cache *cache, bam_piece_key key, const int32_t *ids,
                               int count) {
  if (count > bam_piece_cache_most(cache))
    return BAM_OK;
  bam_cached_piece piece = { .key = { key.low, key.high | (uint64_t)count << 48 } };
  for (int i = 0; i < count; i++)
    if (cache->wide)
      piece.ids.wide[i] = ids[i];
    else
      piece.ids.narrow[i] = (uint16_t)ids[i];
  insert(cache, &piece);
  if (++cache->added > (int64_t)1 << (64 - cache->shift) && cache->shift > 64 - MOST)
    return grow(cache);
  return BAM_OK;
}
