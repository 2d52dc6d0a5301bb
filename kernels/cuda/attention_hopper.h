/* Attention of bf16 for compute capability 9.0, on products of warpgroups and copies by the tensor memory accelerator:
   what attention_mma.h does. */
#ifndef BAM_CUDA_ATTENTION_HOPPER_H
#define BAM_CUDA_ATTENTION_HOPPER_H

#include "stream.h"

/* Whether the device and the program can run these kernels. */
bool bam_cuda_attention_hopper_runs(bam_stream stream);

/* Whether they are used where they can be: BAMLUA_ATTENTION decides, "mma" or "hopper", and else CHOSEN in
   attention_hopper.cu. An environment that cannot be honored is noted in the stream. */
bool bam_cuda_attention_hopper_chosen(bam_stream stream);

/* As bam_cuda_attention_mma and its backward pass, for arguments that fit there too. False, and nothing is launched,
   when the device or the strides do not allow it. */
bool bam_cuda_attention_hopper(bam_stream stream, const bam_attention_tensors *args,
                               const bam_attention *attention);
bool bam_cuda_attention_hopper_backward(bam_stream stream, const bam_attention_gradients *args,
                                        const bam_attention *attention);

#endif
