/* Packing of operands of matrix products: copies whose elements lie in the order in which tiles read them. */
#ifndef BAM_GEMM_PACK_H
#define BAM_GEMM_PACK_H

#include "gemm_tile.h"

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

typedef real quad __attribute__((vector_size(4 * sizeof(real))));
typedef real quad_in_memory
  __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));
#ifdef BAM_TYPE_f32
typedef int32_t quad_index __attribute__((vector_size(16)));
#else
typedef int64_t quad_index __attribute__((vector_size(32)));
#endif

/* Transpose 4 x 4 elements. */
static inline void transpose_quad(real *to, int64_t to_ld, const real *from, int64_t ld) {
  quad a = *(const quad_in_memory *)from, b = *(const quad_in_memory *)(from + ld);
  quad c = *(const quad_in_memory *)(from + 2 * ld), d = *(const quad_in_memory *)(from + 3 * ld);
  const quad_index low = { 0, 4, 1, 5 }, high = { 2, 6, 3, 7 };
  quad ac = __builtin_shuffle(a, c, low), bd = __builtin_shuffle(b, d, low);
  quad ac2 = __builtin_shuffle(a, c, high), bd2 = __builtin_shuffle(b, d, high);
  *(quad_in_memory *)to = __builtin_shuffle(ac, bd, low);
  *(quad_in_memory *)(to + to_ld) = __builtin_shuffle(ac, bd, high);
  *(quad_in_memory *)(to + 2 * to_ld) = __builtin_shuffle(ac2, bd2, low);
  *(quad_in_memory *)(to + 3 * to_ld) = __builtin_shuffle(ac2, bd2, high);
}

/* to[i][j] = from[j][i] for `rows` rows and `columns` columns of `to`. */
static inline void transpose(real *to, int64_t to_ld, const real *from, int64_t ld, int64_t rows,
                             int64_t columns) {
  const int64_t quads = columns / 4 * 4, whole = rows / 4 * 4;
  for (int64_t i = 0; i < whole; i += 4)
    for (int64_t j = 0; j < quads; j += 4)
      transpose_quad(to + i * to_ld + j, to_ld, from + j * ld + i, ld);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = i < whole ? quads : 0; j < columns; j++)
      to[i * to_ld + j] = from[j * ld + i];
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
