/* Copies: into contiguous layout, into fresh memory, into another dtype. */
#include "../op.h"

static bam_status give_through(bam_backward *pass) {
  return bam_backward_give(pass, 0, pass->grads[0]); /* giving converts the dtype */
}

static bam_status contiguous_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0];
  return bam_tensor_is_contiguous(x) ? bam_tensor_alias(x, &call->outputs[0])
                                     : bam_tensor_contiguous(x, &call->outputs[0]);
}

const bam_op bam_op_contiguous = {
  .name = "contiguous",
  .help = "x with its elements side by side in row-major order: itself when they are already, "
          "else a copy.",
  .inputs = { "x" }, .is_view = true,
  .forward = contiguous_forward, .backward = give_through,
};

static bam_status clone_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0];
  bam_status status = bam_call_output(call, 0, x->dtype, &x->shape);
  return status == BAM_OK ? bam_tensor_copy(call->outputs[0], x) : status;
}

const bam_op bam_op_clone = {
  .name = "clone",
  .help = "A contiguous copy in memory of its own.",
  .inputs = { "x" },
  .forward = clone_forward, .backward = give_through,
};

static bam_status to_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0];
  bam_dtype dtype = (bam_dtype)call->attrs[0].i;
  return x->dtype == dtype ? bam_tensor_alias(x, &call->outputs[0])
                           : bam_tensor_convert(x, dtype, &call->outputs[0]);
}

const bam_op bam_op_to = {
  .name = "to",
  .help = "x in another dtype (itself when it has it already). Float to integer truncates and "
          "saturates; to bool is \"not zero\"; bf16 and f16 round to nearest even.",
  .inputs = { "x" }, .is_view = true,
  .attrs = (const bam_attr_spec[]){ { "dtype", BAM_ATTR_DTYPE, true, 0 }, { 0 } },
  .forward = to_forward, .backward = give_through,
};
