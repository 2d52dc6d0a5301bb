/* SwiGLU over rows gate | up of 2F elements, which may lie `stride` apart: y = silu(gate) * up.
   Backward computes the sigmoid again. A block has a row. */
#include "cuda.h"

/* 1 / (1 + e^-x), without overflow on either side. */
static __device__ __forceinline__ real sigmoid(real x) {
  const real e = REAL_MATH(exp)(x < 0 ? x : -x);
  return (x < 0 ? e : (real)1) / (1 + e);
}

static __global__ void swiglu_rows(real *y, const real *x, int64_t stride, int64_t rows,
                                   int64_t hidden) {
  BAM_EACH_ROW(i, rows) {
    const real *gate = x + i * stride, *up = gate + hidden;
    for (int64_t j = threadIdx.x; j < hidden; j += blockDim.x)
      y[i * hidden + j] = gate[j] * sigmoid(gate[j]) * up[j];
  }
}

void KERNEL(swiglu)(bam_stream stream, void *y, const void *x, int64_t stride, int64_t rows,
                    int64_t hidden) {
  BAM_LAUNCH(stream, swiglu_rows, BAM_ROW_BLOCKS(rows), BAM_BLOCK, 0, (real *)y, (const real *)x,
             stride, rows, hidden);
}

static __global__ void swiglu_backward_rows(real *dx, const real *dy, const real *x,
                                            int64_t stride, int64_t rows, int64_t hidden) {
  BAM_EACH_ROW(i, rows) {
    const real *gate = x + i * stride, *up = gate + hidden, *grad = dy + i * hidden;
    real *dgate = dx + i * 2 * hidden, *dup = dgate + hidden;
    for (int64_t j = threadIdx.x; j < hidden; j += blockDim.x) {
      const real s = sigmoid(gate[j]), silu = gate[j] * s;
      dgate[j] = grad[j] * up[j] * (s + silu * (1 - s));
      dup[j] = grad[j] * silu;
    }
  }
}

void KERNEL(swiglu_backward)(bam_stream stream, void *dx, const void *dy, const void *x,
                             int64_t stride, int64_t rows, int64_t hidden) {
  BAM_LAUNCH(stream, swiglu_backward_rows, BAM_ROW_BLOCKS(rows), BAM_BLOCK, 0, (real *)dx,
             (const real *)dy, (const real *)x, stride, rows, hidden);
}
