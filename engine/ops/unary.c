/* Functions of each element. Those that are real-valued give f32 for integers and bool. */
#include "support/elementwise.h"

#define FLOAT_OP(op, keep, text) BAM_UNARY_OP(op, BAM_RESULT_FLOAT, keep, text)

FLOAT_OP(exp, BAM_KEEP_OUTPUT, "e to the power of each element.")
FLOAT_OP(log, BAM_KEEP_INPUT, "The natural logarithm: -inf at 0, NaN for negative numbers.")
FLOAT_OP(sqrt, BAM_KEEP_OUTPUT, "The square root; NaN for negative numbers.")
FLOAT_OP(rsqrt, BAM_KEEP_OUTPUT, "The reciprocal of the square root.")
FLOAT_OP(sin, BAM_KEEP_INPUT, "The sine of each element, in radians.")
FLOAT_OP(cos, BAM_KEEP_INPUT, "The cosine of each element, in radians.")
FLOAT_OP(tanh, BAM_KEEP_OUTPUT, "The hyperbolic tangent.")
FLOAT_OP(sigmoid, BAM_KEEP_OUTPUT, "The logistic function 1 / (1 + exp(-x)).")
FLOAT_OP(softplus, BAM_KEEP_INPUT, "log(1 + exp(x)), a smooth relu.")
FLOAT_OP(silu, BAM_KEEP_INPUT, "x * sigmoid(x), also called swish (arXiv:1702.03118).")

static bam_status gelu_forward(bam_call *call) {
  size_t kernel = call->attrs[0].i ? BAM_KERNEL(gelu_tanh) : BAM_KERNEL(gelu);
  return bam_unary(call, kernel, BAM_RESULT_FLOAT, BAM_KEEP_INPUT);
}

static bam_status gelu_backward(bam_backward *pass) {
  return bam_unary_backward(pass, pass->attrs[0].i ? BAM_KERNEL(gelu_tanh_backward)
                                                   : BAM_KERNEL(gelu_backward));
}

const bam_op bam_op_gelu = {
  .name = "gelu",
  .inputs = { "x" },
  .forward = gelu_forward,
  .backward = gelu_backward,
  .attrs = (const bam_attr_spec[]){ { .name = "approximate", .kind = BAM_ATTR_BOOL }, { 0 } },
  .help = "x times the cumulative normal distribution of x (arXiv:1606.08415). `approximate` uses "
          "the tanh formula.",
};

BAM_UNARY_OP(relu, BAM_RESULT_SAME, BAM_KEEP_OUTPUT, "x if it is positive, otherwise 0.")
BAM_UNARY_OP(abs, BAM_RESULT_SAME, BAM_KEEP_INPUT,
             "The absolute value of each element. Its gradient at 0 is 0.")

static bam_status sign_forward(bam_call *call) {
  return bam_unary(call, BAM_KERNEL(sign), BAM_RESULT_SAME, BAM_KEEP_NOTHING);
}

const bam_op bam_op_sign = {
  .name = "sign",
  .inputs = { "x" },
  .forward = sign_forward,
  .backward = bam_zero_backward,
  .help = "The sign of each element: -1, 0 or 1, NaN for NaN. The gradient is 0.",
};

/* Integers are whole already. */
static bam_status rounding(bam_call *call, size_t kernel) {
  bool real = bam_dtype_is_float(call->inputs[0]->dtype);
  return bam_unary(call, real ? kernel : BAM_KERNEL(copy), BAM_RESULT_SAME, BAM_KEEP_NOTHING);
}

#define ROUNDING(op, text)                                                                  \
  static bam_status op##_forward(bam_call *call) { return rounding(call, BAM_KERNEL(op)); } \
  const bam_op bam_op_##op = {                                                              \
    .name = #op,                                                                            \
    .inputs = { "x" },                                                                      \
    .forward = op##_forward,                                                                \
    .backward = bam_zero_backward,                                                          \
    .help = text " Keeps the dtype. The gradient is 0.",                                    \
  };

ROUNDING(floor, "Round down to a whole number.")
ROUNDING(ceil, "Round up to a whole number.")
ROUNDING(round, "Round to the nearest whole number, halves to even.")
