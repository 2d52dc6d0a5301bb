/* Cross-entropy of rows of V logits against token ids. Sums of exponentials and losses are carried
   in double precision; factors stay on the device, as one double. What backward needs of a row is
   its largest logit and 1 / the sum: their logarithm together, rounded, would cost every weight as
   many digits as it has before the point. */
#include "cpu.h"
#include "vmath.h"

#define RUN 1024 /* exponentials added in `real` before they go to a double */

static real row_top(const real *x, int64_t n) {
  real top = (real)-INFINITY;
#pragma omp simd reduction(max : top)
  for (int64_t j = 0; j < n; j++)
    top = x[j] > top ? x[j] : top;
  return top;
}

/* The sum of e^(x - top). */
static double sum_of_exp(const real *x, int64_t n, real top) {
  double total = 0;
  for (int64_t from = 0; from < n; from += RUN) {
    int64_t to = from + RUN < n ? from + RUN : n;
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = from; j < to; j++)
      sum += v_exp_negative(x[j] - top);
    total += (double)sum;
  }
  return total;
}

/* The same, and x becomes e^(x - top). */
static double take_exp(real *x, int64_t n, real top) {
  double total = 0;
  for (int64_t from = 0; from < n; from += RUN) {
    int64_t to = from + RUN < n ? from + RUN : n;
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = from; j < to; j++) {
      x[j] = v_exp_negative(x[j] - top);
      sum += x[j];
    }
    total += (double)sum;
  }
  return total;
}

void KERNEL(cross_entropy)(bam_stream stream, double *losses, void *stats, const void *x,
                           const int64_t *targets, int64_t rows, int64_t n, int64_t ignore) {
  (void)stream;
#pragma omp parallel for schedule(static) if (rows * n > BAM_GRAIN)
  for (int64_t i = 0; i < rows; i++) {
    const real *row = (const real *)x + i * n;
    real *stat = (real *)stats + 2 * i;
    losses[i] = stat[0] = stat[1] = 0;
    if (targets[i] == ignore)
      continue;
    real top = row_top(row, n);
    double sum = sum_of_exp(row, n, top);
    losses[i] = log(sum) + ((double)top - (double)row[targets[i]]);
    stat[0] = top;
    stat[1] = (real)(1 / sum);
  }
}

/* dx = *scale * *seed * (softmax(x) - one_hot(target)), 0 in ignored rows; dx may be x. Seed: NULL
   is 1. */
void KERNEL(cross_entropy_backward)(bam_stream stream, const bam_cross_entropy_gradients *args) {
  const int64_t rows = args->rows, n = args->n, ignore = args->ignore;
  (void)stream;
  real factor = (real)(*args->scale *
                       (args->seed != NULL ? (double)*(const real *)args->seed : 1.0));
#pragma omp parallel for schedule(static) if (rows * n > BAM_GRAIN)
  for (int64_t i = 0; i < rows; i++) {
    const real *row = (const real *)args->x + i * n;
    const real top = ((const real *)args->stats)[2 * i];
    const real weight = factor * ((const real *)args->stats)[2 * i + 1];
    real *to = (real *)args->dx + i * n;
    if (args->targets[i] == ignore) {
      memset(to, 0, (size_t)n * sizeof(real));
      continue;
    }
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
      to[j] = weight * v_exp_negative(row[j] - top);
    to[args->targets[i]] -= factor;
  }
}

/* The loss of one row, which becomes its gradient. It stays in cache throughout. */
static double differentiate_row(real *row, int64_t n, int64_t target, real factor) {
  const real top = row_top(row, n);
  const double distance = (double)top - (double)row[target], sum = take_exp(row, n, top);
  const real weight = factor * (real)(1 / sum);
#pragma omp simd
  for (int64_t j = 0; j < n; j++)
    row[j] *= weight;
  row[target] -= factor;
  return log(sum) + distance;
}

void KERNEL(cross_entropy_in_place)(bam_stream stream, double *losses, void *x,
                                    const int64_t *targets, const double *scale, int64_t rows,
                                    int64_t n, int64_t ignore) {
  (void)stream;
#pragma omp parallel for schedule(static) if (rows * n > BAM_GRAIN)
  for (int64_t i = 0; i < rows; i++) {
    real *row = (real *)x + i * n;
    losses[i] = 0;
    if (targets[i] != ignore)
      losses[i] = differentiate_row(row, n, targets[i], (real)*scale);
    else
      memset(row, 0, (size_t)n * sizeof(real));
  }
}

/* 1 / the number of targets that count; 0 when none does. */
void KERNEL(loss_scale)(bam_stream stream, double *scale, const int64_t *targets, int64_t n,
                        int64_t ignore) {
  (void)stream;
  int64_t valid = 0;
  for (int64_t i = 0; i < n; i++)
    valid += targets[i] != ignore;
  *scale = valid > 0 ? 1 / (double)valid : 0;
}

void KERNEL(loss_total)(bam_stream stream, void *y, const double *losses, const double *scale,
                        int64_t n) {
  (void)stream;
  double sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += losses[i];
  *(real *)y = (real)(sum * *scale);
}
