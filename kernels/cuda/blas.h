/* Products through a BLAS of the device: blas.cu. */
#ifndef BAM_CUDA_BLAS_H
#define BAM_CUDA_BLAS_H

#include "stream.h"

/* Which size of a product changes from call to call: m or k is the number of an expert's rows. */
typedef enum bam_cuda_varying { BAM_VARIES_NOT, BAM_VARIES_M, BAM_VARIES_K } bam_cuda_varying;

/* C = alpha op(A) op(B) + beta C as kernels/kernels.h describes it, f64 if `wide`, else f32.
   k, m, n and batch are positive. The algorithm depends on the sizes only, and on a varying one only
   through the next multiple of 256. */
void bam_cuda_blas_gemm(bam_stream stream, bool wide, bam_cuda_varying varying,
                        const bam_gemm *gemm, void *c, const void *a, const void *b);

/* Free stream->blas. */
void bam_cuda_blas_close(bam_stream stream);

#endif
