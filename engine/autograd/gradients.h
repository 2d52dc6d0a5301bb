/* Accumulation of gradients during a backward pass: in the nodes of the ops that made the inputs, and in
   leaves. */
#ifndef BAM_GRADIENTS_H
#define BAM_GRADIENTS_H

#include "autograd.h"

/* The slot where the gradient of input `i` accumulates; NULL if it needs none. Borrowed. */
bam_tensor **bam_grad_slot(const bam_backward *pass, int i);

/* Deliver what the op wrote to buffers of bam_grad_buffer that were not the gradients themselves. */
bam_status bam_grad_deliver(bam_backward *pass);

/* Add `grad`, which has the right shape and dtype, to the gradient in *at, or store it if *at is NULL. A
   node's gradient is only read later, so it may share the storage of `grad`. A leaf's gradient
   (`leaf`, else NULL) is added to in place and needs its own storage: in x + x * x the first gradient given to x
   is also that of the other input of the sum. */
bam_status bam_grad_add(bam_tensor **at, bam_tensor *leaf, bam_tensor *grad);

#endif
