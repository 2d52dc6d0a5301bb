/* Reductions and running sums: x is [outer, n, inner] or [outer, n]. How a sum is split depends on
   the sizes alone, so a result has the same bits for any number of threads and instruction set.
   Floating-point numbers are summed in double, integers wrap. */
#include "cpu.h"

#if BAM_FLOATING
#define IS_REAL 1
typedef double total;
#else
#define IS_REAL 0
typedef uint64_t total;
#endif

#define LANES 16    /* partial sums of a row, enough to hide the latency of an addition */
#define PIECES 64   /* a long row is summed in so many pieces, by several threads */
#define COLUMNS 128 /* columns summed together when the reduced dimension is not the last */
#define LONG_ROW (PIECES * 1024)

/* ---- sums ---- */

static total sum_stretch(const element *x, int64_t n) {
  total lane[LANES] = { 0 }, sum = 0;
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++)
      lane[l] += (total)(real)x[i + l];
  for (; i < n; i++)
    sum += (total)(real)x[i];
  if (n >= LANES)
    for (int l = 0; l < LANES; l++)
      sum += lane[l];
  return sum;
}

static total sum_row(const element *x, int64_t n) {
  if (n < LONG_ROW)
    return sum_stretch(x, n);
  total piece[PIECES], sum = 0;
  int64_t length = (n + PIECES - 1) / PIECES;
#pragma omp parallel for
  for (int64_t p = 0; p < PIECES; p++) {
    int64_t first = p * length, rest = n - first;
    piece[p] = sum_stretch(x + first, rest < length ? rest : length);
  }
  for (int p = 0; p < PIECES; p++)
    sum += piece[p];
  return sum;
}

/* What a total is stored as: divided for a mean. */
static inline real finish(total sum, int64_t divisor) {
#if IS_REAL
  return (real)(sum / (double)divisor);
#else
  (void)divisor;
  return (real)sum;
#endif
}

static void sum_columns(real *y, const element *x, int64_t n, int64_t inner, int64_t columns,
                        int64_t divisor) {
  total sum[COLUMNS] = { 0 };
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) { /* four rows at a time: fewer passes over the sums */
    const element *row = x + j * inner;
    for (int64_t i = 0; i < columns; i++)
      sum[i] += ((total)(real)row[i] + (total)(real)row[inner + i]) +
                ((total)(real)row[2 * inner + i] + (total)(real)row[3 * inner + i]);
  }
  for (; j < n; j++)
    for (int64_t i = 0; i < columns; i++)
      sum[i] += (total)(real)x[j * inner + i];
  for (int64_t i = 0; i < columns; i++)
    y[i] = finish(sum[i], divisor);
}

static int64_t column_blocks(int64_t inner) { return (inner + COLUMNS - 1) / COLUMNS; }

static int64_t columns_at(int64_t first, int64_t inner) {
  return inner - first < COLUMNS ? inner - first : COLUMNS;
}

static void sum_all(real *y, const element *x, int64_t outer, int64_t n, int64_t inner,
                    int64_t divisor) {
  if (inner == 1) { /* few long rows: threads share each row */
#pragma omp parallel for if (outer * n > BAM_GRAIN && (outer >= PIECES || n < LONG_ROW))
    for (int64_t o = 0; o < outer; o++)
      y[o] = finish(sum_row(x + o * n, n), divisor);
    return;
  }
  int64_t blocks = column_blocks(inner);
#pragma omp parallel for collapse(2) if (outer * n * inner > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    for (int64_t b = 0; b < blocks; b++) {
      int64_t first = b * COLUMNS;
      sum_columns(y + o * inner + first, x + o * n * inner + first, n, inner,
                  columns_at(first, inner), divisor);
    }
}

void KERNEL(sum)(bam_stream stream, void *y, const void *x, int64_t outer, int64_t n,
                 int64_t inner) {
  (void)stream;
  sum_all(y, x, outer, n, inner, 1);
}

void KERNEL(prod)(bam_stream stream, void *y_, const void *x_, int64_t outer, int64_t n) {
  (void)stream;
  real *y = y_;
  const element *x = x_;
#pragma omp parallel for if (outer * n > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++) {
    total product = 1;
    for (int64_t i = 0; i < n; i++)
      product *= (total)(real)x[o * n + i];
    y[o] = (real)product;
  }
}

/* ---- running sums ---- */

static void running_row(real *y, const element *x, int64_t n, bool reverse) {
  total sum = 0;
  if (reverse)
    for (int64_t i = n - 1; i >= 0; i--)
      y[i] = (real)(sum += (total)(real)x[i]);
  else
    for (int64_t i = 0; i < n; i++)
      y[i] = (real)(sum += (total)(real)x[i]);
}

static void running_columns(real *y, const element *x, int64_t n, int64_t inner, int64_t columns,
                            bool reverse) {
  total sum[COLUMNS] = { 0 };
  for (int64_t step = 0; step < n; step++) {
    int64_t row = (reverse ? n - 1 - step : step) * inner;
    for (int64_t i = 0; i < columns; i++) {
      sum[i] += (total)(real)x[row + i];
      y[row + i] = (real)sum[i];
    }
  }
}

void KERNEL(cumsum)(bam_stream stream, void *y_, const void *x_, int64_t outer, int64_t n,
                    int64_t inner, bool reverse) {
  (void)stream;
  real *y = y_;
  const element *x = x_;
  int64_t blocks = column_blocks(inner);
#pragma omp parallel for collapse(2) if (outer * n * inner > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    for (int64_t b = 0; b < blocks; b++) {
      int64_t at = o * n * inner + b * COLUMNS;
      if (inner == 1)
        running_row(y + at, x + at, n, reverse);
      else
        running_columns(y + at, x + at, n, inner, columns_at(b * COLUMNS, inner), reverse);
    }
}

/* ---- extremes ---- */

#define BLOCK 512
#define INLINED inline __attribute__((always_inline)) /* so that `largest` is a constant inside */

static inline bool is_nan(real x) {
#if IS_REAL
  return isnan(x);
#else
  (void)x;
  return false;
#endif
}

/* Does x come before `best`? A NaN beats everything but a NaN: the negated comparisons are true for
   it. */
static inline bool beats(real x, real best, bool largest) {
  bool beyond = largest ? !(x <= best) : !(x >= best);
  return beyond & !is_nan(best);
}

/* Where the first extreme element of a row with n >= 1 is. Whole blocks that cannot improve on the
   best so far are passed over by a loop that vectorises. */
static INLINED int64_t first_extreme(const element *x, int64_t n, bool largest) {
  int64_t at = 0;
  for (int64_t first = 0; first < n; first += BLOCK) {
    int64_t end = first + BLOCK < n ? first + BLOCK : n;
    real best = x[at];
    int better = 0;
    for (int64_t i = first; i < end; i++)
      better |= beats(x[i], best, largest);
    for (int64_t i = first; better && i < end; i++)
      if (beats(x[i], x[at], largest))
        at = i;
  }
  return at;
}

static INLINED void extreme_columns(real *y, int64_t *positions, const element *x, int64_t n,
                                    int64_t inner, int64_t columns, bool largest) {
  real best[COLUMNS];
  int64_t at[COLUMNS];
  for (int64_t i = 0; i < columns; i++) {
    best[i] = x[i];
    at[i] = 1;
  }
  for (int64_t j = 1; j < n; j++)
    for (int64_t i = 0; i < columns; i++) {
      real v = x[j * inner + i];
      bool better = beats(v, best[i], largest);
      best[i] = better ? v : best[i];
      at[i] = better ? j + 1 : at[i];
    }
  if (y != NULL)
    memcpy(y, best, (size_t)columns * sizeof *y);
  if (positions != NULL)
    memcpy(positions, at, (size_t)columns * sizeof *at);
}

/* One row, or `columns` columns, into y and positions where they are wanted. */
static INLINED void extreme_block(real *y, int64_t *positions, const element *x, int64_t n,
                                  int64_t inner, int64_t columns, bool largest) {
  if (inner > 1) {
    extreme_columns(y, positions, x, n, inner, columns, largest);
    return;
  }
  int64_t at = first_extreme(x, n, largest);
  if (y != NULL)
    *y = x[at];
  if (positions != NULL)
    *positions = at + 1;
}

void KERNEL(extreme)(bam_stream stream, void *y_, int64_t *positions, const void *x_, int64_t outer,
                     int64_t n, int64_t inner, bool largest) {
  (void)stream;
  int64_t blocks = column_blocks(inner);
#pragma omp parallel for collapse(2) if (outer * n * inner > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    for (int64_t b = 0; b < blocks; b++) {
      int64_t to = o * inner + b * COLUMNS, columns = columns_at(b * COLUMNS, inner);
      real *y = y_ != NULL ? (real *)y_ + to : NULL;
      int64_t *at = positions != NULL ? positions + to : NULL;
      const element *x = (const element *)x_ + o * n * inner + b * COLUMNS;
      if (largest)
        extreme_block(y, at, x, n, inner, columns, true);
      else
        extreme_block(y, at, x, n, inner, columns, false);
    }
}

/* ---- truth ---- */

/* Is there an element in the row that is zero (or, when `zero` is false, one that is not)? */
static bool row_has(const element *x, int64_t n, bool zero) {
  for (int64_t first = 0; first < n; first += BLOCK) {
    int64_t end = first + BLOCK < n ? first + BLOCK : n;
    int found = 0;
    for (int64_t i = first; i < end; i++)
      found |= (x[i] == 0) == zero;
    if (found)
      return true;
  }
  return false;
}

void KERNEL(any)(bam_stream stream, bool *y, const void *x, int64_t outer, int64_t n) {
  (void)stream;
#pragma omp parallel for if (outer * n > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    y[o] = row_has((const element *)x + o * n, n, false);
}

void KERNEL(all)(bam_stream stream, bool *y, const void *x, int64_t outer, int64_t n) {
  (void)stream;
#pragma omp parallel for if (outer * n > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    y[o] = !row_has((const element *)x + o * n, n, true);
}

/* ---- for floating point only ---- */

#if IS_REAL
void KERNEL(sum_real)(bam_stream stream, void *y, const void *x, int64_t outer, int64_t n,
                      int64_t inner) {
  KERNEL(sum)(stream, y, x, outer, n, inner);
}

void KERNEL(mean)(bam_stream stream, void *y, const void *x, int64_t outer, int64_t n,
                  int64_t inner) {
  (void)stream;
  sum_all(y, x, outer, n, inner, n);
}

/* d(prod)/dx is the product of the others: found without dividing when the row holds zeros. */
static void prod_backward_row(real *dx, const real *x, double dy, int64_t n) {
  double product = 1; /* of the elements that are not zero */
  int64_t zeros = 0;
  for (int64_t i = 0; i < n; i++) {
    zeros += x[i] == 0;
    product *= x[i] == 0 ? 1 : (double)x[i];
  }
  for (int64_t i = 0; i < n; i++)
    if (zeros == 0)
      dx[i] = (real)(dy * (product / (double)x[i]));
    else
      dx[i] = zeros == 1 && x[i] == 0 ? (real)(dy * product) : 0;
}

void KERNEL(prod_backward)(bam_stream stream, void *dx, const void *x, const void *dy,
                           int64_t outer, int64_t n) {
  (void)stream;
#pragma omp parallel for if (outer * n > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    prod_backward_row((real *)dx + o * n, (const real *)x + o * n, (double)((const real *)dy)[o],
                      n);
}
#endif
