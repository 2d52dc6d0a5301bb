/* Sums, means, products and truth values over dimensions. */
#include "support/axis.h"

static const bam_attr_spec reduce_attrs[] = { { .name = "dim", .kind = BAM_ATTR_DIMS },
                                              { .name = "keepdim", .kind = BAM_ATTR_BOOL },
                                              { 0 } };

/* Integers and bool add up in i64. */
static bam_dtype total_dtype(bam_dtype dtype) {
  return bam_dtype_is_integer(dtype) || dtype == BAM_BOOL ? BAM_I64 : dtype;
}

static bam_status plan_call(bam_call *call, bool columns, bam_reduction *plan) {
  return bam_reduction_init(call->context, call->op->name, &call->inputs[0]->shape, &call->attrs[0],
                            call->attrs[1].i, columns, plan);
}

static bam_status plan_backward(bam_backward *pass, bool columns, bam_reduction *plan) {
  return bam_reduction_init(pass->context, pass->op->name, bam_backward_shape(pass, 0),
                            &pass->attrs[0], pass->attrs[1].i, columns, plan);
}

/* Input 0 in `dtype`, arranged as planned. */
static bam_status arrange(const bam_reduction *plan, bam_call *call, bam_dtype dtype,
                          bam_tensor **out) {
  bam_tensor *x = call->inputs[0], *converted = x;
  if (x->dtype != dtype)
    BAM_TRY(bam_temp_convert(call->scope, x, dtype, &converted));
  BAM_TRY(bam_reduction_arrange(call->scope, plan, converted, out));
  bam_temp_release(call->scope, converted);
  return BAM_OK;
}

/* ---- sum and mean ---- */

typedef void sum_kernel(bam_stream stream, void *y, const void *x, int64_t outer, int64_t n,
                        int64_t inner);

static bam_status add_up(bam_call *call, bam_dtype dtype, sum_kernel *kernel) {
  bam_reduction plan;
  bam_tensor *x = NULL;
  BAM_TRY(plan_call(call, true, &plan));
  BAM_TRY(arrange(&plan, call, dtype, &x));
  BAM_TRY(bam_call_output(call, 0, dtype, &plan.result));
  kernel(bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]), bam_tensor_data(x),
         plan.outer, plan.n, plan.inner);
  return BAM_OK;
}

static bam_status sum_forward(bam_call *call) {
  const bam_kernels *kernels;
  bam_dtype dtype = total_dtype(call->inputs[0]->dtype);
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  return add_up(call, dtype, kernels->sum);
}

/* Every element of x receives the gradient of the sum that it went into. */
static bam_status sum_backward(bam_backward *pass) {
  bam_reduction plan;
  bam_tensor *spread = NULL;
  const bam_shape *shape = bam_backward_shape(pass, 0);
  BAM_TRY(plan_backward(pass, true, &plan));
  BAM_TRY(bam_reduction_spread(pass->scope, &plan, shape, pass->grads[0], &spread));
  return bam_accumulate_grad(pass, 0, spread);
}

const bam_op bam_op_sum = {
  .name = "sum",
  .help = "The sum over the dimensions `dim` (one, a list, or all of them). Bool and integers are "
          "summed in i64. 0 "
          "for an empty tensor.",
  .inputs = { "x" },
  .attrs = reduce_attrs,
  .forward = sum_forward,
  .backward = sum_backward,
};

static bam_status mean_forward(bam_call *call) {
  const bam_kernels *kernels;
  BAM_TRY(bam_call_need_real(call, 0));
  bam_dtype dtype = call->inputs[0]->dtype;
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  return add_up(call, dtype, kernels->mean);
}

static bam_status mean_backward(bam_backward *pass) {
  bam_reduction plan;
  bam_tensor *count = NULL, *scaled = NULL, *spread = NULL;
  bam_tensor *dy = pass->grads[0];
  BAM_TRY(plan_backward(pass, true, &plan));
  BAM_TRY(
    bam_temp_new(pass->scope, bam_tensor_device(dy), dy->dtype, &(bam_shape){ .ndim = 0 }, &count));
  BAM_TRY(bam_tensor_fill(count, (double)plan.n));
  BAM_TRY(bam_temp_apply2(pass->scope, &bam_op_div, dy, count, NULL, &scaled));
  BAM_TRY(bam_reduction_spread(pass->scope, &plan, bam_backward_shape(pass, 0), scaled, &spread));
  return bam_accumulate_grad(pass, 0, spread);
}

const bam_op bam_op_mean = {
  .name = "mean",
  .help = "The mean over the dimensions `dim` (one, a list, or all of them). f32, f64, or bf16 on "
          "a GPU. NaN for "
          "an empty tensor.",
  .inputs = { "x" },
  .attrs = reduce_attrs,
  .forward = mean_forward,
  .backward = mean_backward,
};

/* ---- product ---- */

static bam_status prod_forward(bam_call *call) {
  bam_reduction plan;
  const bam_kernels *kernels;
  bam_tensor *x = NULL;
  bam_dtype dtype = total_dtype(call->inputs[0]->dtype);
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  BAM_TRY(plan_call(call, false, &plan));
  BAM_TRY(arrange(&plan, call, dtype, &x));
  BAM_TRY(bam_call_output(call, 0, dtype, &plan.result));
  BAM_TRY(bam_call_save(call, 0, call->inputs[0]));
  kernels->prod(bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]),
                bam_tensor_data(x), plan.outer, plan.n);
  return BAM_OK;
}

static bam_status prod_backward(bam_backward *pass) {
  bam_reduction plan;
  const bam_kernels *kernels;
  bam_tensor *x = NULL, *dy = NULL, *dx = NULL, *restored = NULL;
  BAM_TRY(plan_backward(pass, false, &plan));
  BAM_TRY(bam_backward_kernels(pass, pass->saved[0]->dtype, &kernels));
  BAM_TRY(bam_reduction_arrange(pass->scope, &plan, pass->saved[0], &x));
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_temp_like(pass->scope, x, &dx));
  kernels->prod_backward(bam_tensor_device(x)->stream, bam_tensor_data(dx), bam_tensor_data(x),
                         bam_tensor_data(dy), plan.outer, plan.n);
  BAM_TRY(bam_reduction_restore(pass->scope, &plan, dx, &restored));
  bam_temp_release(pass->scope, dx);
  return bam_accumulate_grad(pass, 0, restored);
}

const bam_op bam_op_prod = {
  .name = "prod",
  .help = "The product over the dimensions `dim` (one, a list, or all of them). Bool and integers "
          "are multiplied in "
          "i64. 1 for an empty tensor.",
  .inputs = { "x" },
  .attrs = reduce_attrs,
  .forward = prod_forward,
  .backward = prod_backward,
};

/* ---- any and all ---- */

typedef void truth_kernel(bam_stream stream, bool *y, const void *x, int64_t outer, int64_t n);

static bam_status decide(bam_call *call, truth_kernel *kernel) {
  bam_reduction plan;
  bam_tensor *x = NULL;
  BAM_TRY(plan_call(call, false, &plan));
  BAM_TRY(arrange(&plan, call, call->inputs[0]->dtype, &x));
  BAM_TRY(bam_call_output(call, 0, BAM_BOOL, &plan.result));
  kernel(bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]), bam_tensor_data(x),
         plan.outer, plan.n);
  return BAM_OK;
}

static bam_status any_forward(bam_call *call) {
  const bam_kernels *kernels;
  bam_dtype dtype = call->inputs[0]->dtype;
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  return decide(call, kernels->any);
}

const bam_op bam_op_any = {
  .name = "any",
  .help = "Is any element over the dimensions `dim` (one, a list, or all of them) nonzero? A bool "
          "tensor; false for "
          "an empty one.",
  .inputs = { "x" },
  .attrs = reduce_attrs,
  .constant = true,
  .forward = any_forward,
};

static bam_status all_forward(bam_call *call) {
  const bam_kernels *kernels;
  bam_dtype dtype = call->inputs[0]->dtype;
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  return decide(call, kernels->all);
}

const bam_op bam_op_all = {
  .name = "all",
  .help = "Are all elements over the dimensions `dim` (one, a list, or all of them) nonzero? A "
          "bool tensor; true for "
          "an empty one.",
  .inputs = { "x" },
  .attrs = reduce_attrs,
  .constant = true,
  .forward = all_forward,
};
