/* GeGLU over rows gate | up of 2F elements, with and without gates: as in kernels/cpu/geglu.c. */
#include "pack.h"
#include "vmath.h"

static __device__ __forceinline__ real gelu_of(real x, bool approximate) {
  return approximate ? times_gate(x, gelu_tanh_gate(x)) : gelu_value(x);
}

static __device__ __forceinline__ real slope_of(real x, bool approximate) {
  return approximate ? gelu_tanh_slope(x) : gelu_slope(x);
}

static __device__ __forceinline__ real weight_of(const void *gates, const int64_t *rows,
                                                 int64_t i) {
  return gates != NULL ? ((const real *)gates)[rows[i]] : (real)1;
}

template <int group_size, int width> static __global__ void geglu_rows(element *y, bam_geglu g) {
  BAM_EACH_GROUP_ROW(i, g.count) {
    const element *gate = (const element *)g.x + i * g.stride, *up = gate + g.hidden;
    const real weight = weight_of(g.gates, g.rows, i);
    BAM_EACH_PACK(j, g.hidden) {
      const auto gates = load_pack<width>(gate + j), ups = load_pack<width>(up + j);
      pack<width, element> out;
      BAM_EACH_IN_PACK(k)
      out.at[k] = weight * gelu_of(gates.at[k], g.approximate) * ups.at[k];
      store_pack(y + i * g.hidden + j, out);
    }
  }
}

void KERNEL(geglu)(bam_stream stream, void *y, const bam_geglu *g) {
  const bool packed = pack_aligned(y, g->x) && (g->stride | g->hidden) % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(geglu_rows, packed, g->count, g->hidden, (element *)y, *g);
}

/* y may be dy. The gradient of a row's gate is the sum of dy * geglu(x). */
template <int group_size, int width>
static __global__ void geglu_backward_rows(bam_geglu_gradients g) {
  const bool gated = g.gates != NULL;
  BAM_EACH_GROUP_ROW(i, g.count) {
    const element *gate = (const element *)g.x + i * 2 * g.hidden, *up = gate + g.hidden;
    const element *dy = (const element *)g.dy + i * g.hidden;
    element *dgate = (element *)g.dx + i * 2 * g.hidden, *dup = dgate + g.hidden;
    const real weight = weight_of(g.gates, g.rows, i);
    real sum = 0;
    BAM_EACH_PACK(j, g.hidden) {
      const auto gates = load_pack<width>(gate + j), ups = load_pack<width>(up + j);
      const auto grads = load_pack<width>(dy + j);
      pack<width, element> dgates, dups, y;
      BAM_EACH_IN_PACK(k) {
        const real value = gelu_of(gates.at[k], g.approximate), grad = grads.at[k];
        const real weighted = weight * grad, u = ups.at[k];
        dgates.at[k] = weighted * u * slope_of(gates.at[k], g.approximate);
        dups.at[k] = weighted * value;
        sum += grad * value * u;
        y.at[k] = weight * value * u;
      }
      store_pack(dgate + j, dgates);
      store_pack(dup + j, dups);
      if (gated)
        store_pack((element *)g.y + i * g.hidden + j, y);
    }
    if (gated) {
      sum = group_sum<group_size>(sum);
      if (BAM_GROUP_FIRST)
        ((real *)g.dgates)[g.rows[i]] = sum;
    }
  }
}

void KERNEL(geglu_backward)(bam_stream stream, const bam_geglu_gradients *g) {
  const bool packed = pack_aligned(g->dx, g->y, g->dy, g->x) && g->hidden % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(geglu_backward_rows, packed, g->count, g->hidden, *g);
}
