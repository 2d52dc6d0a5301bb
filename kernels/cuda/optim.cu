/* The optimisers' updates, one pass over flat buffers, and the sum of squares that clipping needs,
   in fixed chunks. What is the same for all elements is computed once, on the host. */
#include "pack.h"

#include "../master.h"

namespace {

/* The parameters that an update changes, in packs: of bf16 in their masters. */
struct masters {
  element *param;
  int16_t *low;
  template <int width> __device__ __forceinline__ pack<width, real> load(int64_t i) const {
    const auto high = load_pack<width>(param + i);
#ifdef BAM_TYPE_bf16
    const auto lows = load_pack<width>(low + i);
    pack<width, real> x;
    BAM_EACH_IN_PACK(k) x.at[k] = bam_master_join(high.at[k].stored.bits, lows.at[k]);
    return x;
#else
    return high;
#endif
  }
  template <int width>
  __device__ __forceinline__ void store(int64_t i, const pack<width, real> &x) const {
#ifdef BAM_TYPE_bf16
    pack<width, element> high;
    pack<width, int16_t> lows;
    BAM_EACH_IN_PACK(k) bam_master_split(x.at[k], &high.at[k].stored.bits, &lows.at[k]);
    store_pack(param + i, high);
    store_pack(low + i, lows);
#else
    store_pack(param + i, x);
#endif
  }
};

} // namespace

struct adamw_factors {
  real beta1, beta2, one_beta1, one_beta2, eps, keep, rate, root;
};

template <int width>
static __device__ __forceinline__ void adamw_pack(const masters &p, const real *g, real *first,
                                                  real *second, real clip, int64_t i,
                                                  const adamw_factors &f) {
  const auto grad = load_pack<width>(g + i);
  auto mean = load_pack<width>(first + i), square = load_pack<width>(second + i);
  auto x = p.load<width>(i);
  BAM_EACH_IN_PACK(k) {
    const real d = grad.at[k] * clip;
    mean.at[k] = f.beta1 * mean.at[k] + f.one_beta1 * d;
    square.at[k] = f.beta2 * square.at[k] + f.one_beta2 * d * d;
    x.at[k] = x.at[k] * f.keep -
              f.rate * mean.at[k] / (REAL_MATH(sqrt)(square.at[k]) * f.root + f.eps);
  }
  store_pack(first + i, mean);
  store_pack(second + i, square);
  p.store(i, x);
}

template <int width>
static __global__ void adamw_elements(masters p, const real *g, real *first, real *second,
                                      const double *clip_factor, int64_t n, adamw_factors f) {
  const double clip = clip_factor != NULL ? *clip_factor : 1;
  if (clip == 0)
    return;
  BAM_EACH_WHOLE_PACK(i, n) adamw_pack<width>(p, g, first, second, (real)clip, i, f);
  BAM_EACH_REST(i, n) adamw_pack<1>(p, g, first, second, (real)clip, i, f);
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
  BAM_LAUNCH_PACKED(adamw_elements, pack_aligned(param, low, grad, m, v), n, p, (const real *)grad,
                    (real *)m, (real *)v, clip_factor, n, f);
}

struct lion_factors {
  real beta1, one_beta1, beta2, one_beta2, lr, keep;
};

/* -1, 0 or 1; of NaN NaN, so that a bad gradient shows in the weights. */
static __device__ real sign_of(real x) { return x > 0 ? (real)1 : x < 0 ? (real)-1 : x; }

template <int width>
static __device__ __forceinline__ void lion_pack(const masters &p, const real *g, real *m,
                                                 real clip, int64_t i, const lion_factors &f) {
  const auto grad = load_pack<width>(g + i);
  auto mean = load_pack<width>(m + i);
  auto x = p.load<width>(i);
  BAM_EACH_IN_PACK(k) {
    const real d = grad.at[k] * clip;
    x.at[k] = x.at[k] * f.keep - f.lr * sign_of(f.beta1 * mean.at[k] + f.one_beta1 * d);
    mean.at[k] = f.beta2 * mean.at[k] + f.one_beta2 * d;
  }
  store_pack(m + i, mean);
  p.store(i, x);
}

template <int width>
static __global__ void lion_elements(masters p, const real *g, real *m, const double *clip_factor,
                                     int64_t n, lion_factors f) {
  const double clip = clip_factor != NULL ? *clip_factor : 1;
  if (clip == 0)
    return;
  BAM_EACH_WHOLE_PACK(i, n) lion_pack<width>(p, g, m, (real)clip, i, f);
  BAM_EACH_REST(i, n) lion_pack<1>(p, g, m, (real)clip, i, f);
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
  BAM_LAUNCH_PACKED(lion_elements, pack_aligned(param, low, grad, m), n, p, (const real *)grad,
                    (real *)m, clip_factor, n, f);
}

struct sgd_factors {
  real lr, decay, momentum;
  real ahead, direct; /* what the new momentum and the gradient itself count */
};

template <int width>
static __device__ __forceinline__ void sgd_pack(const masters &p, const real *g, real *b, real clip,
                                                int64_t i, const sgd_factors &f) {
  const auto grad = load_pack<width>(g + i);
  auto x = p.load<width>(i);
  pack<width, real> moved = {};
  if (b != NULL && f.momentum != 0) /* in the first step it holds nothing */
    moved = load_pack<width>(b + i);
  BAM_EACH_IN_PACK(k) {
    const real d = grad.at[k] * clip + f.decay * x.at[k];
    moved.at[k] = f.momentum * moved.at[k] + d;
    x.at[k] = x.at[k] - f.lr * (b != NULL ? f.direct * d + f.ahead * moved.at[k] : d);
  }
  if (b != NULL)
    store_pack(b + i, moved);
  p.store(i, x);
}

template <int width>
static __global__ void sgd_elements(masters p, const real *g, real *b, const double *clip_factor,
                                    int64_t n, sgd_factors f) {
  const double clip = clip_factor != NULL ? *clip_factor : 1;
  if (clip == 0)
    return;
  BAM_EACH_WHOLE_PACK(i, n) sgd_pack<width>(p, g, b, (real)clip, i, f);
  BAM_EACH_REST(i, n) sgd_pack<1>(p, g, b, (real)clip, i, f);
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
  BAM_LAUNCH_PACKED(sgd_elements, pack_aligned(param, low, grad, buffer), n, p, (const real *)grad,
                    (real *)buffer, clip_factor, n, f);
}

template <int width>
static __global__ void square_chunks(double *parts, const element *x, int64_t n, int64_t chunks) {
  BAM_EACH_ROW(c, chunks) {
    const int64_t first = c * BAM_SUM_CHUNK, left = n - first;
    const int64_t length = left < BAM_SUM_CHUNK ? left : BAM_SUM_CHUNK;
    double sum = 0;
    for (int64_t i = threadIdx.x * width; i < length; i += blockDim.x * width) {
      pack<width, element> p = {};
      if (i + width <= length)
        p = load_pack<width>(x + first + i);
      else
        BAM_EACH_IN_PACK(k) if (i + k < length) p.at[k] = x[first + i + k];
      BAM_EACH_IN_PACK(k) sum += (double)p.at[k] * (double)p.at[k];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
      parts[c] = sum;
  }
}

/* parts[c] = the sum of squares of chunk c of BAM_SUM_CHUNK elements. */
void KERNEL(sum_of_squares)(bam_stream stream, double *parts, const void *x, int64_t n) {
  const int64_t chunks = (n + BAM_SUM_CHUNK - 1) / BAM_SUM_CHUNK;
  if (pack_aligned(x))
    BAM_LAUNCH(stream, (square_chunks<PACK>), BAM_ROW_BLOCKS(chunks), 1024, 0, parts,
               (const element *)x, n, chunks);
  else
    BAM_LAUNCH(stream, (square_chunks<1>), BAM_ROW_BLOCKS(chunks), 1024, 0, parts,
               (const element *)x, n, chunks);
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
