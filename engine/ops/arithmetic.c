/* Arithmetic on two tensors that broadcast: + - * / // % ^, maximum, minimum, and unary minus. */
#include "support/elementwise.h"

#define INPUTS \
  { "a", "b" }
#define SHAPES " Shapes broadcast, dtypes promote."

static bam_status add_forward(bam_call *call) {
  return bam_binary(call, BAM_KERNEL(add), BAM_RESULT_SAME);
}

static bam_status add_backward(bam_backward *pass) {
  BAM_TRY(bam_accumulate_grad(pass, 0, pass->grads[0]));
  return bam_accumulate_grad(pass, 1, pass->grads[0]);
}

const bam_op bam_op_add = {
  .name = "add",
  .inputs = INPUTS,
  .forward = add_forward,
  .backward = add_backward,
  .help = "The sum a + b; for two bool tensors, logical or." SHAPES,
};

/* Give input i the op's result for x, or for x and y. */
static bam_status give1(bam_backward *pass, int i, const bam_op *op, bam_tensor *x) {
  bam_tensor *grad;
  if (!bam_needs_grad(pass, i))
    return BAM_OK;
  BAM_TRY(bam_temp_apply1(pass->scope, op, x, NULL, &grad));
  return bam_accumulate_temp(pass, i, grad);
}

static bam_status give2(bam_backward *pass, int i, const bam_op *op, bam_tensor *x, bam_tensor *y) {
  bam_tensor *grad;
  if (!bam_needs_grad(pass, i))
    return BAM_OK;
  BAM_TRY(bam_temp_apply2(pass->scope, op, x, y, NULL, &grad));
  return bam_accumulate_temp(pass, i, grad);
}

static bam_status sub_forward(bam_call *call) {
  BAM_TRY(bam_refuse_bool(call, "use logical_xor, or convert: x:to \"i64\""));
  return bam_binary(call, BAM_KERNEL(sub), BAM_RESULT_SAME);
}

static bam_status sub_backward(bam_backward *pass) {
  BAM_TRY(bam_accumulate_grad(pass, 0, pass->grads[0]));
  return give1(pass, 1, &bam_op_neg, pass->grads[0]);
}

const bam_op bam_op_sub = {
  .name = "sub",
  .inputs = INPUTS,
  .forward = sub_forward,
  .backward = sub_backward,
  .help = "The difference a - b." SHAPES,
};

static bam_status mul_forward(bam_call *call) {
  BAM_TRY(bam_binary(call, BAM_KERNEL(mul), BAM_RESULT_SAME));
  BAM_TRY(bam_binary_save(call, 0));
  return bam_binary_save(call, 1);
}

static bam_status mul_backward(bam_backward *pass) {
  BAM_TRY(give2(pass, 0, &bam_op_mul, pass->grads[0], pass->saved[1]));
  return give2(pass, 1, &bam_op_mul, pass->grads[0], pass->saved[0]);
}

const bam_op bam_op_mul = {
  .name = "mul",
  .inputs = INPUTS,
  .forward = mul_forward,
  .backward = mul_backward,
  .help = "The product a * b, element by element; for two bool tensors, logical and." SHAPES,
};

/* b is saved for both gradients, the quotient for that of b. */
static bam_status div_forward(bam_call *call) {
  BAM_TRY(bam_binary(call, BAM_KERNEL(div), BAM_RESULT_FLOAT));
  BAM_TRY(bam_call_save(call, 1, call->inputs[1]));
  if (call->inputs[1]->requires_grad)
    BAM_TRY(bam_call_save(call, 0, call->outputs[0]));
  return BAM_OK;
}

/* da = g / b, db = -da * y. */
static bam_status div_backward(bam_backward *pass) {
  bam_tensor *da, *minus;
  BAM_TRY(bam_temp_apply2(pass->scope, &bam_op_div, pass->grads[0], pass->saved[1], NULL, &da));
  BAM_TRY(bam_accumulate_grad(pass, 0, da));
  if (bam_needs_grad(pass, 1)) {
    BAM_TRY(bam_temp_apply1(pass->scope, &bam_op_neg, da, NULL, &minus));
    BAM_TRY(give2(pass, 1, &bam_op_mul, minus, pass->saved[0]));
  }
  return BAM_OK;
}

const bam_op bam_op_div = {
  .name = "div",
  .inputs = INPUTS,
  .forward = div_forward,
  .backward = div_backward,
  .help = "The quotient a / b as a float: integers give f32." SHAPES,
};

/* Fails when the inputs compute in integers and b, so converted, has an element that `kernel`
   (any_zero or any_negative) finds. */
static bam_status check_right(bam_call *call, bool negative, const char *message) {
  bam_dtype dtype;
  const bam_kernels *kernels;
  bam_tensor *b, *found;
  bam_shape scalar = { .ndim = 0 };
  bam_loop loop;
  double unused;
  int64_t is_bad = 0;
  BAM_TRY(bam_promote_types(call, 0, 2, &dtype));
  if (!bam_dtype_is_integer(dtype))
    return BAM_OK;
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  BAM_TRY(bam_promote_input(call, 1, dtype, &b));
  BAM_TRY(bam_temp_zeros(call->scope, bam_tensor_device(b), BAM_BOOL, &scalar, &found));
  bam_loop_init(&loop, &b, 1);
  (negative ? kernels->any_negative : kernels->any_zero)(
    bam_call_device(call)->stream, &loop, bam_tensor_data(found), bam_tensor_data(b));
  BAM_TRY(bam_tensor_get(found, 0, &unused, &is_bad));
  return is_bad ? bam_call_fail(call, "%s", message) : BAM_OK;
}

static bam_status check_divisor(bam_call *call) {
  BAM_TRY(bam_refuse_bool(call, "convert: x:to \"i64\""));
  return check_right(call, false, "an integer divisor is zero; compute in floats: x:to \"f32\"");
}

static bam_status floordiv_forward(bam_call *call) {
  BAM_TRY(check_divisor(call));
  return bam_binary(call, BAM_KERNEL(floordiv), BAM_RESULT_SAME);
}

const bam_op bam_op_floordiv = {
  .name = "floordiv",
  .inputs = INPUTS,
  .forward = floordiv_forward,
  .backward = bam_zero_backward,
  .help = "The quotient a // b rounded down, as in Lua. An integer divisor of 0 is an error. The "
          "gradient is 0." SHAPES,
};

static bam_status mod_forward(bam_call *call) {
  BAM_TRY(check_divisor(call));
  BAM_TRY(bam_binary(call, BAM_KERNEL(mod), BAM_RESULT_SAME));
  if (call->inputs[1]->requires_grad) {
    BAM_TRY(bam_call_save(call, 0, call->inputs[0]));
    BAM_TRY(bam_call_save(call, 1, call->inputs[1]));
  }
  return BAM_OK;
}

/* a % b = a - b * floor(a / b): da = g, db = -g * floor(a / b). */
static bam_status mod_backward(bam_backward *pass) {
  bam_tensor *quotient, *minus;
  BAM_TRY(bam_accumulate_grad(pass, 0, pass->grads[0]));
  if (bam_needs_grad(pass, 1)) {
    BAM_TRY(bam_temp_apply2(pass->scope, &bam_op_floordiv, pass->saved[0], pass->saved[1], NULL,
                            &quotient));
    BAM_TRY(bam_temp_apply1(pass->scope, &bam_op_neg, quotient, NULL, &minus));
    BAM_TRY(give2(pass, 1, &bam_op_mul, pass->grads[0], minus));
  }
  return BAM_OK;
}

const bam_op bam_op_mod = {
  .name = "mod",
  .inputs = INPUTS,
  .forward = mod_forward,
  .backward = mod_backward,
  .help = "The remainder a % b with the sign of b, as in Lua. An integer divisor of 0 is an "
          "error." SHAPES,
};

static bam_status pow_forward(bam_call *call) {
  BAM_TRY(bam_refuse_bool(call, "convert: x:to \"i64\""));
  BAM_TRY(
    check_right(call, true, "an integer exponent is negative; compute in floats: x:to \"f32\""));
  BAM_TRY(bam_binary(call, BAM_KERNEL(pow), BAM_RESULT_SAME));
  BAM_TRY(bam_call_save(call, 0, call->inputs[0]));
  BAM_TRY(bam_binary_save(call, 1));
  if (call->inputs[1]->requires_grad)
    BAM_TRY(bam_call_save(call, 2, call->outputs[0]));
  return BAM_OK;
}

/* da = g b a^(b-1), db = g y log(a). */
static bam_status pow_backward(bam_backward *pass) {
  bam_tensor *g = pass->grads[0], *const *saved = pass->saved;
  BAM_TRY(bam_ternary_accumulate(pass, 0, BAM_KERNEL(pow_base_backward), g, saved[0], saved[1]));
  return bam_ternary_accumulate(pass, 1, BAM_KERNEL(pow_exponent_backward), g, saved[0], saved[2]);
}

const bam_op bam_op_pow = {
  .name = "pow",
  .inputs = INPUTS,
  .forward = pow_forward,
  .backward = pow_backward,
  .help = "The power a ^ b; for integers an integer, where b must not be negative." SHAPES,
};

static bam_status extreme(bam_call *call, size_t kernel) {
  BAM_TRY(bam_binary(call, kernel, BAM_RESULT_SAME));
  BAM_TRY(bam_call_save(call, 0, call->inputs[0]));
  return bam_call_save(call, 1, call->inputs[1]);
}

/* The larger input takes the gradient (that of minimum: exchanged); equal ones take half each. */
static bam_status extreme_backward(bam_backward *pass, int first, int second) {
  bam_tensor *g = pass->grads[0], *const *saved = pass->saved;
  BAM_TRY(
    bam_ternary_accumulate(pass, 0, BAM_KERNEL(extreme_backward), g, saved[first], saved[second]));
  return bam_ternary_accumulate(pass, 1, BAM_KERNEL(extreme_backward), g, saved[second],
                                saved[first]);
}

static bam_status maximum_forward(bam_call *call) { return extreme(call, BAM_KERNEL(maximum)); }
static bam_status maximum_backward(bam_backward *pass) { return extreme_backward(pass, 0, 1); }

const bam_op bam_op_maximum = {
  .name = "maximum",
  .inputs = INPUTS,
  .forward = maximum_forward,
  .backward = maximum_backward,
  .help = "The larger of a and b, element by element; NaN if either is NaN." SHAPES,
};

static bam_status minimum_forward(bam_call *call) { return extreme(call, BAM_KERNEL(minimum)); }
static bam_status minimum_backward(bam_backward *pass) { return extreme_backward(pass, 1, 0); }

const bam_op bam_op_minimum = {
  .name = "minimum",
  .inputs = INPUTS,
  .forward = minimum_forward,
  .backward = minimum_backward,
  .help = "The smaller of a and b, element by element; NaN if either is NaN." SHAPES,
};

static bam_status neg_forward(bam_call *call) {
  BAM_TRY(bam_refuse_bool(call, "use logical_not, or convert: x:to \"i64\""));
  return bam_unary(call, BAM_KERNEL(neg), BAM_RESULT_SAME, BAM_KEEP_NOTHING);
}

static bam_status neg_backward(bam_backward *pass) {
  return give1(pass, 0, &bam_op_neg, pass->grads[0]);
}

const bam_op bam_op_neg = {
  .name = "neg",
  .inputs = { "x" },
  .forward = neg_forward,
  .backward = neg_backward,
  .help = "-x, element by element.",
};
