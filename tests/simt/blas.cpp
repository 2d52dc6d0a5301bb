/* kernels/cuda/blas.h on the CPU, for the shim: the CPU's products instead of cuBLASLt. */
#include "../../kernels/cuda/blas.h"
#include "machine.h"

extern "C" {
void bam_cpu_baseline_f32_gemm(bam_stream stream, const bam_gemm *gemm, void *c, const void *a,
                               const void *b);
void bam_cpu_baseline_f64_gemm(bam_stream stream, const bam_gemm *gemm, void *c, const void *a,
                               const void *b);
}

void bam_cuda_blas_gemm(bam_stream stream, bool wide, const bam_gemm *gemm, void *c, const void *a,
                        const void *b) {
  bam_cuda_note(stream, "gemm", cudaStreamSynchronize(stream->queue)); /* copies come before it */
  simt_open_memory();
  (wide ? bam_cpu_baseline_f64_gemm : bam_cpu_baseline_f32_gemm)(NULL, gemm, c, a, b);
  simt_close_memory();
}

void bam_cuda_blas_close(bam_stream stream) { (void)stream; }
