/* Moving elements by position. x is [outer, n, inner] and the side with positions [outer, m,
   inner]; positions count from 1 and have been checked. Where several sources meet at one place,
   what comes of it depends on the order of m, never on the order of threads. */
#include "find_first.h"
#include "scatter_add.h"

template <class T> struct is_outside {
  const T *x;
  int64_t low, high;
  __device__ bool operator()(int64_t i) const {
    return (int64_t)x[i] < low || (int64_t)x[i] > high;
  }
};

void KERNEL(find_outside)(bam_stream stream, int64_t *found, const void *x, int64_t n, int64_t low,
                          int64_t high) {
  const is_outside<element> outside = { (const element *)x, low, high };
  *found = first_index(stream, n, outside);
}

/* ---- whole rows: positions is [m] ---- */

void KERNEL(index_select)(bam_stream stream, void *y, const void *x, const int64_t *positions,
                          int64_t outer, int64_t n, int64_t m, int64_t inner) {
  const move_shape shape = { outer, n, m, inner };
  take_rows(stream, (element *)y, (const element *)x, positions, 1, shape);
}

void KERNEL(index_add)(bam_stream stream, void *y, const void *x, const int64_t *positions,
                       int64_t outer, int64_t n, int64_t m, int64_t inner) {
  const move_shape shape = { outer, n, m, inner };
  const move_of_row move_of = { positions, 1 };
  add_rows(stream, (element *)y, (const element *)x, shape, m, move_of);
}

/* The last of the rows that go to one place is copied there. */
static __global__ void put_last(element *y, const element *x, move_shape shape,
                                const bam_cuda_move *moves) {
  const int64_t columns = shape.outer * shape.inner;
  BAM_EACH(t, shape.m * columns) {
    int64_t k, column, o, i;
    split(t, columns, &k, &column);
    split(column, shape.inner, &o, &i);
    if (k + 1 == shape.m || moves[k + 1].to != moves[k].to)
      y[(o * shape.n + moves[k].to) * shape.inner + i] =
        x[(o * shape.m + moves[k].from) * shape.inner + i];
  }
}

void KERNEL(index_put)(bam_stream stream, void *y, const void *x, const int64_t *positions,
                       int64_t outer, int64_t n, int64_t m, int64_t inner) {
  const move_shape shape = { outer, n, m, inner };
  const move_of_row move_of = { positions, 1 };
  char *rest;
  const bam_cuda_move *moves = sorted_moves(stream, m, move_of, 0, &rest);
  if (moves != NULL)
    BAM_LAUNCH(stream, put_last, BAM_BLOCKS(m * outer * inner), BAM_BLOCK, 0, (element *)y,
               (const element *)x, shape, moves);
}

/* ---- single elements: positions is [outer, m, inner] ---- */

static __global__ void gather_elements(element *y, const element *x, const int64_t *positions,
                                       move_shape shape) {
  BAM_EACH(t, shape.outer * shape.m * shape.inner) {
    int64_t row, i;
    split(t, shape.inner, &row, &i);
    const int64_t o = row / shape.m;
    y[t] = x[(o * shape.n + positions[t] - 1) * shape.inner + i];
  }
}

void KERNEL(gather)(bam_stream stream, void *y, const void *x, const int64_t *positions,
                    int64_t outer, int64_t n, int64_t m, int64_t inner) {
  const move_shape shape = { outer, n, m, inner };
  BAM_LAUNCH(stream, gather_elements, BAM_BLOCKS(outer * m * inner), BAM_BLOCK, 0, (element *)y,
             (const element *)x, positions, shape);
}

/* A thread per column goes through its m elements: for many or short columns. */
static __global__ void add_columns(element *y, const element *x, const int64_t *positions,
                                   move_shape shape) {
  BAM_EACH(column, shape.outer * shape.inner) {
    const int64_t o = column / shape.inner, i = column % shape.inner;
    for (int64_t j = 0; j < shape.m; j++) {
      const int64_t from = (o * shape.m + j) * shape.inner + i;
      element *to = y + (o * shape.n + positions[from] - 1) * shape.inner + i;
      *to = (real)ADD(*to, x[from]);
    }
  }
}

/* Elements first .. first + count - 1 of every column are rows of one element each. */
struct move_of_element {
  const int64_t *positions;
  move_shape shape;
  int64_t first, count;
  __device__ bam_cuda_move operator()(int64_t e) const {
    int64_t row, i, o, j;
    split(e, shape.inner, &row, &i);
    split(row, count, &o, &j);
    const int64_t from = (o * shape.m + first + j) * shape.inner + i;
    return { (o * shape.n + positions[from] - 1) * shape.inner + i, from };
  }
};

#define MANY_COLUMNS 4096
#define SHORT_COLUMN 64
#define MOST_MOVES (1 << 24) /* elements sorted at once: they take half a gigabyte */

void KERNEL(scatter_add)(bam_stream stream, void *y, const void *x, const int64_t *positions,
                         int64_t outer, int64_t n, int64_t m, int64_t inner) {
  const move_shape shape = { outer, n, m, inner };
  const move_shape elements = { 1, outer * n * inner, outer * m * inner, 1 };
  const int64_t columns = outer * inner;
  if (columns >= MANY_COLUMNS || m <= SHORT_COLUMN) {
    BAM_LAUNCH(stream, add_columns, BAM_BLOCKS(columns), BAM_BLOCK, 0, (element *)y,
               (const element *)x, positions, shape);
    return;
  }
  for (int64_t first = 0, count = 0; first < m && columns > 0; first += count) {
    count = m - first < MOST_MOVES / columns ? m - first : MOST_MOVES / columns;
    const move_of_element move_of = { positions, shape, first, count };
    add_rows(stream, (element *)y, (const element *)x, elements, columns * count, move_of);
  }
}

/* ---- masks ---- */

#define PART (8 * BAM_BLOCK) /* elements that a block looks at */

static __global__ void count_parts(int64_t *counts, const element *x, int64_t n) {
  BAM_EACH_ROW(part, (n + PART - 1) / PART) {
    int count = 0;
    for (int64_t i = part * PART + threadIdx.x; i < n && i < (part + 1) * PART; i += BAM_BLOCK)
      count += x[i] != 0;
    count = block_sum(count);
    if (threadIdx.x == 0)
      counts[part] = count;
  }
}

/* The sum of what the threads before this one bring, and of what all of them do. */
static __device__ int64_t sum_before(int64_t x, int64_t *total) {
  BAM_SHARED(int64_t, sums, BAM_BLOCK);
  const int own = (int)threadIdx.x;
  __syncthreads(); /* the last call's have been read */
  sums[own] = x;
  for (int step = 1; step < BAM_BLOCK; step *= 2) {
    __syncthreads();
    const int64_t before = own >= step ? sums[own - step] : 0;
    __syncthreads();
    sums[own] += before;
  }
  __syncthreads();
  *total = sums[BAM_BLOCK - 1];
  return sums[own] - x;
}

/* Make each of counts[parts] the sum of those before it; one block. counts[parts] receives that of
   all. */
static __global__ void add_up(int64_t *counts, int64_t parts) {
  int64_t sum = 0;
  for (int64_t first = 0; first < parts; first += BAM_BLOCK) {
    const int64_t i = first + threadIdx.x;
    int64_t total;
    const int64_t before = sum_before(i < parts ? counts[i] : 0, &total);
    if (i < parts)
      counts[i] = sum + before;
    sum += total;
  }
  if (threadIdx.x == 0)
    counts[parts] = sum;
}

/* How many elements before each part are not zero; NULL without memory. */
static int64_t *count_before_parts(bam_stream stream, const element *x, int64_t n) {
  const int64_t parts = (n + PART - 1) / PART;
  int64_t *counts = (int64_t *)bam_cuda_scratch(stream, (parts + 1) * (int64_t)sizeof *counts);
  if (counts == NULL)
    return NULL;
  BAM_LAUNCH(stream, count_parts, BAM_ROW_BLOCKS(parts), BAM_BLOCK, 0, counts, x, n);
  BAM_LAUNCH(stream, add_up, 1, BAM_BLOCK, 0, counts, parts);
  return counts;
}

void KERNEL(count_nonzero)(bam_stream stream, int64_t *count, const void *x, int64_t n) {
  const int64_t *counts = count_before_parts(stream, (const element *)x, n);
  *count = 0;
  if (counts != NULL)
    bam_cuda_copy_out(stream, count, counts + (n + PART - 1) / PART, sizeof *count);
}

static __global__ void list_nonzero(int64_t *positions, const int64_t *counts, const element *x,
                                    int64_t n) {
  BAM_EACH_ROW(part, (n + PART - 1) / PART) {
    const int64_t first = part * PART + threadIdx.x * (PART / BAM_BLOCK);
    const int64_t last = first + PART / BAM_BLOCK < n ? first + PART / BAM_BLOCK : n;
    int64_t count = 0, total;
    for (int64_t i = first; i < last; i++)
      count += x[i] != 0;
    int64_t at = counts[part] + sum_before(count, &total);
    for (int64_t i = first; i < last; i++)
      if (x[i] != 0)
        positions[at++] = i + 1;
  }
}

/* The positions of the elements that are not zero, in order; there is room for all of them. */
void KERNEL(nonzero)(bam_stream stream, int64_t *positions, const void *x, int64_t n) {
  const int64_t *counts = count_before_parts(stream, (const element *)x, n);
  if (counts != NULL)
    BAM_LAUNCH(stream, list_nonzero, BAM_ROW_BLOCKS((n + PART - 1) / PART), BAM_BLOCK, 0, positions,
               counts, (const element *)x, n);
}

/* ---- triangles ---- */

static __global__ void keep_triangles(element *y, const element *x, int64_t count, int64_t rows,
                                      int64_t columns, int64_t diagonal, bool upper) {
  BAM_EACH(t, count) {
    int64_t row, matrix, i, j;
    split(t, columns, &row, &j);
    split(row, rows, &matrix, &i);
    const bool is_right = j >= i + diagonal + !upper;
    y[t] = is_right == upper ? x[t] : (real)0;
  }
}

/* y = x on one side of the `diagonal` of each matrix, and on it; 0 on the other. */
void KERNEL(triangle)(bam_stream stream, void *y, const void *x, int64_t matrices, int64_t rows,
                      int64_t columns, int64_t diagonal, bool upper) {
  const int64_t count = matrices * rows * columns;
  BAM_LAUNCH(stream, keep_triangles, BAM_BLOCKS(count), BAM_BLOCK, 0, (element *)y,
             (const element *)x, count, rows, columns, diagonal, upper);
}
