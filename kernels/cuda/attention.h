/* What both passes of attention are made of: the scores of TILE queries and TILE keys of one head
   are the most that ever exists of them. A block owns TILE queries, or keys, and walks the tiles of
   the others. ACROSS threads lie side by side; each holds `rows` rows of a tile, with SCORES
   columns of the scores and, of results, `columns` of the head's elements at a time: wider heads
   take several blocks, which compute the scores each for itself.

   Operands pass through shared memory in slices: some elements of all rows, or some rows. Rows are
   padded so that threads that read side by side find different banks. */
#ifndef BAM_CUDA_ATTENTION_H
#define BAM_CUDA_ATTENTION_H

#include "cuda.h"

#define TILE 64
#define ACROSS 16
#define SCORES (TILE / ACROSS)
#define THREADS(rows) (ACROSS * TILE / (rows))
#define LOG2_E 1.4426950408889634
#define IS_BF16 (sizeof(element) == 2) /* which has other kernels too: attention_mma.h */

/* What registers and shared memory have room for. */
#if BAM_SINGLE
#define SLICE 32
#define MOST_ROWS 8
#define MOST_COLUMNS 8
#define BLOCKS(rows) ((rows) > 4 ? 3 : 2) /* on a multiprocessor */
#else
#define SLICE 8
#define MOST_ROWS 4
#define MOST_COLUMNS 4
#define BLOCKS(rows) 1
#endif
#define SLICE_PITCH (SLICE + 16 / (int)sizeof(real))
#define SCORE_PITCH (TILE + 64 / (int)sizeof(real))

/* Four numbers that are read at once. */
typedef struct __align__(16) real4 {
  real at[4];
}
real4;

static __device__ __forceinline__ real4 load_real4(const real *p) { return *(const real4 *)p; }

/* The shared memory of a block: at most 48 KB. most, part and delta are for the backward pass. */
typedef struct __align__(16) tile_memory {
  real slices[2 * TILE * SLICE_PITCH]; /* of the operands of scores, or one of rows */
  real weights[TILE * SCORE_PITCH];    /* made of the scores, or their gradients */
  int32_t query_first[TILE], key_first[TILE];
  real most[TILE], part[TILE], delta[TILE]; /* of the queries */
}
tile_memory;

static_assert(SLICE * ACROSS * MOST_COLUMNS <= 2 * TILE * SLICE_PITCH, "a slice of rows");

/* ---- the places of a thread ---- */

template <int rows> static __device__ __forceinline__ int own_row(int i) {
  return (int)threadIdx.x / ACROSS + i * (TILE / rows);
}
static __device__ __forceinline__ int own_column(int j) {
  return (int)threadIdx.x % ACROSS + j * ACROSS;
}
static __device__ __forceinline__ int own_element(int n) {
  return (int)threadIdx.x % ACROSS * 4 + n / 4 * (4 * ACROSS) + n % 4;
}

/* ---- operands ---- */

/* `count` rows of a head, `stride` apart. */
typedef struct head_rows {
  const element *at;
  int64_t stride;
  int count;
} head_rows;

/* The head of a sequence; strides are those of a bam_attention. */
template <class T>
static __device__ __forceinline__ T *head_at(T *x, const int64_t stride[3], int64_t batch,
                                             int64_t head) {
  return x + batch * stride[0] + head * stride[2];
}

/* The tile that begins at row `start` of `time` of a head. */
static __device__ __forceinline__ head_rows tile_rows(const element *head, int64_t stride,
                                                      int64_t start, int64_t time) {
  return { head + start * stride, stride, (int)(time - start < TILE ? time - start : TILE) };
}

/* Rows first .. first + height - 1 and elements from .. from + wide - 1 into shared memory, 0
   beyond the last row and the width. All loads of a thread may be under way at once. */
template <int threads, int height, int wide, int pitch>
static __device__ __forceinline__ void load_slice(real *slice, const head_rows &h, int first,
                                                  int64_t from, int64_t width) {
  const int d = (int)threadIdx.x % wide, top = (int)threadIdx.x / wide, step = threads / wide;
  const int64_t stride = step * h.stride;
  const int end = from + d < width ? h.count - first : 0;
  const element *x = h.at + (first + top) * h.stride + from + d;
  static_assert(threads % wide == 0 && height % step == 0, "a thread keeps to its column");
  BAM_UNROLL
  for (int r = 0; r < height; r += step, x += stride)
    slice[(r + top) * pitch + d] = r + top < end ? *x : (real)0;
}

/* ---- products ---- */

/* The first of `rest` elements or rows that a slice holds; it holds zeros behind them. */
static __device__ __forceinline__ int in_slice(int64_t rest) {
  return rest < SLICE ? (int)rest : SLICE;
}

template <int rows>
static __device__ __forceinline__ void multiply_slices(real (&scores)[rows][SCORES], const real *a,
                                                       const real *b, int depth) {
  for (int d = 0; d < depth; d += 4) {
    real4 y[SCORES];
    for (int j = 0; j < SCORES; j++)
      y[j] = load_real4(b + own_column(j) * SLICE_PITCH + d);
    BAM_UNROLL
    for (int i = 0; i < rows; i++) {
      const real4 x = load_real4(a + own_row<rows>(i) * SLICE_PITCH + d);
      for (int e = 0; e < 4; e++)
        for (int j = 0; j < SCORES; j++)
          scores[i][j] += x.at[e] * y[j].at[e];
    }
  }
}

/* scores[i][j] = row i of a times row j of b. Begins with a barrier, and what threads wrote to
   shared memory before, others may read afterwards. */
template <int rows>
static __device__ __forceinline__ void multiply_rows(real (&scores)[rows][SCORES], real *slices,
                                                     const head_rows &a, const head_rows &b,
                                                     int64_t width) {
  real *other = slices + TILE * SLICE_PITCH;
  BAM_UNROLL
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < SCORES; j++)
      scores[i][j] = 0;
  for (int64_t from = 0; from < width; from += SLICE) {
    __syncthreads();
    load_slice<THREADS(rows), TILE, SLICE, SLICE_PITCH>(slices, a, 0, from, width);
    load_slice<THREADS(rows), TILE, SLICE, SLICE_PITCH>(other, b, 0, from, width);
    __syncthreads();
    multiply_slices(scores, slices, other, in_slice(width - from));
  }
}

template <int rows, int columns>
static __device__ __forceinline__ void add_slice(real (&sum)[rows][columns], const real *weights,
                                                 const real *slice, int depth) {
  for (int s = 0; s < depth; s += 4) {
    real4 x[rows];
    BAM_UNROLL
    for (int i = 0; i < rows; i++)
      x[i] = load_real4(weights + own_row<rows>(i) * SCORE_PITCH + s);
    for (int e = 0; e < 4; e++)
      for (int n = 0; n < columns; n += 4) {
        const real4 y = load_real4(slice + (s + e) * (ACROSS * columns) + own_element(n));
        BAM_UNROLL
        for (int i = 0; i < rows; i++)
          for (int m = 0; m < 4; m++)
            sum[i][n + m] += x[i].at[e] * y.at[m];
      }
  }
}

/* sum[i][n] += row i of the weights times element `from` + own_element(n) of the rows of b.
   Barriers as in multiply_rows. */
template <int rows, int columns>
static __device__ __forceinline__ void add_product(real (&sum)[rows][columns], const real *weights,
                                                   real *slices, const head_rows &b, int64_t from,
                                                   int64_t width) {
  const int wide = ACROSS * columns;
  for (int s = 0; s < b.count; s += SLICE) {
    __syncthreads();
    load_slice<THREADS(rows), SLICE, wide, wide>(slices, b, s, from, width);
    __syncthreads();
    add_slice(sum, weights + s, slices, in_slice(b.count - s));
  }
}

/* Rows of a result, times `factor`, from element `from` of a head on; added to it with `add`. */
template <int rows, int columns>
static __device__ __forceinline__ void store_rows(element *head, int64_t stride,
                                                  const real (&x)[rows][columns], int count,
                                                  int64_t from, int64_t width, real factor,
                                                  bool add) {
  BAM_UNROLL
  for (int i = 0; i < rows; i++)
    for (int n = 0; n < columns; n++)
      if (own_row<rows>(i) < count && from + own_element(n) < width) {
        element *to = head + own_row<rows>(i) * stride + from + own_element(n);
        *to = (add ? *to : (real)0) + x[i][n] * factor;
      }
}

/* ---- which keys a query sees ---- */

/* The document of token `t` of a sequence, by its first token: one for all without documents, none
   behind the end. */
static __device__ __forceinline__ int32_t document_of(const int32_t *first, int64_t t,
                                                      int64_t time) {
  return t >= time ? INT32_MAX : first != NULL ? first[t] : 0;
}

/* The earliest key that a query of the tile sees, which begins at query `start`. */
static __device__ __forceinline__ int64_t earliest_key(const tile_memory &m, int64_t start,
                                                       int64_t window) {
  int32_t earliest = m.query_first[0];
  for (int i = 1; i < TILE; i++)
    earliest = m.query_first[i] < earliest ? m.query_first[i] : earliest;
  return earliest < start + 1 - window ? start + 1 - window : earliest;
}

/* Query i of a tile sees of another the keys behind i + after, up to i + until. */
typedef struct tile_span {
  int after, until;
} tile_span;

static __device__ __forceinline__ int within_tile(int64_t x) {
  return x < -TILE ? -TILE : x < TILE ? (int)x : TILE;
}

/* Of the tiles that begin at `query` and at `key`. */
static __device__ __forceinline__ tile_span span_of(int64_t query, int64_t key, int64_t window) {
  return { within_tile(query - key - window), within_tile(query - key) };
}

/* Tokens see those of their document and window up to themselves. */
static __device__ __forceinline__ bool visible(const tile_memory &m, int query, int key,
                                               tile_span span) {
  return key > query + span.after && key <= query + span.until &&
         m.query_first[query] == m.key_first[key];
}

/* ---- the work of a block ---- */

/* Part of the elements of a tile's results, of one head of one sequence. */
typedef struct tile_task {
  int64_t batch, head, start, from;
} tile_task;

#define PARTS(width, columns) (((width) + ACROSS * (columns)-1) / (ACROSS * (columns)))
#define TILES(time) (((time) + TILE - 1) / TILE)

/* Task n: parts, then tiles, from the one with the most to walk on, then heads, then sequences. */
static __device__ __forceinline__ tile_task find_task(int64_t n, const bam_attention &a,
                                                      int64_t heads, int columns, bool last_first) {
  const int64_t parts = PARTS(a.width, columns), tiles = TILES(a.time);
  const int64_t tile = n / parts % tiles, head = n / parts / tiles;
  return { head / heads, head % heads, (last_first ? tiles - 1 - tile : tile) * TILE,
           n % parts * (ACROSS * columns) };
}

#endif
