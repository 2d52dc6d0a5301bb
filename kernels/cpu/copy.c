/* Copies and fills within one dtype. */
#include "cpu.h"

static void fill_rows(const bam_loop *loop, real *y, real v, int64_t rows, int64_t n,
                      int64_t step) {
#pragma omp for schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    int64_t offset;
    loop_row(loop, r, 1, &offset);
    for (int64_t i = 0; i < n; i++)
      y[offset + i * step] = v;
  }
}

void KERNEL(fill)(bam_stream stream, const bam_loop *loop, void *y_, double value) {
  (void)stream;
  real *y = y_, v = (real)value;
  int64_t rows = loop_rows(loop), n = loop->size[loop->ndim - 1];
  int64_t step = loop->stride[0][loop->ndim - 1];
  SHARE(rows > 1 && rows * n > BAM_GRAIN, fill_rows(loop, y, v, rows, n, step));
}

static void copy_row(real *restrict y, int64_t sy, const real *restrict x, int64_t sx, int64_t n) {
  if (sy == 1 && sx == 1)
    memcpy(y, x, (size_t)n * sizeof(real));
  else
    for (int64_t i = 0; i < n; i++)
      y[i * sy] = x[i * sx];
}

/* y[i, j] = x[i, j] where x is a transposed matrix (unit stride along i): by tiles, so that both sides
   stay in cache lines. */
#define TILE 32
static void copy_transposed(const bam_loop *loop, real *y, const real *x) {
  int d = loop->ndim - 2;
  int64_t rows = loop->size[d], columns = loop->size[d + 1];
  int64_t sy = loop->stride[0][d], sx = loop->stride[1][d + 1];
#pragma omp parallel for if (rows * columns > BAM_GRAIN)
  for (int64_t i0 = 0; i0 < rows; i0 += TILE)
    for (int64_t j0 = 0; j0 < columns; j0 += TILE)
      for (int64_t i = i0; i < rows && i < i0 + TILE; i++)
        for (int64_t j = j0; j < columns && j < j0 + TILE; j++)
          y[i * sy + j] = x[i + j * sx];
}

static void copy_rows(const bam_loop *loop, real *y, const real *x, int64_t rows, int64_t n) {
  int64_t sy = loop->stride[0][loop->ndim - 1], sx = loop->stride[1][loop->ndim - 1];
#pragma omp for schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    int64_t offset[2];
    loop_row(loop, r, 2, offset);
    copy_row(y + offset[0], sy, x + offset[1], sx, n);
  }
}

static bool is_transposed(const bam_loop *loop) {
  int d = loop->ndim - 2;
  return loop->ndim >= 2 && loop->stride[1][d] == 1 && loop->stride[0][d + 1] == 1 &&
         loop->size[d] >= TILE && loop->size[d + 1] >= TILE;
}

static void copy_matrices(const bam_loop *loop, real *y, const real *x) {
  bam_loop outer = *loop;
  outer.ndim = loop->ndim - 1; /* loop_row ignores its last dimension: here the matrix's rows */
  int64_t matrices = loop_rows(&outer);
  for (int64_t m = 0; m < matrices; m++) {
    int64_t offset[2];
    loop_row(&outer, m, 2, offset);
    copy_transposed(loop, y + offset[0], x + offset[1]);
  }
}

void KERNEL(copy)(bam_stream stream, const bam_loop *loop, void *y_, const void *x_) {
  (void)stream;
  real *y = y_;
  const real *x = x_;
  if (is_transposed(loop)) {
    copy_matrices(loop, y, x);
    return;
  }
  int inner = loop->ndim - 1;
  int64_t rows = loop_rows(loop), n = loop->size[inner];
  SHARE(rows > 1 && rows * n > BAM_GRAIN, copy_rows(loop, y, x, rows, n));
}
