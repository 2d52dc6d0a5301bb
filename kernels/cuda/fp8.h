/* FP8 on CUDA devices of compute capability 8.9 and above: fp8.cu, fp8_quantize.cu. */
#ifndef BAM_CUDA_FP8_H
#define BAM_CUDA_FP8_H

#include <cuda_runtime.h>

#include "../fp8.h"

#define BAM_CUDA_FP8_CAPABILITY 89 /* the first one with products of FP8 */

extern const bam_fp8_kernels bam_cuda_fp8;

/* The members of bam_cuda_fp8. */
void bam_cuda_fp8_amax(bam_stream stream, uint32_t *parts, const void *x, int64_t rows,
                       int64_t columns, int64_t ld);
void bam_cuda_fp8_quantize(bam_stream stream, const bam_fp8_quantize *args);

#endif
