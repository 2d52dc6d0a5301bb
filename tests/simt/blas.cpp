/* kernels/cuda/blas.h on the CPU, for the shim: OpenBLAS instead of cuBLASLt. */
#include <cblas.h>

#include "../../kernels/cuda/blas.h"
#include "machine.h"

static CBLAS_TRANSPOSE transposition(bool transpose) {
  return transpose ? CblasTrans : CblasNoTrans;
}

static void multiply(bool wide, const bam_gemm *g, int64_t i, void *c, const void *a,
                     const void *b) {
  const int m = (int)g->m, n = (int)g->n, k = (int)g->k;
  const int lda = (int)g->lda, ldb = (int)g->ldb, ldc = (int)g->ldc;
  const CBLAS_TRANSPOSE ta = transposition(g->transpose_a), tb = transposition(g->transpose_b);
  if (wide)
    cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, g->alpha, (const double *)a + i * g->stride_a, lda,
                (const double *)b + i * g->stride_b, ldb, g->beta, (double *)c + i * g->stride_c,
                ldc);
  else
    cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, (float)g->alpha, (const float *)a + i * g->stride_a,
                lda, (const float *)b + i * g->stride_b, ldb, (float)g->beta,
                (float *)c + i * g->stride_c, ldc);
}

void bam_cuda_blas_gemm(bam_stream stream, bool wide, const bam_gemm *gemm, void *c, const void *a,
                        const void *b) {
  bam_cuda_note(stream, "gemm", cudaStreamSynchronize(stream->queue)); /* copies come before it */
  simt_open_memory();
  for (int64_t i = 0; i < gemm->batch; i++)
    multiply(wide, gemm, i, c, a, b);
  simt_close_memory();
}

void bam_cuda_blas_close(bam_stream stream) { (void)stream; }
