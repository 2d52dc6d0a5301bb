/* Softmax, its logarithm and log-sum-exp of rows: x is [rows, n], a warp or a block for each row.
   The largest element is subtracted first, so nothing overflows; sums are taken in double. A row
   of -inf gives NaN (log-sum-exp: -inf). */
#include "rows.h"

/* The largest element of a row, NaN aside; -inf for an empty row. */
template <int group_size>
static __device__ __forceinline__ real row_max(const element *x, int64_t n) {
  real max = -(real)INFINITY;
  BAM_EACH_OF_GROUP(j, n)
  max = x[j] > max ? x[j] : max;
  return group_max<group_size>(max);
}

template <int group_size>
static __device__ __forceinline__ double sum_exp(const element *x, real shift, int64_t n) {
  double sum = 0;
  BAM_EACH_OF_GROUP(j, n)
  sum += (double)REAL_MATH(exp)(x[j] - shift);
  return group_sum<group_size>(sum);
}

/* ---- softmax ---- */

template <int group_size>
static __global__ void softmax_rows(element *y, const element *x, int64_t rows, int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows) {
    const real max = row_max<group_size>(x + r * n, n);
    const real scale = (real)(1 / sum_exp<group_size>(x + r * n, max, n));
    BAM_EACH_OF_GROUP(j, n)
    y[r * n + j] = REAL_MATH(exp)(x[r * n + j] - max) * scale;
  }
}

void KERNEL(softmax)(bam_stream stream, void *y, const void *x, int64_t rows, int64_t n) {
  BAM_LAUNCH_ROWS(softmax_rows, rows, n, (element *)y, (const element *)x, rows, n);
}

/* dx = y (dy - sum(y dy)) */
template <int group_size>
static __global__ void softmax_backward_rows(element *dx, const element *y, const element *dy,
                                             int64_t rows, int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows) {
    double dot = 0;
    BAM_EACH_OF_GROUP(j, n)
    dot += (double)y[r * n + j] * (double)dy[r * n + j];
    const real mean = (real)group_sum<group_size>(dot);
    BAM_EACH_OF_GROUP(j, n)
    dx[r * n + j] = y[r * n + j] * (dy[r * n + j] - mean);
  }
}

void KERNEL(softmax_backward)(bam_stream stream, void *dx, const void *y, const void *dy,
                              int64_t rows, int64_t n) {
  BAM_LAUNCH_ROWS(softmax_backward_rows, rows, n, (element *)dx, (const element *)y,
                  (const element *)dy, rows, n);
}

/* ---- its logarithm ---- */

template <int group_size>
static __global__ void log_softmax_rows(element *y, const element *x, int64_t rows, int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows) {
    const real max = row_max<group_size>(x + r * n, n);
    const real log_sum = (real)log(sum_exp<group_size>(x + r * n, max, n));
    BAM_EACH_OF_GROUP(j, n)
    y[r * n + j] = x[r * n + j] - max - log_sum;
  }
}

void KERNEL(log_softmax)(bam_stream stream, void *y, const void *x, int64_t rows, int64_t n) {
  BAM_LAUNCH_ROWS(log_softmax_rows, rows, n, (element *)y, (const element *)x, rows, n);
}

/* dx = dy - exp(y) sum(dy) */
template <int group_size>
static __global__ void log_softmax_backward_rows(element *dx, const element *y, const element *dy,
                                                 int64_t rows, int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows) {
    double total = 0;
    BAM_EACH_OF_GROUP(j, n)
    total += (double)dy[r * n + j];
    const real sum = (real)group_sum<group_size>(total);
    BAM_EACH_OF_GROUP(j, n)
    dx[r * n + j] = dy[r * n + j] - REAL_MATH(exp)(y[r * n + j]) * sum;
  }
}

void KERNEL(log_softmax_backward)(bam_stream stream, void *dx, const void *y, const void *dy,
                                  int64_t rows, int64_t n) {
  BAM_LAUNCH_ROWS(log_softmax_backward_rows, rows, n, (element *)dx, (const element *)y,
                  (const element *)dy, rows, n);
}

/* ---- log(sum(exp(x))) ---- */

template <int group_size>
static __global__ void logsumexp_rows(element *y, real *stats, const element *x, int64_t rows,
                                      int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows) {
    const real max = row_max<group_size>(x + r * n, n);
    const real shift = isfinite(max) ? max : 0; /* infinities then come out by themselves */
    const double sum = sum_exp<group_size>(x + r * n, shift, n);
    if (BAM_GROUP_FIRST) {
      y[r] = (real)(log(sum) + (double)shift);
      stats[2 * r] = sum > 0 ? max : 0;
      stats[2 * r + 1] = sum == 0 ? (real)0 : isinf(max) ? (real)1 : (real)(1 / sum);
    }
  }
}

/* stats: the largest element and 1 / the sum of exp(x - it), see kernels/cpu/loss.c; (0, 0) where y
   is -inf. */
void KERNEL(logsumexp)(bam_stream stream, void *y, void *stats, const void *x, int64_t rows,
                       int64_t n) {
  BAM_LAUNCH_ROWS(logsumexp_rows, rows, n, (element *)y, (real *)stats, (const element *)x, rows,
                  n);
}

/* dx = dy softmax(x) */
template <int group_size>
static __global__ void logsumexp_backward_rows(element *dx, const element *x, const real *stats,
                                               const element *dy, int64_t rows, int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows) {
    const real shift = stats[2 * r], scale = dy[r] * stats[2 * r + 1];
    BAM_EACH_OF_GROUP(j, n)
    dx[r * n + j] = REAL_MATH(exp)(x[r * n + j] - shift) * scale;
  }
}

void KERNEL(logsumexp_backward)(bam_stream stream, void *dx, const void *x, const void *stats,
                                const void *dy, int64_t rows, int64_t n) {
  BAM_LAUNCH_ROWS(logsumexp_backward_rows, rows, n, (element *)dx, (const element *)x,
                  (const real *)stats, (const element *)dy, rows, n);
}
