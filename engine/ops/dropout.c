/* Dropout (Srivastava et al., 2014), scaled while training, so that evaluation is plain. */
#include "../core/random.h"
#include "support/elementwise.h"

/* y = keep ? x * scale : 0 */
static void apply_mask(const bam_kernels *kernels, bam_tensor *y, bam_tensor *x, bam_tensor *keep,
                       double p) {
  bam_loop loop;
  bam_loop_init(&loop, (bam_tensor *[]){ y, x, keep }, 3);
  kernels->dropout(bam_tensor_device(x)->stream, &loop, bam_tensor_data(y), bam_tensor_data(x),
                   bam_tensor_data(keep), p < 1 ? 1 / (1 - p) : 0);
}

static bam_status check(bam_call *call) {
  bam_dtype dtype;
  double p = call->attrs[0].f;
  if (!(p >= 0 && p <= 1))
    return bam_call_fail(call, "p must be between 0 and 1, not %g", p);
  BAM_TRY(bam_promote_types(call, 0, 1, &dtype));
  if (!bam_dtype_is_float(dtype))
    return bam_call_fail(call, "x is %s; only floats are dropped: x:to \"f32\"",
                         bam_dtype_name(dtype));
  return BAM_OK;
}

/* Nothing to drop: x itself, and no mask for backward. */
static bam_status dropout_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0], *keep;
  double p = call->attrs[0].f;
  const bam_kernels *kernels;
  BAM_TRY(check(call));
  if (p == 0 || !call->attrs[1].i)
    return bam_tensor_alias(x, &call->outputs[0]);
  BAM_TRY(bam_call_kernels(call, x->dtype, &kernels));
  BAM_TRY(bam_temp_new(call->scope, bam_call_device(call), BAM_BOOL, &x->shape, &keep));
  BAM_TRY(bam_random_bernoulli(keep, 1 - p));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &x->shape));
  apply_mask(kernels, call->outputs[0], x, keep, p);
  return bam_call_save(call, 0, keep);
}

static bam_status dropout_backward(bam_backward *pass) {
  bam_tensor *g = pass->grads[0], *keep = pass->saved[0], *dx;
  const bam_kernels *kernels;
  if (keep == NULL)
    return bam_accumulate_grad(pass, 0, g);
  BAM_TRY(bam_backward_kernels(pass, g->dtype, &kernels));
  BAM_TRY(bam_temp_like(pass->scope, g, &dx));
  apply_mask(kernels, dx, g, keep, pass->attrs[0].f);
  return bam_accumulate_grad(pass, 0, dx);
}

const bam_op bam_op_dropout = {
  .name = "dropout",
  .inputs = { "x" },
  .forward = dropout_forward,
  .backward = dropout_backward,
  .attrs = (const bam_attr_spec[]){ { .name = "p", .kind = BAM_ATTR_FLOAT, .initial = 0.5 },
                                    { .name = "training", .kind = BAM_ATTR_BOOL, .initial = true },
                                    { 0 } },
  .help = "While `training`, set each element to 0 with probability `p` and scale the others by 1 "
          "/ (1 - p). "
          "Otherwise x itself.",
};
