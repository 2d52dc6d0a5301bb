/* Products through a BLAS of the device: blas.cu. */
#ifndef BAM_CUDA_BLAS_H
#define BAM_CUDA_BLAS_H

#include "stream.h"

/* C = alpha op(A) op(B) + beta C as kernels/kernels.h describes it, f64 if `wide`, else f32.
   k, m, n and batch are positive. */
void bam_cuda_blas_gemm(bam_stream stream, bool wide, const bam_gemm *gemm, void *c, const void *a,
                        const void *b);

/* Free stream->blas. */
void bam_cuda_blas_close(bam_stream stream);

#endif
