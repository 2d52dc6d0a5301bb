/* Cross-entropy of rows of V logits against token ids, a warp or a block for each row. Sums of
   exponentials and losses are carried in double precision; factors stay on the device, as one
   double. stats has each row's largest logit and 1 / the sum, see kernels/cpu/loss.c. */
#include "pack.h"

/* What a thread has read of a row: its largest logit, and the sum of e^(x - top). */
struct exponentials {
  real top;
  double sum;

  /* A pack's own sum is short, and of `real`. A NaN is no top but makes the sum NaN. */
  template <int width> __device__ __forceinline__ void add(const pack<width, element> &x) {
    real most = top, more = 0;
    BAM_EACH_IN_PACK(k) most = x.at[k] > most ? (real)x.at[k] : most;
    if (most > top)
      sum *= exp((double)top - (double)most); /* 0 of 0 at first */
    top = most;
    const real shift = top == -(real)INFINITY ? (real)0 : top;
    BAM_EACH_IN_PACK(k) more += REAL_MATH(exp)(x.at[k] - shift);
    sum += (double)more;
  }
};

/* A row's largest logit, and the sum of e^(x - top), in one read. All threads of the group get both. */
template <int group_size, int width>
static __device__ double row_sum(const element *row, int64_t n, real *top) {
  exponentials own = { -(real)INFINITY, 0 };
  BAM_EACH_PACK(j, n) own.add(load_pack<width>(row + j));
  *top = group_max<group_size>(own.top);
  return group_sum<group_size>(own.sum * exp((double)own.top - (double)*top));
}

/* Elements j on of the gradient of a row; dx may be x. */
template <int width>
static __device__ __forceinline__ void slope_pack(element *dx, const element *x, int64_t j,
                                                  int64_t target, real top, real weight,
                                                  real factor, bool ignored) {
  const auto logits = load_pack<width>(x + j);
  pack<width, element> slopes;
  BAM_EACH_IN_PACK(k) {
    const real d = weight * REAL_MATH(exp)(logits.at[k] - top);
    slopes.at[k] = ignored ? (real)0 : j + k == target ? d - factor : d;
  }
  store_pack(dx + j, slopes);
}

template <int group_size, int width>
static __global__ void cross_entropy_rows(double *losses, real *stats, const element *x,
                                          const int64_t *targets, int64_t rows, int64_t n,
                                          int64_t ignore) {
  BAM_EACH_GROUP_ROW(i, rows) {
    const element *row = x + i * n;
    const int64_t target = targets[i];
    double loss = 0;
    real top = 0, part = 0;
    if (target != ignore) { /* the same for the whole thread group */
      const double sum = row_sum<group_size, width>(row, n, &top);
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
  const bool packed = pack_aligned(x) && n % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(cross_entropy_rows, packed, rows, n, losses, (real *)stats,
                         (const element *)x, targets, rows, n, ignore);
}

/* dx may be x. */
template <int group_size, int width>
static __global__ void cross_entropy_slopes(element *dx, const element *x, const real *stats,
                                            const int64_t *targets, const double *scale,
                                            const real *seed, int64_t rows, int64_t n,
                                            int64_t ignore) {
  const real factor = (real)(*scale * (seed != NULL ? (double)*seed : 1.0));
  BAM_EACH_GROUP_ROW(i, rows) {
    const int64_t target = targets[i];
    const real top = stats[2 * i], weight = factor * stats[2 * i + 1];
    BAM_EACH_PACK(j, n)
    slope_pack<width>(dx + i * n, x + i * n, j, target, top, weight, factor, target == ignore);
  }
}

/* dx = *scale * *seed * (softmax(x) - one_hot(target)), 0 in ignored rows. Seed: NULL is 1. */
void KERNEL(cross_entropy_backward)(bam_stream stream, const bam_cross_entropy_gradients *args) {
  const int64_t rows = args->rows, n = args->n, ignore = args->ignore;
  const bool packed = pack_aligned(args->dx, args->x) && n % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(cross_entropy_slopes, packed, rows, n, (element *)args->dx,
                         (const element *)args->x, (const real *)args->stats, args->targets,
                         args->scale, (const real *)args->seed, rows, n, ignore);
}

/* Loss and gradient, which overwrites x. The reductions order all reads of the target's logit before the writes. */
template <int group_size, int width>
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
      const double sum = row_sum<group_size, width>(row, n, &top);
      weight = factor * (real)(1 / sum);
      loss = log(sum) + ((double)top - (double)hit);
    }
    BAM_EACH_PACK(j, n)
    slope_pack<width>(row, row, j, target, top, weight, factor, target == ignore);
    if (BAM_GROUP_FIRST)
      losses[i] = loss;
  }
}

void KERNEL(cross_entropy_in_place)(bam_stream stream, double *losses, void *x,
                                    const int64_t *targets, const double *scale, int64_t rows,
                                    int64_t n, int64_t ignore) {
  const bool packed = pack_aligned(x) && n % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(cross_entropy_in_place_rows, packed, rows, n, losses, (element *)x,
                         targets, scale, rows, n, ignore);
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
