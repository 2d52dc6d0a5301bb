/* SwiGLU over rows gate | up of 2F elements, which may lie `stride` apart: y = silu(gate) * up.
   Backward computes the sigmoid again. */
#include "cpu.h"
#include "vmath.h"

void KERNEL(swiglu)(bam_stream stream, void *y, const void *x, int64_t stride, int64_t rows,
                    int64_t hidden) {
  (void)stream;
#pragma omp parallel for schedule(static) if (rows * hidden > BAM_GRAIN)
  for (int64_t i = 0; i < rows; i++) {
    const real *gate = (const real *)x + i * stride, *up = gate + hidden;
    real *to = (real *)y + i * hidden;
#pragma omp simd
    for (int64_t j = 0; j < hidden; j++)
      to[j] = gate[j] * v_sigmoid_newton(gate[j]) * up[j];
  }
}

void KERNEL(swiglu_backward)(bam_stream stream, void *dx, const void *dy, const void *x,
                             int64_t stride, int64_t rows, int64_t hidden) {
  (void)stream;
#pragma omp parallel for schedule(static) if (rows * hidden > BAM_GRAIN)
  for (int64_t i = 0; i < rows; i++) {
    const real *gate = (const real *)x + i * stride, *up = gate + hidden;
    const real *grad = (const real *)dy + i * hidden;
    real *dgate = (real *)dx + i * 2 * hidden, *dup = dgate + hidden;
#pragma omp simd
    for (int64_t j = 0; j < hidden; j++) {
      real sigmoid = v_sigmoid_newton(gate[j]), silu = gate[j] * sigmoid;
      dgate[j] = grad[j] * up[j] * (sigmoid + silu * (1 - sigmoid));
      dup[j] = grad[j] * silu;
    }
  }
}
