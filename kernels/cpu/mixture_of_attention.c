/* Gates of attention experts that run as heads of one attention (BAM §4.1). Backward needs no
   division by a gate: with dy the gradient of the gated results, r = sum of dy * o over a head, the
   gate's gradient is the sum of r over its expert's heads, and the softmax's delta is gate * r. */
#include "cpu.h"

static void gate_token(real *y, const real *o, const real *gates, const bam_gated_heads *g) {
  for (int64_t h = 0; h < g->heads; h++) {
    real gate = gates[h / g->group % g->experts];
    for (int64_t d = h * g->width; d < (h + 1) * g->width; d++)
      y[d] = o[d] * gate;
  }
}

static void gate_all(real *y, const real *o, const real *gates, const bam_gated_heads *g) {
  int64_t row = g->heads * g->width;
#pragma omp for schedule(static)
  for (int64_t t = 0; t < g->tokens; t++)
    gate_token(y + t * row, o + t * row, gates + t * g->experts, g);
}

void KERNEL(gate_heads)(bam_stream stream, void *y, const void *o, const void *gates,
                        const bam_gated_heads *g) {
  (void)stream;
  SHARE(g->tokens * g->heads * g->width > BAM_GRAIN, gate_all(y, o, gates, g));
}

/* Everything the backward pass writes and reads; dgates may be NULL. */
typedef struct gate_gradients {
  real *grad_out, *y, *delta, *dgates;
  const real *dy, *o, *gates;
} gate_gradients;

/* One head of one token: `at` is its first element. Returns r. */
static real ungate_head(const gate_gradients *m, int64_t at, int64_t width, real gate) {
  const real *o = m->o + at, *dy = m->dy + at;
  real *y = m->y + at, *grad_out = m->grad_out + at, r = 0;
#pragma omp simd reduction(+ : r)
  for (int64_t d = 0; d < width; d++) {
    real grad = dy[d];
    r += grad * o[d];
    y[d] = o[d] * gate;
    grad_out[d] = grad * gate;
  }
  return r;
}

static void ungate_all(const gate_gradients *m, const bam_gated_heads *g) {
#pragma omp for schedule(static)
  for (int64_t t = 0; t < g->tokens; t++) {
    real *dgates = m->dgates != NULL ? m->dgates + t * g->experts : NULL;
    for (int64_t e = 0; dgates != NULL && e < g->experts; e++)
      dgates[e] = 0;
    for (int64_t h = 0; h < g->heads; h++) {
      int64_t expert = h / g->group % g->experts, head = t * g->heads + h;
      real gate = m->gates[t * g->experts + expert];
      real r = ungate_head(m, head * g->width, g->width, gate);
      m->delta[head] = gate * r;
      if (dgates != NULL)
        dgates[expert] += r;
    }
  }
}

void KERNEL(gate_heads_backward)(bam_stream stream, const bam_gate_gradients *args,
                                 const bam_gated_heads *g) {
  (void)stream;
  gate_gradients m = { args->grad_out, args->y, args->delta, args->dgates,
                       args->dy,       args->o, args->gates };
  SHARE(g->tokens * g->heads * g->width > BAM_GRAIN, ungate_all(&m, g));
}
