/* SwiGLU over rows gate | up of 2F elements, which may lie `stride` apart: y = silu(gate) * up.
   Backward computes the sigmoid again. */
#include "rows.h"
#include "vmath.h"

template <int group_size>
static __global__ void swiglu_rows(element *y, const element *x, int64_t stride, int64_t rows,
                                   int64_t hidden) {
  BAM_EACH_GROUP_ROW(i, rows) {
    const element *gate = x + i * stride, *up = gate + hidden;
    BAM_EACH_OF_GROUP(j, hidden)
    y[i * hidden + j] = gate[j] * v_sigmoid(gate[j]) * up[j];
  }
}

void KERNEL(swiglu)(bam_stream stream, void *y, const void *x, int64_t stride, int64_t rows,
                    int64_t hidden) {
  BAM_LAUNCH_ROWS(swiglu_rows, rows, hidden, (element *)y, (const element *)x, stride, rows,
                  hidden);
}

template <int group_size>
static __global__ void swiglu_backward_rows(element *dx, const element *dy, const element *x,
                                            int64_t stride, int64_t rows, int64_t hidden) {
  BAM_EACH_GROUP_ROW(i, rows) {
    const element *gate = x + i * stride, *up = gate + hidden, *grad = dy + i * hidden;
    element *dgate = dx + i * 2 * hidden, *dup = dgate + hidden;
    BAM_EACH_OF_GROUP(j, hidden) {
      const real sigmoid = v_sigmoid(gate[j]), silu = gate[j] * sigmoid;
      dgate[j] = grad[j] * up[j] * (sigmoid + silu * (1 - sigmoid));
      dup[j] = grad[j] * silu;
    }
  }
}

void KERNEL(swiglu_backward)(bam_stream stream, void *dx, const void *dy, const void *x,
                             int64_t stride, int64_t rows, int64_t hidden) {
  BAM_LAUNCH_ROWS(swiglu_backward_rows, rows, hidden, (element *)dx, (const element *)dy,
                  (const element *)x, stride, rows, hidden);
}
