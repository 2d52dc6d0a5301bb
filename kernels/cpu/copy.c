/* Copies and fills within one dtype. */
#include "cpu.h"

/* Rows are shared among threads in pieces of this many elements, so that one long row is shared
   too. */
#define PIECE 65536

static int64_t pieces_of(int64_t n) { return (n + PIECE - 1) / PIECE; }

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void fill_rows(const bam_loop *loop, element *y, real v, int64_t rows, int64_t n,
                      int64_t step) {
  int64_t pieces = pieces_of(n);
#pragma omp for schedule(static)
  for (int64_t p = 0; p < rows * pieces; p++) {
    int64_t offset, from = p % pieces * PIECE, to = smaller(from + PIECE, n);
    loop_row(loop, p / pieces, 1, &offset);
    for (int64_t i = from; i < to; i++)
      y[offset + i * step] = v;
  }
}

void KERNEL(fill)(bam_stream stream, const bam_loop *loop, void *y_, double value) {
  (void)stream;
  element *y = y_;
  real v = (real)value;
  int64_t rows = loop_rows(loop), n = loop->size[loop->ndim - 1];
  int64_t step = loop->stride[0][loop->ndim - 1];
  SHARE(rows * n > 2 * PIECE, fill_rows(loop, y, v, rows, n, step));
}

static void copy_row(element *restrict y, int64_t sy, const element *restrict x, int64_t sx,
                     int64_t n) {
  if (sy == 1 && sx == 1)
    memcpy(y, x, (size_t)n * sizeof(real));
  else
    for (int64_t i = 0; i < n; i++)
      y[i * sy] = x[i * sx];
}

static void copy_rows(const bam_loop *loop, element *y, const element *x, int64_t rows, int64_t n) {
  int64_t sy = loop->stride[0][loop->ndim - 1], sx = loop->stride[1][loop->ndim - 1];
  int64_t pieces = pieces_of(n);
#pragma omp for schedule(static)
  for (int64_t p = 0; p < rows * pieces; p++) {
    int64_t offset[2], from = p % pieces * PIECE;
    loop_row(loop, p / pieces, 2, offset);
    copy_row(y + offset[0] + from * sy, sy, x + offset[1] + from * sx, sx,
             smaller(PIECE, n - from));
  }
}

/* y[i, j] = x[i, j] where x is a transposed matrix (unit stride along i): by square tiles,
   read along i into a buffer and written along j, so that power-of-two strides do not
   evict what is still needed. */
#define TILE 16
static void copy_tile(element *y, int64_t sy, const element *x, int64_t sx, int64_t rows,
                      int64_t columns) {
  element tile[TILE][TILE];
  for (int64_t j = 0; j < columns; j++)
    for (int64_t i = 0; i < rows; i++)
      tile[i][j] = x[i + j * sx];
  for (int64_t i = 0; i < rows; i++)
    memcpy(y + i * sy, tile[i], (size_t)columns * sizeof(real));
}

static void copy_transposed(const bam_loop *loop, element *y, const element *x) {
  int d = loop->ndim - 2;
  int64_t rows = loop->size[d], columns = loop->size[d + 1];
  int64_t sy = loop->stride[0][d], sx = loop->stride[1][d + 1];
#pragma omp for schedule(static)
  for (int64_t i = 0; i < rows; i += TILE)
    for (int64_t j = 0; j < columns; j += TILE)
      copy_tile(y + i * sy + j, sy, x + i + j * sx, sx, smaller(TILE, rows - i),
                smaller(TILE, columns - j));
}

static bool is_transposed(const bam_loop *loop) {
  int d = loop->ndim - 2;
  return loop->ndim >= 2 && loop->stride[1][d] == 1 && loop->stride[0][d + 1] == 1 &&
         loop->size[d] >= TILE && loop->size[d + 1] >= TILE;
}

static void copy_matrices(const bam_loop *loop, element *y, const element *x) {
  bam_loop outer = *loop;
  outer.ndim = loop->ndim - 1; /* loop_row ignores its last dimension: here the matrix's rows */
  int64_t matrices = loop_rows(&outer);
  for (int64_t m = 0; m < matrices; m++) {
    int64_t offset[2];
    loop_row(&outer, m, 2, offset);
    SHARE(loop->size[outer.ndim - 1] * loop->size[outer.ndim] > BAM_GRAIN,
          copy_transposed(loop, y + offset[0], x + offset[1]));
  }
}

void KERNEL(copy)(bam_stream stream, const bam_loop *loop, void *y_, const void *x_) {
  (void)stream;
  element *y = y_;
  const element *x = x_;
  if (is_transposed(loop)) {
    copy_matrices(loop, y, x);
    return;
  }
  int inner = loop->ndim - 1;
  int64_t rows = loop_rows(loop), n = loop->size[inner];
  SHARE(rows * n > BAM_GRAIN && (rows > 1 || n > 2 * PIECE), copy_rows(loop, y, x, rows, n));
}
