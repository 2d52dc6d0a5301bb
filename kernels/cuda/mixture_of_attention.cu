/* Gates of attention experts that run as heads of one attention, as in
   kernels/cpu/mixture_of_attention.c. Forward gives a head of a token to a thread group; backward gives it
   all heads of an expert, in order, so that the gate's gradient is one sum. */
#include "pack.h"

template <int group_size, int width>
static __global__ void gate(bam_gated_heads g, element *y, const element *o, const real *gates) {
  BAM_EACH_GROUP_ROW(head, g.tokens * g.heads) {
    const int64_t token = head / g.heads, expert = head % g.heads / g.group % g.experts;
    const real factor = gates[token * g.experts + expert];
    BAM_EACH_PACK(d, g.width) {
      const auto from = load_pack<width>(o + head * g.width + d);
      pack<width, element> to;
      BAM_EACH_IN_PACK(k) to.at[k] = from.at[k] * factor;
      store_pack(y + head * g.width + d, to);
    }
  }
}

void KERNEL(gate_heads)(bam_stream stream, void *y, const void *o, const void *gates,
                        const bam_gated_heads *g) {
  const bool packed = pack_aligned(y, o) && g->width % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(gate, packed, g->tokens * g->heads, g->width, *g, (element *)y,
                         (const element *)o, (const real *)gates);
}

/* Everything the backward pass writes and reads; dgates may be NULL, grad_out may be dy. */
typedef struct gate_gradients {
  element *grad_out, *y;
  real *delta, *dgates;
  const element *dy, *o;
  const real *gates;
} gate_gradients;

/* One head of one token: `at` is its first element. Returns the sum of dy * o. */
template <int group_size, int width>
static __device__ real ungate_head(const gate_gradients &m, int64_t at, int64_t n, real factor) {
  real sum = 0;
  BAM_EACH_PACK(d, n) {
    const auto grads = load_pack<width>(m.dy + at + d), outs = load_pack<width>(m.o + at + d);
    pack<width, element> y, grad_out;
    BAM_EACH_IN_PACK(k) {
      const real grad = grads.at[k], o = outs.at[k];
      sum += grad * o;
      y.at[k] = o * factor;
      grad_out.at[k] = grad * factor;
    }
    store_pack(m.y + at + d, y);
    store_pack(m.grad_out + at + d, grad_out);
  }
  return group_sum<group_size>(sum);
}

template <int group_size, int width>
static __global__ void ungate(bam_gated_heads g, gate_gradients m) {
  BAM_EACH_GROUP_ROW(n, g.tokens * g.experts) {
    const int64_t token = n / g.experts, expert = n % g.experts;
    const real factor = m.gates[n];
    real sum = 0;
    for (int64_t i = 0; i < g.heads / g.experts; i++) { /* the expert's own heads */
      const int64_t h = (i / g.group * g.experts + expert) * g.group + i % g.group;
      const int64_t head = token * g.heads + h;
      const real r = ungate_head<group_size, width>(m, head * g.width, g.width, factor);
      sum += r;
      if (BAM_GROUP_FIRST)
        m.delta[head] = factor * r;
    }
    if (BAM_GROUP_FIRST && m.dgates != NULL)
      m.dgates[n] = sum;
  }
}

void KERNEL(gate_heads_backward)(bam_stream stream, const bam_gate_gradients *args,
                                 const bam_gated_heads *g) {
  const gate_gradients m = { (element *)args->grad_out, (element *)args->y,
                             (real *)args->delta,       (real *)args->dgates,
                             (const element *)args->dy, (const element *)args->o,
                             (const real *)args->gates };
  const bool packed = pack_aligned(m.grad_out, m.y, m.dy, m.o) && g->width % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(ungate, packed, g->tokens * g->experts, g->width, *g, m);
}
