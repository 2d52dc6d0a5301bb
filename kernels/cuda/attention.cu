/* Causal attention, forward, and what both passes need beforehand. A block owns TILE queries and
   walks the keys that they see, with a running maximum and sum per row (see attention.h). Scores
   are in base 2, as in kernels/cpu/attention.c, and stats are the same. */
#include "attention.h"
#include "attention_hopper.h"
#include "attention_mma.h"
#include "rows.h"

#define ROWS MOST_ROWS

/* What a thread knows of its rows so far: the maximum, the sum of its own columns' weights, and the
   unnormalised results. */
template <int columns> struct running { real most[ROWS], sum[ROWS], o[ROWS][columns]; };

template <int columns> static __device__ __forceinline__ void begin(running<columns> &state) {
  BAM_UNROLL
  for (int i = 0; i < ROWS; i++) {
    state.most[i] = (real)-INFINITY;
    state.sum[i] = 0;
    for (int n = 0; n < columns; n++)
      state.o[i][n] = 0;
  }
}

/* The largest, or the sum, of what the threads side by side have; NaN is never the largest. */
static __device__ __forceinline__ real largest_across(real x) {
  for (int step = ACROSS / 2; step > 0; step /= 2) {
    const real other = __shfl_xor_sync(BAM_ALL_LANES, x, step);
    x = other > x ? other : x;
  }
  return x;
}

static __device__ __forceinline__ real sum_across(real x) {
  for (int step = ACROSS / 2; step > 0; step /= 2)
    x += __shfl_xor_sync(BAM_ALL_LANES, x, step);
  return x;
}

/* Turn scores into weights relative to the new maximum, and bring what was collected to it. A row
   that has seen no key yet keeps the maximum -infinity and gets weights 0. */
template <int columns>
static __device__ __forceinline__ void softmax_online(running<columns> &state, tile_memory &m,
                                                      real (&scores)[ROWS][SCORES], real factor,
                                                      tile_span span) {
  BAM_UNROLL
  for (int i = 0; i < ROWS; i++) {
    const int row = own_row<ROWS>(i);
    real most = state.most[i], total = 0;
    for (int j = 0; j < SCORES; j++) {
      real &score = scores[i][j];
      score = visible(m, row, own_column(j), span) ? score * factor : (real)-INFINITY;
      most = score > most ? score : most;
    }
    most = largest_across(most);
    const real base = most == (real)-INFINITY ? (real)0 : most;
    for (int j = 0; j < SCORES; j++) {
      const real weight = REAL_MATH(exp2)(scores[i][j] - base);
      m.weights[row * SCORE_PITCH + own_column(j)] = weight;
      total += weight;
    }
    const real rescale = REAL_MATH(exp2)(state.most[i] - base);
    for (int n = 0; n < columns; n++)
      state.o[i][n] *= rescale;
    state.sum[i] = state.sum[i] * rescale + total;
    state.most[i] = most;
  }
}

/* Divide by the sums and write; o and stats are those of the tile's first row and head. */
template <int columns>
static __device__ __forceinline__ void finish(running<columns> &state, element *o, real *stats,
                                              int count, int64_t from, const bam_attention &a) {
  BAM_UNROLL
  for (int i = 0; i < ROWS; i++) {
    const int row = own_row<ROWS>(i);
    const real part = 1 / sum_across(state.sum[i]);
    for (int n = 0; n < columns; n++)
      state.o[i][n] *= part;
    if (from == 0 && row < count && threadIdx.x % ACROSS == 0) {
      stats[2 * row * a.heads] = state.most[i];
      stats[2 * row * a.heads + 1] = part;
    }
  }
  store_rows(o, a.heads * a.width, state.o, count, from, a.width, (real)1, false);
}

template <int columns>
static __global__ void __launch_bounds__(THREADS(ROWS), BLOCKS(ROWS))
  attend(bam_attention a, element *o, real *stats, const element *q, const element *k,
         const element *v, const int32_t *first) {
  BAM_SHARED(tile_memory, memory, 1);
  tile_memory &m = memory[0];
  const int x = threadIdx.x;
  BAM_EACH_ROW(n, a.batch * a.heads * TILES(a.time) * PARTS(a.width, columns)) {
    const tile_task task = find_task(n, a, a.heads, columns, true);
    const int64_t b = task.batch, g = task.head / (a.heads / a.kv_heads);
    const int64_t at = (b * a.time + task.start) * a.heads + task.head;
    const element *keys = head_at(k, a.k, b, g), *values = head_at(v, a.v, b, g);
    const int32_t *documents = first != NULL ? first + b * a.time : NULL;
    const head_rows queries = tile_rows(head_at(q, a.q, b, task.head), a.q[1], task.start, a.time);
    running<columns> state;
    begin(state);
    __syncthreads();
    if (x < TILE)
      m.query_first[x] = document_of(documents, task.start + x, a.time);
    __syncthreads();
    for (int64_t key = earliest_key(m, task.start, a.window) / TILE * TILE; key <= task.start;
         key += TILE) {
      real scores[ROWS][SCORES];
      if (x < TILE)
        m.key_first[x] = document_of(documents, key + x, a.time);
      multiply_rows(scores, m.slices, queries, tile_rows(keys, a.k[1], key, a.time), a.width);
      softmax_online(state, m, scores, (real)(a.scale * LOG2_E),
                     span_of(task.start, key, a.window));
      add_product(state.o, m.weights, m.slices, tile_rows(values, a.v[1], key, a.time), task.from,
                  a.width);
    }
    finish(state, o + at * a.width, stats + 2 * at, queries.count, task.from, a);
  }
}

#define ATTEND(columns)                                                                       \
  BAM_LAUNCH(stream, (attend<columns>),                                                       \
             BAM_ROW_BLOCKS(a->batch * a->heads * TILES(a->time) * PARTS(a->width, columns)), \
             THREADS(ROWS), 0, *a, (element *)args->o, (real *)args->stats,                   \
             (const element *)args->q, (const element *)args->k, (const element *)args->v,    \
             args->first)

void KERNEL(attention)(bam_stream stream, const bam_attention_tensors *args,
                       const bam_attention *a) {
  if (IS_BF16 && bam_cuda_attention_mma_fits(stream, args, a)) {
    if (!bam_cuda_attention_hopper_chosen(stream) || !bam_cuda_attention_hopper(stream, args, a))
      bam_cuda_attention_mma(stream, args, a);
  } else if (a->width <= 4 * ACROSS)
    ATTEND(4);
  else
    ATTEND(MOST_COLUMNS);
}

/* ---- what both passes need beforehand ---- */

void KERNEL(attention_scratch)(bam_stream stream, int64_t *forward, int64_t *backward,
                               const bam_attention *a) {
  (void)stream;
  (void)a;
  *forward = *backward = 0;
}

template <int group_size>
static __global__ void multiply_results(real *delta, const element *o, const element *grad_out,
                                        int64_t rows, int64_t width) {
  BAM_EACH_GROUP_ROW(row, rows) {
    real sum = 0;
    BAM_EACH_OF_GROUP(d, width)
    sum += o[row * width + d] * grad_out[row * width + d];
    sum = group_sum<group_size>(sum);
    if (BAM_GROUP_FIRST)
      delta[row] = sum;
  }
}

void KERNEL(attention_delta)(bam_stream stream, void *delta, const void *o, const void *grad_out,
                             int64_t rows, int64_t width) {
  BAM_LAUNCH_ROWS(multiply_results, rows, width, (real *)delta, (const element *)o,
                  (const element *)grad_out, rows, width);
}

/* Each thread of a block has a token, and the block looks for the first ones with their ids, from
   the beginning of the sequence on, until it has them all: at the latest a token finds itself. */
static __global__ void find_starts(int32_t *first, const int64_t *documents, int64_t batch,
                                   int64_t time) {
  BAM_SHARED(int64_t, ids, BAM_BLOCK);
  const int64_t parts = (time + BAM_BLOCK - 1) / BAM_BLOCK;
  const int x = threadIdx.x;
  BAM_EACH_ROW(n, batch * parts) {
    const int64_t *row = documents + n / parts * time;
    const int64_t t = n % parts * BAM_BLOCK + x, id = t < time ? row[t] : 0;
    int64_t found = t < time ? -1 : t;
    for (int64_t start = 0; __syncthreads_or(found < 0); start += BAM_BLOCK) {
      if (start + x < time)
        ids[x] = row[start + x];
      __syncthreads();
      for (int j = 0; found < 0 && j < BAM_BLOCK; j++)
        if (ids[j] == id)
          found = start + j;
    }
    if (t < time)
      first[n / parts * time + t] = (int32_t)found;
  }
}

void KERNEL(document_starts)(bam_stream stream, int32_t *first, const int64_t *documents,
                             int64_t batch, int64_t time) {
  BAM_LAUNCH(stream, find_starts, BAM_ROW_BLOCKS(batch * ((time + BAM_BLOCK - 1) / BAM_BLOCK)),
             BAM_BLOCK, 0, first, documents, batch, time);
}
