/* Moving elements by position. x is [outer, n, inner] and the side with positions [outer, m,
   inner]; positions count from 1 and have been checked. Where several sources meet at one place
   they arrive in the order of m, on one thread: threads share the columns, never one column. */
#include "cpu.h"

#define COLUMNS 256 /* a thread's share of the innermost dimension */

/* a + b, where integers wrap. */
#if BAM_FLOATING
#define ADD(a, b) ((a) + (b))
#else
#define ADD(a, b) ((real)((uint64_t)(a) + (uint64_t)(b)))
#endif

static int64_t column_blocks(int64_t inner) { return (inner + COLUMNS - 1) / COLUMNS; }

static int64_t block_end(int64_t first, int64_t inner) {
  return first + COLUMNS < inner ? first + COLUMNS : inner;
}

/* The index of the first element outside low .. high, or -1. */
void KERNEL(find_outside)(bam_stream stream, int64_t *found, const void *x_, int64_t n, int64_t low,
                          int64_t high) {
  (void)stream;
  const element *x = x_;
  *found = -1;
  for (int64_t i = 0; i < n; i++)
    if ((int64_t)x[i] < low || (int64_t)x[i] > high) {
      *found = i;
      return;
    }
}

/* ---- whole rows: positions is [m] ---- */

void KERNEL(index_select)(bam_stream stream, void *y_, const void *x_, const int64_t *positions,
                          int64_t outer, int64_t n, int64_t m, int64_t inner) {
  (void)stream;
  element *y = y_;
  const element *x = x_;
#pragma omp parallel for collapse(2) if (outer * m * inner > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    for (int64_t j = 0; j < m; j++) {
      const element *from = x + (o * n + positions[j] - 1) * inner;
      if (inner == 1)
        y[o * m + j] = *from;
      else
        memcpy(y + (o * m + j) * inner, from, (size_t)inner * sizeof(real));
    }
}

void KERNEL(index_add)(bam_stream stream, void *y_, const void *x_, const int64_t *positions,
                       int64_t outer, int64_t n, int64_t m, int64_t inner) {
  (void)stream;
  element *y = y_;
  const element *x = x_;
  int64_t blocks = column_blocks(inner);
#pragma omp parallel for collapse(2) if (outer * m * inner > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    for (int64_t b = 0; b < blocks; b++)
      for (int64_t j = 0; j < m; j++) {
        element *to = y + (o * n + positions[j] - 1) * inner;
        const element *from = x + (o * m + j) * inner;
        for (int64_t i = b * COLUMNS; i < block_end(b * COLUMNS, inner); i++)
          to[i] = ADD(to[i], from[i]);
      }
}

/* The last of several sources for one place stays. */
void KERNEL(index_put)(bam_stream stream, void *y_, const void *x_, const int64_t *positions,
                       int64_t outer, int64_t n, int64_t m, int64_t inner) {
  (void)stream;
  element *y = y_;
  const element *x = x_;
#pragma omp parallel for if (outer * m * inner > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    for (int64_t j = 0; j < m; j++)
      memcpy(y + (o * n + positions[j] - 1) * inner, x + (o * m + j) * inner,
             (size_t)inner * sizeof(real));
}

/* ---- single elements: positions is [outer, m, inner] ---- */

void KERNEL(gather)(bam_stream stream, void *y_, const void *x_, const int64_t *positions,
                    int64_t outer, int64_t n, int64_t m, int64_t inner) {
  (void)stream;
  element *y = y_;
  const element *x = x_;
#pragma omp parallel for collapse(2) if (outer * m * inner > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    for (int64_t j = 0; j < m; j++) {
      int64_t row = (o * m + j) * inner;
      for (int64_t i = 0; i < inner; i++)
        y[row + i] = x[(o * n + positions[row + i] - 1) * inner + i];
    }
}

void KERNEL(scatter_add)(bam_stream stream, void *y_, const void *x_, const int64_t *positions,
                         int64_t outer, int64_t n, int64_t m, int64_t inner) {
  (void)stream;
  element *y = y_;
  const element *x = x_;
  int64_t blocks = column_blocks(inner);
#pragma omp parallel for collapse(2) if (outer * m * inner > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    for (int64_t b = 0; b < blocks; b++)
      for (int64_t j = 0; j < m; j++)
        for (int64_t i = b * COLUMNS; i < block_end(b * COLUMNS, inner); i++) {
          int64_t from = (o * m + j) * inner + i;
          element *to = y + (o * n + positions[from] - 1) * inner + i;
          *to = ADD(*to, x[from]);
        }
}

/* ---- masks ---- */

void KERNEL(count_nonzero)(bam_stream stream, int64_t *count, const void *x_, int64_t n) {
  (void)stream;
  const element *x = x_;
  int64_t found = 0;
  for (int64_t i = 0; i < n; i++)
    found += x[i] != 0;
  *count = found;
}

/* The positions of the elements that are not zero, in order; there is room for all of them. */
void KERNEL(nonzero)(bam_stream stream, int64_t *positions, const void *x_, int64_t n) {
  (void)stream;
  const element *x = x_;
  for (int64_t i = 0; i < n; i++)
    if (x[i] != 0)
      *positions++ = i + 1;
}

/* ---- triangles ---- */

/* y = x on one side of the `diagonal` of each matrix, and on it; 0 on the other. */
void KERNEL(triangle)(bam_stream stream, void *y_, const void *x_, int64_t matrices, int64_t rows,
                      int64_t columns, int64_t diagonal, bool upper) {
  (void)stream;
  element *y = y_;
  const element *x = x_;
#pragma omp parallel for if (matrices * rows * columns > BAM_GRAIN)
  for (int64_t r = 0; r < matrices * rows; r++) {
    int64_t split = r % rows + diagonal + !upper; /* first column of the right-hand part */
    split = split < 0 ? 0 : split > columns ? columns : split;
    element *to = y + r * columns;
    const element *from = x + r * columns;
    size_t left = (size_t)split * sizeof(real), right = (size_t)(columns - split) * sizeof(real);
    if (upper) {
      memset(to, 0, left);
      memcpy(to + split, from + split, right);
    } else {
      memcpy(to, from, left);
      memset(to + split, 0, right);
    }
  }
}
