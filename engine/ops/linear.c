/* y = x Wᵀ + b with the weight stored [out, in]: one GEMM forward, two backward, of which the
   second adds to the weight's gradient itself. */
#include "support/layer_inputs.h"

static bam_status check_linear(bam_call *call) {
  const bam_shape *x = &call->inputs[0]->shape, *weight = &call->inputs[1]->shape;
  const bam_tensor *bias = bam_call_optional(call, 2);
  char tx[BAM_SHAPE_TEXT], tw[BAM_SHAPE_TEXT];
  if (x->ndim < 1 || weight->ndim != 2)
    return bam_call_fail(call, "needs x [..., in] and weight [out, in], not %s and %s",
                         bam_shape_text(x, tx), bam_shape_text(weight, tw));
  if (bam_shape_width(x) != weight->size[1])
    return bam_call_fail(call, "x is %s and weight %s: their last sizes differ%s",
                         bam_shape_text(x, tx), bam_shape_text(weight, tw),
                         bam_shape_width(x) == weight->size[0] ? "; transpose the weight?" : "");
  bam_shape out = { .ndim = 1, .size = { weight->size[0] } };
  return bias != NULL ? bam_call_expect_shape(call, 2, &out, "one per row of weight") : BAM_OK;
}

/* That of x, or the one that kernels compute in: sums of products of bf16 are f32. */
static bam_status result_dtype(bam_call *call, bam_dtype *out) {
  const bam_dtype own = call->inputs[0]->dtype;
  *out = call->attrs[0].given ? (bam_dtype)call->attrs[0].i : own;
  if (*out == own || *out == bam_dtype_arithmetic(own))
    return BAM_OK;
  return bam_call_fail(call, "a result of %s, and x is %s; convert it afterwards: y:to \"%s\"",
                       bam_dtype_name(*out), bam_dtype_name(own), bam_dtype_name(*out));
}

static bam_status linear_forward(bam_call *call) {
  bam_tensor *x = NULL, *weight = NULL, *bias = NULL;
  bam_shape shape = call->inputs[0]->shape;
  int64_t stride;
  bam_dtype result;
  BAM_TRY(check_linear(call));
  BAM_TRY(bam_call_check_product(call, 0));
  BAM_TRY(bam_call_check_product(call, 1));
  int64_t rows = bam_shape_rows(&shape), in = bam_shape_width(&shape);
  int64_t out = call->inputs[1]->shape.size[0];
  shape.size[shape.ndim - 1] = out;
  BAM_TRY(result_dtype(call, &result));
  BAM_TRY(bam_call_rows_input(call, 0, 0, &stride, &x));
  BAM_TRY(bam_call_layer_input(call, 1, 0, &weight));
  if (bam_call_optional(call, 2) != NULL)
    BAM_TRY(bam_call_layer_input(call, 2, 0, &bias));
  BAM_TRY(bam_call_output(call, 0, result, &shape));
  BAM_TRY(bam_call_save(call, 0, x));
  BAM_TRY(bam_call_save(call, 1, weight));
  if (bias != NULL)
    BAM_TRY(bam_tensor_copy(call->outputs[0], bias));
  bam_product_run(&(bam_product){ .m = rows,
                                  .n = out,
                                  .k = in,
                                  .lda = stride,
                                  .transpose_b = true,
                                  .add = bias != NULL,
                                  .real_c = result != x->dtype },
                  bam_call_device(call), x->dtype, bam_tensor_data(call->outputs[0]),
                  bam_tensor_data(x), bam_tensor_data(weight));
  return BAM_OK;
}

static bam_status linear_backward(bam_backward *pass) {
  bam_tensor *dy = NULL, *x = NULL, *weight = pass->saved[1], *target;
  bool add;
  bam_device *device = bam_tensor_device(weight);
  int64_t out = weight->shape.size[0], in = weight->shape.size[1];
  int64_t rows = bam_shape_rows(&pass->saved[0]->shape);
  BAM_TRY(bam_temp_convert(pass->scope, pass->grads[0], weight->dtype, &dy));
  if (bam_needs_grad(pass, 0)) {
    BAM_TRY(bam_grad_buffer_as(pass, 0, bam_grad_dtype(pass, 0), &target, &add));
    bam_product_run(&(bam_product){ .m = rows,
                                    .n = in,
                                    .k = out,
                                    .add = add,
                                    .real_c = target->dtype != dy->dtype },
                    device, dy->dtype, bam_tensor_data(target), bam_tensor_data(dy),
                    bam_tensor_data(weight));
  }
  if (bam_needs_grad(pass, 1)) {
    BAM_TRY(bam_temp_contiguous(pass->scope, pass->saved[0], &x));
    BAM_TRY(bam_grad_buffer_as(pass, 1, bam_grad_dtype(pass, 1), &target, &add));
    bam_product_run(&(bam_product){ .m = out,
                                    .n = in,
                                    .k = rows,
                                    .transpose_a = true,
                                    .add = add,
                                    .real_c = target->dtype != dy->dtype },
                    device, dy->dtype, bam_tensor_data(target), bam_tensor_data(dy),
                    bam_tensor_data(x));
  }
  return bam_accumulate_grad(pass, 2, dy); /* summed over the rows */
}

const bam_op bam_op_linear = {
  .name = "linear",
  .help =
    "x weightᵀ + bias. `x` is [..., in], `weight` [out, in], `bias` [out]; the result is "
    "[..., out]. f32 or f64, or bf16 where the device computes in it; then `dtype` may be f32, "
    "for a result that is not rounded.",
  .inputs = { "x", "weight", "bias?" },
  .attrs = (const bam_attr_spec[]){ { .name = "dtype", .kind = BAM_ATTR_DTYPE }, { 0 } },
  .forward = linear_forward,
  .backward = linear_backward,
};
