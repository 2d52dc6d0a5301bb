/* Softmax, its logarithm and log-sum-exp of rows: x is [rows, n]. The largest element is subtracted
   first, so nothing overflows; sums are taken in double. A row of -inf gives NaN (log-sum-exp:
   -inf). */
#include "cpu.h"
#include "vmath.h"

#define LANES 16

/* The largest element of a row, NaN aside; -inf for an empty row. */
static real row_max(const real *x, int64_t n) {
  real lane[LANES], max = -(real)INFINITY;
  int64_t i = 0;
  for (int l = 0; l < LANES; l++)
    lane[l] = max;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++)
      lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
  for (; i < n; i++)
    max = x[i] > max ? x[i] : max;
  for (int l = 0; l < LANES; l++)
    max = lane[l] > max ? lane[l] : max;
  return max;
}

#define BLOCK 256 /* exponentials computed before they are added up */

static double row_sum(const real *x, int64_t n) {
  double lane[LANES] = { 0 }, sum = 0;
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++)
      lane[l] += (double)x[i + l];
  for (; i < n; i++)
    sum += (double)x[i];
  for (int l = 0; l < LANES; l++)
    sum += lane[l];
  return sum;
}

static void exp_shifted(real *y, const real *x, real shift, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    y[i] = v_exp(x[i] - shift);
}

/* Sum of exp(x - shift) without storing the terms. */
static double sum_exp(const real *x, real shift, int64_t n) {
  real term[BLOCK];
  double sum = 0;
  for (int64_t i = 0; i < n; i += BLOCK) {
    int64_t length = n - i < BLOCK ? n - i : BLOCK;
    exp_shifted(term, x + i, shift, length);
    sum += row_sum(term, length);
  }
  return sum;
}

static double dot(const real *a, const real *b, int64_t n) {
  double lane[LANES] = { 0 }, sum = 0;
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++)
      lane[l] += (double)a[i + l] * (double)b[i + l];
  for (; i < n; i++)
    sum += (double)a[i] * (double)b[i];
  for (int l = 0; l < LANES; l++)
    sum += lane[l];
  return sum;
}

void KERNEL(softmax)(bam_stream stream, void *y_, const void *x_, int64_t rows, int64_t n) {
  (void)stream;
#pragma omp parallel for if (rows * n > BAM_GRAIN)
  for (int64_t r = 0; r < rows; r++) {
    real *y = (real *)y_ + r * n;
    const real *x = (const real *)x_ + r * n;
    exp_shifted(y, x, row_max(x, n), n);
    real scale = (real)(1 / row_sum(y, n));
    for (int64_t i = 0; i < n; i++)
      y[i] *= scale;
  }
}

/* dx = y (dy - sum(y dy)) */
void KERNEL(softmax_backward)(bam_stream stream, void *dx_, const void *y_, const void *dy_,
                              int64_t rows, int64_t n) {
  (void)stream;
#pragma omp parallel for if (rows * n > BAM_GRAIN)
  for (int64_t r = 0; r < rows; r++) {
    real *dx = (real *)dx_ + r * n;
    const real *y = (const real *)y_ + r * n, *dy = (const real *)dy_ + r * n;
    real mean = (real)dot(y, dy, n);
    for (int64_t i = 0; i < n; i++)
      dx[i] = y[i] * (dy[i] - mean);
  }
}

void KERNEL(log_softmax)(bam_stream stream, void *y_, const void *x_, int64_t rows, int64_t n) {
  (void)stream;
#pragma omp parallel for if (rows * n > BAM_GRAIN)
  for (int64_t r = 0; r < rows; r++) {
    real *y = (real *)y_ + r * n;
    const real *x = (const real *)x_ + r * n;
    real max = row_max(x, n), log_sum = (real)log(sum_exp(x, max, n));
    for (int64_t i = 0; i < n; i++)
      y[i] = x[i] - max - log_sum;
  }
}

/* dx = dy - exp(y) sum(dy) */
void KERNEL(log_softmax_backward)(bam_stream stream, void *dx_, const void *y_, const void *dy_,
                                  int64_t rows, int64_t n) {
  (void)stream;
#pragma omp parallel for if (rows * n > BAM_GRAIN)
  for (int64_t r = 0; r < rows; r++) {
    real *dx = (real *)dx_ + r * n;
    const real *dy = (const real *)dy_ + r * n;
    real sum = (real)row_sum(dy, n);
    exp_shifted(dx, (const real *)y_ + r * n, 0, n);
    for (int64_t i = 0; i < n; i++)
      dx[i] = dy[i] - dx[i] * sum;
  }
}

/* stats: the largest element and 1 / the sum of exp(x - it), see loss.c; (0, 0) where y is -inf. */
void KERNEL(logsumexp)(bam_stream stream, void *y, void *stats, const void *x_, int64_t rows,
                       int64_t n) {
  (void)stream;
#pragma omp parallel for if (rows * n > BAM_GRAIN)
  for (int64_t r = 0; r < rows; r++) {
    const real *x = (const real *)x_ + r * n;
    real max = row_max(x, n), *stat = (real *)stats + 2 * r;
    real shift = isfinite(max) ? max : 0; /* infinities then come out by themselves */
    double sum = sum_exp(x, shift, n);
    ((real *)y)[r] = (real)(log(sum) + (double)shift);
    stat[0] = sum > 0 ? max : 0;
    stat[1] = sum == 0 ? 0 : isinf(max) ? 1 : (real)(1 / sum);
  }
}

/* dx = dy softmax(x) */
void KERNEL(logsumexp_backward)(bam_stream stream, void *dx_, const void *x_, const void *stats,
                                const void *dy, int64_t rows, int64_t n) {
  (void)stream;
#pragma omp parallel for if (rows * n > BAM_GRAIN)
  for (int64_t r = 0; r < rows; r++) {
    real *dx = (real *)dx_ + r * n;
    const real *stat = (const real *)stats + 2 * r;
    real scale = ((const real *)dy)[r] * stat[1];
    exp_shifted(dx, (const real *)x_ + r * n, stat[0], n);
    for (int64_t i = 0; i < n; i++)
      dx[i] *= scale;
  }
}
