/* The arithmetic of the stand-in for cuBLASLt: the CPU's products. */
#include "cublaslt.h"

#include <string.h>

#include <vector>

#include "../../kernels/convert.h"
#include "../../kernels/fp8.h"

extern "C" {
void bam_cpu_baseline_f32_gemm(bam_stream stream, const bam_gemm *gemm, void *c, const void *a,
                               const void *b);
void bam_cpu_baseline_f64_gemm(bam_stream stream, const bam_gemm *gemm, void *c, const void *a,
                               const void *b);
}

size_t simt_blas_size(cudaDataType_t type) {
  switch (type) {
  case CUDA_R_32F: return 4;
  case CUDA_R_64F: return 8;
  case CUDA_R_16BF: return 2;
  case CUDA_R_8F_E4M3:
  case CUDA_R_8F_E5M2: return 1;
  }
  return 0;
}

/* One product of f32 or f64, in parts of k. */
static void multiply_parts(const bam_gemm *gemm, bool wide, void *c, const void *a, const void *b,
                           int parts) {
  const int64_t size = wide ? 8 : 4, step = (gemm->k + parts - 1) / parts;
  for (int64_t from = 0; from < gemm->k; from += step) {
    bam_gemm g = *gemm;
    g.k = gemm->k - from < step ? gemm->k - from : step;
    g.beta = from == 0 ? gemm->beta : 1;
    (wide ? bam_cpu_baseline_f64_gemm : bam_cpu_baseline_f32_gemm)(
      NULL, &g, c, (const char *)a + size * from * (g.transpose_a ? g.lda : 1),
      (const char *)b + size * from * (g.transpose_b ? 1 : g.ldb));
  }
}

/* ---- bf16 and FP8 ---- */

typedef std::vector<float> numbers;

static float number_at(const void *x, cudaDataType_t type, int64_t i) {
  if (type == CUDA_R_16BF)
    return from_bf16(((const bf16 *)x)[i]);
  return bam_from_fp8(((const uint8_t *)x)[i], type == CUDA_R_8F_E4M3 ? BAM_E4M3 : BAM_E5M2);
}

/* A matrix with rows `ld` apart, widened and contiguous. */
static numbers widen(const void *x, cudaDataType_t type, int64_t rows, int64_t columns,
                     int64_t ld) {
  numbers y((size_t)(rows * columns));
  for (int64_t i = 0; i < rows * columns; i++)
    y[(size_t)i] = number_at(x, type, i / columns * ld + i % columns);
  return y;
}

/* One product, summed in f32: C is f32, or rounded to bf16 once. */
static void multiply_narrow(const bam_gemm *gemm, const simt_blas_types &types, void *c,
                            const void *a, const void *b, int parts) {
  bam_gemm g = *gemm;
  g.lda = g.transpose_a ? g.m : g.k;
  g.ldb = g.transpose_b ? g.k : g.n;
  const numbers left = widen(a, types.a, g.transpose_a ? g.k : g.m, g.lda, gemm->lda);
  const numbers right = widen(b, types.b, g.transpose_b ? g.n : g.k, g.ldb, gemm->ldb);
  if (types.c == CUDA_R_32F) {
    multiply_parts(&g, false, c, left.data(), right.data(), parts);
    return;
  }
  bf16 *to = (bf16 *)c;
  g.ldc = g.n;
  numbers sums((size_t)(g.m * g.n));
  if (g.beta != 0)
    sums = widen(to, types.c, g.m, g.n, gemm->ldc);
  multiply_parts(&g, false, sums.data(), left.data(), right.data(), parts);
  for (int64_t i = 0; i < g.m * g.n; i++)
    to[i / g.n * gemm->ldc + i % g.n] = to_bf16(sums[(size_t)i]);
}

/* Rows of c as those of d. */
static void copy_rows(const bam_gemm *g, int64_t size, char *d, const char *c) {
  for (int64_t i = 0; i < g->m && d != c; i++)
    memmove(d + i * g->ldc * size, c + i * g->ldc * size, (size_t)(g->n * size));
}

void simt_blas_multiply(const bam_gemm *gemm, const simt_blas_types &types, void *d, const void *c,
                        const void *a, const void *b, int parts) {
  const int64_t size = (int64_t)simt_blas_size(types.a), c_size = (int64_t)simt_blas_size(types.c);
  bam_gemm g = *gemm;
  g.batch = 1;
  for (int64_t i = 0; i < gemm->batch; i++) {
    char *to = (char *)d + i * g.stride_c * c_size;
    const char *left = (const char *)a + i * g.stride_a * size;
    const char *right = (const char *)b + i * g.stride_b * size;
    if (g.beta != 0)
      copy_rows(&g, c_size, to, (const char *)c + i * g.stride_c * c_size);
    if (size < 4)
      multiply_narrow(&g, types, to, left, right, parts);
    else
      multiply_parts(&g, types.a == CUDA_R_64F, to, left, right, parts);
  }
}
