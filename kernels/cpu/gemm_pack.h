/* Packing of operands of matrix products: copies whose elements lie in the order in which tiles read them. */
#ifndef BAM_GEMM_PACK_H
#define BAM_GEMM_PACK_H

#include "gemm_tile.h"
#include "transpose.h"

/* Copy rows of B to a panel of TILE_COLUMNS columns, with zeros after the last of `columns`. */
static inline void pack_rows(real *panel, const real *b, int64_t ldb, int64_t depth,
                             int64_t columns) {
  if (columns == TILE_COLUMNS) {
    for (int64_t p = 0; p < depth; p++)
      memcpy(panel + p * TILE_COLUMNS, b + p * ldb, sizeof(real) * TILE_COLUMNS);
    return;
  }
  memset(panel, 0, sizeof(real) * (size_t)(depth * TILE_COLUMNS));
  for (int64_t p = 0; p < depth; p++)
    memcpy(panel + p * TILE_COLUMNS, b + p * ldb, sizeof(real) * (size_t)columns);
}

/* The same where B is stored transposed: its columns are contiguous, `ldb` apart. */
static inline void pack_columns(real *panel, const real *b, int64_t ldb, int64_t depth,
                                int64_t columns) {
  if (columns < TILE_COLUMNS)
    memset(panel, 0, sizeof(real) * (size_t)(depth * TILE_COLUMNS));
  transpose(panel, TILE_COLUMNS, b, ldb, depth, columns);
}

/* Copy `rows` columns of A, which is stored transposed, so that they are back to back. */
static inline void pack_a(real *panel, const real *a, int64_t lda, int64_t depth, int64_t rows) {
  if (rows == TILE_ROWS)
    for (int64_t p = 0; p < depth; p++)
      memcpy(panel + p * TILE_ROWS, a + p * lda, sizeof(real) * TILE_ROWS);
  else
    for (int64_t p = 0; p < depth; p++)
      for (int64_t r = 0; r < rows; r++)
        panel[p * TILE_ROWS + r] = a[p * lda + r];
}
#endif
