/* The innermost part of matrix products: a tile of C of up to TILE_ROWS rows and TILE_COLUMNS columns stays in
   registers while it is summed over the depth.

   Every element of C is one chain of multiply-adds in the order of the depth, whatever the tile's size. So its bits
   depend neither on the shape of the product around it, nor on blocking, nor on the number of threads. */
#ifndef BAM_GEMM_TILE_H
#define BAM_GEMM_TILE_H

#include "tile.h"

#define GEMM_DEPTH 384

/* The depth k is summed in blocks of equal size, at most GEMM_DEPTH. Bits depend on the size, so it depends on k
   alone. */
static inline int64_t gemm_block_depth(int64_t k) {
  const int64_t blocks = (k + GEMM_DEPTH - 1) / GEMM_DEPTH;
  return k > 0 ? round_up((k + blocks - 1) / blocks, 8) : 8;
}

/* C = alpha A B + beta C for one tile. With beta = 0 C is not read. C has whole vectors of columns; the caller gives a
   buffer where the matrix ends before. */
typedef struct gemm_tile {
  real *c;
  int64_t ldc;
  const real
    *a; /* element (r, p) at a[r * lda + p], or a[r + p * lda] where A is stored transposed */
  int64_t lda;
  const real *b; /* element (p, j) at b[p * ldb + j] */
  int64_t ldb;
  int64_t depth;
  real alpha, beta;
} gemm_tile;

typedef vector tile_sums[TILE_ROWS][2];

INLINE void clear_sums(tile_sums sum, int rows, int vectors) {
  UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < vectors; v++)
    sum[r][v] = (vector){ 0 };
}

INLINE void store_sums(const gemm_tile *t, tile_sums sum, int rows, int vectors) {
  real *c = t->c;
  if (t->beta == 0) {
    UNROLL for (int r = 0; r < rows; r++, c += t->ldc) UNROLL for (int v = 0; v < vectors; v++) *
      (vector_in_memory *)(c + v * LANES) = t->alpha * sum[r][v];
  } else {
    UNROLL for (int r = 0; r < rows; r++, c += t->ldc) UNROLL for (int v = 0; v < vectors; v++) {
      vector_in_memory *to = (vector_in_memory *)(c + v * LANES);
      *to = t->beta * *to + t->alpha * sum[r][v];
    }
  }
}

/* Three rows of A share a pointer, so that all pointers stay in registers. */
INLINE void tile_rows(const gemm_tile *t, int rows, int vectors) {
  tile_sums sum;
  clear_sums(sum, rows, vectors);
  const int64_t lda = t->lda;
  const real *a[TILE_ROWS / 3], *b = t->b;
  UNROLL for (int g = 0; 3 * g < rows; g++) a[g] = t->a + 3 * g * lda;
  for (int64_t p = 0; p < t->depth; p++, b += t->ldb) {
    vector row[2];
    UNROLL for (int v = 0; v < vectors; v++) row[v] = *(const vector_in_memory *)(b + v * LANES);
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < vectors; v++)
      sum[r][v] += a[r / 3][r % 3 * lda] * row[v];
    UNROLL for (int g = 0; 3 * g < rows; g++) a[g]++;
  }
  store_sums(t, sum, rows, vectors);
}

INLINE void tile_rows_transposed(const gemm_tile *t, int rows, int vectors) {
  tile_sums sum;
  clear_sums(sum, rows, vectors);
  const real *a = t->a, *b = t->b;
  for (int64_t p = 0; p < t->depth; p++, a += t->lda, b += t->ldb) {
    vector row[2];
    UNROLL for (int v = 0; v < vectors; v++) row[v] = *(const vector_in_memory *)(b + v * LANES);
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < vectors; v++)
      sum[r][v] += a[r] * row[v];
  }
  store_sums(t, sum, rows, vectors);
}

/* ---- tiles of all heights ---- */

#define TILE(rows)                                                          \
  static void tile_##rows(const gemm_tile *t, bool transposed, bool wide) { \
    if (transposed && wide)                                                 \
      tile_rows_transposed(t, rows, 2);                                     \
    else if (transposed)                                                    \
      tile_rows_transposed(t, rows, 1);                                     \
    else if (wide)                                                          \
      tile_rows(t, rows, 2);                                                \
    else                                                                    \
      tile_rows(t, rows, 1);                                                \
  }
#if TILE_ROWS == 12
TILE(12)
TILE(8)
#else
TILE(6)
#endif
TILE(4)
TILE(2)
TILE(1)

typedef struct tile_height {
  int64_t rows;
  void (*run)(const gemm_tile *t, bool transposed, bool wide);
} tile_height;

static const tile_height heights[] = {
#if TILE_ROWS == 12
  { 12, tile_12 }, { 8, tile_8 },
#else
  { 6, tile_6 },
#endif
  { 4, tile_4 },   { 2, tile_2 }, { 1, tile_1 },
};

static const tile_height *highest(int64_t rows) {
  const tile_height *height = heights;
  while (height->rows > rows)
    height++;
  return height;
}

/* Compute a tile of `columns` columns. Where these do not fill vectors, it goes through a buffer. */
static void run_tile(const tile_height *height, gemm_tile t, bool transposed, int64_t columns) {
  const bool wide = columns > LANES;
  const int64_t whole = wide ? TILE_COLUMNS : LANES;
  if (columns == whole) {
    height->run(&t, transposed, wide);
    return;
  }
  real buffer[TILE_ROWS * TILE_COLUMNS];
  const size_t bytes = sizeof(real) * (size_t)columns;
  gemm_tile inner = t;
  inner.c = buffer;
  inner.ldc = whole;
  for (int64_t r = 0; r < height->rows && t.beta != 0; r++)
    memcpy(buffer + r * whole, t.c + r * t.ldc, bytes);
  height->run(&inner, transposed, wide);
  for (int64_t r = 0; r < height->rows; r++)
    memcpy(t.c + r * t.ldc, buffer + r * whole, bytes);
}
#endif
