/* GeGLU over rows gate | up of 2F elements: y = weight * gelu(gate) * up, with GELU by the error function
   or, approximately, by tanh. With `gates` the weight of a row is that of its assignment `rows[i]`, as in
   routed_ffn.c; else it is 1. Backward computes GELU again. */
#include "cpu.h"
#include "vmath.h"

static inline real gelu_of(real x, bool approximate) {
  return approximate ? times_gate(x, gelu_tanh_gate(x)) : gelu_value(x);
}

static inline real slope_of(real x, bool approximate) {
  return approximate ? gelu_tanh_slope(x) : gelu_slope(x);
}

static inline real weight_of(const void *gates, const int64_t *rows, int64_t i) {
  return gates != NULL ? ((const real *)gates)[rows[i]] : (real)1;
}

static inline void geglu_row(real *y, const real *x, real weight, int64_t hidden,
                             bool approximate) {
  const real *gate = x, *up = x + hidden;
#pragma omp simd
  for (int64_t j = 0; j < hidden; j++)
    y[j] = weight * gelu_of(gate[j], approximate) * up[j];
}

static void geglu_all(real *y, const bam_geglu *g) {
#pragma omp for schedule(static)
  for (int64_t i = 0; i < g->count; i++) {
    const real *x = (const real *)g->x + i * g->stride, weight = weight_of(g->gates, g->rows, i);
    if (g->approximate)
      geglu_row(y + i * g->hidden, x, weight, g->hidden, true);
    else
      geglu_row(y + i * g->hidden, x, weight, g->hidden, false);
  }
}

void KERNEL(geglu)(bam_stream stream, void *y, const bam_geglu *g) {
  (void)stream;
  SHARE(g->count * g->hidden > BAM_GRAIN, geglu_all(y, g));
}

/* One row backwards. y, which may be dy, and NULL without gates, receives the weighted result; returned is
   the gradient of the weight, the sum of dy * geglu(x). */
static inline real geglu_row_backward(real *dx, real *y, const real *dy, const real *x, real weight,
                                      int64_t hidden, bool approximate, bool gated) {
  const real *gate = x, *up = x + hidden;
  real *dgate = dx, *dup = dx + hidden, sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < hidden; j++) {
    const real value = gelu_of(gate[j], approximate), grad = dy[j], weighted = weight * grad;
    dgate[j] = weighted * up[j] * slope_of(gate[j], approximate);
    dup[j] = weighted * value;
    if (gated) {
      sum += grad * value * up[j];
      y[j] = weight * value * up[j];
    }
  }
  return sum;
}

static void geglu_all_backward(const bam_geglu_gradients *g, bool approximate, bool gated) {
#pragma omp for schedule(static)
  for (int64_t i = 0; i < g->count; i++) {
    const int64_t hidden = g->hidden;
    real *dx = (real *)g->dx + i * 2 * hidden, *y = gated ? (real *)g->y + i * hidden : NULL;
    const real *dy = (const real *)g->dy + i * hidden, *x = (const real *)g->x + i * 2 * hidden;
    const real weight = weight_of(g->gates, g->rows, i);
    real sum;
    if (approximate)
      sum = gated ? geglu_row_backward(dx, y, dy, x, weight, hidden, true, true)
                  : geglu_row_backward(dx, y, dy, x, weight, hidden, true, false);
    else
      sum = gated ? geglu_row_backward(dx, y, dy, x, weight, hidden, false, true)
                  : geglu_row_backward(dx, y, dy, x, weight, hidden, false, false);
    if (gated)
      ((real *)g->dgates)[g->rows[i]] = sum;
  }
}

void KERNEL(geglu_backward)(bam_stream stream, const bam_geglu_gradients *g) {
  (void)stream;
  SHARE(g->count * g->hidden > BAM_GRAIN, geglu_all_backward(g, g->approximate, g->gates != NULL));
}
