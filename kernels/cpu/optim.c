/* The optimisers' updates, one pass over flat buffers, and the sum of squares that clipping needs,
   in fixed chunks so that it does not depend on the number of threads. */
#include "../master.h"
#include "cpu.h"
#include "vmath.h"

void KERNEL(adamw)(bam_stream stream, void *param, int16_t *low, const void *grad, void *m, void *v,
                   const double *clip_factor, int64_t n, const bam_adamw *s) {
  (void)stream;
  (void)low;
  if (clip_factor != NULL && *clip_factor == 0)
    return;
  real *p = param, *first = m, *second = v;
  const real *g = grad;
  const real beta1 = (real)s->beta1, beta2 = (real)s->beta2, eps = (real)s->eps;
  const real one_beta1 = (real)(1 - s->beta1), one_beta2 = (real)(1 - s->beta2);
  const real clip = clip_factor != NULL ? (real)*clip_factor : 1,
             keep = (real)(1 - s->lr * s->weight_decay);
  const real rate = (real)(s->lr / (1 - pow(s->beta1, (double)s->step)));
  const real root = (real)(1 / sqrt(1 - pow(s->beta2, (double)s->step)));
#pragma omp parallel for simd schedule(static) if (n > BAM_GRAIN)
  for (int64_t i = 0; i < n; i++) {
    real d = g[i] * clip;
    real mean = beta1 * first[i] + one_beta1 * d;
    real square = beta2 * second[i] + one_beta2 * d * d;
    first[i] = mean;
    second[i] = square;
    p[i] = p[i] * keep - rate * mean / (REAL_MATH(sqrt)(square) * root + eps);
  }
}

/* -1, 0 or 1; of NaN NaN, so that a bad gradient shows in the weights. */
static inline real sign_of(real x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

void KERNEL(lion)(bam_stream stream, void *param, int16_t *low, const void *grad, void *m,
                  const double *clip_factor, int64_t n, const bam_lion *s) {
  (void)stream;
  (void)low;
  if (clip_factor != NULL && *clip_factor == 0)
    return;
  real *p = param, *mean = m;
  const real *g = grad;
  const real beta1 = (real)s->beta1, one_beta1 = (real)(1 - s->beta1);
  const real beta2 = (real)s->beta2, one_beta2 = (real)(1 - s->beta2);
  const real clip = clip_factor != NULL ? (real)*clip_factor : 1;
  const real lr = (real)s->lr, keep = (real)(1 - s->lr * s->weight_decay);
#pragma omp parallel for simd schedule(static) if (n > BAM_GRAIN)
  for (int64_t i = 0; i < n; i++) {
    real d = g[i] * clip;
    p[i] = p[i] * keep - lr * sign_of(beta1 * mean[i] + one_beta1 * d);
    mean[i] = beta2 * mean[i] + one_beta2 * d;
  }
}

/* The momentum buffer may be NULL when momentum is 0; in the first step it is overwritten. */
void KERNEL(sgd)(bam_stream stream, void *param, int16_t *low, const void *grad, void *buffer,
                 const double *clip_factor, int64_t n, const bam_sgd *s) {
  (void)stream;
  (void)low;
  if (clip_factor != NULL && *clip_factor == 0)
    return;
  real *p = param, *b = buffer;
  const real *g = grad;
  const real lr = (real)s->lr, decay = (real)s->weight_decay;
  const real clip = clip_factor != NULL ? (real)*clip_factor : 1;
  const real momentum = s->step > 1 ? (real)s->momentum : 0;
  const real ahead = s->nesterov ? (real)s->momentum : 1, direct = s->nesterov ? 1 : 0;
  if (b == NULL) {
#pragma omp parallel for simd schedule(static) if (n > BAM_GRAIN)
    for (int64_t i = 0; i < n; i++)
      p[i] -= lr * (g[i] * clip + decay * p[i]);
    return;
  }
#pragma omp parallel for simd schedule(static) if (n > BAM_GRAIN)
  for (int64_t i = 0; i < n; i++) {
    real d = g[i] * clip + decay * p[i];
    real moved = (momentum != 0 ? momentum * b[i] : 0) + d;
    b[i] = moved;
    p[i] -= lr * (direct * d + ahead * moved);
  }
}

/* parts[c] = the sum of squares of chunk c of BAM_SUM_CHUNK elements. */
void KERNEL(sum_of_squares)(bam_stream stream, double *parts, const void *x, int64_t n) {
  (void)stream;
  const real *from = x;
  int64_t chunks = (n + BAM_SUM_CHUNK - 1) / BAM_SUM_CHUNK;
#pragma omp parallel for schedule(static) if (n > BAM_GRAIN)
  for (int64_t c = 0; c < chunks; c++) {
    int64_t end = (c + 1) * BAM_SUM_CHUNK < n ? (c + 1) * BAM_SUM_CHUNK : n;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = c * BAM_SUM_CHUNK; i < end; i++)
      sum += (double)from[i] * (double)from[i];
    parts[c] = sum;
  }
}

void KERNEL(join_masters)(bam_stream stream, float *y, const uint16_t *high, const int16_t *low,
                          int64_t n) {
  (void)stream;
#pragma omp parallel for schedule(static) if (n > BAM_GRAIN)
  for (int64_t i = 0; i < n; i++)
    y[i] = bam_master_join(high[i], low[i]);
}

void KERNEL(split_masters)(bam_stream stream, uint16_t *high, int16_t *low, const float *x,
                           int64_t n) {
  (void)stream;
#pragma omp parallel for schedule(static) if (n > BAM_GRAIN)
  for (int64_t i = 0; i < n; i++)
    bam_master_split(x[i], &high[i], &low[i]);
}
