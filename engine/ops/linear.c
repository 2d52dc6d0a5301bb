/* y = x Wᵀ + b with the weight stored [out, in], alone or added to a residual: one GEMM forward,
   two backward, of which the second adds to the weight's gradient itself. */
#include "support/linear_products.h"

enum { SAVED_X, SAVED_WEIGHT, SAVED_SCALES };

/* Which inputs and attributes an op of these has; -1: none. */
typedef struct places {
  int bias, residual, dtype, fp8;
} places;

static const places of_linear = { .bias = 2, .residual = -1, .dtype = 0, .fp8 = 1 };
static const places of_add_linear = { .bias = 3, .residual = 2, .dtype = -1, .fp8 = 0 };

static bam_status check_linear(bam_call *call, const places *at) {
  const bam_shape *x = &call->inputs[0]->shape, *weight = &call->inputs[1]->shape;
  char tx[BAM_SHAPE_TEXT], tw[BAM_SHAPE_TEXT];
  if (x->ndim < 1 || weight->ndim != 2)
    return bam_call_fail(call, "needs x [..., in] and weight [out, in], not %s and %s",
                         bam_shape_text(x, tx), bam_shape_text(weight, tw));
  if (bam_shape_width(x) != weight->size[1])
    return bam_call_fail(call, "x is %s and weight %s: their last sizes differ%s",
                         bam_shape_text(x, tx), bam_shape_text(weight, tw),
                         bam_shape_width(x) == weight->size[0] ? "; transpose the weight?" : "");
  bam_shape bias = { .ndim = 1, .size = { weight->size[0] } }, result = *x;
  result.size[x->ndim - 1] = weight->size[0];
  if (at->residual >= 0)
    BAM_TRY(bam_call_expect_shape(call, at->residual, &result, "the shape of the result"));
  if (bam_call_optional(call, at->bias) != NULL)
    return bam_call_expect_shape(call, at->bias, &bias, "one per row of weight");
  return BAM_OK;
}

/* That of x, or the one that kernels compute in: sums of products of bf16 are f32. */
static bam_status result_dtype(bam_call *call, const places *at, bam_dtype *out) {
  const bam_dtype own = call->inputs[0]->dtype;
  const bam_attr *given = at->dtype >= 0 ? &call->attrs[at->dtype] : NULL;
  *out = given != NULL && given->given ? (bam_dtype)given->i : own;
  if (*out == own || *out == bam_dtype_arithmetic(own))
    return BAM_OK;
  return bam_call_fail(call, "a result of %s, and x is %s; convert it afterwards: y:to \"%s\"",
                       bam_dtype_name(*out), bam_dtype_name(own), bam_dtype_name(*out));
}

/* What the product is added to: a residual, or y with the bias and a residual in it. */
static bam_status begin_sum(bam_call *call, const places *at, bam_linear *l) {
  bam_tensor *bias = NULL, *residual = NULL, *y = call->outputs[0];
  if (bam_call_optional(call, at->bias) != NULL)
    BAM_TRY(bam_call_layer_input(call, at->bias, 0, &bias));
  if (at->residual >= 0)
    BAM_TRY(bam_call_layer_input(call, at->residual, 0, &residual));
  l->add = bias != NULL || residual != NULL;
  if (bias == NULL && residual != NULL)
    l->base = bam_tensor_data(residual);
  else if (residual != NULL)
    bam_sum_run(y, residual, bias);
  else if (bias != NULL)
    return bam_tensor_copy(y, bias);
  return BAM_OK;
}

static bam_status forward(bam_call *call, const places *at) {
  const bam_attr *fp8 = &call->attrs[at->fp8];
  bam_tensor *x = NULL, *weight = NULL, *scales;
  bam_shape shape = call->inputs[0]->shape;
  bam_linear l = { .rows = 0 };
  bam_dtype result;
  BAM_TRY(check_linear(call, at));
  BAM_TRY(bam_call_check_product(call, 0));
  BAM_TRY(bam_call_check_product(call, 1));
  BAM_TRY(bam_call_check_fp8(call, fp8));
  l.rows = bam_shape_rows(&shape), l.in = bam_shape_width(&shape);
  l.out = call->inputs[1]->shape.size[0];
  shape.size[shape.ndim - 1] = l.out;
  BAM_TRY(result_dtype(call, at, &result));
  BAM_TRY(bam_call_rows_input(call, 0, 0, &l.stride, &x));
  BAM_TRY(bam_call_layer_input(call, 1, 0, &weight));
  BAM_TRY(bam_call_output(call, 0, result, &shape));
  BAM_TRY(bam_call_save(call, SAVED_X, x));
  BAM_TRY(bam_call_save(call, SAVED_WEIGHT, weight));
  BAM_TRY(bam_call_fp8_scales(call, fp8, SAVED_SCALES, 1, &scales));
  bam_linear_use_fp8(&l, scales, 0);
  BAM_TRY(begin_sum(call, at, &l));
  return bam_linear_forward(call->scope, &l, call->outputs[0], x, weight);
}

static bam_status linear_forward(bam_call *call) { return forward(call, &of_linear); }
static bam_status add_linear_forward(bam_call *call) { return forward(call, &of_add_linear); }

static bam_status backward(bam_backward *pass, const places *at) {
  const bool for_x = bam_needs_grad(pass, 0), for_weight = bam_needs_grad(pass, 1);
  bam_tensor *dy = NULL, *x = NULL, *weight = pass->saved[SAVED_WEIGHT], *target;
  bam_linear l = { .rows = bam_shape_rows(&pass->saved[SAVED_X]->shape),
                   .in = weight->shape.size[1],
                   .out = weight->shape.size[0] };
  bam_linear_backward b;
  bool add;
  bam_linear_use_fp8(&l, pass->saved[SAVED_SCALES], 0);
  BAM_TRY(bam_temp_convert(pass->scope, pass->grads[0], weight->dtype, &dy));
  BAM_TRY(bam_linear_backward_begin(pass->scope, &l, dy, for_x, for_weight, &b));
  if (for_x) {
    BAM_TRY(bam_grad_buffer_as(pass, 0, bam_grad_dtype(pass, 0), &target, &add));
    BAM_TRY(bam_linear_grad_x(&b, target, add, weight));
  }
  if (for_weight) {
    BAM_TRY(bam_temp_contiguous(pass->scope, pass->saved[SAVED_X], &x));
    BAM_TRY(bam_grad_buffer_as(pass, 1, bam_grad_dtype(pass, 1), &target, &add));
    BAM_TRY(bam_linear_grad_weight(&b, target, add, x));
  }
  if (at->residual >= 0)
    BAM_TRY(bam_accumulate_grad(pass, at->residual, pass->grads[0]));
  return bam_accumulate_grad(pass, at->bias, dy); /* summed over the rows */
}

static bam_status linear_backward(bam_backward *pass) { return backward(pass, &of_linear); }
static bam_status add_linear_backward(bam_backward *pass) { return backward(pass, &of_add_linear); }

const bam_op bam_op_linear = {
  .name = "linear",
  .help =
    "x weightᵀ + bias. `x` is [..., in], `weight` [out, in], `bias` [out]; the result is "
    "[..., out]. f32 or f64, or bf16 where the device computes in it; then `dtype` may be f32, "
    "for a result that is not rounded. With `fp8` the operands of the products, bf16, are rounded "
    "to FP8, each tensor with a scale of its own: x and weight to E4M3, the gradient of the result "
    "to E5M2; not where a size is not a multiple of 16.",
  .inputs = { "x", "weight", "bias?" },
  .attrs = (const bam_attr_spec[]){ { .name = "dtype", .kind = BAM_ATTR_DTYPE },
                                    { .name = "fp8", .kind = BAM_ATTR_BOOL },
                                    { 0 } },
  .forward = linear_forward,
  .backward = linear_backward,
};

const bam_op bam_op_add_linear = {
  .name = "add_linear",
  .help = "residual + x weightᵀ + bias: `linear` whose product adds to `residual`, [..., out], in "
          "no pass of its own. Rounded once in bf16. `fp8` is as in linear.",
  .inputs = { "x", "weight", "residual", "bias?" },
  .attrs = (const bam_attr_spec[]){ { .name = "fp8", .kind = BAM_ATTR_BOOL }, { 0 } },
  .forward = add_linear_forward,
  .backward = add_linear_backward,
};
