/* Copies: into contiguous layout, into fresh memory, into another dtype. */
#include "ops.h"

static bam_status give_through(bam_backward *pass) {
  return bam_accumulate_grad(pass, 0, pass->grads[0]); /* giving converts the dtype */
}

static bam_status contiguous_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0];
  return bam_tensor_is_contiguous(x) ? bam_tensor_alias(x, &call->outputs[0])
                                     : bam_tensor_contiguous(x, &call->outputs[0]);
}

const bam_op bam_op_contiguous = {
  .name = "contiguous",
  .help = "x in row-major order: x itself if it is contiguous, otherwise a copy.",
  .inputs = { "x" },
  .is_view = true,
  .forward = contiguous_forward,
  .backward = give_through,
};

static bam_status clone_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0];
  BAM_TRY(bam_call_output(call, 0, x->dtype, &x->shape));
  return bam_tensor_copy(call->outputs[0], x);
}

const bam_op bam_op_clone = {
  .name = "clone",
  .help = "A contiguous copy.",
  .inputs = { "x" },
  .forward = clone_forward,
  .backward = give_through,
};

enum { ATTR_DTYPE, ATTR_DEVICE };

static bam_status to_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0], *converted;
  const bam_attr *attrs = call->attrs;
  if (!attrs[ATTR_DTYPE].given && !attrs[ATTR_DEVICE].given)
    return bam_call_fail(call, "where to? Say a dtype, a device, or both: x:to(\"f32\", \"cuda\")");
  bam_dtype dtype = attrs[ATTR_DTYPE].given ? (bam_dtype)attrs[ATTR_DTYPE].i : x->dtype;
  bam_device *device = attrs[ATTR_DEVICE].given ? call->context->devices[attrs[ATTR_DEVICE].i]
                                                : bam_tensor_device(x);
  if (x->dtype == dtype && bam_tensor_device(x) == device)
    return bam_tensor_alias(x, &call->outputs[0]);
  BAM_TRY(bam_temp_convert(call->scope, x, dtype, &converted));
  return bam_tensor_to(converted, device, &call->outputs[0]);
}

const bam_op bam_op_to = {
  .name = "to",
  .help = "Convert x to a dtype, move it to a device, or both: x:to \"f32\", x:to \"cuda\", "
          "x:to(\"f32\", "
          "\"cuda:1\"). x itself if nothing changes. Float to integer truncates and saturates; to "
          "bool is x ~= 0; "
          "bf16 and f16 round to nearest even.",
  .inputs = { "x" },
  .is_view = true,
  .attrs = (const bam_attr_spec[]){ { "dtype", BAM_ATTR_DTYPE, false, 0 },
                                    { "device", BAM_ATTR_DEVICE, false, 0 },
                                    { 0 } },
  .forward = to_forward,
  .backward = give_through,
};
