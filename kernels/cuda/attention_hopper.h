/* Attention of bf16 for compute capability 9.0, on products of warpgroups and copies by the tensor memory accelerator:
   what attention_mma.h does. No table of kernels uses it before a device has run tests/gpu/hopper.cu and
   tests/gpu/attention_mma.cu. */
#ifndef BAM_CUDA_ATTENTION_HOPPER_H
#define BAM_CUDA_ATTENTION_HOPPER_H

#include "stream.h"

/* As bam_cuda_attention_mma and its backward pass, for arguments that fit there too. False, and nothing is launched,
   when the device or the strides do not allow it. */
bool bam_cuda_attention_hopper(bam_stream stream, const bam_attention_tensors *args,
                               const bam_attention *attention);
bool bam_cuda_attention_hopper_backward(bam_stream stream, const bam_attention_gradients *args,
                                        const bam_attention *attention);

#endif
