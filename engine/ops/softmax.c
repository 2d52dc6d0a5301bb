/* Softmax and log-softmax along one dimension, log-sum-exp over several. Kernels work on rows:
   other dimensions than the last are moved there and back. */
#include "support/axis.h"
#include "support/layer_inputs.h"

static const bam_attr_spec dim_attr[] = { { .name = "dim", .kind = BAM_ATTR_DIM, .initial = -1 },
                                          { 0 } };

typedef void row_kernel(bam_stream stream, void *y, const void *x, int64_t rows, int64_t n);
typedef void row_backward_kernel(bam_stream stream, void *dx, const void *y, const void *dy,
                                 int64_t rows, int64_t n);

/* Apply `kernel` to the rows of input 0 along the dimension attribute, and save the result. */
static bam_status apply_rows(bam_call *call, row_kernel *kernel) {
  bam_axis along;
  bam_tensor *x, *y, *back;
  const bam_shape *shape = &call->inputs[0]->shape;
  bam_device *device = bam_call_device(call);
  BAM_TRY(bam_axis_init(call->context, call->op->name, shape, call->attrs[0].i, &along));
  BAM_TRY(bam_axis_rows(call->scope, call->inputs[0], along.dim, &x));
  BAM_TRY(bam_temp_like(call->scope, x, &y));
  if (along.n > 0)
    kernel(device->stream, bam_tensor_data(y), bam_tensor_data(x), along.outer * along.inner,
           along.n);
  bam_temp_release(call->scope, x);
  BAM_TRY(bam_axis_restore(call->scope, y, along.dim, &back));
  BAM_TRY(bam_tensor_contiguous(back, &call->outputs[0]));
  return bam_call_save(call, 0, call->outputs[0]);
}

/* The same backwards: from the saved result and its gradient. */
static bam_status apply_rows_backward(bam_backward *pass, row_backward_kernel *kernel) {
  bam_axis along;
  bam_tensor *y = NULL, *dy = NULL, *dx = NULL, *back = NULL;
  const bam_shape *shape = bam_backward_shape(pass, 0);
  bam_device *device = bam_tensor_device(pass->grads[0]);
  BAM_TRY(bam_axis_init(pass->context, pass->op->name, shape, pass->attrs[0].i, &along));
  BAM_TRY(bam_axis_rows(pass->scope, pass->saved[0], along.dim, &y));
  BAM_TRY(bam_axis_rows(pass->scope, pass->grads[0], along.dim, &dy));
  BAM_TRY(bam_temp_like(pass->scope, dy, &dx));
  if (along.n > 0)
    kernel(device->stream, bam_tensor_data(dx), bam_tensor_data(y), bam_tensor_data(dy),
           along.outer * along.inner, along.n);
  BAM_TRY(bam_axis_restore(pass->scope, dx, along.dim, &back));
  bam_temp_release(pass->scope, dx);
  return bam_accumulate_grad(pass, 0, back);
}

static bam_status need_kernels(bam_call *call, const bam_kernels **kernels) {
  BAM_TRY(bam_call_need_real(call, 0));
  return bam_call_kernels(call, call->inputs[0]->dtype, kernels);
}

/* ---- softmax ---- */

static bam_status softmax_forward(bam_call *call) {
  const bam_kernels *kernels;
  BAM_TRY(need_kernels(call, &kernels));
  return apply_rows(call, kernels->softmax);
}

static bam_status softmax_backward(bam_backward *pass) {
  const bam_kernels *kernels;
  BAM_TRY(bam_backward_kernels(pass, pass->saved[0]->dtype, &kernels));
  return apply_rows_backward(pass, kernels->softmax_backward);
}

const bam_op bam_op_softmax = {
  .name = "softmax",
  .help =
    "exp(x) / sum(exp(x)) along `dim`. f32, f64, or bf16 on a GPU. NaN where all of x is -inf.",
  .inputs = { "x" },
  .attrs = dim_attr,
  .forward = softmax_forward,
  .backward = softmax_backward,
};

/* ---- log_softmax ---- */

static bam_status log_softmax_forward(bam_call *call) {
  const bam_kernels *kernels;
  BAM_TRY(need_kernels(call, &kernels));
  return apply_rows(call, kernels->log_softmax);
}

static bam_status log_softmax_backward(bam_backward *pass) {
  const bam_kernels *kernels;
  BAM_TRY(bam_backward_kernels(pass, pass->saved[0]->dtype, &kernels));
  return apply_rows_backward(pass, kernels->log_softmax_backward);
}

const bam_op bam_op_log_softmax = {
  .name = "log_softmax",
  .help =
    "log(softmax(x)) along `dim`, computed without loss of precision. f32, f64, or bf16 on a GPU.",
  .inputs = { "x" },
  .attrs = dim_attr,
  .forward = log_softmax_forward,
  .backward = log_softmax_backward,
};

/* ---- logsumexp ---- */

static bam_status logsumexp_forward(bam_call *call) {
  bam_reduction plan;
  const bam_kernels *kernels;
  bam_tensor *x = NULL, *stats = NULL;
  BAM_TRY(need_kernels(call, &kernels));
  BAM_TRY(bam_reduction_init(call->context, call->op->name, &call->inputs[0]->shape,
                             &call->attrs[0], call->attrs[1].i, false, &plan));
  BAM_TRY(bam_reduction_arrange(call->scope, &plan, call->inputs[0], &x));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &plan.result));
  BAM_TRY(bam_call_save(call, 0, call->inputs[0]));
  BAM_TRY(bam_temp_scratch(call->scope, bam_call_device(call), bam_dtype_arithmetic(x->dtype),
                           2 * plan.outer, &stats));
  BAM_TRY(bam_call_save(call, 1, stats));
  kernels->logsumexp(bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]),
                     bam_tensor_data(stats), bam_tensor_data(x), plan.outer, plan.n);
  return BAM_OK;
}

static bam_status logsumexp_backward(bam_backward *pass) {
  bam_reduction plan;
  const bam_kernels *kernels;
  bam_tensor *x = NULL, *dy = NULL, *dx = NULL, *back = NULL;
  BAM_TRY(bam_reduction_init(pass->context, pass->op->name, bam_backward_shape(pass, 0),
                             &pass->attrs[0], pass->attrs[1].i, false, &plan));
  BAM_TRY(bam_backward_kernels(pass, pass->saved[0]->dtype, &kernels));
  BAM_TRY(bam_reduction_arrange(pass->scope, &plan, pass->saved[0], &x));
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_temp_like(pass->scope, x, &dx));
  kernels->logsumexp_backward(bam_tensor_device(x)->stream, bam_tensor_data(dx), bam_tensor_data(x),
                              bam_tensor_data(pass->saved[1]), bam_tensor_data(dy), plan.outer,
                              plan.n);
  BAM_TRY(bam_reduction_restore(pass->scope, &plan, dx, &back));
  bam_temp_release(pass->scope, dx);
  return bam_accumulate_grad(pass, 0, back);
}

const bam_op bam_op_logsumexp = {
  .name = "logsumexp",
  .help = "log(sum(exp(x))) over the dimensions `dim` (one, a list, or all of them), without "
          "overflow. f32, f64, or bf16 on a GPU. "
          "-inf for an empty tensor.",
  .inputs = { "x" },
  .attrs = (const bam_attr_spec[]){ { .name = "dim", .kind = BAM_ATTR_DIMS },
                                    { .name = "keepdim", .kind = BAM_ATTR_BOOL },
                                    { 0 } },
  .forward = logsumexp_forward,
  .backward = logsumexp_backward,
};
