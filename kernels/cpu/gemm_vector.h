/* Products of a vector and a matrix, which read the matrix once, in the order of memory. */
#ifndef BAM_GEMM_VECTOR_H
#define BAM_GEMM_VECTOR_H

#include "gemm_tile.h"

#define GEMM_VECTOR_UNIT (16 * LANES) /* results are shared out, and summed, in this many */

/* y[i] = alpha sum over p of x[p] matrix[i, p] + beta y[i]; with beta 0 y is not read. */
typedef struct gemm_vector {
  int64_t count, depth;
  real alpha, beta;
  real *y;
  int64_t y_step;
  const real *x;
  int64_t x_step;
  const real *matrix; /* element (i, p) at [i * ld + p] if along_depth, else at [p * ld + i] */
  int64_t ld;
  bool along_depth;
} gemm_vector;

static inline void write_result(const gemm_vector *v, int64_t i, real sum, real beta) {
  real *y = &v->y[i * v->y_step];
  *y = v->alpha * sum + (beta == 0 ? 0 : beta * *y);
}

/* Results i to before `last`, at most GEMM_VECTOR_UNIT: every element is summed in the order of the depth, as a tile's
   is. */
static inline void sum_columns(const gemm_vector *v, int64_t i, int64_t last) {
  const int64_t step = gemm_block_depth(v->depth);
  for (int64_t first = 0; first < v->depth; first += step) {
    const int64_t end = first + step < v->depth ? first + step : v->depth;
    real sum[GEMM_VECTOR_UNIT] = { 0 };
    for (int64_t p = first; p < end; p++) {
      const real x = v->x[p * v->x_step];
      const real *row = v->matrix + p * v->ld + i;
      for (int64_t j = 0; j < last - i; j++)
        sum[j] += x * row[j];
    }
    for (int64_t j = i; j < last; j++)
      write_result(v, j, sum[j - i], first == 0 ? v->beta : 1);
  }
}

#define DOTS 4 /* independent sums, to hide the latency of multiply-adds */

/* A dot product along contiguous memory. It is summed by lanes: in another order than a tile. */
static inline real dot(const real *x, const real *row, int64_t depth) {
  vector sum[DOTS] = { { 0 } };
  int64_t p = 0;
  for (; p + DOTS * LANES <= depth; p += DOTS * LANES)
    UNROLL for (int d = 0; d < DOTS; d++)
      sum[d] += *(const vector_in_memory *)(x + p + d * LANES) *
                *(const vector_in_memory *)(row + p + d * LANES);
  const vector all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  real total = 0;
  for (int l = 0; l < LANES; l++)
    total += all[l];
  for (; p < depth; p++)
    total += x[p] * row[p];
  return total;
}

static inline real strided_dot(const gemm_vector *v, const real *row) {
  real total = 0;
  for (int64_t p = 0; p < v->depth; p++)
    total += v->x[p * v->x_step] * row[p];
  return total;
}

/* Results first to before `last`. */
static inline void multiply_vector(const gemm_vector *v, int64_t first, int64_t last) {
  if (!v->along_depth)
    for (int64_t i = first; i < last; i += GEMM_VECTOR_UNIT)
      sum_columns(v, i, i + GEMM_VECTOR_UNIT < last ? i + GEMM_VECTOR_UNIT : last);
  else
    for (int64_t i = first; i < last; i++) {
      const real *row = v->matrix + i * v->ld;
      write_result(v, i, v->x_step == 1 ? dot(v->x, row, v->depth) : strided_dot(v, row), v->beta);
    }
}
#endif
