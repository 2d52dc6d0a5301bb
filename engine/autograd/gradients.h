/* Where gradients collect while backward goes through the tape: in the nodes of the ops that made the
   inputs, and in leaves. */
#ifndef BAM_GRADIENTS_H
#define BAM_GRADIENTS_H

#include "autograd.h"

/* Where the gradient of input `i` collects; NULL when it needs none. Borrowed. */
bam_tensor **bam_grad_slot(const bam_backward *pass, int i);

/* Add `grad`, which has the right shape and dtype, to what is at *at (a leaf's gradient when
   `is_leaf`). A node may share grad with others, as it is only read; a leaf's gradient is added to
   in place and has memory of its own: in x + x * x the other input of the sum still needs what x
   was given first. */
bam_status bam_grad_add(bam_tensor **at, bool is_leaf, bam_tensor *grad);

#endif
