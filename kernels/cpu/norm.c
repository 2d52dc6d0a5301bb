/* Layer norm over rows of n, optionally of the sum of two inputs, which is written too: the
   residual stream takes no pass of its own. RMS norm is the same with a mean of 0. Weight gradients
   are collected in `parts` fixed groups of rows and then added in order, so the bits do not depend
   on the number of threads. */
#include "cpu.h"

/* What stats holds of a row. The mean is mean + rest: where the row is nearly constant, what `real`
   cannot show of it counts. Elsewhere rest is 0, and loops of their own do not subtract it. */
typedef struct {
  real mean, rest, rstd;
} moments;

#define INLINED inline __attribute__((always_inline)) /* so that a rest of 0 is a constant inside */
#define WITH_REST(function, m, ...)                              \
  do {                                                           \
    if ((m).rest == 0)                                           \
      function(__VA_ARGS__, (moments){ (m).mean, 0, (m).rstd }); \
    else                                                         \
      function(__VA_ARGS__, m);                                  \
  } while (0)

/* ---- forward ---- */

#define RUN 1024 /* elements that are added in `real`; what runs of them come to, in double */

static inline real sum_run(const real *x, int64_t n) {
  real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; j++)
    sum += x[j];
  return sum;
}

static inline real squares_run(const real *x, int64_t n, real mean) {
  real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; j++)
    sum += (x[j] - mean) * (x[j] - mean);
  return sum;
}

static real row_mean(const real *x, int64_t n) {
  if (n <= RUN)
    return sum_run(x, n) / (real)n;
  double total = 0;
  for (int64_t j = 0; j < n; j += RUN)
    total += (double)sum_run(x + j, n - j < RUN ? n - j : RUN);
  return (real)(total / (double)n);
}

/* Second pass over the row, which is in cache: differences from the mean lose nothing. */
static real row_variance(const real *x, int64_t n, real mean) {
  if (n <= RUN)
    return squares_run(x, n, mean) / (real)n;
  double total = 0;
  for (int64_t j = 0; j < n; j += RUN)
    total += (double)squares_run(x + j, n - j < RUN ? n - j : RUN, mean);
  return (real)(total / (double)n);
}

/* Both in double precision, from a mean that is nearly right: of equal numbers it becomes that
   number. */
static double careful_moments(const real *x, int64_t n, moments *m) {
  double sum = 0, squares = 0;
  for (int64_t j = 0; j < n; j++)
    sum += (double)x[j] - (double)m->mean;
  const double centre = (double)m->mean + sum / (double)n;
  for (int64_t j = 0; j < n; j++)
    squares += ((double)x[j] - centre) * ((double)x[j] - centre);
  m->mean = (real)centre;
  m->rest = (real)(centre - (double)m->mean);
  return squares / (double)n;
}

/* The sum of a row that is nearly constant is rounded by more than the row varies: a constant would
   not become the bias. */
static moments row_moments(const real *x, int64_t n, double eps) {
  moments m = { .mean = row_mean(x, n) };
  const real first = row_variance(x, n, m.mean);
  const double variance = first < m.mean * m.mean / 16 ? careful_moments(x, n, &m) : (double)first;
  m.rstd = (real)(1 / sqrt(variance + eps));
  return m;
}

static moments row_rms(const real *x, int64_t n, double eps) {
  return (moments){ .rstd = (real)(1 / sqrt((double)row_variance(x, n, 0) + eps)) };
}

static INLINED void scale_row(real *y, const real *x, const real *weight, const real *bias,
                              int64_t n, moments m) {
  if (bias != NULL) {
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
      y[j] = (x[j] - m.mean - m.rest) * m.rstd * weight[j] + bias[j];
  } else {
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
      y[j] = (x[j] - m.mean - m.rest) * m.rstd * weight[j];
  }
}

void KERNEL(layer_norm)(bam_stream stream, const bam_layer_norm *args) {
  const int64_t rows = args->rows, n = args->n;
  (void)stream;
#pragma omp parallel for schedule(static) if (rows * n > BAM_GRAIN)
  for (int64_t i = 0; i < rows; i++) {
    const real *row = (const real *)args->x + i * n;
    if (args->residual != NULL) {
      const real *other = (const real *)args->residual + i * n;
      real *sum = (real *)args->s + i * n;
#pragma omp simd
      for (int64_t j = 0; j < n; j++)
        sum[j] = row[j] + other[j];
      row = sum;
    }
    const moments m = args->rms ? row_rms(row, n, args->eps) : row_moments(row, n, args->eps);
    WITH_REST(scale_row, m, (real *)args->y + i * n, row, args->weight, args->bias, n);
    ((moments *)args->stats)[i] = m;
  }
}

/* ---- backward ---- */

/* What one group of rows adds to the gradients of weight and bias; NULL when not wanted. */
static INLINED void collect_row(real *dweight, real *dbias, const real *dy, const real *s,
                                int64_t n, moments m) {
  if (dweight != NULL) {
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
      dweight[j] += dy[j] * (s[j] - m.mean - m.rest) * m.rstd;
  }
  if (dbias != NULL) {
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
      dbias[j] += dy[j];
  }
}

/* With u = dy * weight and z = (s - mean) * rstd: ds = rstd * (u - mean(u) - z * mean(u * z)). In
   RMS norm nothing depends on the mean, and mean(u) is left out. */
static INLINED void input_row(real *dx, const real *dy, const real *ds, const real *s,
                              const real *weight, int64_t n, bool rms, moments m) {
  real u_sum = 0, uz_sum = 0;
#pragma omp simd reduction(+ : u_sum, uz_sum)
  for (int64_t j = 0; j < n; j++) {
    real u = dy[j] * weight[j];
    u_sum += u;
    uz_sum += u * (s[j] - m.mean - m.rest);
  }
  u_sum = rms ? 0 : u_sum / (real)n;
  uz_sum *= m.rstd * m.rstd / (real)n;
  if (ds != NULL) {
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
      dx[j] = (dy[j] * weight[j] - u_sum - (s[j] - m.mean - m.rest) * uz_sum) * m.rstd + ds[j];
  } else {
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
      dx[j] = (dy[j] * weight[j] - u_sum - (s[j] - m.mean - m.rest) * uz_sum) * m.rstd;
  }
}

/* to = (add ? to : 0) + the sum of the groups' shares. */
static void add_parts(real *to, const real *parts, int64_t stride, int64_t count, int64_t n,
                      bool add) {
  if (!add)
    memset(to, 0, (size_t)n * sizeof(real));
  for (int64_t part = 0; part < count; part++)
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
      to[j] += parts[part * stride + j];
}

void KERNEL(layer_norm_backward)(bam_stream stream, const bam_layer_norm_backward *args) {
  const int64_t rows = args->rows, n = args->n, parts = args->parts;
  (void)stream;
#pragma omp parallel for schedule(static) if (rows * n > BAM_GRAIN)
  for (int64_t part = 0; part < parts; part++) {
    real *own = (real *)args->scratch + part * 2 * n;
    memset(own, 0, (size_t)(2 * n) * sizeof(real));
    for (int64_t i = rows * part / parts; i < rows * (part + 1) / parts; i++) {
      const real *dy_row = (const real *)args->dy + i * n, *s_row = (const real *)args->s + i * n;
      const real *ds_row = args->ds != NULL ? (const real *)args->ds + i * n : NULL;
      const moments m = ((const moments *)args->stats)[i];
      WITH_REST(collect_row, m, args->dweight != NULL ? own : NULL,
                args->dbias != NULL ? own + n : NULL, dy_row, s_row, n);
      if (args->dx != NULL)
        WITH_REST(input_row, m, (real *)args->dx + i * n, dy_row, ds_row, s_row, args->weight, n,
                  args->rms);
    }
  }
  if (args->dweight != NULL)
    add_parts(args->dweight, args->scratch, 2 * n, parts, n, args->add_weight);
  if (args->dbias != NULL)
    add_parts(args->dbias, (const real *)args->scratch + n, 2 * n, parts, n, args->add_bias);
}
