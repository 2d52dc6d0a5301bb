/* Products through a BLAS of the device: blas.cu. */
#ifndef BAM_CUDA_BLAS_H
#define BAM_CUDA_BLAS_H

#include "stream.h"

extern "C" {
#include "../device.h"
}

/* The dtype of A and B, and of C unless gemm->real_c says otherwise. The types of FP8 are those of A: B is E4M3 and C
   bf16, A is not transposed and B is, and sizes are multiples of 16 (kernels/fp8.h). */
typedef enum bam_cuda_type {
  BAM_CUDA_F32,
  BAM_CUDA_F64,
  BAM_CUDA_BF16,
  BAM_CUDA_E4M3,
  BAM_CUDA_E5M2
} bam_cuda_type;

static inline bool bam_cuda_is_fp8(int64_t type) { return type >= BAM_CUDA_E4M3; }

/* Which size of a product changes from call to call: m or k is the number of an expert's rows. */
typedef enum bam_cuda_varying { BAM_VARIES_NOT, BAM_VARIES_M, BAM_VARIES_K } bam_cuda_varying;

/* C = alpha op(A) op(B) + beta C as kernels/kernels.h describes it; sums are f32, of f64 f64.
   k, m, n and batch are positive. The algorithm depends on the sizes only, and on a varying one only
   through the next multiple of 256. */
void bam_cuda_blas_gemm(bam_stream stream, bam_cuda_type type, bam_cuda_varying varying,
                        const bam_gemm *gemm, void *c, const void *a, const void *b);

/* As bam_device's members of these names. */
bool bam_cuda_blas_library(bam_stream stream, char *text, size_t size);
bool bam_cuda_blas_set_algorithms(bam_stream stream, const bam_algorithm *list, int64_t count,
                                  bool measure);
const bam_algorithm *bam_cuda_blas_algorithms(bam_stream stream, int64_t *count);

/* Free stream->blas. */
void bam_cuda_blas_close(bam_stream stream);

#endif
