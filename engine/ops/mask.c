/* Choosing by mask, and one-hot vectors. A mask is turned into positions first. */
#include <inttypes.h>

#include "assign.h"
#include "support/axis.h"

/* ---- masked_select ---- */

static bam_status masked_select_forward(bam_call *call) {
  const bam_kernels *kernels;
  bam_tensor *x = NULL, *positions = NULL;
  bam_tensor *mask = call->inputs[1];
  const bam_shape *from = &call->inputs[0]->shape;
  bam_shape shape;
  int64_t inner;
  BAM_TRY(bam_call_kernels(call, call->inputs[0]->dtype, &kernels));
  BAM_TRY(bam_check_mask(call->context, call->op->name, from, mask));
  BAM_TRY(bam_mask_positions(call->op->name, mask, &positions));
  BAM_TRY(bam_scope_take(call->scope, positions));
  int64_t count = bam_tensor_count(positions);
  bam_masked_shape(from, mask, count, &shape, &inner);
  BAM_TRY(bam_temp_contiguous(call->scope, call->inputs[0], &x));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &shape));
  BAM_TRY(bam_call_save(call, 0, positions));
  kernels->index_select(bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]),
                        bam_tensor_data(x), bam_tensor_data(positions), 1, bam_tensor_count(mask),
                        count, inner);
  return BAM_OK;
}

static bam_status masked_select_backward(bam_backward *pass) {
  const bam_kernels *kernels;
  bam_tensor *dy = NULL, *dx = NULL;
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_temp_zeros(pass->scope, bam_tensor_device(dy), dy->dtype, bam_backward_shape(pass, 0),
                         &dx));
  int64_t count = dy->shape.size[0], inner = count > 0 ? bam_tensor_count(dy) / count : 1;
  int64_t n = inner > 0 ? bam_tensor_count(dx) / inner : 0;
  kernels->index_put(bam_tensor_device(dy)->stream, bam_tensor_data(dx), bam_tensor_data(dy),
                     bam_tensor_data(pass->saved[0]), 1, n, count, inner);
  return bam_accumulate_grad(pass, 0, dx);
}

const bam_op bam_op_masked_select = {
  .name = "masked_select",
  .help =
    "The elements of x where the bool `mask` is true, in order. If mask has the shape of x, the "
    "result is [n]; "
    "if it has the shape of the first dimensions of x, the result is [n, remaining dimensions].",
  .inputs = { "x", "mask" },
  .forward = masked_select_forward,
  .backward = masked_select_backward,
};

/* ---- one_hot ---- */

static bam_status one_hot_forward(bam_call *call) {
  const bam_kernels *kernels;
  bam_tensor *positions = NULL, *ones = NULL;
  bam_shape shape = call->inputs[0]->shape;
  int64_t n = call->attrs[0].i;
  bam_device *device = bam_call_device(call);
  if (n < 1)
    return bam_call_fail(call, "n is at least 1, not %" PRId64, n);
  if (shape.ndim == BAM_MAX_DIMS)
    return bam_call_fail(call, "positions have %d dimensions already, the most there are",
                         shape.ndim);
  BAM_TRY(bam_call_kernels(call, BAM_I64, &kernels));
  BAM_TRY(bam_call_positions(call, 0, n, &positions));
  BAM_TRY(bam_temp_new(call->scope, device, BAM_I64, &shape, &ones));
  BAM_TRY(bam_tensor_fill(ones, 1));
  shape.size[shape.ndim++] = n;
  BAM_TRY(bam_call_output(call, 0, BAM_I64, &shape));
  BAM_TRY(bam_tensor_fill(call->outputs[0], 0));
  kernels->scatter_add(device->stream, bam_tensor_data(call->outputs[0]), bam_tensor_data(ones),
                       bam_tensor_data(positions), bam_tensor_count(positions), n, 1, 1);
  return BAM_OK;
}

const bam_op bam_op_one_hot = {
  .name = "one_hot",
  .help = "One-hot vectors of `positions` (integers from 1 to `n`) in a new last dimension of size "
          "`n`, as i64.",
  .inputs = { "positions" },
  .attrs = (const bam_attr_spec[]){ { .name = "n", .kind = BAM_ATTR_INT, .required = true },
                                    { 0 } },
  .constant = true,
  .forward = one_hot_forward,
};
