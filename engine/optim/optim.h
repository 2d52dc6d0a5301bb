/* Fused optimizer updates over flat buffers. A parameter group is a contiguous slice of the parameters,
   with slices of the same size of the gradients and moments. All updates are in place. */
#ifndef BAM_OPTIM_H
#define BAM_OPTIM_H

#include "../core/tensor.h"

/* AdamW (Loshchilov and Hutter 2019). `clip` is a 0-d f64 tensor, or NULL for 1. The device reads it when
   the kernel runs, so the host need not wait for it; a clip of 0 changes nothing. With d = clip * grad:
     m = beta1 m + (1 - beta1) d,  v = beta2 v + (1 - beta2) d²,
     param = param (1 - lr weight_decay)
             - lr m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps).
   All four tensors are contiguous, and equal in dtype (f32 or f64), shape and device. m and v start at 0,
   and step at 1. Fails, changing nothing, if a tensor does not match or a setting is out of range.

   bf16 parameters, where the device computes in bf16, are the high halves of f32 masters (kernels/master.h),
   which are what is updated: `low` has their low halves, as contiguous u8, two for each parameter, and the
   other tensors are f32. Else `low` is NULL. */
bam_status bam_optim_adamw(bam_tensor *param, bam_tensor *low, bam_tensor *grad, bam_tensor *m,
                           bam_tensor *v, bam_tensor *clip, const bam_adamw *settings);

/* Lion (Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2). With
   d = clip * grad:
     param = param (1 - lr weight_decay) - lr sign(beta1 m + (1 - beta1) d),
     m = beta2 m + (1 - beta2) d,
   where sign(0) is 0. Requirements as for bam_optim_adamw. */
bam_status bam_optim_lion(bam_tensor *param, bam_tensor *low, bam_tensor *grad, bam_tensor *m,
                          bam_tensor *clip, const bam_lion *settings);

/* Stochastic gradient descent as in PyTorch. With d = clip * grad + weight_decay * param:
     buffer = momentum buffer + d (d in step 1),
     param -= lr buffer; nesterov: lr (d + momentum buffer).
   `buffer` may be NULL if momentum is 0; then param -= lr d. Requirements as for bam_optim_adamw. */
bam_status bam_optim_sgd(bam_tensor *param, bam_tensor *low, bam_tensor *grad, bam_tensor *buffer,
                         bam_tensor *clip, const bam_sgd *settings);

/* The f32 masters of contiguous bf16 parameters, of their shape and on their device; `low` as for bam_optim_adamw. */
bam_status bam_optim_join(bam_tensor *param, bam_tensor *low, bam_tensor **masters);

/* Divide f32 masters, contiguous and of the parameters' shape, into `param` and `low`. */
bam_status bam_optim_split(bam_tensor *masters, bam_tensor *param, bam_tensor *low);

/* Compute the Euclidean norm of all elements of `tensors[n]` (f32 or f64) together, as a 0-d f64 tensor on
   the device of the first. Accumulates in double precision; the result does not depend on the number of
   threads. NULL entries are ignored. Does not wait for the device. */
bam_status bam_optim_norm(bam_context *context, bam_tensor *const *tensors, int n,
                          bam_tensor **norm);

#endif
