/* Causal attention on tensor cores, backward, after FlashAttention-2 (Dao 2023): the weights again from stats, then the
   gradients of the scores. Two kernels write without adding up between blocks: find_dq owns queries and walks the keys
   that they see; find_dk_dv owns keys and walks the queries that see them, of all heads that share the key head. The
   second computes scores transposed, so that in both of them weights and gradients are operands where they are made.
   Sizes are such that a thread holds 128 results and 64 scores and gradients. */
#include "attention_mma.h"

#include "attention_tile.h"

struct gradient_args {
  bf16 *dq, *dk, *dv;
  const bf16 *grad_out, *q, *k, *v;
  const float *stats, *delta;
  const int32_t *first;
  float factor; /* of scores, for powers of 2 */
};

/* ---- the gradients of the queries ---- */

namespace for_queries {

#define M 2
#define QUERIES (16 * M * WARPS)

template <int width> struct sizes { static const int keys = 4096 / width; };

template <int width> struct __align__(16) memory {
  bf16 q[QUERIES * width], grad_out[QUERIES * width];
  key_stage<sizes<width>::keys, width> stages[2];
  block_documents<QUERIES> documents;
  query_stats stats[QUERIES];
  key_walk walk;
};

TWO_BLOCKS_FIT(memory<128>);
TWO_BLOCKS_FIT(memory<64>);

/* The warp's queries in shared memory. */
struct own_queries {
  const bf16 *q, *grad_out;
  const int32_t *documents;
  const query_stats *stats;
  lane_offsets at;
};

/* Scores and the gradients of their weights to the gradients of the scores. */
template <int N>
BAM_INLINE void differentiate(float (&grads)[M][N][4], const float (&scores)[M][N][4],
                              const query_stats *stats, float factor) {
  BAM_UNROLL
  for (int m = 0; m < M; m++)
    BAM_UNROLL
  for (int h = 0; h < 4; h += 2) {
    const query_stats row = stats[own_row(m, h)];
    BAM_UNROLL
    for (int n = 0; n < N; n++)
      BAM_UNROLL
    for (int i = h; i < h + 2; i++)
      grads[m][n][i] = fast_exp2(fmaf(scores[m][n][i], factor, -row.lse)) *
                       (grads[m][n][i] - row.delta);
  }
}

/* dq += the gradients of the scores of the warp's queries, from `query` on, times a stage's keys, from `key` on. */
template <int width>
BAM_INLINE void add_stage(float (&dq)[M][width / 8][4], const own_queries &own,
                          const key_stage<sizes<width>::keys, width> &keys, int query, int key,
                          bool one_document, int window, float factor) {
  const int KEYS = sizes<width>::keys, N = KEYS / 8;
  const span apart = span_of_queries(query, key, window);
  if (!any_in_span(apart, 16 * M, KEYS))
    return;
  float scores[M][N][4], grads[M][N][4];
  uint32_t operand[M][N / 2][4];
  multiply_rows<width>(scores, own.q, keys.k, own.at);
  if (!one_document || !all_in_span(apart, 16 * M, KEYS))
    mask_scores(scores, own.documents, keys.first, apart);
  multiply_rows<width>(grads, own.grad_out, keys.v, own.at);
  differentiate(grads, scores, own.stats, factor);
  pack_operand(operand, grads);
  add_product<width>(dq, operand, keys.k, own.at);
}

template <int width>
static __global__ void __launch_bounds__(THREADS, 2) find_dq(bam_attention a, gradient_args p) {
  BAM_DYNAMIC_SHARED(memory<width>, m);
  const int KEYS = sizes<width>::keys, x = (int)threadIdx.x;
  const int from = own_warp() * (16 * M); /* the warp's first query in the tile */
  key_walk &walk = m->walk, mine = find_walk<QUERIES>((int)blockIdx.x, a, p.k, p.v, p.first);
  copy_tile<QUERIES, width>(m->q, find_head(p.q, a.q, mine.batch, mine.head), mine.start,
                            mine.time);
  copy_tile<QUERIES, width>(m->grad_out, find_result(p.grad_out, a, mine.batch, mine.head),
                            mine.start, mine.time);
  m->stats[x] = load_stats(p, a, mine.batch, mine.head, mine.start + x);
  const document_range seen = load_documents(m->documents, mine.first, mine.start, mine.time);
  mine.only = seen.only;
  if (x == 0)
    walk = mine;
  __syncthreads();
  int key = max(seen.earliest, walk.start + 1 - (int)a.window) / KEYS * KEYS;
  int32_t document = begin_keys(m->stages[0], walk, key);
  async_commit();

  float dq[M][width / 8][4];
  const own_queries own = { m->q + from * width, m->grad_out + from * width, m->documents.of + from,
                            m->stats + from, find_offsets<width>() };
  clear(dq);
  for (int turn = 0; key < walk.end; key += KEYS, turn ^= 1) {
    const bool one_document = finish_keys(m->stages[turn], walk, document);
    if (key + KEYS < walk.end)
      document = begin_keys(m->stages[turn ^ 1], walk, key + KEYS);
    async_commit();
    add_stage(dq, own, m->stages[turn], walk.start + from, key, one_document, (int)a.window,
              p.factor);
  }
  const head_of<bf16> to = find_head(p.dq, a.dq, walk.batch, walk.head);
  add_stored(dq, to, walk.start + from, walk.time, (float)a.scale, a.add_dq);
  store_rows<width>(m->q + from * width, dq, to, walk.start + from, walk.time);
}

#undef M
#undef QUERIES

} // namespace for_queries

/* ---- the gradients of the keys and values ---- */

namespace for_keys {

template <int width> struct sizes {
  static const int m = 128 / width, keys = 16 * m * WARPS, queries = width / 2;
};

template <int width> struct __align__(16) stage {
  bf16 q[sizes<width>::queries * width], grad_out[sizes<width>::queries * width];
  float lse[sizes<width>::queries], delta[sizes<width>::queries];
  int32_t first[sizes<width>::queries];
};

/* What a block of keys walks on; in shared memory, as registers are needed for results. */
struct query_walk {
  int batch, kv_head, key, end, last_head;
  int32_t only; /* the document of the keys */
  int parts[WARPS];
};

template <int width> struct __align__(16) memory {
  bf16 k[sizes<width>::keys * width], v[sizes<width>::keys * width];
  stage<width> stages[2];
  block_documents<sizes<width>::keys> documents;
  query_walk walk;
};

TWO_BLOCKS_FIT(memory<128>);
TWO_BLOCKS_FIT(memory<64>);

/* The queries that a stage holds, of one of the heads of a group. */
struct tile_place {
  int head, query;
};

template <int queries> BAM_INLINE tile_place next_place(tile_place at, const query_walk &walk) {
  at.query += queries;
  return at.query < walk.end ? at : tile_place{ at.head + 1, walk.key };
}

/* What a thread has loaded of its query for the next stage. */
struct own_query {
  query_stats stats;
  int32_t document;
};

template <int width>
BAM_INLINE own_query begin_queries(stage<width> &to, const gradient_args &p, const bam_attention &a,
                                   int batch, tile_place at) {
  const int queries = sizes<width>::queries, x = (int)threadIdx.x, time = (int)a.time;
  copy_tile<queries, width>(to.q, find_head(p.q, a.q, batch, at.head), at.query, time);
  copy_tile<queries, width>(to.grad_out, find_result(p.grad_out, a, batch, at.head), at.query,
                            time);
  if (x >= queries)
    return {};
  return { load_stats(p, a, batch, at.head, at.query + x),
           document_of(documents_of(p.first, batch, a.time), at.query + x, time) };
}

/* Wait until the stage has arrived, and all threads have left the other one. Whether its queries and the block's keys
   are of one document. */
template <int width>
BAM_INLINE bool finish_queries(stage<width> &now, const query_walk &walk, const own_query &own) {
  const int queries = sizes<width>::queries, x = (int)threadIdx.x;
  async_wait<0>();
  if (x < queries) {
    now.lse[x] = own.stats.lse;
    now.delta[x] = own.stats.delta;
    now.first[x] = own.document;
  }
  return __syncthreads_and(x >= queries || own.document == walk.only);
}

/* The warp's keys in shared memory, and a thread's part of their gradients. */
template <int width> struct own_keys {
  const bf16 *k, *v;
  const int32_t *documents;
  lane_offsets at;
  float dk[sizes<width>::m][width / 8][4], dv[sizes<width>::m][width / 8][4];
};

/* Scores, by their columns' stats, to weights. */
template <int width, int M, int N>
BAM_INLINE void weigh(float (&scores)[M][N][4], const stage<width> &queries, float factor) {
  BAM_UNROLL
  for (int n = 0; n < N; n++) {
    const float2 lse = *(const float2 *)(queries.lse + own_column(n, 0));
    BAM_UNROLL
    for (int m = 0; m < M; m++)
      BAM_UNROLL
    for (int i = 0; i < 4; i++)
      scores[m][n][i] = fast_exp2(fmaf(scores[m][n][i], factor, i % 2 == 0 ? -lse.x : -lse.y));
  }
}

/* Weights and their gradients to the gradients of the scores. */
template <int width, int M, int N>
BAM_INLINE void differentiate(float (&grads)[M][N][4], const float (&weights)[M][N][4],
                              const stage<width> &queries) {
  BAM_UNROLL
  for (int n = 0; n < N; n++) {
    const float2 delta = *(const float2 *)(queries.delta + own_column(n, 0));
    BAM_UNROLL
    for (int m = 0; m < M; m++)
      BAM_UNROLL
    for (int i = 0; i < 4; i++)
      grads[m][n][i] = weights[m][n][i] * (grads[m][n][i] - (i % 2 == 0 ? delta.x : delta.y));
  }
}

/* Add what the queries of a stage, from `query` on, give to dk and dv of the warp's keys, from `key` on. */
template <int width>
BAM_INLINE void add_stage(own_keys<width> &own, const stage<width> &queries, int key, int query,
                          bool one_document, int window, float factor) {
  const int M = sizes<width>::m, QUERIES = sizes<width>::queries, N = QUERIES / 8;
  const span apart = span_of_keys(key, query, window);
  if (!any_in_span(apart, 16 * M, QUERIES))
    return;
  float weights[M][N][4], grads[M][N][4];
  uint32_t operand[M][N / 2][4];
  multiply_rows<width>(weights, own.k, queries.q, own.at);
  if (!one_document || !all_in_span(apart, 16 * M, QUERIES))
    mask_scores(weights, own.documents, queries.first, apart);
  weigh<width>(weights, queries, factor);
  pack_operand(operand, weights);
  add_product<width>(own.dv, operand, queries.grad_out, own.at);
  multiply_rows<width>(grads, own.v, queries.grad_out, own.at);
  differentiate<width>(grads, weights, queries);
  pack_operand(operand, grads);
  add_product<width>(own.dk, operand, queries.q, own.at);
}

template <int width>
BAM_INLINE void store_keys(own_keys<width> &own, memory<width> &m, const gradient_args &p,
                           const bam_attention &a, int from) {
  const query_walk &walk = m.walk;
  const int start = walk.key + from, time = (int)a.time;
  const head_of<bf16> dk = find_head(p.dk, a.dk, walk.batch, walk.kv_head);
  const head_of<bf16> dv = find_head(p.dv, a.dv, walk.batch, walk.kv_head);
  add_stored(own.dk, dk, start, time, (float)a.scale, a.add_dk);
  store_rows<width>(m.k + from * width, own.dk, dk, start, time);
  add_stored(own.dv, dv, start, time, 1, a.add_dv);
  store_rows<width>(m.v + from * width, own.dv, dv, start, time);
}

/* The end of the queries of a sequence that may see keys key .. key + keys - 1. */
BAM_INLINE int find_end(const int32_t *first, int key, int keys, int window, int time,
                        int (&parts)[WARPS]) {
  const int end = min(time, key + keys - 1 + window);
  int last = key;
  if (first == NULL)
    return end;
  for (int t = key + (int)threadIdx.x; t < end; t += THREADS)
    if (first[t] < key + keys)
      last = t;
  return largest_of_block(last, parts) + 1;
}

template <int width>
static __global__ void __launch_bounds__(THREADS, 2) find_dk_dv(bam_attention a, gradient_args p) {
  BAM_DYNAMIC_SHARED(memory<width>, m);
  const int M = sizes<width>::m, KEYS = sizes<width>::keys, QUERIES = sizes<width>::queries;
  const int time = (int)a.time, tiles = (time + KEYS - 1) / KEYS, n = (int)blockIdx.x;
  const int key = n % tiles * KEYS, b = n / tiles / (int)a.kv_heads;
  const int g = n / tiles % (int)a.kv_heads, group = (int)(a.heads / a.kv_heads);
  const int32_t *first = documents_of(p.first, b, a.time);
  const int from = own_warp() * (16 * M);
  query_walk &walk = m->walk;
  copy_tile<KEYS, width>(m->k, find_head(p.k, a.k, b, g), key, time);
  copy_tile<KEYS, width>(m->v, find_head(p.v, a.v, b, g), key, time);
  tile_place at = { g * group, key };
  own_query loaded = begin_queries(m->stages[0], p, a, b, at);
  async_commit();
  const int end = find_end(first, key, KEYS, (int)a.window, time, walk.parts);
  const int32_t only = load_documents(m->documents, first, key, time).only;
  if (threadIdx.x == 0) {
    walk.batch = b;
    walk.kv_head = g;
    walk.key = key;
    walk.end = end;
    walk.last_head = (g + 1) * group - 1;
    walk.only = only;
  }
  __syncthreads();

  own_keys<width> own = {
    m->k + from * width, m->v + from * width, m->documents.of + from, find_offsets<width>(), {}, {}
  };
  clear(own.dk);
  clear(own.dv);
  for (int turn = 0; at.head <= walk.last_head; turn ^= 1) {
    const int query = at.query;
    const bool one_document = finish_queries(m->stages[turn], walk, loaded);
    at = next_place<QUERIES>(at, walk);
    if (at.head <= walk.last_head)
      loaded = begin_queries(m->stages[turn ^ 1], p, a, walk.batch, at);
    async_commit();
    add_stage(own, m->stages[turn], walk.key + from, query, one_document, (int)a.window, p.factor);
  }
  store_keys(own, *m, p, a, from);
}

} // namespace for_keys

/* ---- the host's side ---- */

template <class memory, class kernel_type>
static void allow(bam_stream stream, kernel_type *kernel) {
  bam_cuda_note(
    stream, "attention_backward",
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)sizeof(memory)));
}

template <int width>
static void launch(bam_stream stream, const gradient_args &p, const bam_attention *a) {
  typedef for_queries::memory<width> query_memory;
  typedef for_keys::memory<width> key_memory;
  const int keys = for_keys::sizes<width>::keys, queries = 32 * WARPS;
  const int64_t query_tiles = (a->time + queries - 1) / queries;
  const int64_t key_tiles = (a->time + keys - 1) / keys;
  allow<query_memory>(stream, for_queries::find_dq<width>);
  BAM_LAUNCH(stream, (for_queries::find_dq<width>),
             bam_blocks(a->batch * a->heads * query_tiles, 1, INT32_MAX), THREADS,
             sizeof(query_memory), *a, p);
  allow<key_memory>(stream, for_keys::find_dk_dv<width>);
  BAM_LAUNCH(stream, (for_keys::find_dk_dv<width>),
             bam_blocks(a->batch * a->kv_heads * key_tiles, 1, INT32_MAX), THREADS,
             sizeof(key_memory), *a, p);
}

void bam_cuda_attention_mma_backward(bam_stream stream, const bam_attention_gradients *args,
                                     const bam_attention *a) {
  const gradient_args p = { (bf16 *)args->dq,           (bf16 *)args->dk,
                            (bf16 *)args->dv,           (const bf16 *)args->grad_out,
                            (const bf16 *)args->q,      (const bf16 *)args->k,
                            (const bf16 *)args->v,      (const float *)args->stats,
                            (const float *)args->delta, args->first,
                            (float)(a->scale * LOG2_E) };
  if (a->width == 64)
    launch<64>(stream, p, a);
  else
    launch<128>(stream, p, a);
}
