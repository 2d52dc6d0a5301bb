/* Largest and smallest elements over dimensions, and where they are. */
#include <math.h>

#include "support/axis.h"

/* Reduce input 0 into `values` (output 0) or positions (output 0 when `want_positions`). When a
   gradient may be wanted, the positions are saved: among equals the first one counts. */
static bam_status find_extreme(bam_call *call, const bam_attr *dims, bool largest,
                               bool want_positions) {
  bam_reduction plan;
  const bam_kernels *kernels;
  bam_tensor *x = NULL, *positions = NULL;
  bam_dtype dtype = call->inputs[0]->dtype;
  bam_device *device = bam_call_device(call);
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  BAM_TRY(bam_reduction_init(call->context, call->op->name, &call->inputs[0]->shape, dims,
                             call->attrs[1].i, true, &plan));
  if (plan.n == 0)
    BAM_TRY(bam_call_fail(call, "no elements along the dimensions to reduce, so there is no %s one",
                          largest ? "largest" : "smallest"));
  BAM_TRY(bam_reduction_arrange(call->scope, &plan, call->inputs[0], &x));
  BAM_TRY(bam_call_output(call, 0, want_positions ? BAM_I64 : dtype, &plan.result));
  if (call->recording)
    BAM_TRY(bam_temp_new(call->scope, device, BAM_I64, &plan.result, &positions));
  BAM_TRY(bam_call_save(call, 0, positions));
  void *y = bam_tensor_data(call->outputs[0]);
  int64_t *at = want_positions ? y : positions != NULL ? bam_tensor_data(positions) : NULL;
  kernels->extreme(device->stream, want_positions ? NULL : y, at, bam_tensor_data(x), plan.outer,
                   plan.n, plan.inner, largest);
  return BAM_OK;
}

/* Shape of a tensor arranged by `plan`. */
static bam_shape arranged_shape(const bam_reduction *plan, const bam_shape *shape) {
  bam_shape arranged = { .ndim = shape->ndim };
  for (int d = 0; d < shape->ndim; d++)
    arranged.size[d] = shape->size[plan->order[d]];
  return arranged;
}

/* The gradient goes to the element that was taken. */
static bam_status extreme_backward(bam_backward *pass) {
  bam_reduction plan;
  const bam_kernels *kernels;
  bam_tensor *dy = NULL, *dx = NULL, *restored = NULL, *positions = pass->saved[0];
  const bam_shape *shape = bam_backward_shape(pass, 0);
  BAM_TRY(bam_reduction_init(pass->context, pass->op->name, shape, &pass->attrs[0],
                             pass->attrs[1].i, true, &plan));
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  bam_shape arranged = arranged_shape(&plan, shape);
  BAM_TRY(bam_temp_zeros(pass->scope, bam_tensor_device(dy), dy->dtype, &arranged, &dx));
  kernels->scatter_add(bam_tensor_device(dy)->stream, bam_tensor_data(dx), bam_tensor_data(dy),
                       bam_tensor_data(positions), plan.outer, plan.n, 1, plan.inner);
  BAM_TRY(bam_reduction_restore(pass->scope, &plan, dx, &restored));
  bam_temp_release(pass->scope, dx);
  return bam_accumulate_grad(pass, 0, restored);
}

static const bam_attr_spec value_attrs[] = { { .name = "dim", .kind = BAM_ATTR_DIMS },
                                             { .name = "keepdim", .kind = BAM_ATTR_BOOL },
                                             { 0 } };

static bam_status max_forward(bam_call *call) {
  return find_extreme(call, &call->attrs[0], true, false);
}

const bam_op bam_op_max = {
  .name = "max",
  .help = "The largest element over the dimensions `dim` (one, a list, or all of them); NaN if "
          "there is one. The "
          "first of equal elements receives the gradient. See maximum for two tensors and argmax "
          "for the position.",
  .inputs = { "x" },
  .attrs = value_attrs,
  .forward = max_forward,
  .backward = extreme_backward,
};

static bam_status min_forward(bam_call *call) {
  return find_extreme(call, &call->attrs[0], false, false);
}

const bam_op bam_op_min = {
  .name = "min",
  .help = "The smallest element over the dimensions `dim` (one, a list, or all of them); NaN if "
          "there is one. The "
          "first of equal elements receives the gradient. See minimum for two tensors and argmin "
          "for the position.",
  .inputs = { "x" },
  .attrs = value_attrs,
  .forward = min_forward,
  .backward = extreme_backward,
};

/* ---- positions ---- */

static const bam_attr_spec position_attrs[] = {
  { .name = "dim", .kind = BAM_ATTR_DIM, .initial = NAN },
  { .name = "keepdim", .kind = BAM_ATTR_BOOL },
  { 0 }
};

static bam_status find_position(bam_call *call, bool largest) {
  bam_attr dims = { .given = call->attrs[0].given, .count = 1 };
  dims.list[0] = call->attrs[0].i;
  return find_extreme(call, &dims, largest, true);
}

static bam_status argmax_forward(bam_call *call) { return find_position(call, true); }

const bam_op bam_op_argmax = {
  .name = "argmax",
  .help = "The position of the first largest element along `dim`, counted from 1, as i64. Without "
          "`dim`, the "
          "position in the flattened tensor. NaN counts as largest.",
  .inputs = { "x" },
  .attrs = position_attrs,
  .constant = true,
  .forward = argmax_forward,
};

static bam_status argmin_forward(bam_call *call) { return find_position(call, false); }

const bam_op bam_op_argmin = {
  .name = "argmin",
  .help = "The position of the first smallest element along `dim`, counted from 1, as i64. Without "
          "`dim`, the "
          "position in the flattened tensor. NaN counts as smallest.",
  .inputs = { "x" },
  .attrs = position_attrs,
  .constant = true,
  .forward = argmin_forward,
};
