/* Moving rows by position: y is [outer, n, inner], x is [outer, m, inner], and moves say which of
   x's m rows go to which of y's n, for all `outer` alike.

   Rows that are added at one place form a run of the sorted moves. The moves are cut into chunks,
   and a thread sums up one column of a chunk, or a pack of columns, run by run. The chunk in which
   a run begins adds its sum to y; the chunks that continue it leave their sums as rows, which are
   then moved to the same place in the same way. So the order of additions depends on the positions
   only, and a place where many rows meet is hardly slower than others. */
#ifndef BAM_CUDA_MOVE_ROWS_H
#define BAM_CUDA_MOVE_ROWS_H

#include "pack.h"
#include "scatter.h"

#include "../scalar.h"

typedef struct move_shape {
  int64_t outer, n, m, inner;
} move_shape;

template <class Index>
static __device__ __forceinline__ void split_as(int64_t i, int64_t n, int64_t *whole,
                                                int64_t *rest) {
  *whole = (int64_t)((Index)i / (Index)n);
  *rest = (int64_t)((Index)i % (Index)n);
}

/* i = whole * n + rest. */
static __device__ __forceinline__ void split(int64_t i, int64_t n, int64_t *whole, int64_t *rest) {
  if ((i | n) <= UINT32_MAX) /* 32-bit division is several times faster */
    split_as<uint32_t>(i, n, whole, rest);
  else
    split_as<uint64_t>(i, n, whole, rest);
}

/* ---- taking rows ---- */

template <class T>
static __global__ void take_elements(T *x, const T *y, const int64_t *positions, int64_t base,
                                     int64_t count, move_shape shape) {
  BAM_EACH(t, count) {
    int64_t row, i, o, j;
    split(t, shape.inner, &row, &i);
    split(row, shape.m, &o, &j);
    x[t] = y[(o * shape.n + positions[j] - base) * shape.inner + i];
  }
}

/* The other way: row j of x is a copy of row positions[j] - base of y; in pieces of 16 bytes where
   rows are made of those. */
static inline void take_rows(bam_stream stream, element *x, const element *y,
                             const int64_t *positions, int64_t base, move_shape shape) {
  const int64_t wide = (int64_t)(sizeof(uint4) / sizeof(element));
  int64_t count = shape.outer * shape.m * shape.inner;
  if (shape.inner % wide == 0 && ((uintptr_t)x | (uintptr_t)y) % sizeof(uint4) == 0) {
    count /= wide;
    shape.inner /= wide;
    BAM_LAUNCH(stream, (take_elements<uint4>), BAM_BLOCKS(count), BAM_BLOCK, 0, (uint4 *)x,
               (const uint4 *)y, positions, base, count, shape);
  } else {
    BAM_LAUNCH(stream, (take_elements<element>), BAM_BLOCKS(count), BAM_BLOCK, 0, x, y, positions,
               base, count, shape);
  }
}

/* ---- listing moves ---- */

template <class F>
static __global__ void list_moves(bam_cuda_move *moves, int64_t count, F move_of) {
  BAM_EACH(j, count) moves[j] = move_of(j);
}

struct move_of_row {
  const int64_t *positions;
  int64_t base;
  __device__ bam_cuda_move operator()(int64_t j) const { return { positions[j] - base, j }; }
};

static inline char *cut(char **memory, int64_t bytes) {
  char *piece = *memory;
  *memory += (bytes + 255) & -256;
  return piece;
}

/* The moves move_of(0 .. count - 1), sorted, in scratch memory with at least `more` bytes behind
   them, which *rest receives; NULL without memory. */
template <class F>
static bam_cuda_move *sorted_moves(bam_stream stream, int64_t count, F move_of, int64_t more,
                                   char **rest) {
  const int64_t bytes = count * (int64_t)sizeof(bam_cuda_move);
  *rest = (char *)bam_cuda_scratch(stream, 2 * (bytes + 256) + more);
  if (*rest == NULL)
    return NULL;
  bam_cuda_move *moves = (bam_cuda_move *)cut(rest, bytes);
  bam_cuda_move *spare = (bam_cuda_move *)cut(rest, bytes);
  BAM_LAUNCH(stream, (list_moves<F>), BAM_BLOCKS(count), BAM_BLOCK, 0, moves, count, move_of);
  return bam_cuda_sort_moves(stream, moves, spare, count);
}

/* ---- adding rows ---- */

#define CHUNK 32 /* moves that one thread sums up */

BAM_FUNCTION int64_t chunks_of(int64_t count) { return (count + CHUNK - 1) / CHUNK; }

template <int width>
static __device__ __forceinline__ void add_pack(pack<width, real> &sum,
                                                const pack<width, real> &x) {
  BAM_EACH_IN_PACK(i) sum.at[i] = (real)ADD(sum.at[i], x.at[i]);
}

/* Add to what is at a place of y, of elements or of reals. */
template <int width, class Y>
static __device__ __forceinline__ void add_to(Y *place, const pack<width, real> &x) {
  pack<width, Y> sum = load_pack<width>(place);
  BAM_EACH_IN_PACK(i) sum.at[i] = (real)ADD(sum.at[i], x.at[i]);
  store_pack(place, sum);
}

/* For each chunk of the sorted moves[count] and each `width` columns, add the sums of its runs to y;
   but that of a run which began before goes to part[outer, chunks, inner], and next[chunk] moves it
   on. */
template <class Y, class X, int width>
static __global__ void add_runs(Y *y, const X *x, move_shape shape, const bam_cuda_move *moves,
                                int64_t count, real *part, bam_cuda_move *next) {
  const int64_t chunks = chunks_of(count), packs = shape.inner / width;
  BAM_EACH(t, chunks * shape.outer * packs) {
    int64_t chunk, column, o, i;
    split(t, shape.outer * packs, &chunk, &column);
    split(column, packs, &o, &i);
    i *= width;
    const X *from = x + o * shape.m * shape.inner + i;
    const int64_t first = chunk * CHUNK, last = first + CHUNK < count ? first + CHUNK : count;
    const bool continues = first > 0 && moves[first - 1].to == moves[first].to;
    if (column == 0)
      next[chunk] = { continues ? moves[first].to : -1, chunk };
    for (int64_t k = first; k < last;) {
      const int64_t begin = k, to = moves[k++].to;
      if (to < 0)
        continue;
      pack<width, real> sum = numbers(load_pack<width>(from + moves[begin].from * shape.inner));
      for (; k < last && moves[k].to == to; k++)
        add_pack(sum, numbers(load_pack<width>(from + moves[k].from * shape.inner)));
      if (begin == first && continues) {
        store_pack(&part[(o * chunks + chunk) * shape.inner + i], sum);
      } else {
        add_to(&y[(o * shape.n + to) * shape.inner + i], sum);
      }
    }
  }
}

/* Bytes of what is left to move after each round. */
static inline int64_t bytes_to_add(int64_t count, int64_t columns) {
  const int64_t row = columns * (int64_t)sizeof(real) + (int64_t)sizeof(bam_cuda_move);
  int64_t bytes = 0;
  do {
    count = chunks_of(count);
    bytes += count * row + 512;
  } while (count > 1);
  return bytes;
}

template <int width, class Y, class X>
static void launch_runs(bam_stream stream, Y *y, const X *x, move_shape shape,
                        const bam_cuda_move *moves, int64_t count, real *part,
                        bam_cuda_move *next) {
  const int64_t packs = chunks_of(count) * shape.outer * shape.inner / width;
  BAM_LAUNCH(stream, (add_runs<Y, X, width>), BAM_BLOCKS(packs), BAM_BLOCK, 0, y, x, shape, moves,
             count, part, next);
}

/* Add the rows of x that are moved to one place of y, and what is there, for all places. Y is element or real. */
template <class Y, class F>
static void add_rows(bam_stream stream, Y *y, const element *x, move_shape shape, int64_t count,
                     F move_of) {
  const int64_t columns = shape.outer * shape.inner;
  const bool packed = shape.inner % PACK == 0 && pack_aligned(y, x);
  char *rest;
  if (count == 0 || columns == 0)
    return;
  const bam_cuda_move *moves = sorted_moves(stream, count, move_of, bytes_to_add(count, columns),
                                            &rest);
  const real *sums = NULL; /* of the round before: what is moved from the second one on */
  for (int64_t chunks; moves != NULL; count = chunks) {
    chunks = chunks_of(count);
    bam_cuda_move *next = (bam_cuda_move *)cut(&rest, chunks * (int64_t)sizeof *next);
    real *part = (real *)cut(&rest, chunks * columns * (int64_t)sizeof *part);
    if (sums == NULL && packed)
      launch_runs<PACK>(stream, y, x, shape, moves, count, part, next);
    else if (sums == NULL)
      launch_runs<1>(stream, y, x, shape, moves, count, part, next);
    else if (packed)
      launch_runs<PACK>(stream, y, sums, shape, moves, count, part, next);
    else
      launch_runs<1>(stream, y, sums, shape, moves, count, part, next);
    moves = chunks > 1 ? next : NULL;
    sums = part;
    shape.m = chunks;
  }
}

#endif
