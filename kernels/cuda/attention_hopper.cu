/* Causal attention for compute capability 9.0, forward, in the shape of FlashAttention-3 (Shah et al. 2024). A block
   owns 128 queries of a head. One warpgroup brings tiles of 128 keys and of their values into two stages each; two
   others have 64 queries each, and while one takes the softmax of its scores the other multiplies. Barriers in shared
   memory say which stage is full and which is empty. Weights go from registers into their product with the values. */
#include "attention_hopper.h"

#include "attention_group.h"

#define KEYS 128
#define N (KEYS / 8)

template <int width> struct __align__(1024) attend_memory {
  bf16 q[BLOCK_ROWS * width], k[STAGES][KEYS * width], v[STAGES][KEYS * width];
  int32_t first[STAGES][KEYS]; /* documents of the keys */
  uint64_t own_full, k_full[STAGES], v_full[STAGES], k_empty[STAGES], v_empty[STAGES];
  key_walk walk;
  block_documents<BLOCK_ROWS, BLOCK_WARPS> documents;
};

struct attend_args {
  bf16 *o;
  float *stats;
  const bf16 *k, *v; /* what maps describe, for the walk */
  const int32_t *first;
  float factor; /* of scores, for powers of 2 */
};

struct attend_maps {
  tensor_map q, k, v;
};

/* Thread 0 brings tiles, warp 1 the documents of their keys. */
template <int width>
BAM_INLINE void bring(attend_memory<width> &m, const attend_maps &from, int key, int kv_head) {
  const key_walk walk = m.walk;
  const int x = (int)threadIdx.x;
  if (x == 0)
    begin_tile<BLOCK_ROWS, width>(m.q, from.q, walk.start, walk.head, walk.batch, &m.own_full);
  for (int turn = 0; key < walk.end; key += KEYS, turn++) {
    const int s = turn % STAGES;
    const unsigned phase = (unsigned)(turn / STAGES + 1);
    barrier_wait(&m.k_empty[s], phase);
    if (x == 0) {
      begin_tile<KEYS, width>(m.k[s], from.k, key, kv_head, walk.batch, &m.k_full[s]);
      barrier_wait(&m.v_empty[s], phase);
      begin_tile<KEYS, width>(m.v[s], from.v, key, kv_head, walk.batch, &m.v_full[s]);
    } else {
      for (int i = own_lane(); i < KEYS; i += BAM_WARP)
        m.first[s][i] = document_of(walk.first, key + i, walk.time);
      leave(&m.k_full[s]);
    }
  }
}

/* What a thread knows of its two rows: the largest score, the sum of the weights of its own columns, and the results
   relative to the largest score. */
template <int width> struct running { float most[2], sum[2], o[1][width / 8][4]; };

/* Scores of row h to weights relative to its new largest score, as in attention_mma.cu; and the results. */
template <int width>
BAM_INLINE void weigh_row(running<width> &state, float (&scores)[1][N][4], int h, float factor) {
  float most = state.most[h], sum = 0;
  BAM_UNROLL
  for (int n = 0; n < N; n++)
    most = fmaxf(most, fmaxf(scores[0][n][2 * h], scores[0][n][2 * h + 1]));
  most = largest_of_row(most);
  const float base = most == -INFINITY ? 0 : most * factor;
  BAM_UNROLL
  for (int n = 0; n < N; n++)
    for (int i = 2 * h; i < 2 * h + 2; i++) {
      scores[0][n][i] = fast_exp2(fmaf(scores[0][n][i], factor, -base));
      sum += scores[0][n][i];
    }
  const float rescale = fast_exp2(fmaf(state.most[h], factor, -base));
  state.sum[h] = fmaf(state.sum[h], rescale, sum);
  state.most[h] = most;
  BAM_UNROLL
  for (int n = 0; n < width / 8; n++) {
    state.o[0][n][2 * h] *= rescale;
    state.o[0][n][2 * h + 1] *= rescale;
  }
}

/* Divide by the sums and write the results and stats of the warp's rows, from query `start` on; `rows` is where their
   queries were. */
template <int width>
BAM_INLINE void finish(running<width> &state, bf16 *rows, const attend_args &p,
                       const bam_attention &a, const key_walk &walk, int start) {
  BAM_UNROLL
  for (int h = 0; h < 2; h++) {
    const int row = start + own_row(0, 2 * h);
    const float part = 1 / sum_of_row(state.sum[h]);
    BAM_UNROLL
    for (int n = 0; n < width / 8; n++) {
      state.o[0][n][2 * h] *= part;
      state.o[0][n][2 * h + 1] *= part;
    }
    if (row < a.time && own_lane() % 4 == 0)
      *(float2 *)(p.stats + 2 * ((walk.batch * a.time + row) * a.heads + walk.head)) = make_float2(
        state.most[h] * p.factor, part);
  }
  store_group(rows, state.o, find_result(p.o, a, walk.batch, walk.head), start, walk.time, 1,
              false);
}

/* A stage's keys and values: scores, weights, results. `any` is the same in the group: whether a row sees a key. */
template <int width>
BAM_INLINE void attend_stage(running<width> &state, attend_memory<width> &m, int turn, int from,
                             int own, bool any, span apart, float factor) {
  const int s = turn % STAGES;
  const unsigned phase = (unsigned)(turn / STAGES);
  float scores[1][N][4];
  uint32_t weights[1][N / 2][4];
  barrier_wait(&m.k_full[s], phase);
  if (any) {
    wgmma_fence();
    multiply_group<width, BLOCK_ROWS>(scores, m.q + from * BOX, m.k[s]);
    finish_products();
    if (!are_all<KEYS>(m.first[s], m.walk.only) || !all_in_span(apart, 16, KEYS))
      mask_scores(scores, m.documents.of + own, m.first[s], apart);
  }
  leave(&m.k_empty[s]);
  if (any) {
    weigh_row(state, scores, 0, factor);
    weigh_row(state, scores, 1, factor);
    pack_operand(weights, scores);
  }
  barrier_wait(&m.v_full[s], phase);
  if (any) {
    wgmma_fence();
    add_group_product(state.o, weights, m.v[s]);
    finish_products();
  }
  leave(&m.v_empty[s]);
}

/* The part of a group: 64 queries from row `from` of the tile. */
template <int width>
BAM_INLINE void attend_group(attend_memory<width> &m, const attend_args &p, const bam_attention &a,
                             int from, int key) {
  const int own = from + own_warp() % 4 * 16, window = (int)a.window;
  const key_walk &walk = m.walk;
  running<width> state;
  clear(state.o);
  for (int h = 0; h < 2; h++) {
    state.most[h] = -INFINITY;
    state.sum[h] = 0;
  }
  barrier_wait(&m.own_full, 0);
  for (int turn = 0; key < walk.end; key += KEYS, turn++) {
    const span group = span_of_queries(walk.start + from, key, window);
    attend_stage(state, m, turn, from, own, any_in_span(group, GROUP_ROWS, KEYS),
                 span_of_queries(walk.start + own, key, window), p.factor);
  }
  named_barrier(1 + from / GROUP_ROWS,
                GROUP); /* the group has read its queries: their place is free */
  finish(state, m.q + own * BOX, p, a, walk, walk.start + own);
}

template <int width>
static __global__ void __launch_bounds__(BLOCK, 1)
  attend(bam_attention a, attend_args p, const __grid_constant__ attend_maps from) {
  BAM_DYNAMIC_SHARED(attend_memory<width>, m);
  key_walk mine = find_walk<BLOCK_ROWS>((int)blockIdx.x, a, p.k, p.v, p.first);
  const document_range seen = load_documents(m->documents, mine.first, mine.start, mine.time);
  const int key = max(seen.earliest, mine.start + 1 - (int)a.window) / KEYS * KEYS;
  mine.only = seen.only;
  if (threadIdx.x == 0) {
    m->walk = mine;
    barrier_init(&m->own_full, 1);
    for (int s = 0; s < STAGES; s++) {
      barrier_init(&m->k_full[s], 2); /* a tile and what is known of its rows */
      barrier_init(&m->v_full[s], 1);
      barrier_init(&m->k_empty[s], 4 * GROUPS);
      barrier_init(&m->v_empty[s], 4 * GROUPS);
    }
    barriers_ready();
  }
  __syncthreads();
  if (threadIdx.x < GROUP) {
    fewer_registers<FEWER_REGISTERS>();
    if (threadIdx.x == 0 || own_warp() == 1)
      bring(*m, from, key, mine.head / (int)(a.heads / a.kv_heads));
  } else {
    more_registers<MORE_REGISTERS>();
    attend_group(*m, p, a, (own_warp() / 4 - 1) * GROUP_ROWS, key);
  }
}

/* ---- the host's side ---- */

template <int width>
static void launch(bam_stream stream, const attend_args &p, const bam_attention *a,
                   const attend_maps &from) {
  const int64_t tiles = (a->time + BLOCK_ROWS - 1) / BLOCK_ROWS;
  allow_shared(stream, attend<width>, sizeof(attend_memory<width>));
  BAM_LAUNCH(stream, (attend<width>), bam_blocks(a->batch * a->heads * tiles, 1, INT32_MAX), BLOCK,
             sizeof(attend_memory<width>), *a, p, from);
}

bool bam_cuda_attention_hopper(bam_stream stream, const bam_attention_tensors *args,
                               const bam_attention *a) {
  const attend_args p = { (bf16 *)args->o,       (float *)args->stats, (const bf16 *)args->k,
                          (const bf16 *)args->v, args->first,          (float)(a->scale * LOG2_E) };
  attend_maps from;
  if (stream->capability != 90 ||
      !describe_heads(&from.q, args->q, a, a->q, a->heads, BLOCK_ROWS) ||
      !describe_heads(&from.k, args->k, a, a->k, a->kv_heads, KEYS) ||
      !describe_heads(&from.v, args->v, a, a->v, a->kv_heads, KEYS))
    return false;
  if (a->width == 64)
    launch<64>(stream, p, a, from);
  else
    launch<128>(stream, p, a, from);
  return true;
}
