/* The optimisers' updates, one pass over flat buffers, and the sum of squares that clipping needs,
   in fixed chunks. What is the same for all elements is computed once, on the host. */
#include "cuda.h"

#include "../master.h"

namespace {

/* The parameters that an update changes: of bf16 in their masters. */
struct masters {
  element *param;
  int16_t *low;
#ifdef BAM_TYPE_bf16
  __device__ real load(int64_t i) const { return bam_master_join(param[i].stored.bits, low[i]); }
  __device__ void store(int64_t i, real x) const {
    bam_master_split(x, &param[i].stored.bits, &low[i]);
  }
#else
  __device__ real load(int64_t i) const { return param[i]; }
  __device__ void store(int64_t i, real x) const { param[i] = x; }
#endif
};

} // namespace

struct adamw_factors {
  real beta1, beta2, one_beta1, one_beta2, eps, keep, rate, root;
};

static __global__ void adamw_elements(masters p, const real *g, real *first, real *second,
                                      const double *clip_factor, int64_t n, adamw_factors f) {
  const double clip = clip_factor != NULL ? *clip_factor : 1;
  if (clip == 0)
    return;
  BAM_EACH(i, n) {
    const real d = g[i] * (real)clip;
    const real mean = f.beta1 * first[i] + f.one_beta1 * d;
    const real square = f.beta2 * second[i] + f.one_beta2 * d * d;
    first[i] = mean;
    second[i] = square;
    p.store(i, p.load(i) * f.keep - f.rate * mean / (REAL_MATH(sqrt)(square) * f.root + f.eps));
  }
}

void KERNEL(adamw)(bam_stream stream, void *param, int16_t *low, const void *grad, void *m, void *v,
                   const double *clip_factor, int64_t n, const bam_adamw *s) {
  adamw_factors f;
  f.beta1 = (real)s->beta1;
  f.beta2 = (real)s->beta2;
  f.one_beta1 = (real)(1 - s->beta1);
  f.one_beta2 = (real)(1 - s->beta2);
  f.eps = (real)s->eps;
  f.keep = (real)(1 - s->lr * s->weight_decay);
  f.rate = (real)(s->lr / (1 - pow(s->beta1, (double)s->step)));
  f.root = (real)(1 / sqrt(1 - pow(s->beta2, (double)s->step)));
  const masters p = { (element *)param, low };
  BAM_LAUNCH(stream, adamw_elements, BAM_BLOCKS(n), BAM_BLOCK, 0, p, (const real *)grad, (real *)m,
             (real *)v, clip_factor, n, f);
}

struct lion_factors {
  real beta1, one_beta1, beta2, one_beta2, lr, keep;
};

/* -1, 0 or 1; of NaN NaN, so that a bad gradient shows in the weights. */
static __device__ real sign_of(real x) { return x > 0 ? (real)1 : x < 0 ? (real)-1 : x; }

static __global__ void lion_elements(masters p, const real *g, real *m, const double *clip_factor,
                                     int64_t n, lion_factors f) {
  const double clip = clip_factor != NULL ? *clip_factor : 1;
  if (clip == 0)
    return;
  BAM_EACH(i, n) {
    const real d = g[i] * (real)clip, mean = m[i];
    p.store(i, p.load(i) * f.keep - f.lr * sign_of(f.beta1 * mean + f.one_beta1 * d));
    m[i] = f.beta2 * mean + f.one_beta2 * d;
  }
}

void KERNEL(lion)(bam_stream stream, void *param, int16_t *low, const void *grad, void *m,
                  const double *clip_factor, int64_t n, const bam_lion *s) {
  lion_factors f;
  f.beta1 = (real)s->beta1;
  f.one_beta1 = (real)(1 - s->beta1);
  f.beta2 = (real)s->beta2;
  f.one_beta2 = (real)(1 - s->beta2);
  f.lr = (real)s->lr;
  f.keep = (real)(1 - s->lr * s->weight_decay);
  const masters p = { (element *)param, low };
  BAM_LAUNCH(stream, lion_elements, BAM_BLOCKS(n), BAM_BLOCK, 0, p, (const real *)grad, (real *)m,
             clip_factor, n, f);
}

struct sgd_factors {
  real lr, decay, momentum;
  real ahead, direct; /* what the new momentum and the gradient itself count */
};

static __global__ void sgd_elements(masters p, const real *g, real *b, const double *clip_factor,
                                    int64_t n, sgd_factors f) {
  const double clip = clip_factor != NULL ? *clip_factor : 1;
  if (clip == 0)
    return;
  BAM_EACH(i, n) {
    const real old = p.load(i), d = g[i] * (real)clip + f.decay * old;
    if (b == NULL) {
      p.store(i, old - f.lr * d);
      continue;
    }
    const real moved = (f.momentum != 0 ? f.momentum * b[i] : 0) + d;
    b[i] = moved;
    p.store(i, old - f.lr * (f.direct * d + f.ahead * moved));
  }
}

/* The momentum buffer may be NULL when momentum is 0; in the first step it is overwritten. */
void KERNEL(sgd)(bam_stream stream, void *param, int16_t *low, const void *grad, void *buffer,
                 const double *clip_factor, int64_t n, const bam_sgd *s) {
  sgd_factors f;
  f.lr = (real)s->lr;
  f.decay = (real)s->weight_decay;
  f.momentum = s->step > 1 ? (real)s->momentum : 0;
  f.ahead = s->nesterov ? (real)s->momentum : 1;
  f.direct = s->nesterov ? 1 : 0;
  const masters p = { (element *)param, low };
  BAM_LAUNCH(stream, sgd_elements, BAM_BLOCKS(n), BAM_BLOCK, 0, p, (const real *)grad,
             (real *)buffer, clip_factor, n, f);
}

static __global__ void square_chunks(double *parts, const element *x, int64_t n, int64_t chunks) {
  BAM_EACH_ROW(c, chunks) {
    const int64_t first = c * BAM_SUM_CHUNK;
    const int64_t end = n - first < BAM_SUM_CHUNK ? n : first + BAM_SUM_CHUNK;
    double sum = 0;
    for (int64_t i = first + threadIdx.x; i < end; i += blockDim.x)
      sum += (double)x[i] * (double)x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
      parts[c] = sum;
  }
}

/* parts[c] = the sum of squares of chunk c of BAM_SUM_CHUNK elements. */
void KERNEL(sum_of_squares)(bam_stream stream, double *parts, const void *x, int64_t n) {
  const int64_t chunks = (n + BAM_SUM_CHUNK - 1) / BAM_SUM_CHUNK;
  BAM_LAUNCH(stream, square_chunks, BAM_ROW_BLOCKS(chunks), 1024, 0, parts, (const element *)x, n,
             chunks);
}

static __global__ void join_elements(float *y, const uint16_t *high, const int16_t *low,
                                     int64_t n) {
  BAM_EACH(i, n) y[i] = bam_master_join(high[i], low[i]);
}

void KERNEL(join_masters)(bam_stream stream, float *y, const uint16_t *high, const int16_t *low,
                          int64_t n) {
  BAM_LAUNCH(stream, join_elements, BAM_BLOCKS(n), BAM_BLOCK, 0, y, high, low, n);
}

static __global__ void split_elements(uint16_t *high, int16_t *low, const float *x, int64_t n) {
  BAM_EACH(i, n) bam_master_split(x[i], &high[i], &low[i]);
}

void KERNEL(split_masters)(bam_stream stream, uint16_t *high, int16_t *low, const float *x,
                           int64_t n) {
  BAM_LAUNCH(stream, split_elements, BAM_BLOCKS(n), BAM_BLOCK, 0, high, low, x, n);
}
