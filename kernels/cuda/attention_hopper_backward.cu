/* Causal attention for compute capability 9.0, backward: the two kernels of attention_mma_backward.cu on products of
   warpgroups. A block owns 128 queries and walks tiles of 128 keys, or 128 keys and walks tiles of 64 queries of all
   heads that share the key head. One thread brings tiles, a second warp what is known of their rows.

   Weights are computed while the product that gives their gradients is under way, and the products of a turn that add
   to results while the next turn's scores are. Two groups, which have no order among themselves, fill what gaps remain:
   registers are too few for more. What is read from shared memory by threads, four lanes at a time of the same row, is
   in one run of 32 banks; tiles are only read by products. */
#include "attention_hopper.h"

#include "attention_group.h"

#define GROUPS 2
typedef block_shape<GROUPS, 24> shape;
#define BLOCK_ROWS (shape::rows)
#define BLOCK_WARPS (shape::warps)
#define BLOCK (shape::threads)

struct gradient_args {
  bf16 *dq, *dk, *dv;
  const bf16 *k, *v; /* what maps describe, for the walk */
  const float *stats, *delta;
  const int32_t *first;
  float factor; /* of scores, for powers of 2 */
};

/* Where a warp's rows are: those of its group begin at row `group` of the tile, its own at `row`. */
struct own_rows {
  int group, row;
};

BAM_INLINE own_rows find_own_rows() {
  const int group = own_group() * GROUP_ROWS;
  return { group, group + own_warp() % 4 * 16 };
}

/* One thread begins to bring the block's two own tiles, while others look up what is known of their rows. */
template <int width>
BAM_INLINE void begin_own(stage_barriers &barriers, bf16 *x, const tensor_map &x_map, bf16 *y,
                          const tensor_map &y_map, int start, int head, int batch) {
  init_stages(barriers, shape::owners);
  begin_tile<BLOCK_ROWS, width>(x, x_map, start, head, batch, &barriers.own_full);
  begin_tile<BLOCK_ROWS, width>(y, y_map, start, head, batch, &barriers.own_full);
}

/* ---- the gradients of the queries ---- */

namespace for_queries {

#define KEYS 128
#define N (KEYS / 8)

template <int width> struct __align__(1024) memory {
  bf16 q[BLOCK_ROWS * width], grad_out[BLOCK_ROWS * width];
  bf16 k[STAGES][KEYS * width], v[STAGES][KEYS * width];
  int32_t first[STAGES][KEYS];
  stage_barriers barriers;
  key_walk walk;
  block_documents<BLOCK_ROWS, BLOCK_WARPS> documents;
  query_stats stats[BLOCK_ROWS];
  float anchors[BAM_WARP]; /* written only */
};

struct maps {
  tensor_map q, grad_out, k, v;
};

/* Thread 0 brings the tiles of keys, warp 1 their documents. */
template <int width>
BAM_INLINE void bring(memory<width> &m, const maps &from, int key, int kv_head) {
  const key_walk walk = m.walk;
  const int x = (int)threadIdx.x;
  for (int turn = 0; key < walk.end; key += KEYS, turn++) {
    const int s = turn % STAGES;
    barrier_wait(&m.barriers.empty[s], (unsigned)(turn / STAGES + 1));
    if (x == 0) {
      begin_tile<KEYS, width>(m.k[s], from.k, key, kv_head, walk.batch, &m.barriers.full[s]);
      begin_tile<KEYS, width>(m.v[s], from.v, key, kv_head, walk.batch, &m.barriers.full[s]);
    } else {
      for (int i = own_lane(); i < KEYS; i += BAM_WARP)
        m.first[s][i] = document_of(walk.first, key + i, walk.time);
      leave(&m.barriers.full[s]);
    }
  }
}

/* What is multiplied with keys: registers that a product reads until it is waited for. */
struct held_grads {
  uint32_t at[1][N / 2][4];
};

/* Scores to weights, relative to the sums of their rows. */
BAM_INLINE void weigh(float (&scores)[1][N][4], const query_stats *rows, float factor) {
  BAM_UNROLL
  for (int h = 0; h < 4; h += 2) {
    const float lse = rows[own_row(0, h)].lse;
    BAM_UNROLL
    for (int n = 0; n < N; n++)
      for (int i = h; i < h + 2; i++)
        scores[0][n][i] = fast_exp2(fmaf(scores[0][n][i], factor, -lse));
  }
}

/* Gradients of weights to those of scores. */
BAM_INLINE void differentiate(float (&grads)[1][N][4], const float (&weights)[1][N][4],
                              const query_stats *rows) {
  BAM_UNROLL
  for (int h = 0; h < 4; h += 2) {
    const float delta = rows[own_row(0, h)].delta;
    BAM_UNROLL
    for (int n = 0; n < N; n++)
      for (int i = h; i < h + 2; i++)
        grads[0][n][i] = weights[0][n][i] * (grads[0][n][i] - delta);
  }
}

/* A turn: dq += the gradients of the scores of the group's rows and a stage's keys, times these keys. The product is
   under way at the end, as that of the turn before is at the beginning (`pending`): its stage is left here. */
template <int width>
BAM_INLINE void add_turn(float (&dq)[1][width / 8][4], held_grads &held, memory<width> &m, int turn,
                         bool pending, own_rows own, span apart, float factor) {
  const int s = turn % STAGES;
  float scores[1][N][4], grads[1][N][4];
  wait_for_stage(m.barriers, turn);
  wgmma_fence();
  multiply_group<width, BLOCK_ROWS>(scores, m.q + own.group * BOX, m.k[s]);
  wgmma_commit();
  wgmma_wait<1>();
  if (pending)
    leave_stage(m.barriers, turn - 1);
  wgmma_fence();
  multiply_group<width, BLOCK_ROWS>(grads, m.grad_out + own.group * BOX, m.v[s]);
  wgmma_commit();
  wgmma_wait<1>();
  pin(flat(scores));
  if (!are_all<KEYS>(m.first[s], m.walk.only) || !all_in_span(apart, 16, KEYS))
    mask_scores(scores, m.documents.of + own.row, m.first[s], apart);
  weigh(scores, m.stats + own.row, factor);
  anchor(flat(scores), &m.anchors[own_lane()]);
  wgmma_wait<0>();
  pin(flat(grads));
  differentiate(grads, scores, m.stats + own.row);
  pack_operand(held.at, grads);
  pin(flat(dq));
  wgmma_fence();
  add_group_product(dq, held.at, m.k[s]);
  wgmma_commit();
}

/* The part of a group. The turns in which it sees keys follow each other. */
template <int width>
BAM_INLINE void walk_keys(memory<width> &m, const gradient_args &p, const bam_attention &a,
                          own_rows own, int key) {
  const key_walk &walk = m.walk;
  const int window = (int)a.window, query = walk.start + own.group;
  const int turns = (walk.end - key + KEYS - 1) / KEYS;
  const int32_t *documents = m.documents.of + own.group + own_lane();
  const int earliest = least_of_warp(min(documents[0], documents[BAM_WARP]));
  const int first = min(turns, max(0, max(earliest, query + 1 - window) - key) / KEYS);
  const int end = min(turns, (query + GROUP_ROWS - key + KEYS - 1) / KEYS);
  float dq[1][width / 8][4];
  held_grads held;
  int turn = 0;
  clear(dq);
  barrier_wait(&m.barriers.own_full, 0);
  for (; turn < first; turn++)
    pass_stage(m.barriers, turn);
  for (; turn < end; turn++)
    add_turn(dq, held, m, turn, turn > first, own,
             span_of_queries(walk.start + own.row, key + turn * KEYS, window), p.factor);
  wgmma_wait<0>();
  if (first < end)
    leave_stage(m.barriers, turn - 1);
  for (; turn < turns; turn++)
    pass_stage(m.barriers, turn);
  pin(flat(dq));
  meet_group(own_group()); /* all have read their queries, whose place is free now */
  store_group<BLOCK_ROWS>(m.q + own.row * BOX, dq, find_head(p.dq, a.dq, walk.batch, walk.head),
                          walk.start + own.row, walk.time, (float)a.scale, a.add_dq);
}

template <int width>
static __global__ void HOPPER_KERNEL(BLOCK)
  find_dq(bam_attention a, gradient_args p, const __grid_constant__ maps from) {
  if (!HOPPER_CODE)
    return;
  BAM_DYNAMIC_SHARED(memory<width>, m);
  const int x = (int)threadIdx.x;
  key_walk mine = find_walk<BLOCK_ROWS>((int)blockIdx.x, a, p.k, p.v, p.first);
  if (x == 0)
    begin_own<width>(m->barriers, m->q, from.q, m->grad_out, from.grad_out, mine.start, mine.head,
                     mine.batch);
  if (x < BLOCK_ROWS)
    m->stats[x] = load_stats(p, a, mine.batch, mine.head, mine.start + x);
  const document_range seen = load_documents(m->documents, mine.first, mine.start, mine.time);
  const int key = max(seen.earliest, mine.start + 1 - (int)a.window) / KEYS * KEYS;
  mine.only = seen.only;
  if (x == 0)
    m->walk = mine;
  __syncthreads();
  if (x < GROUP) {
    fewer_registers<shape::fewer>();
    if (x == 0 || x / BAM_WARP == 1)
      bring(*m, from, key, mine.head / (int)(a.heads / a.kv_heads));
  } else {
    more_registers<shape::more>();
    walk_keys(*m, p, a, find_own_rows(), key);
  }
}

#undef KEYS
#undef N

} // namespace for_queries

/* ---- the gradients of the keys and values ---- */

namespace for_keys {

#define QUERIES 64
#define N (QUERIES / 8)

struct stage_rows {
  float lse[QUERIES], delta[QUERIES];
  int32_t first[QUERIES];
};

/* What a block of keys walks on: tiles of queries, head by head. */
struct query_walk {
  int batch, kv_head, key, end, first_head, heads, time;
  int32_t only; /* the document of the keys */
};

template <int width> struct __align__(1024) memory {
  bf16 k[BLOCK_ROWS * width], v[BLOCK_ROWS * width];
  bf16 q[STAGES][QUERIES * width], grad_out[STAGES][QUERIES * width];
  stage_rows rows[STAGES];
  stage_barriers barriers;
  query_walk walk;
  block_documents<BLOCK_ROWS, BLOCK_WARPS> documents;
  int parts[BLOCK_WARPS];
};

struct maps {
  tensor_map k, v, q, grad_out;
};

/* Tiles of queries of a head. */
BAM_INLINE int count_tiles(const query_walk &walk) {
  return (walk.end - walk.key + QUERIES - 1) / QUERIES;
}

/* The head and the first query of a turn. */
struct tile_place {
  int head, query;
};

BAM_INLINE tile_place find_place(const query_walk &walk, int turn) {
  const int tiles = count_tiles(walk);
  return { walk.first_head + turn / tiles, walk.key + turn % tiles * QUERIES };
}

/* Thread 0 brings the tiles of queries, warp 1 what is known of them. */
template <int width>
BAM_INLINE void bring(memory<width> &m, const maps &from, const gradient_args &p,
                      const bam_attention &a) {
  const query_walk walk = m.walk;
  const int32_t *first = documents_of(p.first, walk.batch, a.time);
  const int x = (int)threadIdx.x, turns = walk.heads * count_tiles(walk);
  for (int turn = 0; turn < turns; turn++) {
    const int s = turn % STAGES;
    const tile_place at = find_place(walk, turn);
    barrier_wait(&m.barriers.empty[s], (unsigned)(turn / STAGES + 1));
    if (x == 0) {
      begin_tile<QUERIES, width>(m.q[s], from.q, at.query, at.head, walk.batch,
                                 &m.barriers.full[s]);
      begin_tile<QUERIES, width>(m.grad_out[s], from.grad_out, at.query, at.head, walk.batch,
                                 &m.barriers.full[s]);
    } else {
      for (int i = own_lane(); i < QUERIES; i += BAM_WARP) {
        const query_stats stats = load_stats(p, a, walk.batch, at.head, at.query + i);
        m.rows[s].lse[i] = stats.lse;
        m.rows[s].delta[i] = stats.delta;
        m.rows[s].first[i] = document_of(first, at.query + i, walk.time);
      }
      leave(&m.barriers.full[s]);
    }
  }
}

template <int width> struct gradients { float dk[1][width / 8][4], dv[1][width / 8][4]; };

/* What is multiplied with queries' rows: registers that products read until they are waited for. */
struct held_weights {
  uint32_t p[1][N / 2][4], ds[1][N / 2][4];
};

/* Scores, by their columns' stats, to weights; and the gradients of weights to those of scores. */
BAM_INLINE void weigh(float (&scores)[1][N][4], const stage_rows &rows, float factor) {
  BAM_UNROLL
  for (int n = 0; n < N; n++) {
    const float2 lse = *(const float2 *)(rows.lse + own_column(n, 0));
    for (int i = 0; i < 4; i++)
      scores[0][n][i] = fast_exp2(fmaf(scores[0][n][i], factor, i % 2 == 0 ? -lse.x : -lse.y));
  }
}

BAM_INLINE void differentiate(float (&grads)[1][N][4], const float (&weights)[1][N][4],
                              const stage_rows &rows) {
  BAM_UNROLL
  for (int n = 0; n < N; n++) {
    const float2 delta = *(const float2 *)(rows.delta + own_column(n, 0));
    for (int i = 0; i < 4; i++)
      grads[0][n][i] = weights[0][n][i] * (grads[0][n][i] - (i % 2 == 0 ? delta.x : delta.y));
  }
}

/* A turn: add what the queries of a stage give to dk and dv of the group's keys. These products are under way at the
   end, as those of the turn before are at the beginning (`pending`): its stage is left here. */
template <int width>
BAM_INLINE void add_turn(gradients<width> &sums, held_weights &held, memory<width> &m, int turn,
                         bool pending, own_rows own, span apart, float factor) {
  const int s = turn % STAGES;
  float weights[1][N][4], grads[1][N][4];
  wait_for_stage(m.barriers, turn);
  wgmma_fence();
  multiply_group<width, BLOCK_ROWS>(weights, m.k + own.group * BOX, m.q[s]);
  wgmma_commit();
  wgmma_wait<1>();
  if (pending)
    leave_stage(m.barriers, turn - 1);
  wgmma_fence();
  multiply_group<width, BLOCK_ROWS>(grads, m.v + own.group * BOX, m.grad_out[s]);
  wgmma_commit();
  wgmma_wait<1>();
  pin(flat(weights));
  if (!are_all<QUERIES>(m.rows[s].first, m.walk.only) || !all_in_span(apart, 16, QUERIES))
    mask_scores(weights, m.documents.of + own.row, m.rows[s].first, apart);
  weigh(weights, m.rows[s], factor);
  pack_operand(held.p, weights);
  pin(flat(sums.dv));
  wgmma_fence();
  add_group_product(sums.dv, held.p, m.grad_out[s]);
  wgmma_commit();
  wgmma_wait<1>();
  pin(flat(grads));
  differentiate(grads, weights, m.rows[s]);
  pack_operand(held.ds, grads);
  pin(flat(sums.dk));
  wgmma_fence();
  add_group_product(sums.dk, held.ds, m.q[s]);
  wgmma_commit();
}

/* The turns of a head, of which there have been `before`. Those whose queries see keys of the group follow each
   other. */
template <int width>
BAM_INLINE void walk_head(gradients<width> &sums, held_weights &held, memory<width> &m,
                          own_rows own, int before, int window, float factor) {
  const query_walk &walk = m.walk;
  const int tiles = count_tiles(walk), first = min(own.group / QUERIES, tiles);
  const int end = min(tiles, (own.group + GROUP_ROWS - 1 + window + QUERIES - 1) / QUERIES);
  int tile = 0;
  for (; tile < first; tile++)
    pass_stage(m.barriers, before + tile);
  for (; tile < end; tile++)
    add_turn(sums, held, m, before + tile, tile > first, own,
             span_of_keys(walk.key + own.row, walk.key + tile * QUERIES, window), factor);
  wgmma_wait<0>();
  if (first < end)
    leave_stage(m.barriers, before + tile - 1);
  for (; tile < tiles; tile++)
    pass_stage(m.barriers, before + tile);
}

template <int width>
BAM_INLINE void walk_queries(memory<width> &m, const gradient_args &p, const bam_attention &a,
                             own_rows own) {
  const query_walk &walk = m.walk;
  const int tiles = count_tiles(walk);
  gradients<width> sums;
  held_weights held;
  clear(sums.dk);
  clear(sums.dv);
  barrier_wait(&m.barriers.own_full, 0);
  for (int head = 0; head < walk.heads; head++)
    walk_head(sums, held, m, own, head * tiles, (int)a.window, p.factor);
  pin(flat(sums.dk));
  pin(flat(sums.dv));
  meet_group(own_group()); /* all have read their keys, whose place is free now */
  store_group<BLOCK_ROWS>(m.k + own.row * BOX, sums.dk,
                          find_head(p.dk, a.dk, walk.batch, walk.kv_head), walk.key + own.row,
                          walk.time, (float)a.scale, a.add_dk);
  store_group<BLOCK_ROWS>(m.v + own.row * BOX, sums.dv,
                          find_head(p.dv, a.dv, walk.batch, walk.kv_head), walk.key + own.row,
                          walk.time, 1, a.add_dv);
}

/* The end of the queries of a sequence that may see keys key .. key + 127. */
BAM_INLINE int find_end(const int32_t *first, int key, int window, int time,
                        int (&parts)[BLOCK_WARPS]) {
  const int end = min(time, key + BLOCK_ROWS - 1 + window);
  int last = key;
  if (first == NULL)
    return end;
  for (int t = key + (int)threadIdx.x; t < end; t += BLOCK)
    if (first[t] < key + BLOCK_ROWS)
      last = t;
  return largest_of_block(last, parts) + 1;
}

template <int width>
static __global__ void HOPPER_KERNEL(BLOCK)
  find_dk_dv(bam_attention a, gradient_args p, const __grid_constant__ maps from) {
  if (!HOPPER_CODE)
    return;
  BAM_DYNAMIC_SHARED(memory<width>, m);
  const int time = (int)a.time, tiles = (time + BLOCK_ROWS - 1) / BLOCK_ROWS, n = (int)blockIdx.x;
  const int key = n % tiles * BLOCK_ROWS, b = n / tiles / (int)a.kv_heads;
  const int g = n / tiles % (int)a.kv_heads, group = (int)(a.heads / a.kv_heads);
  const int32_t *first = documents_of(p.first, b, a.time);
  if (threadIdx.x == 0)
    begin_own<width>(m->barriers, m->k, from.k, m->v, from.v, key, g, b);
  const int end = find_end(first, key, (int)a.window, time, m->parts);
  const int32_t only = load_documents(m->documents, first, key, time).only;
  if (threadIdx.x == 0)
    m->walk = { b, g, key, end, g * group, group, time, only };
  __syncthreads();
  if (threadIdx.x < GROUP) {
    fewer_registers<shape::fewer>();
    if (threadIdx.x == 0 || own_warp() == 1)
      bring(*m, from, p, a);
  } else {
    more_registers<shape::more>();
    walk_queries(*m, p, a, find_own_rows());
  }
}

} // namespace for_keys

/* ---- the host's side ---- */

static bool describe(for_queries::maps *of_queries, for_keys::maps *of_keys,
                     const bam_attention_gradients *args, const bam_attention *a) {
  const int64_t rows[3] = { a->time * a->heads * a->width, a->heads * a->width, a->width };
  return describe_heads(&of_queries->q, args->q, a, a->q, a->heads, BLOCK_ROWS) &&
         describe_heads(&of_queries->grad_out, args->grad_out, a, rows, a->heads, BLOCK_ROWS) &&
         describe_heads(&of_queries->k, args->k, a, a->k, a->kv_heads, BLOCK_ROWS) &&
         describe_heads(&of_queries->v, args->v, a, a->v, a->kv_heads, BLOCK_ROWS) &&
         describe_heads(&of_keys->k, args->k, a, a->k, a->kv_heads, BLOCK_ROWS) &&
         describe_heads(&of_keys->v, args->v, a, a->v, a->kv_heads, BLOCK_ROWS) &&
         describe_heads(&of_keys->q, args->q, a, a->q, a->heads, QUERIES) &&
         describe_heads(&of_keys->grad_out, args->grad_out, a, rows, a->heads, QUERIES);
}

template <int width>
static void launch(bam_stream stream, const gradient_args &p, const bam_attention *a,
                   const for_queries::maps &of_queries, const for_keys::maps &of_keys) {
  const int64_t tiles = a->batch * ((a->time + BLOCK_ROWS - 1) / BLOCK_ROWS);
  const size_t query_bytes = sizeof(for_queries::memory<width>);
  const size_t key_bytes = sizeof(for_keys::memory<width>);
  allow_shared(stream, for_queries::find_dq<width>, query_bytes);
  BAM_LAUNCH(stream, (for_queries::find_dq<width>), bam_blocks(tiles * a->heads, 1, INT32_MAX),
             BLOCK, query_bytes, *a, p, of_queries);
  allow_shared(stream, for_keys::find_dk_dv<width>, key_bytes);
  BAM_LAUNCH(stream, (for_keys::find_dk_dv<width>), bam_blocks(tiles * a->kv_heads, 1, INT32_MAX),
             BLOCK, key_bytes, *a, p, of_keys);
}

bool bam_cuda_attention_hopper_backward(bam_stream stream, const bam_attention_gradients *args,
                                        const bam_attention *a) {
  const gradient_args p = { (bf16 *)args->dq,           (bf16 *)args->dk,
                            (bf16 *)args->dv,           (const bf16 *)args->k,
                            (const bf16 *)args->v,      (const float *)args->stats,
                            (const float *)args->delta, args->first,
                            (float)(a->scale * LOG2_E) };
  for_queries::maps of_queries;
  for_keys::maps of_keys;
  if (!bam_cuda_attention_hopper_runs(stream) || !describe(&of_queries, &of_keys, args, a))
    return false;
  if (a->width == 64)
    launch<64>(stream, p, a, of_queries, of_keys);
  else
    launch<128>(stream, p, a, of_queries, of_keys);
  return true;
}
