#include "elementwise.h"

#include <string.h>

typedef void unary_kernel BAM_UNARY;
typedef void binary_kernel BAM_BINARY;
typedef void ternary_kernel BAM_TERNARY;

/* Copy the function pointer at `offset` of a table into *function; fails when it is NULL. */
static bam_status find_kernel(bam_call *call, bam_dtype dtype, size_t offset, void *function) {
  const bam_kernels *kernels;
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  unary_kernel *found;
  memcpy(&found, (const char *)kernels + offset, sizeof found);
  if (found == NULL)
    return bam_call_fail(call, "no kernel for %s on %s", bam_dtype_name(dtype),
                         bam_call_device(call)->name);
  memcpy(function, &found, sizeof found);
  return BAM_OK;
}

static bam_status find_backward(bam_backward *pass, bam_dtype dtype, size_t offset,
                                void *function) {
  const bam_kernels *kernels;
  BAM_TRY(bam_backward_kernels(pass, dtype, &kernels));
  memcpy(function, (const char *)kernels + offset, sizeof(unary_kernel *));
  return BAM_OK;
}

/* ---- forward ---- */

static bam_dtype widen(bam_dtype dtype, bam_result result) {
  return result == BAM_RESULT_FLOAT && !bam_dtype_is_float(dtype) ? BAM_F32 : dtype;
}

bam_status bam_unary(bam_call *call, size_t kernel, bam_result result, bam_keep keep) {
  bam_dtype dtype;
  bam_loop loop;
  bam_tensor *x = NULL;
  unary_kernel *run = NULL;
  BAM_TRY(bam_promote_types(call, 0, 1, &dtype));
  dtype = widen(dtype, result);
  BAM_TRY(find_kernel(call, dtype, kernel, &run));
  BAM_TRY(bam_promote_input(call, 0, dtype, &x));
  BAM_TRY(bam_call_output(call, 0, result == BAM_RESULT_BOOL ? BAM_BOOL : dtype, &x->shape));
  bam_loop_init(&loop, (bam_tensor *[]){ call->outputs[0], x }, 2);
  run(bam_call_device(call)->stream, &loop, bam_tensor_data(call->outputs[0]), bam_tensor_data(x));
  if (keep != BAM_KEEP_NOTHING)
    BAM_TRY(bam_call_save(call, 0, keep == BAM_KEEP_INPUT ? call->inputs[0] : call->outputs[0]));
  return BAM_OK;
}

/* Equal dtypes need no thought, unless both are numbers. */
static bam_status binary_dtype(bam_call *call, bam_dtype *dtype) {
  const bam_tensor *a = call->inputs[0], *b = call->inputs[1];
  *dtype = a->dtype;
  if (a->dtype == b->dtype && !(a->is_number && b->is_number) &&
      bam_call_device(call)->kernels[a->dtype] != NULL)
    return BAM_OK;
  return bam_promote_types(call, 0, 2, dtype);
}

bam_status bam_binary(bam_call *call, size_t kernel, bam_result result) {
  bam_dtype dtype;
  bam_shape shape;
  bam_loop loop;
  bam_tensor *a = NULL, *b = NULL;
  binary_kernel *run = NULL;
  BAM_TRY(bam_shape_broadcast(call->context, call->op->name, &call->inputs[0]->shape,
                              &call->inputs[1]->shape, &shape));
  BAM_TRY(binary_dtype(call, &dtype));
  dtype = widen(dtype, result);
  BAM_TRY(find_kernel(call, dtype, kernel, &run));
  BAM_TRY(bam_promote_input(call, 0, dtype, &a));
  BAM_TRY(bam_promote_input(call, 1, dtype, &b));
  BAM_TRY(bam_call_output(call, 0, result == BAM_RESULT_BOOL ? BAM_BOOL : dtype, &shape));
  bam_loop_init(&loop, (bam_tensor *[]){ call->outputs[0], a, b }, 3);
  run(bam_call_device(call)->stream, &loop, bam_tensor_data(call->outputs[0]), bam_tensor_data(a),
      bam_tensor_data(b));
  return BAM_OK;
}

bam_status bam_binary_save(bam_call *call, int i) {
  return call->inputs[1 - i]->requires_grad ? bam_call_save(call, i, call->inputs[i]) : BAM_OK;
}

bam_status bam_refuse_bool(bam_call *call, const char *advice) {
  for (int i = 0; i < call->n_inputs; i++)
    if (call->inputs[i]->dtype != BAM_BOOL)
      return BAM_OK;
  return bam_call_fail(call, "is not defined for bool; %s", advice);
}

bam_status bam_require_bool(bam_call *call, int i, const char *role) {
  if (call->inputs[i]->dtype == BAM_BOOL)
    return BAM_OK;
  return bam_call_fail(call, "%s is %s, not bool; compare first, or x:to \"bool\"", role,
                       bam_dtype_name(call->inputs[i]->dtype));
}

/* ---- backward ---- */

bam_status bam_unary_backward(bam_backward *pass, size_t kernel) {
  bam_tensor *g = pass->grads[0], *saved = pass->saved[0], *dx = NULL;
  bam_loop loop;
  binary_kernel *run = NULL;
  BAM_TRY(find_backward(pass, g->dtype, kernel, &run));
  BAM_TRY(bam_temp_like(pass->scope, g, &dx));
  bam_loop_init(&loop, (bam_tensor *[]){ dx, g, saved }, 3);
  run(bam_tensor_device(g)->stream, &loop, bam_tensor_data(dx), bam_tensor_data(g),
      bam_tensor_data(saved));
  return bam_accumulate_temp(pass, 0, dx);
}

/* `x` in `dtype`: itself, whatever its strides, when it has it. */
static bam_status as_dtype(bam_scope *scope, bam_tensor *x, bam_dtype dtype, bam_tensor **out) {
  if (x->dtype != dtype)
    return bam_temp_convert(scope, x, dtype, out);
  *out = x;
  return BAM_OK;
}

bam_status bam_ternary_accumulate(bam_backward *pass, int i, size_t kernel, bam_tensor *g,
                                  bam_tensor *a, bam_tensor *b) {
  bam_tensor *dx = NULL, *own_a = NULL, *own_b = NULL;
  bam_loop loop;
  ternary_kernel *run = NULL;
  if (!bam_needs_grad(pass, i))
    return BAM_OK;
  BAM_TRY(find_backward(pass, g->dtype, kernel, &run));
  BAM_TRY(as_dtype(pass->scope, a, g->dtype, &own_a));
  BAM_TRY(as_dtype(pass->scope, b, g->dtype, &own_b));
  BAM_TRY(bam_temp_like(pass->scope, g, &dx));
  bam_loop_init(&loop, (bam_tensor *[]){ dx, g, own_a, own_b }, 4);
  run(bam_tensor_device(g)->stream, &loop, bam_tensor_data(dx), bam_tensor_data(g),
      bam_tensor_data(own_a), bam_tensor_data(own_b));
  return bam_accumulate_temp(pass, i, dx);
}

bam_status bam_where_accumulate(bam_backward *pass, int i, bam_tensor *condition, bam_tensor *a,
                                bam_tensor *b) {
  bam_tensor *zero = NULL, *dx = NULL, *g = a != NULL ? a : b;
  bam_shape scalar = { .ndim = 0 };
  if (!bam_needs_grad(pass, i))
    return BAM_OK;
  BAM_TRY(bam_temp_zeros(pass->scope, bam_tensor_device(g), g->dtype, &scalar, &zero));
  bam_tensor *inputs[] = { condition, a != NULL ? a : zero, b != NULL ? b : zero };
  BAM_TRY(bam_temp_apply(pass->scope, &bam_op_where, inputs, 3, NULL, &dx));
  return bam_accumulate_temp(pass, i, dx);
}

bam_status bam_zero_backward(bam_backward *pass) {
  bam_device *device = bam_tensor_device(pass->grads[0]);
  for (int i = 0; i < pass->n_inputs; i++) {
    bam_tensor *zeros;
    if (!bam_needs_grad(pass, i))
      continue;
    BAM_TRY(bam_temp_zeros(pass->scope, device, bam_backward_dtype(pass, i),
                           bam_backward_shape(pass, i), &zeros));
    BAM_TRY(bam_accumulate_temp(pass, i, zeros));
  }
  return BAM_OK;
}
