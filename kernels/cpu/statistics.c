/* Variance and norms of rows: x is [outer, n], y is [outer]. Sums are taken in double. */
#include "../squares.h"
#include "cpu.h"

#define LANES 16

/* Sum of TERM over a row, where `v` is the element as a double. */
#define SUM_ROW(x, n, TERM)              \
  double lane_[LANES] = { 0 }, sum_ = 0; \
  int64_t i_ = 0;                        \
  for (; i_ + LANES <= (n); i_ += LANES) \
    for (int l_ = 0; l_ < LANES; l_++) { \
      double v = (double)(x)[i_ + l_];   \
      lane_[l_] += (TERM);               \
    }                                    \
  for (; i_ < (n); i_++) {               \
    double v = (double)(x)[i_];          \
    sum_ += (TERM);                      \
  }                                      \
  for (int l_ = 0; l_ < LANES; l_++)     \
    sum_ += lane_[l_];                   \
  return sum_

static double sum_plain(const real *x, int64_t n) { SUM_ROW(x, n, v); }
static double sum_magnitudes(const real *x, int64_t n) { SUM_ROW(x, n, fabs(v)); }
static double sum_squares(const real *x, int64_t n, double centre) {
  SUM_ROW(x, n, (v - centre) * (v - centre));
}

/* ---- variance ---- */

void KERNEL(var)(bam_stream stream, void *y_, void *mean_, const void *x_, int64_t outer, int64_t n,
                 double correction) {
  (void)stream;
  real *y = y_, *mean = mean_;
  const real *x = x_;
  double freedom = (double)n - correction;
#pragma omp parallel for if (outer * n > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++) {
    double centre = sum_plain(x + o * n, n) / (double)n;
    mean[o] = (real)centre;
    y[o] = (real)(sum_squares(x + o * n, n, centre) / (freedom > 0 ? freedom : 0));
  }
}

void KERNEL(var_backward)(bam_stream stream, void *dx_, const void *x_, const void *mean_,
                          const void *dy_, int64_t outer, int64_t n, double correction) {
  (void)stream;
  real *dx = dx_;
  const real *x = x_, *mean = mean_, *dy = dy_;
  double freedom = (double)n - correction;
#pragma omp parallel for if (outer * n > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++) {
    real slope = (real)(2 * (double)dy[o] / (freedom > 0 ? freedom : 0));
    for (int64_t i = 0; i < n; i++)
      dx[o * n + i] = slope * (x[o * n + i] - mean[o]);
  }
}

/* ---- norms: p is 1, 2 or infinity ---- */

/* The first element of largest magnitude; a NaN beats everything. */
static int64_t largest_magnitude(const real *x, int64_t n) {
  int64_t at = 0;
  for (int64_t i = 1; i < n && !isnan(x[at]); i++)
    if (!(fabs((double)x[i]) <= fabs((double)x[at])))
      at = i;
  return at;
}

/* Only where squares of f64 overflow, or underflow enough to be missed, are they scaled. */
static double euclidean(const real *x, int64_t n) {
  double sum = sum_squares(x, n, 0);
  if (sizeof(real) < sizeof(double) || (sum > 0x1p-900 && sum < (double)INFINITY))
    return sqrt(sum);
  squares total = squares_of(0);
  for (int64_t i = 0; i < n; i++)
    total = squares_add(total, squares_of(x[i]));
  return squares_root(total);
}

void KERNEL(norm)(bam_stream stream, void *y_, double *norms, const void *x_, int64_t outer,
                  int64_t n, double p) {
  (void)stream;
  real *y = y_;
#pragma omp parallel for if (outer * n > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++) {
    const real *x = (const real *)x_ + o * n;
    double norm = p == 1   ? sum_magnitudes(x, n)
                  : p == 2 ? euclidean(x, n)
                           : fabs((double)x[largest_magnitude(x, n)]);
    y[o] = (real)norm;
    if (norms != NULL)
      norms[o] = norm;
  }
}

static inline real sign_of(real x) { return (real)((x > 0) - (x < 0)); }

/* dx = dy x / norm. One factor for the row serves unless it, or the norm in `real`, leaves the
   range of normal numbers. */
static void euclidean_backward(real *dx, const real *x, double norm, real dy, int64_t n) {
  real y = (real)norm, scale = y == 0 ? 0 : dy / y;
  if (norm == 0 || dy == 0 || !isfinite(norm) || (isnormal(y) && isnormal(scale)))
    for (int64_t i = 0; i < n; i++)
      dx[i] = scale * x[i];
  else
    for (int64_t i = 0; i < n; i++)
      dx[i] = (real)((double)dy * ((double)x[i] / norm));
}

static void norm_backward_row(real *dx, const real *x, double norm, real dy, int64_t n, double p) {
  if (p == 2) {
    euclidean_backward(dx, x, norm, dy, n);
  } else if (p == 1) {
    for (int64_t i = 0; i < n; i++)
      dx[i] = dy * sign_of(x[i]);
  } else {
    memset(dx, 0, (size_t)n * sizeof(real));
    int64_t at = largest_magnitude(x, n);
    dx[at] = dy * sign_of(x[at]);
  }
}

void KERNEL(norm_backward)(bam_stream stream, void *dx, const void *x, const void *norms,
                           const void *dy, int64_t outer, int64_t n, double p) {
  (void)stream;
#pragma omp parallel for if (outer * n > BAM_GRAIN)
  for (int64_t o = 0; o < outer; o++)
    norm_backward_row((real *)dx + o * n, (const real *)x + o * n, ((const double *)norms)[o],
                      ((const real *)dy)[o], n, p);
}
