/* Choosing between values: where, masked_fill, clamp. */
#include <inttypes.h>
#include <math.h>

#include "support/elementwise.h"

/* outputs[0] = condition ? a : b, broadcast, in `dtype`, which a and b have. */
static bam_status choose(bam_call *call, bam_dtype dtype, bam_tensor *condition, bam_tensor *a,
                         bam_tensor *b) {
  const char *name = call->op->name;
  const bam_kernels *kernels;
  bam_shape shape;
  bam_loop loop;
  BAM_TRY(bam_shape_broadcast(call->context, name, &a->shape, &b->shape, &shape));
  BAM_TRY(bam_shape_broadcast(call->context, name, &condition->shape, &shape, &shape));
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  BAM_TRY(bam_call_output(call, 0, dtype, &shape));
  bam_loop_init(&loop, (bam_tensor *[]){ call->outputs[0], condition, a, b }, 4);
  kernels->where(bam_call_device(call)->stream, &loop, bam_tensor_data(call->outputs[0]),
                 bam_tensor_data(condition), bam_tensor_data(a), bam_tensor_data(b));
  return bam_call_save(call, 0, condition);
}

static bam_status where_forward(bam_call *call) {
  bam_dtype dtype;
  bam_tensor *a = NULL, *b = NULL;
  BAM_TRY(bam_require_bool(call, 0, "the condition"));
  BAM_TRY(bam_promote_types(call, 1, 2, &dtype));
  BAM_TRY(bam_promote_input(call, 1, dtype, &a));
  BAM_TRY(bam_promote_input(call, 2, dtype, &b));
  return choose(call, dtype, call->inputs[0], a, b);
}

static bam_status where_backward(bam_backward *pass) {
  bam_tensor *g = pass->grads[0], *condition = pass->saved[0];
  BAM_TRY(bam_where_accumulate(pass, 1, condition, g, NULL));
  return bam_where_accumulate(pass, 2, condition, NULL, g);
}

const bam_op bam_op_where = {
  .name = "where",
  .inputs = { "condition", "a", "b" },
  .forward = where_forward,
  .backward = where_backward,
  .help = "a where the bool `condition` is true, otherwise b. All three broadcast; the dtypes of a "
          "and b promote.",
};

/* The value takes x's dtype, so it must not be of a higher category. */
static bam_status check_value(bam_call *call) {
  bam_dtype x = call->inputs[0]->dtype, value = call->inputs[2]->dtype;
  if (call->inputs[2]->shape.ndim > 0)
    return bam_call_fail(call, "the value must be a number or a 0-dimensional tensor; use where");
  if ((bam_dtype_is_float(value) && !bam_dtype_is_float(x)) || (x == BAM_BOOL && value != BAM_BOOL))
    return bam_call_fail(call, "a %s value does not go into %s; convert first: x:to \"%s\"",
                         bam_dtype_name(value), bam_dtype_name(x),
                         bam_dtype_is_float(value) ? "f32" : "i64");
  return bam_tensor_check_number(call->op->name, call->inputs[2], x);
}

static bam_status masked_fill_forward(bam_call *call) {
  bam_tensor *value = NULL;
  bam_dtype dtype = call->inputs[0]->dtype;
  BAM_TRY(bam_require_bool(call, 1, "the mask"));
  BAM_TRY(check_value(call));
  BAM_TRY(bam_promote_input(call, 2, dtype, &value));
  return choose(call, dtype, call->inputs[1], value, call->inputs[0]);
}

static bam_status masked_fill_backward(bam_backward *pass) {
  bam_tensor *g = pass->grads[0], *mask = pass->saved[0];
  BAM_TRY(bam_where_accumulate(pass, 0, mask, NULL, g));
  return bam_where_accumulate(pass, 2, mask, g, NULL);
}

const bam_op bam_op_masked_fill = {
  .name = "masked_fill",
  .inputs = { "x", "mask", "value" },
  .forward = masked_fill_forward,
  .backward = masked_fill_backward,
  .help = "`value` (a number) where the bool `mask` is true, otherwise x. x and mask broadcast; "
          "the dtype is that of "
          "x.",
};

/* The bounds of a clamp in *low and *high. */
static bam_status clamp_bounds(bam_call *call, double *low, double *high) {
  const bam_attr *min = &call->attrs[0], *max = &call->attrs[1];
  *low = min->given ? min->f : -INFINITY;
  *high = max->given ? max->f : INFINITY;
  if (!min->given && !max->given)
    return bam_call_fail(call, "give min, max or both");
  if (isnan(*low) || isnan(*high))
    return bam_call_fail(call, "a bound is NaN");
  return bam_refuse_bool(call, "convert: x:to \"i64\"");
}

static bool is_whole(double bound) { return isinf(bound) || bound == floor(bound); }

/* A bound beyond every value of an integer dtype would ask for values that it does not have. */
static bam_status check_reachable(bam_call *call, bam_dtype dtype, double low, double high) {
  int64_t least, most;
  if (!bam_dtype_range(dtype, &least, &most) || (low < (double)most + 1 && high >= (double)least))
    return BAM_OK;
  return bam_call_fail(call, "the bounds %g and %g exclude every %s (%" PRId64 " to %" PRId64 ")",
                       low, high, bam_dtype_name(dtype), least, most);
}

static bam_status clamp_forward(bam_call *call) {
  double low, high;
  bam_dtype dtype;
  const bam_kernels *kernels;
  bam_loop loop;
  bam_tensor *x = NULL;
  BAM_TRY(clamp_bounds(call, &low, &high));
  BAM_TRY(bam_promote_types(call, 0, 1, &dtype));
  if (!bam_dtype_is_float(dtype) && !(is_whole(low) && is_whole(high)))
    dtype = BAM_F32;
  BAM_TRY(check_reachable(call, dtype, low, high));
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  BAM_TRY(bam_promote_input(call, 0, dtype, &x));
  BAM_TRY(bam_call_output(call, 0, dtype, &x->shape));
  bam_loop_init(&loop, (bam_tensor *[]){ call->outputs[0], x }, 2);
  kernels->clamp(bam_call_device(call)->stream, &loop, bam_tensor_data(call->outputs[0]),
                 bam_tensor_data(x), low, high);
  return bam_call_save(call, 0, call->inputs[0]);
}

/* The gradient passes where x lies within the bounds, themselves included. */
static bam_status clamp_backward(bam_backward *pass) {
  bam_tensor *g = pass->grads[0], *x = pass->saved[0], *dx = NULL;
  const bam_attr *min = &pass->attrs[0], *max = &pass->attrs[1];
  const bam_kernels *kernels;
  bam_loop loop;
  BAM_TRY(bam_backward_kernels(pass, g->dtype, &kernels));
  BAM_TRY(bam_temp_like(pass->scope, g, &dx));
  bam_loop_init(&loop, (bam_tensor *[]){ dx, g, x }, 3);
  kernels->clamp_backward(bam_tensor_device(g)->stream, &loop, bam_tensor_data(dx),
                          bam_tensor_data(g), bam_tensor_data(x), min->given ? min->f : -INFINITY,
                          max->given ? max->f : INFINITY);
  return bam_accumulate_grad(pass, 0, dx);
}

const bam_op bam_op_clamp = {
  .name = "clamp",
  .inputs = { "x" },
  .forward = clamp_forward,
  .backward = clamp_backward,
  .attrs = (const bam_attr_spec[]){ { .name = "min", .kind = BAM_ATTR_FLOAT, .initial = NAN },
                                    { .name = "max", .kind = BAM_ATTR_FLOAT, .initial = NAN },
                                    { 0 } },
  .help = "Limit x to at least `min` and at most `max`; at least one of them is required. NaN "
          "stays NaN. Integers "
          "stay integers if the limits are whole numbers; otherwise the result is f32.",
};
