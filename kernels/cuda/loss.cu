/* Cross-entropy of rows of V logits against token ids, a warp or a block for each row. Sums of
   exponentials and losses are carried in double precision; factors stay on the device, as one
   double. stats has each row's largest logit and 1 / the sum, see kernels/cpu/loss.c. */
#include "rows.h"

/* A row's largest logit, and the sum of e^(x - top). All threads of the group get both. */
template <int group_size>
static __device__ double row_sum(const element *row, int64_t n, real *top) {
  double sum = 0;
  real most = -(real)INFINITY;
  BAM_EACH_OF_GROUP(j, n)
  most = row[j] > most ? row[j] : most;
  most = group_max<group_size>(most);
  BAM_EACH_OF_GROUP(j, n)
  sum += (double)REAL_MATH(exp)(row[j] - most);
  *top = most;
  return group_sum<group_size>(sum);
}

template <int group_size>
static __global__ void cross_entropy_rows(double *losses, real *stats, const element *x,
                                          const int64_t *targets, int64_t rows, int64_t n,
                                          int64_t ignore) {
  BAM_EACH_GROUP_ROW(i, rows) {
    const element *row = x + i * n;
    const int64_t target = targets[i];
    double loss = 0;
    real top = 0, part = 0;
    if (target != ignore) { /* the same for the whole thread group */
      const double sum = row_sum<group_size>(row, n, &top);
      part = (real)(1 / sum);
      loss = log(sum) + ((double)top - (double)row[target]);
    }
    if (BAM_GROUP_FIRST) {
      losses[i] = loss;
      stats[2 * i] = top;
      stats[2 * i + 1] = part;
    }
  }
}

void KERNEL(cross_entropy)(bam_stream stream, double *losses, void *stats, const void *x,
                           const int64_t *targets, int64_t rows, int64_t n, int64_t ignore) {
  BAM_LAUNCH_ROWS(cross_entropy_rows, rows, n, losses, (real *)stats, (const element *)x, targets,
                  rows, n, ignore);
}

/* dx may be x. */
template <int group_size>
static __global__ void cross_entropy_slopes(element *dx, const element *x, const real *stats,
                                            const int64_t *targets, const double *scale,
                                            const real *seed, int64_t rows, int64_t n,
                                            int64_t ignore) {
  const real factor = (real)(*scale * (seed != NULL ? (double)*seed : 1.0));
  BAM_EACH_GROUP_ROW(i, rows) {
    const int64_t target = targets[i];
    const real top = stats[2 * i], weight = factor * stats[2 * i + 1];
    BAM_EACH_OF_GROUP(j, n) {
      const real d = weight * REAL_MATH(exp)(x[i * n + j] - top);
      dx[i * n + j] = target == ignore ? (real)0 : j == target ? d - factor : d;
    }
  }
}

/* dx = *scale * *seed * (softmax(x) - one_hot(target)), 0 in ignored rows. Seed: NULL is 1. */
void KERNEL(cross_entropy_backward)(bam_stream stream, const bam_cross_entropy_gradients *args) {
  const int64_t rows = args->rows, n = args->n, ignore = args->ignore;
  BAM_LAUNCH_ROWS(cross_entropy_slopes, rows, n, (element *)args->dx, (const element *)args->x,
                  (const real *)args->stats, args->targets, args->scale, (const real *)args->seed,
                  rows, n, ignore);
}

/* Loss and gradient, which overwrites x. The reductions order all reads of the target's logit before the writes. */
template <int group_size>
static __global__ void cross_entropy_in_place_rows(double *losses, element *x,
                                                   const int64_t *targets, const double *scale,
                                                   int64_t rows, int64_t n, int64_t ignore) {
  const real factor = (real)*scale;
  BAM_EACH_GROUP_ROW(i, rows) {
    element *row = x + i * n;
    const int64_t target = targets[i];
    double loss = 0;
    real top = 0, weight = 0;
    if (target != ignore) { /* the same for the whole thread group */
      const real hit = row[target];
      const double sum = row_sum<group_size>(row, n, &top);
      weight = factor * (real)(1 / sum);
      loss = log(sum) + ((double)top - (double)hit);
    }
    BAM_EACH_OF_GROUP(j, n) {
      const real d = weight * REAL_MATH(exp)(row[j] - top);
      row[j] = target == ignore ? (real)0 : j == target ? d - factor : d;
    }
    if (BAM_GROUP_FIRST)
      losses[i] = loss;
  }
}

void KERNEL(cross_entropy_in_place)(bam_stream stream, double *losses, void *x,
                                    const int64_t *targets, const double *scale, int64_t rows,
                                    int64_t n, int64_t ignore) {
  BAM_LAUNCH_ROWS(cross_entropy_in_place_rows, rows, n, losses, (element *)x, targets, scale, rows,
                  n, ignore);
}

/* ---- one number for all rows, by one thread group ---- */

template <int group_size>
static __global__ void count_targets(double *scale, const int64_t *targets, int64_t n,
                                     int64_t ignore) {
  int64_t valid = 0;
  BAM_EACH_OF_GROUP(i, n)
  valid += targets[i] != ignore;
  valid = group_sum<group_size>(valid);
  if (BAM_GROUP_FIRST)
    *scale = valid > 0 ? 1 / (double)valid : 0;
}

/* 1 / the number of targets that count; 0 when none does. */
void KERNEL(loss_scale)(bam_stream stream, double *scale, const int64_t *targets, int64_t n,
                        int64_t ignore) {
  BAM_LAUNCH_ROWS(count_targets, 1, n, scale, targets, n, ignore);
}

template <int group_size>
static __global__ void add_losses(real *y, const double *losses, const double *scale, int64_t n) {
  double sum = 0;
  BAM_EACH_OF_GROUP(i, n)
  sum += losses[i];
  sum = group_sum<group_size>(sum);
  if (BAM_GROUP_FIRST)
    *y = (real)(sum * *scale);
}

void KERNEL(loss_total)(bam_stream stream, void *y, const double *losses, const double *scale,
                        int64_t n) {
  BAM_LAUNCH_ROWS(add_losses, 1, n, (real *)y, losses, scale, n);
}
