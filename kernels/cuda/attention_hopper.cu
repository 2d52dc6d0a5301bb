/* Causal attention for compute capability 9.0, forward, in the shape of FlashAttention-3 (Shah et al. 2024). A block
   takes tiles of 64 queries for each of its groups, 128 or 192, until none is left. One warpgroup brings what the
   others need, two stages ahead: a warp finds the next tile, a thread brings its queries and tiles of 128 keys and
   values, and a warp the documents of the keys. Barriers in shared memory say which stage is full and which is empty.

   A group issues the product of its queries with the next keys, and that of the last weights with their values, and
   takes the softmax of the first while the second is computed. Groups issue in turn, so that one does arithmetic while
   the tensor cores work for another. Weights go from registers into their product. */
#include "attention_hopper.h"

#include <stdlib.h>
#include <string.h>

#include "attention_group.h"
#include "attention_softmax.h"

#define KEYS 128
#define N (KEYS / 8)
#define TILES 2 /* that a block knows of */
#define MOST_GROUPS 3
#ifndef NEAR_BYTES
#define NEAR_BYTES (16 << 20) /* of keys and values that stay in the L2 cache */
#endif

/* Whether compute capability 9.0 uses these kernels by itself: once a window has passed their tests on a device and
   measured them faster than attention_mma (docs/cuda.md). */
#define CHOSEN false

/* Narrow heads have few results, which leaves registers for a third group. */
template <int width> struct shape : block_shape<width == 64 ? 3 : 2, width == 64 ? 32 : 40> {
  static const int groups = width == 64 ? 3 : 2;
};

/* Tiles of queries in the order in which blocks take them: heads whose keys fit into the L2 cache together, and of
   these the tiles with the most keys first. */
struct tile_order {
  int heads, near_heads; /* of all sequences; that are together */
  int tiles;             /* of a head */
};

struct attend_args {
  bf16 *o;
  float *stats;
  const int32_t *first;
  float factor; /* of scores, for powers of 2 */
  tile_order order;
  unsigned *taken; /* tiles beyond each block's first one */
};

struct attend_maps {
  tensor_map q, k, v;
};

/* A tile of queries, from `start` on, and its `turns` tiles of keys, from `key` on; 0 after the last tile. */
struct attend_tile {
  int batch, head, start, key, turns;
  int32_t only; /* the document of its queries, or -1 */
  int first_turn[MOST_GROUPS],
    end[MOST_GROUPS]; /* of each group: the turns that it takes part in */
  int32_t documents[MOST_GROUPS * GROUP_ROWS];
};

template <int width> struct __align__(1024) attend_memory {
  bf16 q[TILES][shape<width>::rows * width], k[STAGES][KEYS * width], v[STAGES][KEYS * width];
  int32_t first[STAGES][KEYS]; /* documents of the keys */
  int32_t one_document[STAGES];
  uint64_t known[TILES], q_full[TILES], q_empty[TILES];
  uint64_t k_full[STAGES], v_full[STAGES], k_empty[STAGES], v_empty[STAGES];
  attend_tile tiles[TILES];
  float anchors[BAM_WARP]; /* written only */
};

/* ---- finding tiles ---- */

BAM_INLINE void place_tile(attend_tile &tile, int n, const tile_order &order,
                           const bam_attention &a, int rows) {
  const int part = n / (order.near_heads * order.tiles) * order.near_heads;
  const int heads = min(order.near_heads, order.heads - part), rest = n - part * order.tiles;
  const int head = part + rest % heads;
  tile.batch = head / (int)a.heads;
  tile.head = head % (int)a.heads;
  tile.start = (order.tiles - 1 - rest / heads) * rows;
}

/* The turns of a group with queries from `own` on, of which `earliest` is the first token that one may see. */
BAM_INLINE void plan_group(attend_tile &tile, int group, int own, int32_t earliest,
                           const bam_attention &a) {
  const int time = (int)a.time, key = max(earliest, own + 1 - (int)a.window);
  const int end = (min(own + GROUP_ROWS, time) - tile.key + KEYS - 1) / KEYS;
  tile.first_turn[group] = own < time ? (key - tile.key) / KEYS : 0;
  tile.end[group] = own < time ? end : 0;
}

/* The warp writes what is known of the tile, whose place is there. */
template <int groups>
BAM_INLINE void plan_tile(attend_tile &tile, const bam_attention &a, const int32_t *first) {
  const int time = (int)a.time, start = tile.start, end = min(start + groups * GROUP_ROWS, time);
  const int32_t document = document_of(first, start, time);
  int32_t earliest[groups], all = INT32_MAX;
  bool one = true;
  BAM_UNROLL
  for (int g = 0; g < groups; g++) {
    earliest[g] = INT32_MAX;
    for (int i = own_lane() + g * GROUP_ROWS; i < (g + 1) * GROUP_ROWS; i += BAM_WARP) {
      const int32_t own = tile.documents[i] = document_of(first, start + i, time);
      earliest[g] = min(earliest[g], own);
      one &= own == document || own == INT32_MAX;
    }
    earliest[g] = least_of_warp(earliest[g]);
    all = min(all, earliest[g]);
  }
  one = __all_sync(BAM_ALL_LANES, one);
  if (own_lane() == 0) {
    tile.only = one ? document : -1;
    tile.key = max(all, start + 1 - (int)a.window) / KEYS * KEYS;
    tile.turns = (end - tile.key + KEYS - 1) / KEYS;
    BAM_UNROLL
    for (int g = 0; g < groups; g++)
      plan_group(tile, g, start + g * GROUP_ROWS, earliest[g], a);
  }
}

/* A warp finds tiles, until there are none. */
template <int width>
BAM_INLINE void find_tiles(attend_memory<width> &m, const attend_args &p, const bam_attention &a) {
  const int tiles = p.order.heads * p.order.tiles;
  int n = (int)blockIdx.x;
  for (unsigned turn = 0;; turn++) {
    attend_tile &tile = m.tiles[turn % TILES];
    barrier_wait(&m.q_empty[turn % TILES], turn / TILES + 1);
    if (own_lane() == 0) {
      tile.turns = 0;
      if (n < tiles)
        place_tile(tile, n, p.order, a, shape<width>::rows);
    }
    __syncwarp();
    if (n < tiles)
      plan_tile<shape<width>::groups>(tile, a, documents_of(p.first, tile.batch, a.time));
    leave(&m.known[turn % TILES]);
    if (n >= tiles)
      return;
    if (own_lane() == 0)
      n = (int)(gridDim.x + atomicAdd(p.taken, 1u));
    n = __shfl_sync(BAM_ALL_LANES, n, 0);
  }
}

/* ---- bringing tiles ---- */

/* One thread brings queries, keys and values. */
template <int width>
BAM_INLINE void bring_tiles(attend_memory<width> &m, const attend_maps &from, int group_size) {
  unsigned turn = 0;
  for (unsigned n = 0;; n++) {
    const attend_tile &tile = m.tiles[n % TILES];
    barrier_wait(&m.known[n % TILES], n / TILES);
    const int end = tile.key + tile.turns * KEYS, batch = tile.batch, head = tile.head / group_size;
    if (tile.turns == 0)
      return;
    begin_tile<shape<width>::rows, width>(m.q[n % TILES], from.q, tile.start, tile.head, batch,
                                          &m.q_full[n % TILES]);
    for (int key = tile.key; key < end; key += KEYS, turn++) {
      const unsigned s = turn % STAGES, phase = turn / STAGES + 1;
      barrier_wait(&m.k_empty[s], phase);
      begin_tile<KEYS, width>(m.k[s], from.k, key, head, batch, &m.k_full[s]);
      barrier_wait(&m.v_empty[s], phase);
      begin_tile<KEYS, width>(m.v[s], from.v, key, head, batch, &m.v_full[s]);
    }
  }
}

/* A warp brings the documents of keys. */
template <int width>
BAM_INLINE void bring_documents(attend_memory<width> &m, const attend_args &p,
                                const bam_attention &a) {
  const int time = (int)a.time;
  unsigned turn = 0;
  for (unsigned n = 0;; n++) {
    const attend_tile &tile = m.tiles[n % TILES];
    barrier_wait(&m.known[n % TILES], n / TILES);
    const int end = tile.key + tile.turns * KEYS;
    const int32_t *first = documents_of(p.first, tile.batch, a.time), only = tile.only;
    if (tile.turns == 0)
      return;
    for (int key = tile.key; key < end; key += KEYS, turn++) {
      const unsigned s = turn % STAGES;
      bool one = true;
      barrier_wait(&m.k_empty[s], turn / STAGES + 1);
      for (int i = own_lane(); i < KEYS; i += BAM_WARP) {
        m.first[s][i] = document_of(first, key + i, time);
        one &= m.first[s][i] == only;
      }
      one = __all_sync(BAM_ALL_LANES, one);
      if (own_lane() == 0)
        m.one_document[s] = one;
      leave(&m.k_full[s]);
    }
  }
}

/* ---- the groups that own queries ---- */

/* What a group works on: a tile, its queries in shared memory, and how many turns came before. */
template <int width> struct own_part {
  attend_memory<width> &m;
  const attend_tile &tile;
  const bf16 *q;
  int group;
  unsigned before;
};

template <int width> struct held_weights { uint32_t at[1][N / 2][4]; };

/* A turn that the group takes no part in. */
template <int width> BAM_INLINE void pass_turn(const own_part<width> &own, int turn) {
  const unsigned t = own.before + (unsigned)turn, s = t % STAGES;
  begin_turn(own.group);
  end_turn<shape<width>::groups>(own.group);
  barrier_wait(&own.m.k_full[s], t / STAGES);
  leave(&own.m.k_empty[s]);
  barrier_wait(&own.m.v_full[s], t / STAGES);
  leave(&own.m.v_empty[s]);
}

/* Begin the scores of a turn's keys. */
template <int width>
BAM_INLINE void begin_scores(float (&scores)[1][N][4], const own_part<width> &own, unsigned t) {
  multiply_group<width, shape<width>::rows>(scores, own.q, own.m.k[t % STAGES]);
  wgmma_commit();
}

/* Begin the product of the weights of a turn with its values. */
template <int width>
BAM_INLINE void begin_results(running<1, width> &state, const held_weights<width> &weights,
                              const own_part<width> &own, unsigned t) {
  add_group_product(state.o, weights.at, own.m.v[t % STAGES]);
  wgmma_commit();
}

/* The scores of turn t, which are there, are masked; their keys are no longer needed. */
template <int width>
BAM_INLINE void mask_turn(float (&scores)[1][N][4], const own_part<width> &own, int turn,
                          int window) {
  const unsigned s = (own.before + (unsigned)turn) % STAGES;
  const int row = own.group * GROUP_ROWS + own_warp() % 4 * 16;
  const span apart = span_of_queries(own.tile.start + row, own.tile.key + turn * KEYS, window);
  if (!own.m.one_document[s] || !all_in_span(apart, 16, KEYS))
    mask_scores(scores, own.tile.documents + row, own.m.first[s], apart);
  leave(&own.m.k_empty[s]);
}

/* The first turn that the group takes part in: weights, and no results yet. */
template <int width>
BAM_INLINE void attend_first(running<1, width> &state, held_weights<width> &weights,
                             const own_part<width> &own, int turn, int window, float factor) {
  const unsigned t = own.before + (unsigned)turn;
  float scores[1][N][4];
  barrier_wait(&own.m.k_full[t % STAGES], t / STAGES);
  begin_turn(own.group);
  wgmma_fence();
  begin_scores(scores, own, t);
  end_turn<shape<width>::groups>(own.group);
  wgmma_wait<0>();
  pin(flat(scores));
  mask_turn(scores, own, turn, window);
  weigh_row(state, scores, 0, 0, factor);
  weigh_row(state, scores, 0, 1, factor);
  pack_operand(weights.at, scores);
}

/* The scores of a turn, beside the results of the one before; then its weights. */
template <int width>
BAM_INLINE void attend_next(running<1, width> &state, held_weights<width> &weights,
                            const own_part<width> &own, int turn, int window, float factor) {
  const unsigned t = own.before + (unsigned)turn;
  float scores[1][N][4], rescale[2];
  barrier_wait(&own.m.k_full[t % STAGES], t / STAGES);
  barrier_wait(&own.m.v_full[(t - 1) % STAGES], (t - 1) / STAGES);
  begin_turn(own.group);
  pin(flat(state.o));
  wgmma_fence();
  begin_scores(scores, own, t);
  begin_results(state, weights, own, t - 1);
  end_turn<shape<width>::groups>(own.group);
  wgmma_wait<1>();
  pin(flat(scores));
  mask_turn(scores, own, turn, window);
  for (int h = 0; h < 2; h++)
    rescale[h] = weigh_row(state, scores, 0, h, factor);
  anchor(state.sum[0][0] + state.sum[0][1], &own.m.anchors[own_lane()]);
  wgmma_wait<0>();
  pin(flat(state.o));
  leave(&own.m.v_empty[(t - 1) % STAGES]);
  for (int h = 0; h < 2; h++)
    rescale_row(state, 0, h, rescale[h]);
  pack_operand(weights.at, scores);
}

/* The results of the last turn. */
template <int width>
BAM_INLINE void attend_last(running<1, width> &state, const held_weights<width> &weights,
                            const own_part<width> &own, int turn) {
  const unsigned t = own.before + (unsigned)turn;
  barrier_wait(&own.m.v_full[t % STAGES], t / STAGES);
  pin(flat(state.o));
  wgmma_fence();
  begin_results(state, weights, own, t);
  wgmma_wait<0>();
  pin(flat(state.o));
  leave(&own.m.v_empty[t % STAGES]);
}

template <int width>
BAM_INLINE void attend_tile_rows(running<1, width> &state, const own_part<width> &own, int window,
                                 float factor) {
  const int first = own.tile.first_turn[own.group], end = own.tile.end[own.group];
  int turn = 0;
  for (; turn < first; turn++)
    pass_turn(own, turn);
  if (first < end) {
    held_weights<width> weights;
    attend_first(state, weights, own, turn, window, factor);
    for (turn++; turn < end; turn++)
      attend_next(state, weights, own, turn, window, factor);
    attend_last(state, weights, own, turn - 1);
  }
  for (; turn < own.tile.turns; turn++)
    pass_turn(own, turn);
}

/* The part of a group in all tiles. */
template <int width>
BAM_INLINE void attend_group(attend_memory<width> &m, const attend_args &p, const bam_attention &a,
                             int group) {
  const int row = group * GROUP_ROWS + own_warp() % 4 * 16;
  unsigned before = 0;
  for (unsigned n = 0;; n++) {
    const unsigned slot = n % TILES;
    const attend_tile &tile = m.tiles[slot];
    barrier_wait(&m.known[slot], n / TILES);
    if (tile.turns == 0)
      return;
    running<1, width> state;
    begin(state);
    barrier_wait(&m.q_full[slot], n / TILES);
    attend_tile_rows(
      state, own_part<width>{ m, tile, m.q[slot] + group * GROUP_ROWS * BOX, group, before },
      (int)a.window, p.factor);
    before += (unsigned)tile.turns;
    finish_rows(state, p.stats, a, { tile.batch, tile.head, tile.start + row }, p.factor);
    meet_group(group); /* all have read their queries, whose place is free now */
    store_group<shape<width>::rows>(m.q[slot] + row * BOX, state.o,
                                    find_result(p.o, a, tile.batch, tile.head), tile.start + row,
                                    (int)a.time, 1, false);
    async_fence(); /* a copy comes there next */
    leave(&m.q_empty[slot]);
  }
}

/* ---- the kernel ---- */

template <int width> BAM_INLINE void init_barriers(attend_memory<width> &m) {
  const int owners = shape<width>::owners;
  for (int i = 0; i < TILES; i++) {
    barrier_init(&m.known[i], 1);
    barrier_init(&m.q_full[i], 1);
    barrier_init(&m.q_empty[i], owners);
  }
  for (int s = 0; s < STAGES; s++) {
    barrier_init(&m.k_full[s], 2); /* a tile and what is known of its rows */
    barrier_init(&m.v_full[s], 1);
    barrier_init(&m.k_empty[s], owners);
    barrier_init(&m.v_empty[s], owners);
  }
  barriers_ready();
}

template <int width>
static __global__ void HOPPER_KERNEL(shape<width>::threads)
  attend(bam_attention a, attend_args p, const __grid_constant__ attend_maps from) {
  if (!HOPPER_CODE)
    return;
  typedef shape<width> shape;
  BAM_DYNAMIC_SHARED(attend_memory<width>, m);
  const int warp = own_warp(), group = own_group();
  if (threadIdx.x == 0)
    init_barriers(*m);
  __syncthreads();
  if (threadIdx.x < GROUP) {
    fewer_registers<shape::fewer>();
    if (threadIdx.x == 0)
      bring_tiles(*m, from, (int)(a.heads / a.kv_heads));
    else if (warp == 1)
      bring_documents(*m, p, a);
    else if (warp == 2)
      find_tiles(*m, p, a);
  } else {
    more_registers<shape::more>();
    if (group == shape::groups - 1)
      end_turn<shape::groups>(group); /* the first group begins */
    attend_group(*m, p, a, group);
    if (group == 0)
      begin_turn(0); /* the last turn was the last group's */
  }
}

/* ---- the host's side ---- */

static tile_order order_tiles(const bam_attention *a, int rows) {
  const int64_t bytes = a->time * a->width * 4, group = a->heads / a->kv_heads;
  const int64_t near = bytes < NEAR_BYTES ? NEAR_BYTES / bytes * group : group;
  const int64_t heads = a->batch * a->heads;
  return { (int)heads, (int)(near < heads ? near : heads), (int)((a->time + rows - 1) / rows) };
}

template <int width>
static bool launch(bam_stream stream, const bam_attention_tensors *args, const bam_attention *a) {
  typedef shape<width> shape;
  const tile_order order = order_tiles(a, shape::rows);
  const int64_t tiles = (int64_t)order.heads * order.tiles;
  attend_maps from;
  if (a->batch * a->heads > INT32_MAX || tiles > INT32_MAX / 2 ||
      !describe_heads(&from.q, args->q, a, a->q, a->heads, shape::rows) ||
      !describe_heads(&from.k, args->k, a, a->k, a->kv_heads, KEYS) ||
      !describe_heads(&from.v, args->v, a, a->v, a->kv_heads, KEYS))
    return false;
  unsigned *taken = (unsigned *)bam_cuda_scratch(stream, sizeof *taken);
  const attend_args p = { (bf16 *)args->o, (float *)args->stats,
                          args->first,     (float)(a->scale * LOG2_E),
                          order,           taken };
  if (taken == NULL)
    return true; /* which is noted */
  bam_cuda_note(stream, "attention", cudaMemsetAsync(taken, 0, sizeof *taken, stream->queue));
  allow_shared(stream, attend<width>, sizeof(attend_memory<width>));
  BAM_LAUNCH(stream, (attend<width>), bam_blocks(tiles, 1, stream->multiprocessors), shape::threads,
             sizeof(attend_memory<width>), *a, p, from);
  return true;
}

bool bam_cuda_attention_hopper_runs(bam_stream stream) {
  return stream->capability == 90 && has_hopper_code(attend<128>, shape<128>::threads);
}

bool bam_cuda_attention_hopper_chosen(bam_stream stream) {
  const char *wanted = getenv("BAMLUA_ATTENTION");
  if (wanted == NULL)
    return CHOSEN && bam_cuda_attention_hopper_runs(stream);
  if (strcmp(wanted, "hopper") != 0 && strcmp(wanted, "mma") != 0)
    bam_cuda_fail(stream, "BAMLUA_ATTENTION is \"%s\"; set it to mma or hopper", wanted);
  if (strcmp(wanted, "hopper") != 0 || bam_cuda_attention_hopper_runs(stream))
    return strcmp(wanted, "hopper") == 0;
  bam_cuda_fail(stream,
                "BAMLUA_ATTENTION=hopper needs a device of compute capability 9.0 and a program "
                "compiled for 90a (make CUDA_ARCH=90a)");
  return false;
}

bool bam_cuda_attention_hopper(bam_stream stream, const bam_attention_tensors *args,
                               const bam_attention *a) {
  if (!bam_cuda_attention_hopper_runs(stream))
    return false;
  return a->width == 64 ? launch<64>(stream, args, a) : launch<128>(stream, args, a);
}
