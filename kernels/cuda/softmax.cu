/* Softmax, its logarithm and log-sum-exp of rows: x is [rows, n], a warp or a block for each row, which reads it once
   and holds it in registers unless it is very long. The largest element is subtracted first, so nothing overflows;
   sums are taken in double. A row of -inf gives NaN (log-sum-exp: -inf). */
#include "row_share.h"

/* Whether rows of n of all operands can be read in packs. */
template <class... P> static bool is_packed(int64_t n, const P *...operands) {
  return pack_aligned(operands...) && n % PACK == 0;
}

/* exp(x - shift) of a row, computed once: in place of x where the row is held, else in each pass. */
template <class Row> struct exponentials {
  Row &row;
  real shift;

  __device__ __forceinline__ exponentials(Row &row_, real shift_) : row(row_), shift(shift_) {
    row.replace([=](real x) { return REAL_MATH(exp)(x - shift_); });
  }

  __device__ __forceinline__ real of(real x) const {
    return Row::is_held ? x : REAL_MATH(exp)(x - shift);
  }

  __device__ __forceinline__ double sum() const {
    return row.template sum<double>([this](real x) { return (double)of(x); });
  }
};

/* ---- softmax ---- */

template <int group_size, int width, int held>
static __device__ __forceinline__ void softmax_row(element *y, const element *x, int64_t n) {
  row_share<group_size, width, held> row(x, n);
  row.read();
  const exponentials<row_share<group_size, width, held>> e(row, row.max());
  const real scale = (real)(1 / e.sum());
  row.write(y, [&](real value) { return e.of(value) * scale; });
}

template <int group_size, int width>
static __global__ void __launch_bounds__(BAM_ROW_THREADS)
  softmax_rows(element *y, const element *x, int64_t rows, int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows) BAM_HELD_OR_NOT(softmax_row, n, y + r * n, x + r * n, n);
}

void KERNEL(softmax)(bam_stream stream, void *y, const void *x, int64_t rows, int64_t n) {
  BAM_LAUNCH_PACKED_ROWS(softmax_rows, is_packed(n, y, x), rows, n, (element *)y,
                         (const element *)x, rows, n);
}

/* dx = y (dy - sum(y dy)) */
template <int group_size, int width, int held>
static __device__ __forceinline__ void softmax_backward_row(element *dx, const element *y,
                                                            const element *dy, int64_t n) {
  row_share<group_size, width, held> result(y, n), grad(dy, n);
  double dot = 0;
  result.read();
  grad.read();
  result.each([&](int i, int64_t j) {
    const auto a = result.at(i, j), b = grad.at(i, j);
    BAM_EACH_IN_PACK(k) dot += (double)a.at[k] * (double)b.at[k];
  });
  const real mean = (real)group_sum<group_size>(dot);
  result.each([&](int i, int64_t j) {
    const auto a = result.at(i, j), b = grad.at(i, j);
    pack<width, element> to;
    BAM_EACH_IN_PACK(k) to.at[k] = a.at[k] * (b.at[k] - mean);
    store_pack(dx + j, to);
  });
}

template <int group_size, int width>
static __global__ void __launch_bounds__(BAM_ROW_THREADS)
  softmax_backward_rows(element *dx, const element *y, const element *dy, int64_t rows, int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows)
  BAM_HELD_OR_NOT(softmax_backward_row, n, dx + r * n, y + r * n, dy + r * n, n);
}

void KERNEL(softmax_backward)(bam_stream stream, void *dx, const void *y, const void *dy,
                              int64_t rows, int64_t n) {
  BAM_LAUNCH_PACKED_ROWS(softmax_backward_rows, is_packed(n, dx, y, dy), rows, n, (element *)dx,
                         (const element *)y, (const element *)dy, rows, n);
}

/* ---- its logarithm ---- */

template <int group_size, int width, int held>
static __device__ __forceinline__ void log_softmax_row(element *y, const element *x, int64_t n) {
  row_share<group_size, width, held> row(x, n);
  row.read();
  const real max = row.max();
  const real log_sum = (real)log(
    row.template sum<double>([=](real value) { return (double)REAL_MATH(exp)(value - max); }));
  row.write(y, [=](real value) { return value - max - log_sum; });
}

template <int group_size, int width>
static __global__ void __launch_bounds__(BAM_ROW_THREADS)
  log_softmax_rows(element *y, const element *x, int64_t rows, int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows) BAM_HELD_OR_NOT(log_softmax_row, n, y + r * n, x + r * n, n);
}

void KERNEL(log_softmax)(bam_stream stream, void *y, const void *x, int64_t rows, int64_t n) {
  BAM_LAUNCH_PACKED_ROWS(log_softmax_rows, is_packed(n, y, x), rows, n, (element *)y,
                         (const element *)x, rows, n);
}

/* dx = dy - exp(y) sum(dy). y is needed in one pass only and not held. */
template <int group_size, int width, int held>
static __device__ __forceinline__ void log_softmax_backward_row(element *dx, const element *y,
                                                                const element *dy, int64_t n) {
  row_share<group_size, width, held> grad(dy, n);
  grad.read();
  const real sum = (real)grad.template sum<double>([](real value) { return (double)value; });
  grad.each([&](int i, int64_t j) {
    const auto value = load_pack<width>(y + j);
    const auto g = grad.at(i, j);
    pack<width, element> to;
    BAM_EACH_IN_PACK(k) to.at[k] = g.at[k] - REAL_MATH(exp)(value.at[k]) * sum;
    store_pack(dx + j, to);
  });
}

template <int group_size, int width>
static __global__ void __launch_bounds__(BAM_ROW_THREADS)
  log_softmax_backward_rows(element *dx, const element *y, const element *dy, int64_t rows,
                            int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows)
  BAM_HELD_OR_NOT(log_softmax_backward_row, n, dx + r * n, y + r * n, dy + r * n, n);
}

void KERNEL(log_softmax_backward)(bam_stream stream, void *dx, const void *y, const void *dy,
                                  int64_t rows, int64_t n) {
  BAM_LAUNCH_PACKED_ROWS(log_softmax_backward_rows, is_packed(n, dx, y, dy), rows, n, (element *)dx,
                         (const element *)y, (const element *)dy, rows, n);
}

/* ---- log(sum(exp(x))) ---- */

template <int group_size, int width, int held>
static __device__ __forceinline__ void logsumexp_row(element *y, real *stats, const element *x,
                                                     int64_t n) {
  row_share<group_size, width, held> row(x, n);
  row.read();
  const real max = row.max();
  const real shift = isfinite(max) ? max : 0; /* infinities then come out by themselves */
  const double sum = row.template sum<double>(
    [=](real value) { return (double)REAL_MATH(exp)(value - shift); });
  if (BAM_GROUP_FIRST) {
    *y = (real)(log(sum) + (double)shift);
    stats[0] = sum > 0 ? max : 0;
    stats[1] = sum == 0 ? (real)0 : isinf(max) ? (real)1 : (real)(1 / sum);
  }
}

template <int group_size, int width>
static __global__ void __launch_bounds__(BAM_ROW_THREADS)
  logsumexp_rows(element *y, real *stats, const element *x, int64_t rows, int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows)
  BAM_HELD_OR_NOT(logsumexp_row, n, y + r, stats + 2 * r, x + r * n, n);
}

/* stats: the largest element and 1 / the sum of exp(x - it), see kernels/cpu/loss.c; (0, 0) where y
   is -inf. */
void KERNEL(logsumexp)(bam_stream stream, void *y, void *stats, const void *x, int64_t rows,
                       int64_t n) {
  BAM_LAUNCH_PACKED_ROWS(logsumexp_rows, is_packed(n, x), rows, n, (element *)y, (real *)stats,
                         (const element *)x, rows, n);
}

/* dx = dy softmax(x) */
template <int group_size, int width>
static __global__ void logsumexp_backward_rows(element *dx, const element *x, const real *stats,
                                               const element *dy, int64_t rows, int64_t n) {
  BAM_EACH_GROUP_ROW(r, rows) {
    const real shift = stats[2 * r], scale = dy[r] * stats[2 * r + 1];
    const row_share<group_size, width, 0> row(x + r * n, n);
    row.write(dx + r * n, [=](real value) { return REAL_MATH(exp)(value - shift) * scale; });
  }
}

void KERNEL(logsumexp_backward)(bam_stream stream, void *dx, const void *x, const void *stats,
                                const void *dy, int64_t rows, int64_t n) {
  BAM_LAUNCH_PACKED_ROWS(logsumexp_backward_rows, is_packed(n, dx, x), rows, n, (element *)dx,
                         (const element *)x, (const real *)stats, (const element *)dy, rows, n);
}
