/* Variance and vector norms over dimensions. */
#include "support/axis.h"

#include <math.h>

static bam_status plan_backward(bam_backward *pass, bam_reduction *plan) {
  return bam_reduction_init(pass->context, pass->op->name, bam_backward_shape(pass, 0),
                            &pass->attrs[0], pass->attrs[1].i, false, plan);
}

/* Give `dx`, which is arranged, to input 0. */
static bam_status give_arranged(bam_backward *pass, const bam_reduction *plan, bam_tensor *dx) {
  bam_tensor *restored;
  BAM_TRY(bam_reduction_restore(pass->scope, plan, dx, &restored));
  return bam_accumulate_grad(pass, 0, restored);
}

/* What both begin with: f32 or f64, planned, arranged. */
static bam_status prepare(bam_call *call, const bam_kernels **kernels, bam_reduction *plan,
                          bam_tensor **x) {
  BAM_TRY(bam_call_need_real(call, 0));
  BAM_TRY(bam_call_kernels(call, call->inputs[0]->dtype, kernels));
  BAM_TRY(bam_reduction_init(call->context, call->op->name, &call->inputs[0]->shape,
                             &call->attrs[0], call->attrs[1].i, false, plan));
  BAM_TRY(bam_reduction_arrange(call->scope, plan, call->inputs[0], x));
  BAM_TRY(bam_call_output(call, 0, call->inputs[0]->dtype, &plan->result));
  return bam_call_save(call, 0, call->inputs[0]);
}

/* ---- variance ---- */

static bam_status var_forward(bam_call *call) {
  bam_reduction plan;
  const bam_kernels *kernels;
  bam_tensor *x = NULL, *mean = NULL;
  BAM_TRY(prepare(call, &kernels, &plan, &x));
  BAM_TRY(bam_temp_new(call->scope, bam_call_device(call), bam_dtype_arithmetic(x->dtype),
                       &plan.result, &mean));
  BAM_TRY(bam_call_save(call, 1, mean));
  kernels->var(bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]),
               bam_tensor_data(mean), bam_tensor_data(x), plan.outer, plan.n, call->attrs[2].f);
  return BAM_OK;
}

/* Both kernels take dx, x, what forward saved (the mean, the norm in f64), dy, the sizes
   and the third attribute. */
typedef void rows_backward(bam_stream stream, void *dx, const void *x, const void *saved,
                           const void *dy, int64_t outer, int64_t n, double attribute);

static bam_status apply_backward(bam_backward *pass, rows_backward *kernel) {
  bam_reduction plan;
  bam_tensor *x = NULL, *dy = NULL, *dx = NULL;
  BAM_TRY(plan_backward(pass, &plan));
  BAM_TRY(bam_reduction_arrange(pass->scope, &plan, pass->saved[0], &x));
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_temp_like(pass->scope, x, &dx));
  kernel(bam_tensor_device(x)->stream, bam_tensor_data(dx), bam_tensor_data(x),
         bam_tensor_data(pass->saved[1]), bam_tensor_data(dy), plan.outer, plan.n,
         pass->attrs[2].f);
  return give_arranged(pass, &plan, dx);
}

/* d var / dx = 2 (x - mean) / (n - correction) */
static bam_status var_backward(bam_backward *pass) {
  const bam_kernels *kernels;
  BAM_TRY(bam_backward_kernels(pass, pass->saved[0]->dtype, &kernels));
  return apply_backward(pass, kernels->var_backward);
}

const bam_op bam_op_var = {
  .name = "var",
  .help = "The variance over the dimensions `dim` (one, a list, or all of them): the sum of "
          "squared deviations "
          "divided by n - `correction` (1: unbiased; 0: population variance). f32, f64, or bf16 on "
          "a GPU.",
  .inputs = { "x" },
  .attrs = (const bam_attr_spec[]){ { .name = "dim", .kind = BAM_ATTR_DIMS },
                                    { .name = "keepdim", .kind = BAM_ATTR_BOOL },
                                    { .name = "correction", .kind = BAM_ATTR_FLOAT, .initial = 1 },
                                    { 0 } },
  .forward = var_forward,
  .backward = var_backward,
};

/* ---- norms ---- */

static bam_status norm_forward(bam_call *call) {
  bam_reduction plan;
  const bam_kernels *kernels;
  bam_tensor *x = NULL, *norms = NULL;
  double p = call->attrs[2].f;
  if (p != 1 && p != 2 && p != (double)INFINITY)
    return bam_call_fail(call, "p is 1, 2 or math.huge, not %g", p);
  BAM_TRY(prepare(call, &kernels, &plan, &x));
  if (plan.n == 0 && isinf(p))
    BAM_TRY(
      bam_call_fail(call, "no elements along the dimensions to reduce, so there is no largest"));
  if (call->recording) {
    BAM_TRY(bam_temp_new(call->scope, bam_call_device(call), BAM_F64, &plan.result, &norms));
    BAM_TRY(bam_call_save(call, 1, norms));
  }
  kernels->norm(bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]),
                norms != NULL ? bam_tensor_data(norms) : NULL, bam_tensor_data(x), plan.outer,
                plan.n, p);
  return BAM_OK;
}

static bam_status norm_backward(bam_backward *pass) {
  const bam_kernels *kernels;
  BAM_TRY(bam_backward_kernels(pass, pass->saved[0]->dtype, &kernels));
  return apply_backward(pass, kernels->norm_backward);
}

const bam_op bam_op_norm = {
  .name = "norm",
  .help = "The vector norm over the dimensions `dim` (one, a list, or all of them): p = 2 "
          "(Euclidean), 1 (sum of "
          "absolute values) or math.huge (largest absolute value; the first of equals receives the "
          "gradient). f32 or "
          "f64. The gradient at 0 is 0.",
  .inputs = { "x" },
  .attrs = (const bam_attr_spec[]){ { .name = "dim", .kind = BAM_ATTR_DIMS },
                                    { .name = "keepdim", .kind = BAM_ATTR_BOOL },
                                    { .name = "p", .kind = BAM_ATTR_FLOAT, .initial = 2 },
                                    { 0 } },
  .forward = norm_forward,
  .backward = norm_backward,
};
