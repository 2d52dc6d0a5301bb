/* Variance and norms of rows: x is [outer, n], y is [outer]. Sums are taken in double, with long
   rows in several blocks (fold.h); backward is elementwise. */
#include "fold.h"

namespace {

/* The mean of a row, twice: rounded, and as the variance needs it. */
struct averaging {
  typedef double total;
  real *mean;
  double *centre;
  double n;
  __device__ total start() const { return 0; }
  __device__ total take(real x, int64_t, int64_t) const { return (total)x; }
  __device__ total join(total a, total b) const { return a + b; }
  __device__ void store(int64_t i, total t) const {
    centre[i] = t / n;
    mean[i] = (real)centre[i];
  }
};

struct spreading {
  typedef double total;
  real *y;
  const double *centre;
  double freedom;
  __device__ total start() const { return 0; }
  __device__ total take(real x, int64_t i, int64_t) const {
    const double v = (double)x - centre[i];
    return v * v;
  }
  __device__ total join(total a, total b) const { return a + b; }
  __device__ void store(int64_t i, total t) const { y[i] = (real)(t / freedom); }
};

/* Magnitudes, or with `squares` the root of the sum of squares. */
struct measuring {
  typedef double total;
  real *y;
  bool squares;
  __device__ total start() const { return 0; }
  __device__ total take(real x, int64_t, int64_t) const {
    const double v = (double)x;
    return squares ? v * v : fabs(v);
  }
  __device__ total join(total a, total b) const { return a + b; }
  __device__ void store(int64_t i, total t) const { y[i] = (real)(squares ? sqrt(t) : t); }
};

/* The first element of largest magnitude; a NaN beats everything. */
struct finding_largest {
  typedef spot total;
  real *y; /* either may be NULL */
  int64_t *places;
  __device__ bool before(real a, real b) const { return !(a <= b) && b == b; }
  __device__ total start() const { return { 0, NOWHERE }; }
  __device__ total take(real x, int64_t, int64_t j) const { return { REAL_MATH(fabs)(x), j }; }
  __device__ total join(total a, total b) const { return first_spot(*this, a, b); }
  __device__ void store(int64_t i, total t) const {
    if (y != NULL)
      y[i] = t.value;
    if (places != NULL)
      places[i] = t.at;
  }
};

}

/* ---- variance ---- */

static double freedom_of(int64_t n, double correction) {
  const double freedom = (double)n - correction;
  return freedom > 0 ? freedom : 0;
}

void KERNEL(var)(bam_stream stream, void *y, void *mean, const void *x, int64_t outer, int64_t n,
                 double correction) {
  const fold_sizes s = plan_fold(outer, n, 1);
  const int64_t centres = outer * (int64_t)sizeof(double);
  if (outer == 0)
    return;
  double *centre = (double *)bam_cuda_scratch(stream, centres + fold_bytes(s, sizeof(double)));
  if (centre == NULL)
    return;
  const averaging average = { (real *)mean, centre, (double)n };
  const spreading spread = { (real *)y, centre, freedom_of(n, correction) };
  fold_with(stream, average, centre + outer, (const real *)x, s);
  fold_with(stream, spread, centre + outer, (const real *)x, s);
}

static __global__ void var_slopes(real *dx, const real *x, const real *mean, const real *dy,
                                  int64_t count, int64_t n, double freedom) {
  BAM_EACH(i, count) {
    const int64_t o = row_of(i, n);
    const real slope = (real)(2 * (double)dy[o] / freedom);
    dx[i] = slope * (x[i] - mean[o]);
  }
}

void KERNEL(var_backward)(bam_stream stream, void *dx, const void *x, const void *mean,
                          const void *dy, int64_t outer, int64_t n, double correction) {
  BAM_LAUNCH(stream, var_slopes, BAM_BLOCKS(outer * n), BAM_BLOCK, 0, (real *)dx, (const real *)x,
             (const real *)mean, (const real *)dy, outer * n, n, freedom_of(n, correction));
}

/* ---- norms: p is 1, 2 or infinity ---- */

void KERNEL(norm)(bam_stream stream, void *y, const void *x, int64_t outer, int64_t n, double p) {
  const measuring measure = { (real *)y, p == 2 };
  const finding_largest find = { (real *)y, NULL };
  if (p == 1 || p == 2)
    fold(stream, measure, x, outer, n, 1);
  else
    fold(stream, find, x, outer, n, 1);
}

static __device__ __forceinline__ real sign_of(real x) { return (real)((x > 0) - (x < 0)); }

static __global__ void norm_slopes(real *dx, const real *x, const real *y, const real *dy,
                                   int64_t count, int64_t n, bool squares) {
  BAM_EACH(i, count) {
    const int64_t o = row_of(i, n);
    if (squares)
      dx[i] = (y[o] == 0 ? 0 : dy[o] / y[o]) * x[i];
    else
      dx[i] = dy[o] * sign_of(x[i]);
  }
}

/* Only the largest element moves its row's norm. */
static __global__ void largest_slopes(real *dx, const real *x, const int64_t *places,
                                      const real *dy, int64_t count, int64_t n) {
  BAM_EACH(i, count) {
    const int64_t o = row_of(i, n);
    dx[i] = i - o * n == places[o] ? dy[o] * sign_of(x[i]) : 0;
  }
}

static void largest_backward(bam_stream stream, real *dx, const real *x, const real *dy,
                             int64_t outer, int64_t n) {
  const fold_sizes s = plan_fold(outer, n, 1);
  const int64_t bytes = outer * (int64_t)sizeof(int64_t) + fold_bytes(s, sizeof(spot));
  int64_t *places = (int64_t *)bam_cuda_scratch(stream, bytes);
  if (places == NULL)
    return;
  const finding_largest find = { NULL, places };
  fold_with(stream, find, places + outer, x, s);
  BAM_LAUNCH(stream, largest_slopes, BAM_BLOCKS(outer * n), BAM_BLOCK, 0, dx, x, places, dy,
             outer * n, n);
}

void KERNEL(norm_backward)(bam_stream stream, void *dx, const void *x, const void *y,
                           const void *dy, int64_t outer, int64_t n, double p) {
  if (outer * n == 0)
    return;
  if (p == 1 || p == 2)
    BAM_LAUNCH(stream, norm_slopes, BAM_BLOCKS(outer * n), BAM_BLOCK, 0, (real *)dx,
               (const real *)x, (const real *)y, (const real *)dy, outer * n, n, p == 2);
  else
    largest_backward(stream, (real *)dx, (const real *)x, (const real *)dy, outer, n);
}
