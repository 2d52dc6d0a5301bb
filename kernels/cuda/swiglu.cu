/* SwiGLU over rows gate | up of 2F elements, which may lie `stride` apart: y = silu(gate) * up.
   Backward computes the sigmoid again. */
#include "pack.h"
#include "vmath.h"

template <int group_size, int width>
static __global__ void swiglu_rows(element *y, const element *x, int64_t stride, int64_t rows,
                                   int64_t hidden) {
  BAM_EACH_GROUP_ROW(i, rows) {
    const element *row = x + i * stride;
    BAM_EACH_PACK(j, hidden) {
      const auto gates = load_pack<width>(row + j), ups = load_pack<width>(row + hidden + j);
      pack<width, element> out;
      BAM_EACH_IN_PACK(k) {
        const real gate = gates.at[k];
        out.at[k] = gate * v_sigmoid(gate) * ups.at[k];
      }
      store_pack(y + i * hidden + j, out);
    }
  }
}

void KERNEL(swiglu)(bam_stream stream, void *y, const void *x, int64_t stride, int64_t rows,
                    int64_t hidden) {
  const bool packed = pack_aligned(y, x) && (stride | hidden) % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(swiglu_rows, packed, rows, hidden, (element *)y, (const element *)x,
                         stride, rows, hidden);
}

template <int group_size, int width>
static __global__ void swiglu_backward_rows(element *dx, const element *dy, const element *x,
                                            int64_t stride, int64_t rows, int64_t hidden) {
  BAM_EACH_GROUP_ROW(i, rows) {
    const element *row = x + i * stride;
    element *to = dx + i * 2 * hidden;
    BAM_EACH_PACK(j, hidden) {
      const auto gates = load_pack<width>(row + j), ups = load_pack<width>(row + hidden + j);
      const auto grads = load_pack<width>(dy + i * hidden + j);
      pack<width, element> dgates, dups;
      BAM_EACH_IN_PACK(k) {
        const real gate = gates.at[k], grad = grads.at[k];
        const real sigmoid = v_sigmoid(gate), silu = gate * sigmoid;
        dgates.at[k] = grad * ups.at[k] * (sigmoid + silu * (1 - sigmoid));
        dups.at[k] = grad * silu;
      }
      store_pack(to + j, dgates);
      store_pack(to + hidden + j, dups);
    }
  }
}

void KERNEL(swiglu_backward)(bam_stream stream, void *dx, const void *dy, const void *x,
                             int64_t stride, int64_t rows, int64_t hidden) {
  const bool packed = pack_aligned(dx, dy, x) && (stride | hidden) % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(swiglu_backward_rows, packed, rows, hidden, (element *)dx,
                         (const element *)dy, (const element *)x, stride, rows, hidden);
}
