/* Conversion between dtypes for the device (convert.cu). */
#ifndef BAM_CUDA_CONVERT_H
#define BAM_CUDA_CONVERT_H

#include "../kernels.h"

extern "C" {
#include "../dtype.h"
}

/* As bam_device's convert. */
void bam_cuda_convert(bam_stream stream, const bam_loop *loop, void *y, bam_dtype y_dtype,
                      const void *x, bam_dtype x_dtype);

#endif
