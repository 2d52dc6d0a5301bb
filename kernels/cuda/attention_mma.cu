/* Causal attention on tensor cores, forward, after FlashAttention-2 (Dao 2023). A block owns 128 queries of a head, a
   warp 32 of them, and walks the keys that they see with a running maximum and sum per row. Weights are rounded to
   bf16 for their product with the values, and summed before. */
#include "attention_mma.h"

#include "attention_softmax.h"

#define M 2 /* 16 queries each, of a warp */
#define QUERIES (16 * M * WARPS)
#define KEYS 64
#define N (KEYS / 8)
#define MOST_TIME (1 << 30) /* so that positions are ints */

template <int width> struct __align__(16) attend_memory {
  bf16 q[QUERIES * width];
  key_stage<KEYS, width> stages[2];
  block_documents<QUERIES> documents;
  key_walk walk;
};

TWO_BLOCKS_FIT(attend_memory<128>);

struct attend_args {
  bf16 *o;
  float *stats;
  const bf16 *q, *k, *v;
  const int32_t *first;
  float factor; /* of scores, for powers of 2 */
};

template <int width>
BAM_INLINE void softmax_online(running<M, width> &state, float (&scores)[M][N][4], float factor) {
  BAM_UNROLL
  for (int m = 0; m < M; m++)
    BAM_UNROLL
  for (int h = 0; h < 2; h++)
    rescale_row(state, m, h, weigh_row(state, scores, m, h, factor));
}

/* Wider heads have no room for their queries in registers. */
template <int width> struct held_queries { uint32_t at[M][width / 16][4]; };

template <int width>
BAM_INLINE void multiply_queries(float (&scores)[M][N][4], const held_queries<width> &held,
                                 const bf16 *q, const bf16 *k, lane_offsets at) {
  if constexpr (width > 64)
    multiply_rows<width>(scores, q, k, at);
  else {
    clear(scores);
    BAM_UNROLL
    for (int d = 0; d < width / 16; d++) {
      uint32_t x[M][4];
      BAM_UNROLL
      for (int m = 0; m < M; m++)
        for (int i = 0; i < 4; i++)
          x[m][i] = held.at[m][d][i];
      multiply_step<width>(scores, x, k, at, d);
    }
  }
}

template <int width>
BAM_INLINE void hold_queries(held_queries<width> &held, const bf16 *q, lane_offsets at) {
  if constexpr (width <= 64)
    BAM_UNROLL
  for (int m = 0; m < M; m++)
    BAM_UNROLL
  for (int d = 0; d < width / 16; d++)
    load_a<width>(held.at[m][d], q, at, 16 * m, d);
}

/* The warp's queries in shared memory. */
struct own_queries {
  const bf16 *q;
  const int32_t *documents;
  lane_offsets at;
};

/* Scores to results, for the warp's queries from `query` on and the keys of a stage from `key` on. */
template <int width>
BAM_INLINE void attend_stage(running<M, width> &state, const held_queries<width> &held,
                             const own_queries &own, const key_stage<KEYS, width> &keys, int query,
                             int key, bool one_document, int window, float factor) {
  const span apart = span_of_queries(query, key, window);
  if (!any_in_span(apart, 16 * M, KEYS))
    return;
  float scores[M][N][4];
  uint32_t weights[M][N / 2][4];
  multiply_queries(scores, held, own.q, keys.k, own.at);
  if (!one_document || !all_in_span(apart, 16 * M, KEYS))
    mask_scores(scores, own.documents, keys.first, apart);
  softmax_online(state, scores, factor);
  pack_operand(weights, scores);
  add_product<width>(state.o, weights, keys.v, own.at);
}

template <int width>
static __global__ void __launch_bounds__(THREADS, 2) attend(bam_attention a, attend_args p) {
  BAM_DYNAMIC_SHARED(attend_memory<width>, memory);
  const int from = own_warp() * (16 * M); /* the warp's first query in the tile */
  key_walk &walk = memory->walk, mine = find_walk<QUERIES>((int)blockIdx.x, a, p.k, p.v, p.first);
  copy_tile<QUERIES, width>(memory->q, find_head(p.q, a.q, mine.batch, mine.head), mine.start,
                            mine.time);
  async_commit();
  const document_range seen = load_documents(memory->documents, mine.first, mine.start, mine.time);
  mine.only = seen.only;
  if (threadIdx.x == 0)
    walk = mine;
  __syncthreads();
  int key = max(seen.earliest, walk.start + 1 - (int)a.window) / KEYS * KEYS;
  int32_t document = begin_keys(memory->stages[0], walk, key);
  async_commit();

  running<M, width> state;
  held_queries<width> held;
  const own_queries own = { memory->q + from * width, memory->documents.of + from,
                            find_offsets<width>() };
  begin(state);
  async_wait<1>();
  __syncthreads();
  hold_queries(held, own.q, own.at);
  for (int turn = 0; key < walk.end; key += KEYS, turn ^= 1) {
    const bool one_document = finish_keys(memory->stages[turn], walk, document);
    if (key + KEYS < walk.end)
      document = begin_keys(memory->stages[turn ^ 1], walk, key + KEYS);
    async_commit();
    attend_stage(state, held, own, memory->stages[turn], walk.start + from, key, one_document,
                 (int)a.window, p.factor);
  }
  const int start = walk.start + from;
  finish_rows(state, p.stats, a, { walk.batch, walk.head, start }, p.factor);
  store_rows<width>(memory->q + from * width, state.o, find_result(p.o, a, walk.batch, walk.head),
                    start, walk.time);
}

/* ---- the host's side ---- */

static bool is_aligned(const void *data, const int64_t stride[3]) {
  return (uintptr_t)data % 16 == 0 && stride[1] <= INT32_MAX && stride[0] % PIECE == 0 &&
         stride[1] % PIECE == 0 && stride[2] % PIECE == 0;
}

static bool fits(bam_stream stream, const bam_attention *a) {
  const float factor = (float)(a->scale * LOG2_E);
  return (a->width == 64 || a->width == 128) && a->time <= MOST_TIME &&
         a->heads * a->width <= INT32_MAX && factor >= 0x1p-60f && factor <= 0x1p60f &&
         stream->capability >= 80;
}

bool bam_cuda_attention_mma_fits(bam_stream stream, const bam_attention_tensors *args,
                                 const bam_attention *a) {
  return fits(stream, a) && is_aligned(args->q, a->q) && is_aligned(args->k, a->k) &&
         is_aligned(args->v, a->v) && (uintptr_t)args->o % 16 == 0;
}

bool bam_cuda_attention_mma_backward_fits(bam_stream stream, const bam_attention_gradients *args,
                                          const bam_attention *a) {
  return fits(stream, a) && is_aligned(args->q, a->q) && is_aligned(args->k, a->k) &&
         is_aligned(args->v, a->v) && is_aligned(args->dq, a->dq) && is_aligned(args->dk, a->dk) &&
         is_aligned(args->dv, a->dv) && (uintptr_t)args->grad_out % 16 == 0;
}

template <int width>
static void launch_attend(bam_stream stream, const attend_args &p, const bam_attention *a) {
  const int64_t tiles = (a->time + QUERIES - 1) / QUERIES;
  const int bytes = (int)sizeof(attend_memory<width>);
  bam_cuda_note(
    stream, "attend",
    cudaFuncSetAttribute(attend<width>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  BAM_LAUNCH(stream, (attend<width>), bam_blocks(a->batch * a->heads * tiles, 1, INT32_MAX),
             THREADS, bytes, *a, p);
}

void bam_cuda_attention_mma(bam_stream stream, const bam_attention_tensors *args,
                            const bam_attention *a) {
  const attend_args p = { (bf16 *)args->o,           (float *)args->stats,  (const bf16 *)args->q,
                          (const bf16 *)args->k,     (const bf16 *)args->v, args->first,
                          (float)(a->scale * LOG2_E) };
  if (a->width == 64)
    launch_attend<64>(stream, p, a);
  else
    launch_attend<128>(stream, p, a);
}
