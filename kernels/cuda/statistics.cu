/* Variance and norms of rows: x is [outer, n], y is [outer]. Sums are taken in double, with long
   rows in several blocks (reduce.h); backward is elementwise. */
#include "reduce.h"

#include "../squares.h"

#ifdef BAM_TYPE_f64
static __device__ __forceinline__ squares from_lane(squares x, int bits) {
  return { from_lane(x.large, bits), from_lane(x.middle, bits), from_lane(x.small, bits) };
}
#endif

namespace {

/* The mean of a row, twice: rounded, and as the variance needs it. */
struct averaging {
  typedef double total;
  real *mean;
  double *centre;
  double n;
  __device__ total identity() const { return 0; }
  __device__ total map(real x, int64_t, int64_t) const { return (total)x; }
  __device__ total combine(total a, total b) const { return a + b; }
  __device__ void store(int64_t i, total t) const {
    centre[i] = t / n;
    mean[i] = (real)centre[i];
  }
};

struct spreading {
  typedef double total;
  element *y;
  const double *centre;
  double freedom;
  __device__ total identity() const { return 0; }
  __device__ total map(real x, int64_t i, int64_t) const {
    const double v = (double)x - centre[i];
    return v * v;
  }
  __device__ total combine(total a, total b) const { return a + b; }
  __device__ void store(int64_t i, total t) const { y[i] = (real)(t / freedom); }
};

/* The sum of magnitudes. */
struct measuring {
  typedef double total;
  element *y;
  __device__ total identity() const { return 0; }
  __device__ total map(real x, int64_t, int64_t) const { return fabs((double)x); }
  __device__ total combine(total a, total b) const { return a + b; }
  __device__ void store(int64_t i, total t) const { y[i] = (real)t; }
};

/* The root of the sum of squares; `norms`, if not NULL, gets it unrounded. */
struct rooting {
  typedef squares total;
  element *y;
  double *norms;
  __device__ total identity() const { return squares_of(0); }
  __device__ total map(real x, int64_t, int64_t) const { return squares_of(x); }
  __device__ total combine(total a, total b) const { return squares_add(a, b); }
  __device__ void store(int64_t i, total t) const {
    const double root = squares_root(t);
    y[i] = (real)root;
    if (norms != NULL)
      norms[i] = root;
  }
};

/* The first element of largest magnitude; a NaN beats everything. */
struct finding_largest {
  typedef indexed_value total;
  element *y; /* either may be NULL */
  int64_t *places;
  __device__ bool before(real a, real b) const { return !(a <= b) && b == b; }
  __device__ total identity() const { return { 0, NOWHERE }; }
  __device__ total map(real x, int64_t, int64_t j) const { return { REAL_MATH(fabs)(x), j }; }
  __device__ total combine(total a, total b) const { return first_indexed(*this, a, b); }
  __device__ void store(int64_t i, total t) const {
    if (y != NULL)
      y[i] = t.value;
    if (places != NULL)
      places[i] = t.at;
  }
};

} // namespace

/* ---- variance ---- */

static double freedom_of(int64_t n, double correction) {
  const double freedom = (double)n - correction;
  return freedom > 0 ? freedom : 0;
}

void KERNEL(var)(bam_stream stream, void *y, void *mean, const void *x, int64_t outer, int64_t n,
                 double correction) {
  const reduce_sizes s = plan_reduce(outer, n, 1);
  const int64_t centres = outer * (int64_t)sizeof(double);
  if (outer == 0)
    return;
  double *centre = (double *)bam_cuda_scratch(stream, centres + reduce_bytes(s, sizeof(double)));
  if (centre == NULL)
    return;
  const averaging average = { (real *)mean, centre, (double)n };
  const spreading spread = { (element *)y, centre, freedom_of(n, correction) };
  reduce_with(stream, average, centre + outer, (const element *)x, s);
  reduce_with(stream, spread, centre + outer, (const element *)x, s);
}

static __global__ void var_slopes(element *dx, const element *x, const real *mean,
                                  const element *dy, int64_t count, int64_t n, double freedom) {
  BAM_EACH(i, count) {
    const int64_t o = row_of(i, n);
    const real slope = (real)(2 * (double)dy[o] / freedom);
    dx[i] = slope * (x[i] - mean[o]);
  }
}

void KERNEL(var_backward)(bam_stream stream, void *dx, const void *x, const void *mean,
                          const void *dy, int64_t outer, int64_t n, double correction) {
  BAM_LAUNCH(stream, var_slopes, BAM_BLOCKS(outer * n), BAM_BLOCK, 0, (element *)dx,
             (const element *)x, (const real *)mean, (const element *)dy, outer * n, n,
             freedom_of(n, correction));
}

/* ---- norms: p is 1, 2 or infinity ---- */

void KERNEL(norm)(bam_stream stream, void *y, double *norms, const void *x, int64_t outer,
                  int64_t n, double p) {
  const measuring measure = { (element *)y };
  const rooting root = { (element *)y, norms };
  const finding_largest find = { (element *)y, NULL };
  if (p == 1)
    reduce(stream, measure, x, outer, n, 1);
  else if (p == 2)
    reduce(stream, root, x, outer, n, 1);
  else
    reduce(stream, find, x, outer, n, 1);
}

static __device__ __forceinline__ real sign_of(real x) { return (real)((x > 0) - (x < 0)); }

static __device__ __forceinline__ bool is_normal(real x) {
  const real least = sizeof(real) < sizeof(double) ? (real)0x1p-126 : (real)0x1p-1022;
  return REAL_MATH(fabs)(x) >= least && x - x == 0;
}

/* dy x / norm. One division in `real` serves unless its result, or the norm, leaves the range of
   normal numbers. */
static __device__ __forceinline__ real euclidean_slope(real x, double norm, real dy) {
  const real y = (real)norm, scale = y == 0 ? 0 : dy / y;
  if (norm == 0 || dy == 0 || norm - norm != 0 || (is_normal(y) && is_normal(scale)))
    return scale * x;
  return (real)((double)dy * ((double)x / norm));
}

static __global__ void norm_slopes(element *dx, const element *x, const double *norms,
                                   const element *dy, int64_t count, int64_t n) {
  BAM_EACH(i, count) {
    const int64_t o = row_of(i, n);
    dx[i] = euclidean_slope(x[i], norms[o], dy[o]);
  }
}

static __global__ void magnitude_slopes(element *dx, const element *x, const element *dy,
                                        int64_t count, int64_t n) {
  BAM_EACH(i, count)
  dx[i] = dy[row_of(i, n)] * sign_of(x[i]);
}

/* Only the largest element moves its row's norm. */
static __global__ void largest_slopes(element *dx, const element *x, const int64_t *places,
                                      const element *dy, int64_t count, int64_t n) {
  BAM_EACH(i, count) {
    const int64_t o = row_of(i, n);
    dx[i] = i - o * n == places[o] ? dy[o] * sign_of(x[i]) : 0;
  }
}

static void largest_backward(bam_stream stream, element *dx, const element *x, const element *dy,
                             int64_t outer, int64_t n) {
  const reduce_sizes s = plan_reduce(outer, n, 1);
  const int64_t bytes = outer * (int64_t)sizeof(int64_t) + reduce_bytes(s, sizeof(indexed_value));
  int64_t *places = (int64_t *)bam_cuda_scratch(stream, bytes);
  if (places == NULL)
    return;
  const finding_largest find = { NULL, places };
  reduce_with(stream, find, places + outer, x, s);
  BAM_LAUNCH(stream, largest_slopes, BAM_BLOCKS(outer * n), BAM_BLOCK, 0, dx, x, places, dy,
             outer * n, n);
}

void KERNEL(norm_backward)(bam_stream stream, void *dx, const void *x, const void *norms,
                           const void *dy, int64_t outer, int64_t n, double p) {
  if (outer * n == 0)
    return;
  if (p == 1)
    BAM_LAUNCH(stream, magnitude_slopes, BAM_BLOCKS(outer * n), BAM_BLOCK, 0, (element *)dx,
               (const element *)x, (const element *)dy, outer * n, n);
  else if (p == 2)
    BAM_LAUNCH(stream, norm_slopes, BAM_BLOCKS(outer * n), BAM_BLOCK, 0, (element *)dx,
               (const element *)x, (const double *)norms, (const element *)dy, outer * n, n);
  else
    largest_backward(stream, (element *)dx, (const element *)x, (const element *)dy, outer, n);
}
