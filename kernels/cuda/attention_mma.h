/* Attention of bf16 on tensor cores: the kernels of attention.cu and attention_backward.cu for head widths of 64 and
   128 on devices of compute capability 8.0 and later. Results and gradients are bf16; stats and delta are f32. */
#ifndef BAM_CUDA_ATTENTION_MMA_H
#define BAM_CUDA_ATTENTION_MMA_H

#include "stream.h"

/* Whether the kernels can be used: the device has tensor cores for bf16, the scale is positive, and all rows are
   16-byte aligned. */
bool bam_cuda_attention_mma_fits(bam_stream stream, const bam_attention_tensors *args,
                                 const bam_attention *attention);
bool bam_cuda_attention_mma_backward_fits(bam_stream stream, const bam_attention_gradients *args,
                                          const bam_attention *attention);

/* As the kernels `attention` and `attention_backward` (kernels/list.h). */
void bam_cuda_attention_mma(bam_stream stream, const bam_attention_tensors *args,
                            const bam_attention *attention);
void bam_cuda_attention_mma_backward(bam_stream stream, const bam_attention_gradients *args,
                                     const bam_attention *attention);

#endif
