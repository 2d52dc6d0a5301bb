/* Causal attention for compute capability 9.0, forward, in the shape of FlashAttention-3 (Shah et al. 2024). A block
   owns 128 queries of a head. One warpgroup brings tiles of 128 keys and of their values into two stages each; two
   others have 64 queries each, and while one takes the softmax of its scores the other multiplies. Barriers in shared
   memory say which stage is full and which is empty. Weights go from registers into their product with the values. */
#include "attention_hopper.h"

#include "attention_tile.h"
#include "hopper.h"

#define GROUPS 2 /* of queries */
#define GROUP (4 * BAM_WARP)
#define ROWS 64 /* of a group */
#define QUERIES (GROUPS * ROWS)
#define KEYS 128
#define BLOCK ((1 + GROUPS) * GROUP)
#define STAGES 2

/* Registers of a thread: at the start, of the group that brings tiles, and of the others, which take what it leaves. */
#define REGISTERS 168
#define FEWER_REGISTERS 40
#define MORE_REGISTERS 232
static_assert(REGISTERS - FEWER_REGISTERS >= (MORE_REGISTERS - REGISTERS) * GROUPS,
              "else all wait");
#define BOX 64           /* columns that a copy brings: rows of 128 bytes */
#define BLOCK_BYTES 1024 /* of 8 such rows */

/* Tiles are boxes side by side, each of all rows. */
template <int width> struct __align__(1024) tiles_memory {
  bf16 q[QUERIES * width], k[STAGES][KEYS * width], v[STAGES][KEYS * width];
  uint64_t q_full, k_full[STAGES], v_full[STAGES], k_empty[STAGES], v_empty[STAGES];
  key_walk walk;
  block_documents<QUERIES, BLOCK / BAM_WARP> documents;
};

struct attend_args {
  bf16 *o;
  float *stats;
  const bf16 *k, *v; /* what the maps describe, for the walk */
  const int32_t *first;
  float factor; /* of scores, for powers of 2 */
};

/* ---- bringing tiles ---- */

template <int width>
BAM_INLINE void begin_tile(bf16 *tile, const tensor_map &map, int start, int head, int batch,
                           uint64_t *full) {
  barrier_expect(full, QUERIES * width * 2);
  for (int c = 0; c < width; c += BOX)
    tensor_copy(tile + c * QUERIES, map, c, start, head, batch, full);
}
static_assert(QUERIES == KEYS, "all tiles have as many rows");

template <int width>
BAM_INLINE void bring_tiles(tiles_memory<width> &m, const tensor_map &q, const tensor_map &k,
                            const tensor_map &v, int key, int kv_head) {
  const key_walk walk = m.walk;
  begin_tile<width>(m.q, q, walk.start, walk.head, walk.batch, &m.q_full);
  for (int turn = 0; key < walk.end; key += KEYS, turn++) {
    const int s = turn % STAGES;
    const unsigned phase = (unsigned)(turn / STAGES);
    barrier_wait(&m.k_empty[s], phase + 1);
    begin_tile<width>(m.k[s], k, key, kv_head, walk.batch, &m.k_full[s]);
    barrier_wait(&m.v_empty[s], phase + 1);
    begin_tile<width>(m.v[s], v, key, kv_head, walk.batch, &m.v_full[s]);
  }
}

/* ---- a group of queries ---- */

/* What a thread knows of its two rows: the largest score, the sum of the weights of its own columns, and the results
   relative to the largest score. */
template <int width> struct running { float most[2], sum[2], o[width / 2]; };

/* The documents of keys key + 4 lane .. + 3, for the next tile. */
struct own_keys {
  int32_t first[4];
};

BAM_INLINE own_keys load_keys(const key_walk &walk, int key) {
  own_keys own;
  for (int i = 0; i < 4; i++)
    own.first[i] = document_of(walk.first, key + 4 * own_lane() + i, walk.time);
  return own;
}

BAM_INLINE bool are_all(const own_keys &own, int32_t document) {
  bool all = true;
  for (int i = 0; i < 4; i++)
    all &= own.first[i] == document;
  return __all_sync(BAM_ALL_LANES, all);
}

/* Give scores weights of 0 where the row does not see the column. */
BAM_INLINE void mask(float (&scores)[KEYS / 2], const own_keys &keys, const int32_t *rows, span s) {
  const int t = own_lane() % 4, row = own_lane() / 4;
  const int32_t document[2] = { rows[row], rows[row + 8] };
  BAM_UNROLL
  for (int n = 0; n < KEYS / 8; n++)
    BAM_UNROLL
  for (int i = 0; i < 2; i++) {
    const int source = 2 * n + t / 2, apart = 8 * n + 2 * t + i - row;
    const int32_t even = __shfl_sync(BAM_ALL_LANES, keys.first[i], source);
    const int32_t odd = __shfl_sync(BAM_ALL_LANES, keys.first[2 + i], source);
    const int32_t column = t % 2 == 0 ? even : odd;
    BAM_UNROLL
    for (int h = 0; h < 2; h++) {
      float &score = scores[4 * n + 2 * h + i];
      const bool seen = (apart - 8 * h > s.after) & (apart - 8 * h <= s.until) &
                        (column == document[h]);
      score = seen ? score : -INFINITY;
    }
  }
}

/* Scores of row h to weights relative to its new largest score, as in attention_mma.cu; and the results. */
template <int width>
BAM_INLINE void weigh_row(running<width> &state, float (&scores)[KEYS / 2], int h, float factor) {
  float most = state.most[h], sum = 0;
  BAM_UNROLL
  for (int n = 2 * h; n < KEYS / 2; n += 4)
    most = fmaxf(most, fmaxf(scores[n], scores[n + 1]));
  most = largest_of_row(most);
  const float base = most == -INFINITY ? 0 : most * factor;
  BAM_UNROLL
  for (int n = 2 * h; n < KEYS / 2; n += 4)
    for (int i = n; i < n + 2; i++) {
      scores[i] = fast_exp2(fmaf(scores[i], factor, -base));
      sum += scores[i];
    }
  const float rescale = fast_exp2(fmaf(state.most[h], factor, -base));
  state.sum[h] = fmaf(state.sum[h], rescale, sum);
  state.most[h] = most;
  BAM_UNROLL
  for (int n = 2 * h; n < width / 2; n += 4) {
    state.o[n] *= rescale;
    state.o[n + 1] *= rescale;
  }
}

/* The group's scores: its queries times the keys of a stage. */
template <int width>
BAM_INLINE void multiply_keys(float (&scores)[KEYS / 2], const bf16 *q, const bf16 *k) {
  wgmma_fence();
  BAM_UNROLL
  for (int d = 0; d < width / 16; d++) {
    const int box = d / 4 * BOX * QUERIES, column = d % 4 * 16;
    wgmma<false, false>(scores, shared_matrix(q + box + column, 16, BLOCK_BYTES),
                        shared_matrix(k + box + column, 16, BLOCK_BYTES), d > 0);
  }
  wgmma_commit();
  wgmma_wait<0>();
}

/* o += the weights times the values of a stage. */
template <int width>
BAM_INLINE void add_values(float (&o)[width / 2], const uint32_t (&weights)[KEYS / 16][4],
                           const bf16 *v) {
  wgmma_fence();
  BAM_UNROLL
  for (int k = 0; k < KEYS / 16; k++)
    wgmma<true>(o, weights[k], shared_matrix(v + k * 16 * BOX, KEYS * BOX * 2, BLOCK_BYTES), true);
  wgmma_commit();
  wgmma_wait<0>();
}

BAM_INLINE void pack_weights(uint32_t (&weights)[KEYS / 16][4], const float (&scores)[KEYS / 2]) {
  BAM_UNROLL
  for (int k = 0; k < KEYS / 16; k++)
    for (int i = 0; i < 4; i++)
      weights[k][i] = pack_bf16(scores[8 * k + 2 * i], scores[8 * k + 2 * i + 1]);
}

/* All lanes of the warp are done with the stage. */
BAM_INLINE void leave(uint64_t *empty) {
  __syncwarp();
  if (own_lane() == 0)
    barrier_arrive(empty);
}

/* Divide by the sums and write the results and stats of the warp's rows, from query `start` on; `tile` is where their
   queries were. */
template <int width>
BAM_INLINE void finish(running<width> &state, bf16 *tile, const attend_args &p,
                       const bam_attention &a, const key_walk &walk, int start) {
  float part[2];
  for (int h = 0; h < 2; h++) {
    const int row = start + own_lane() / 4 + 8 * h;
    part[h] = 1 / sum_of_row(state.sum[h]);
    if (row < a.time && own_lane() % 4 == 0)
      *(float2 *)(p.stats + 2 * ((walk.batch * a.time + row) * a.heads + walk.head)) = make_float2(
        state.most[h] * p.factor, part[h]);
  }
  const head_of<bf16> o = find_result(p.o, a, walk.batch, walk.head);
  BAM_UNROLL
  for (int c = 0; c < width / BOX; c++) {
    float box[1][BOX / 8][4];
    BAM_UNROLL
    for (int i = 0; i < BOX / 2; i++)
      box[0][i / 4][i % 4] = state.o[c * (BOX / 2) + i] * part[i / 2 % 2];
    store_rows<BOX>(tile + c * BOX * QUERIES, box, { o.at + c * BOX, o.stride }, start, walk.time);
  }
}

/* The group's part of the walk, from `key` on: 64 queries from row `from` of the tile. */
template <int width>
BAM_INLINE void attend_group(tiles_memory<width> &m, const attend_args &p, const bam_attention &a,
                             int from, int key) {
  const int own = from + own_warp() % 4 * 16, window = (int)a.window;
  const int32_t *rows = m.documents.of + own;
  running<width> state;
  for (int h = 0; h < 2; h++) {
    state.most[h] = -INFINITY;
    state.sum[h] = 0;
  }
  for (int i = 0; i < width / 2; i++)
    state.o[i] = 0;
  own_keys next = load_keys(m.walk, key);
  barrier_wait(&m.q_full, 0);
  for (int turn = 0; key < m.walk.end; key += KEYS, turn++) {
    const int s = turn % STAGES;
    const unsigned phase = (unsigned)(turn / STAGES);
    const own_keys keys = next;
    const span group = span_of_queries(m.walk.start + from, key, window);
    const bool any = any_in_span(group, ROWS, KEYS);
    float scores[KEYS / 2] = {};
    next = load_keys(m.walk, key + KEYS);
    barrier_wait(&m.k_full[s], phase);
    if (any)
      multiply_keys<width>(scores, m.q + from * BOX, m.k[s]);
    leave(&m.k_empty[s]);
    uint32_t weights[KEYS / 16][4];
    if (any) {
      const span apart = span_of_queries(m.walk.start + own, key, window);
      if (!are_all(keys, m.walk.only) || !all_in_span(apart, 16, KEYS))
        mask(scores, keys, rows, apart);
      weigh_row(state, scores, 0, p.factor);
      weigh_row(state, scores, 1, p.factor);
      pack_weights(weights, scores);
    }
    barrier_wait(&m.v_full[s], phase);
    if (any)
      add_values<width>(state.o, weights, m.v[s]);
    leave(&m.v_empty[s]);
  }
  named_barrier(1 + from / ROWS, GROUP); /* the group has read its queries: their place is free */
  finish(state, m.q + own * BOX, p, a, m.walk, m.walk.start + own);
}

template <int width>
static __global__ void __launch_bounds__(BLOCK, 1)
  attend(bam_attention a, attend_args p, const __grid_constant__ tensor_map q,
         const __grid_constant__ tensor_map k, const __grid_constant__ tensor_map v) {
  BAM_DYNAMIC_SHARED(tiles_memory<width>, m);
  key_walk mine = find_walk<QUERIES>((int)blockIdx.x, a, p.k, p.v, p.first);
  const document_range seen = load_documents(m->documents, mine.first, mine.start, mine.time);
  const int key = max(seen.earliest, mine.start + 1 - (int)a.window) / KEYS * KEYS;
  mine.only = seen.only;
  if (threadIdx.x == 0) {
    m->walk = mine;
    barrier_init(&m->q_full, 1);
    for (int s = 0; s < STAGES; s++) {
      barrier_init(&m->k_full[s], 1);
      barrier_init(&m->v_full[s], 1);
      barrier_init(&m->k_empty[s], 4 * GROUPS);
      barrier_init(&m->v_empty[s], 4 * GROUPS);
    }
    barriers_ready();
  }
  __syncthreads();
  if (threadIdx.x < GROUP) {
    fewer_registers<FEWER_REGISTERS>();
    if (threadIdx.x == 0)
      bring_tiles(*m, q, k, v, key, mine.head / (int)(a.heads / a.kv_heads));
  } else {
    more_registers<MORE_REGISTERS>();
    attend_group(*m, p, a, (own_warp() / 4 - 1) * ROWS, key);
  }
}

/* ---- the host's side ---- */

/* Heads of a tensor in boxes of 64 columns of as many rows as a tile has. */
static bool describe(tensor_map *map, const void *data, const bam_attention *a,
                     const int64_t stride[3], int64_t heads) {
  const int64_t size[4] = { a->width, a->time, heads, a->batch };
  const int64_t strides[3] = { stride[1], stride[2],
                               a->batch > 1 ? stride[0] : a->time * stride[1] };
  const int box[4] = { BOX, QUERIES, 1, 1 };
  for (int d = 0; d < 3; d++)
    if (strides[d] <= 0 || strides[d] % PIECE != 0)
      return false;
  return make_tensor_map(map, data, size, strides, box, true);
}

template <int width>
static void launch(bam_stream stream, const attend_args &p, const bam_attention *a,
                   const tensor_map &q, const tensor_map &k, const tensor_map &v) {
  const int64_t tiles = (a->time + QUERIES - 1) / QUERIES;
  const int bytes = (int)sizeof(tiles_memory<width>);
  bam_cuda_note(
    stream, "attend",
    cudaFuncSetAttribute(attend<width>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  BAM_LAUNCH(stream, (attend<width>), bam_blocks(a->batch * a->heads * tiles, 1, INT32_MAX), BLOCK,
             bytes, *a, p, q, k, v);
}

bool bam_cuda_attention_hopper(bam_stream stream, const bam_attention_tensors *args,
                               const bam_attention *a) {
  const attend_args p = { (bf16 *)args->o,       (float *)args->stats, (const bf16 *)args->k,
                          (const bf16 *)args->v, args->first,          (float)(a->scale * LOG2_E) };
  tensor_map q, k, v;
  if (stream->capability != 90 || !describe(&q, args->q, a, a->q, a->heads) ||
      !describe(&k, args->k, a, a->k, a->kv_heads) || !describe(&v, args->v, a, a->v, a->kv_heads))
    return false;
  if (a->width == 64)
    launch<64>(stream, p, a, q, k, v);
  else
    launch<128>(stream, p, a, q, k, v);
  return true;
}
