/* Products of small row-major matrices that are already in cache, register-blocked: TILE_ROWS rows
   by two vectors of the result stay in registers over the whole depth. The attention kernels are
   made of them.

   Everything may be read and written up to the next multiple of TILE_ROWS rows and LANES columns:
   tiles are allocated and zeroed accordingly. */
#ifndef BAM_TILE_H
#define BAM_TILE_H

#include <omp.h>

#include "cpu.h"

#if defined __AVX512F__
#define VECTOR_BYTES 64
#define TILE_ROWS 12
#elif defined __AVX__
#define VECTOR_BYTES 32
#define TILE_ROWS 6
#else
#define VECTOR_BYTES 16
#define TILE_ROWS 6
#endif
#define LANES ((int64_t)(VECTOR_BYTES / sizeof(real)))
#define TILE_COLUMNS (2 * LANES)
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

typedef real vector __attribute__((vector_size(VECTOR_BYTES)));
typedef real vector_in_memory
  __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

/* A matrix by steps: element (i, j) is at data[i * row + j * column]. */
typedef struct tile_view {
  const real *data;
  int64_t row, column;
} tile_view;

/* Which thread of the parallel region this is: its part of the scratch. */
static inline int64_t thread_number(void) { return omp_get_thread_num(); }

static inline int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/* c[TILE_ROWS][vectors * LANES] = a[TILE_ROWS][depth] b[depth][...], or += with `add`. */
static inline __attribute__((always_inline)) void tile_block(int vectors, real *c, int64_t ldc,
                                                             tile_view a, const real *b,
                                                             int64_t ldb, int64_t depth, bool add) {
  vector sum[TILE_ROWS][2];
  for (int r = 0; r < TILE_ROWS; r++)
    for (int v = 0; v < vectors; v++)
      sum[r][v] = (vector){ 0 };
  for (int64_t p = 0; p < depth; p++) {
    vector row[2];
    for (int v = 0; v < vectors; v++)
      row[v] = *(const vector_in_memory *)(b + p * ldb + v * LANES);
    for (int r = 0; r < TILE_ROWS; r++)
      for (int v = 0; v < vectors; v++)
        sum[r][v] += a.data[r * a.row + p * a.column] * row[v];
  }
  for (int r = 0; r < TILE_ROWS; r++)
    for (int v = 0; v < vectors; v++) {
      vector_in_memory *to = (vector_in_memory *)(c + r * ldc + v * LANES);
      if (add)
        sum[r][v] += *to;
      *to = sum[r][v];
    }
}

/* c[TILE_ROWS][columns] = or += a b, for any number of columns. `a` has unit row or unit column
   steps, which the two calls tell the compiler. */
INLINE void tile_row(real *c, int64_t ldc, tile_view a, const real *b, int64_t ldb, int64_t columns,
                     int64_t depth, bool add) {
  int64_t j = 0;
  if (a.column == 1) {
    a.column = 1;
    for (; j + LANES < columns; j += TILE_COLUMNS)
      tile_block(2, c + j, ldc, a, b + j, ldb, depth, add);
    if (j < columns)
      tile_block(1, c + j, ldc, a, b + j, ldb, depth, add);
  } else {
    a.row = 1;
    for (; j + LANES < columns; j += TILE_COLUMNS)
      tile_block(2, c + j, ldc, a, b + j, ldb, depth, add);
    if (j < columns)
      tile_block(1, c + j, ldc, a, b + j, ldb, depth, add);
  }
}

#endif
