/* Running sums along a dimension. */
#include "support/axis.h"

static bam_status run_sums(bam_context *context, const bam_op *op, const bam_attr *dim,
                           const bam_kernels *kernels, bam_tensor *y, bam_tensor *x, bool reverse) {
  bam_axis along;
  BAM_TRY(bam_axis_init(context, op->name, &x->shape, dim->i, &along));
  if (bam_tensor_count(x) > 0) /* not a walk over 2^40 empty rows */
    kernels->cumsum(bam_tensor_device(x)->stream, bam_tensor_data(y), bam_tensor_data(x),
                    along.outer, along.n, along.inner, reverse);
  return BAM_OK;
}

static bam_status cumsum_forward(bam_call *call) {
  const bam_kernels *kernels;
  bam_tensor *x = NULL;
  bam_dtype dtype = call->inputs[0]->dtype;
  if (!bam_dtype_is_float(dtype))
    dtype = BAM_I64;
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  BAM_TRY(bam_temp_convert(call->scope, call->inputs[0], dtype, &x));
  BAM_TRY(bam_call_output(call, 0, dtype, &x->shape));
  return run_sums(call->context, call->op, &call->attrs[0], kernels, call->outputs[0], x, false);
}

/* Each element went into all sums from its place on: the gradient is summed from the end. */
static bam_status cumsum_backward(bam_backward *pass) {
  const bam_kernels *kernels;
  bam_tensor *dy = NULL, *dx = NULL;
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_temp_like(pass->scope, dy, &dx));
  BAM_TRY(run_sums(pass->context, pass->op, &pass->attrs[0], kernels, dx, dy, true));
  return bam_accumulate_grad(pass, 0, dx);
}

const bam_op bam_op_cumsum = {
  .name = "cumsum",
  .help = "The cumulative sum along `dim`. Bool and integers are summed in i64.",
  .inputs = { "x" },
  .attrs = (const bam_attr_spec[]){ { .name = "dim", .kind = BAM_ATTR_DIM, .required = true },
                                    { 0 } },
  .forward = cumsum_forward,
  .backward = cumsum_backward,
};
