/* The ops of engine/ops: each is defined in one file there together with its shape rule, forward and
   backward, and named by one line of list.h. Lookup, the script function, its help and the list of ops
   that the tests go through are derived from that. */
#ifndef BAM_OPS_H
#define BAM_OPS_H

#include "../autograd/op.h"
#include "list.h"

#define BAM_DECLARE_OP(name) extern const bam_op bam_op_##name;
BAM_OPS(BAM_DECLARE_OP)
#undef BAM_DECLARE_OP

/* Find an op by name, or NULL. */
const bam_op *bam_op_find(const char *name);

/* The i-th op of the list, or NULL past its end. */
const bam_op *bam_op_at(int i);

/* Add `grad` (borrowed) to the gradient of input `i`. Dimensions that were broadcast are summed,
   the dtype is converted, and it moves to the input's device. Does nothing when input `i` wants no gradient. */
bam_status bam_accumulate_grad(bam_backward *pass, int i, bam_tensor *grad);

/* The same with a temporary of the pass, which is released at once: no more memory is held than the gradients
   need, and the next gradient of that input can be added in place. */
bam_status bam_accumulate_temp(bam_backward *pass, int i, bam_tensor *temporary);

#endif
