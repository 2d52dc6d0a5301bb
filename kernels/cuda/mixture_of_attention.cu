/* Gates of attention experts that run as heads of one attention, as in
   kernels/cpu/mixture_of_attention.c. Forward gives a head of a token to a warp; backward gives it
   all heads of an expert, in order, so that the gate's gradient is one sum. */
#include "cuda.h"

#define WARPS (BAM_BLOCK / BAM_WARP)
#define WARP_BLOCKS(rows) bam_blocks(rows, WARPS, 1 << 20)

/* for (int64_t row = ...) over 0 .. rows-1, shared among the warps of the grid. */
#define EACH_WARP_ROW(row, rows)                                                                  \
  for (int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / BAM_WARP; row < (rows);          \
       row += (int64_t)gridDim.x * WARPS)

static __global__ void gate(bam_gated_heads g, real *y, const real *o, const real *gates) {
  EACH_WARP_ROW(head, g.tokens * g.heads) {
    const int64_t token = head / g.heads, expert = head % g.heads / g.group % g.experts;
    const real factor = gates[token * g.experts + expert];
    for (int64_t d = threadIdx.x % BAM_WARP; d < g.width; d += BAM_WARP)
      y[head * g.width + d] = o[head * g.width + d] * factor;
  }
}

void KERNEL(gate_heads)(bam_stream stream, void *y, const void *o, const void *gates,
                        const bam_gated_heads *g) {
  BAM_LAUNCH(stream, gate, WARP_BLOCKS(g->tokens * g->heads), BAM_BLOCK, 0, *g, (real *)y,
             (const real *)o, (const real *)gates);
}

/* Everything the backward pass writes and reads; dgates may be NULL, doo may be dy. */
typedef struct gate_gradients {
  real *doo, *y, *delta, *dgates;
  const real *dy, *o, *gates;
} gate_gradients;

/* One head of one token: `at` is its first element. Returns the sum of dy * o. */
static __device__ real ungate_head(const gate_gradients &m, int64_t at, int64_t width,
                                   real factor) {
  real r = 0;
  for (int64_t d = at + threadIdx.x % BAM_WARP; d < at + width; d += BAM_WARP) {
    const real grad = m.dy[d], o = m.o[d];
    r += grad * o;
    m.y[d] = o * factor;
    m.doo[d] = grad * factor;
  }
  return warp_sum(r);
}

static __global__ void ungate(bam_gated_heads g, gate_gradients m) {
  const bool writes = threadIdx.x % BAM_WARP == 0;
  EACH_WARP_ROW(n, g.tokens * g.experts) {
    const int64_t token = n / g.experts, expert = n % g.experts;
    const real factor = m.gates[n];
    real sum = 0;
    for (int64_t h = expert * g.group; h < g.heads; h += g.experts * g.group)
      for (int64_t head = token * g.heads + h, i = 0; i < g.group; i++, head++) {
        const real r = ungate_head(m, head * g.width, g.width, factor);
        sum += r;
        if (writes)
          m.delta[head] = factor * r;
      }
    if (writes && m.dgates != NULL)
      m.dgates[n] = sum;
  }
}

void KERNEL(gate_heads_backward)(bam_stream stream, void *doo, void *y, void *delta, void *dgates,
                                 const void *dy, const void *o, const void *gates,
                                 const bam_gated_heads *g) {
  const gate_gradients m = { (real *)doo, (real *)y, (real *)delta, (real *)dgates,
                             (const real *)dy, (const real *)o, (const real *)gates };
  BAM_LAUNCH(stream, ungate, WARP_BLOCKS(g->tokens * g->experts), BAM_BLOCK, 0, *g, m);
}
