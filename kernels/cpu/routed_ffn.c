/* FFN experts over tokens sorted by expert (BAM §4.2): no padding, no dropped token. An assignment
   is one choice of one token; rows of sorted matrices follow the assignments in order of expert,
   and within an expert in order of the tokens, so every sum has a fixed order. */
#include "cpu.h"
#include "vmath.h"

void KERNEL(sort_by_expert)(bam_stream stream, int64_t *rows, int64_t *slots, int64_t *offsets,
                            const int64_t *chosen, int64_t assignments, int64_t experts) {
  (void)stream;
  memset(offsets, 0, (size_t)(experts + 1) * sizeof *offsets);
  for (int64_t a = 0; a < assignments; a++)
    if (chosen[a] > 0)
      offsets[chosen[a]]++;
  for (int64_t e = 0; e < experts; e++)
    offsets[e + 1] += offsets[e];
  for (int64_t a = 0; a < assignments; a++) { /* offsets[e] moves from e's first row to its end */
    slots[a] = chosen[a] > 0 ? offsets[chosen[a] - 1]++ : -1;
    if (slots[a] >= 0)
      rows[slots[a]] = a;
  }
  memmove(offsets + 1, offsets, (size_t)experts * sizeof *offsets);
  offsets[0] = 0;
}

static void gather_all(real *y, const real *x, const int64_t *rows, int64_t count, int64_t k,
                       int64_t width) {
#pragma omp for schedule(static)
  for (int64_t s = 0; s < count; s++)
    memcpy(y + s * width, x + rows[s] / k * width, (size_t)width * sizeof(real));
}

void KERNEL(gather_rows)(bam_stream stream, void *y, const void *x, const int64_t *rows,
                         int64_t count, int64_t k, int64_t width) {
  (void)stream;
  SHARE(count * width > BAM_GRAIN, gather_all(y, x, rows, count, k, width));
}

static void add_row(real *y, const real *x, int64_t width) {
#pragma omp simd
  for (int64_t d = 0; d < width; d++)
    y[d] += x[d];
}

static void combine_all(real *y, const real *x, const int64_t *slots, int64_t tokens, int64_t k,
                        int64_t width, bool add) {
#pragma omp for schedule(static)
  for (int64_t t = 0; t < tokens; t++) {
    if (!add)
      memset(y + t * width, 0, (size_t)width * sizeof(real));
    for (int64_t a = t * k; a < (t + 1) * k; a++)
      if (slots[a] >= 0)
        add_row(y + t * width, x + slots[a] * width, width);
  }
}

void KERNEL(combine_rows)(bam_stream stream, void *y, const void *x, const int64_t *slots,
                          int64_t tokens, int64_t k, int64_t width, bool add) {
  (void)stream;
  SHARE(tokens * k * width > BAM_GRAIN, combine_all(y, x, slots, tokens, k, width, add));
}

static void swiglu_all(real *y, const real *x, const real *gates, const int64_t *rows,
                       int64_t count, int64_t hidden) {
#pragma omp for schedule(static)
  for (int64_t s = 0; s < count; s++) {
    const real *gate = x + s * 2 * hidden, *up = gate + hidden;
    real *to = y + s * hidden, weight = gates[rows[s]];
#pragma omp simd
    for (int64_t j = 0; j < hidden; j++)
      to[j] = weight * gate[j] * v_sigmoid_newton(gate[j]) * up[j];
  }
}

void KERNEL(gated_swiglu)(bam_stream stream, void *y, const void *x, const void *gates,
                          const int64_t *rows, int64_t count, int64_t hidden) {
  (void)stream;
  SHARE(count * hidden > BAM_GRAIN, swiglu_all(y, x, gates, rows, count, hidden));
}

/* One row backwards; y may be dy. Returns the gradient of its gate, the sum of dy * swiglu(x). */
static real swiglu_row_backward(real *dx, real *y, const real *dy, const real *x, real weight,
                                int64_t hidden) {
  const real *gate = x, *up = x + hidden;
  real *dgate = dx, *dup = dx + hidden, sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < hidden; j++) {
    real sigmoid = v_sigmoid_newton(gate[j]), silu = gate[j] * sigmoid, grad = dy[j];
    real weighted = weight * grad;
    sum += grad * silu * up[j];
    dgate[j] = weighted * up[j] * (sigmoid + silu * (1 - sigmoid));
    dup[j] = weighted * silu;
    y[j] = weight * silu * up[j];
  }
  return sum;
}

/* What the backward pass writes and reads. */
typedef struct swiglu_gradients {
  real *dx, *y, *dgates;
  const real *dy, *x, *gates;
  const int64_t *rows;
} swiglu_gradients;

static void swiglu_all_backward(const swiglu_gradients *m, int64_t count, int64_t hidden) {
#pragma omp for schedule(static)
  for (int64_t s = 0; s < count; s++)
    m->dgates[m->rows[s]] = swiglu_row_backward(m->dx + s * 2 * hidden, m->y + s * hidden,
                                                m->dy + s * hidden, m->x + s * 2 * hidden,
                                                m->gates[m->rows[s]], hidden);
}

void KERNEL(gated_swiglu_backward)(bam_stream stream, const bam_swiglu_gradients *args) {
  const int64_t count = args->count, hidden = args->hidden;
  (void)stream;
  swiglu_gradients m = {
    args->dx, args->y, args->dgates, args->dy, args->x, args->gates, args->rows
  };
  SHARE(count * hidden > BAM_GRAIN, swiglu_all_backward(&m, count, hidden));
}
