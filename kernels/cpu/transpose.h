/* Transposed copies of small matrices, four by four elements at a time. */
#ifndef BAM_CPU_TRANSPOSE_H
#define BAM_CPU_TRANSPOSE_H

#include "cpu.h"

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
#endif
