/* Applying an op: check arguments, run forward, record, return results. */
#include "op.h"
#include "../core/devices.h"
#include "../core/profile.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "autograd.h"

int bam_op_attr_count(const bam_op *op) {
  int n = 0;
  while (op->attrs != NULL && op->attrs[n].name != NULL)
    n++;
  return n;
}

void bam_op_default_attrs(const bam_op *op, bam_attr *attrs) {
  for (int i = 0; op->attrs != NULL && op->attrs[i].name != NULL; i++) {
    const double initial = isnan(op->attrs[i].initial) ? 0 : op->attrs[i].initial;
    attrs[i] = (bam_attr){ .given = false };
    if (op->attrs[i].kind == BAM_ATTR_FLOAT)
      attrs[i].f = initial;
    else
      attrs[i].i = (int64_t)initial;
  }
}

/* ---- helpers for forward functions ---- */

bam_device *bam_call_device(const bam_call *call) {
  for (int i = 0; i < call->n_inputs; i++)
    if (call->inputs[i] != NULL)
      return bam_tensor_device(call->inputs[i]);
  return &call->context->cpu;
}

bam_status bam_call_fail(bam_call *call, const char *format, ...) {
  char text[BAM_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return bam_fail(call->context, BAM_ERROR_ARGUMENT, "%s: %s", call->op->name, text);
}

bam_status bam_call_output(bam_call *call, int k, bam_dtype dtype, const bam_shape *shape) {
  bam_status status = bam_tensor_new(call->context, bam_call_device(call), dtype, shape,
                                     &call->outputs[k]);
  return status == BAM_ERROR_ARGUMENT ? bam_fail_within(call->context, status, call->op->name)
                                      : status;
}

bam_status bam_call_save(bam_call *call, int slot, bam_tensor *tensor) {
  if (!call->recording || tensor == NULL)
    return BAM_OK;
  return bam_tensor_alias(tensor, &call->saved[slot]);
}

bool bam_call_computes_real(const bam_call *call, bam_dtype dtype) {
  return bam_dtype_is_float(dtype) && bam_call_device(call)->kernels[dtype] != NULL;
}

static bam_status find_kernels(bam_context *context, const bam_op *op, bam_device *device,
                               bam_dtype dtype, const bam_kernels **kernels) {
  *kernels = device->kernels[dtype];
  if (*kernels == NULL)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "%s: %s is a storage-only dtype on %s; compute in f32: x:to \"f32\"", op->name,
                    bam_dtype_name(dtype), device->name);
  return BAM_OK;
}

bam_status bam_call_kernels(bam_call *call, bam_dtype dtype, const bam_kernels **kernels) {
  return find_kernels(call->context, call->op, bam_call_device(call), dtype, kernels);
}

bam_status bam_backward_kernels(bam_backward *pass, bam_dtype dtype, const bam_kernels **kernels) {
  return find_kernels(pass->context, pass->op, pass->node->device, dtype, kernels);
}

/* ---- bam.debug { nan = true } ---- */

static bool holds_nan(bam_tensor *tensor) {
  int64_t count = bam_tensor_count(tensor);
  for (int64_t i = 0; i < count; i++) {
    double value;
    int64_t unused;
    if (bam_tensor_get(tensor, i, &value, &unused) == BAM_OK && isnan(value))
      return true;
  }
  return false;
}

bam_status bam_debug_check(bam_context *context, const char *what, bam_tensor *tensor) {
  bam_tensor *here;
  if (tensor == NULL || !bam_dtype_is_float(tensor->dtype))
    return BAM_OK;
  BAM_TRY(bam_tensor_to(tensor, &context->cpu, &here));
  bool found = holds_nan(here);
  bam_tensor_release(here);
  if (!found)
    return BAM_OK;
  char where[200] = "";
  if (context->host.where != NULL)
    context->host.where(context->host.state, where, sizeof where);
  return bam_fail(context, BAM_ERROR_ARGUMENT, "%s a NaN%s%s", what, where[0] ? " at " : "", where);
}

static bam_status check_call(bam_call *call) {
  char what[300], around[200] = "";
  bam_status status = BAM_OK;
  bam_autograd_describe_walk(call->context, around, sizeof around);
  for (int i = 0; i < call->n_inputs && status == BAM_OK; i++) {
    snprintf(what, sizeof what, "%s: input %d%s already holds", call->op->name, i + 1, around);
    status = bam_debug_check(call->context, what, call->inputs[i]);
  }
  for (int k = 0; k < BAM_MAX_OUTPUTS && status == BAM_OK; k++) {
    snprintf(what, sizeof what, "%s%s made", call->op->name, around);
    status = bam_debug_check(call->context, what, call->outputs[k]);
  }
  return status;
}

/* ---- applying ---- */

static bam_status check_inputs(bam_call *call) {
  const bam_device *device = bam_call_device(call);
  for (int i = 0; i < call->n_inputs; i++) {
    const char *name = call->op->inputs[0][0] == '.' ? "..." : call->op->inputs[i];
    const bam_tensor *input = call->inputs[i];
    if (input == NULL && name[strlen(name) - 1] != '?')
      return bam_call_fail(call, "argument `%s` is missing", name);
    if (input != NULL && bam_tensor_device(input) != device)
      return bam_call_fail(call, "tensors on %s and %s; move one with x:to", device->name,
                           bam_tensor_device(input)->name);
  }
  return BAM_OK;
}

/* Forward, with a scope for its temporaries. */
static bam_status run_forward(bam_call *call, bam_scope *scope) {
  BAM_TRY(check_inputs(call));
  bam_scope_begin(scope, call->context);
  call->scope = scope;
  bam_status status = call->op->forward(call);
  bam_scope_end(scope);
  return status;
}

/* Whether the device has failed; the message then begins with the op's name. */
static bam_status check_device(bam_call *call) {
  const bam_status status = bam_device_check(call->context, bam_call_device(call));
  return status == BAM_OK ? BAM_OK : bam_fail_within(call->context, status, call->op->name);
}

static bam_status run(bam_call *call, bam_scope *scope, int n_outputs) {
  bam_status status = run_forward(call, scope);
  if (status == BAM_OK)
    status = check_device(call);
  if (status == BAM_OK && call->context->check_nan &&
      !call->op->is_view) /* a view cannot create a NaN */
    status = check_call(call);
  if (status == BAM_OK && call->recording)
    status = bam_autograd_record(call, n_outputs, 0);
  return status;
}

/* Of all tensors that went in and came out. */
static double bytes_of_call(const bam_call *call) {
  double bytes = 0;
  for (int i = 0; i < call->n_inputs; i++)
    bytes += bam_profile_bytes(call->inputs[i]);
  for (int k = 0; k < BAM_MAX_OUTPUTS; k++)
    bytes += bam_profile_bytes(call->outputs[k]);
  return bytes;
}

bam_status bam_op_apply(bam_context *context, const bam_op *op, bam_tensor *const *inputs,
                        int n_inputs, const bam_attr *attrs, bam_tensor **outputs) {
  bam_scope scope; /* begun by run_forward */
  int n_outputs = op->outputs > 0 ? op->outputs : 1;
  int n_attrs = bam_op_attr_count(op);
  bam_attr defaults[n_attrs > 0 ? n_attrs : 1];
  if (attrs == NULL)
    bam_op_default_attrs(op, defaults);
  bam_call call = { .context = context,
                    .op = op,
                    .inputs = inputs,
                    .n_inputs = n_inputs,
                    .attrs = attrs != NULL ? attrs : defaults };
  call.recording = !op->constant && bam_autograd_recording(context, inputs, n_inputs);
  for (int i = 0; i < n_inputs; i++) /* the host may release them when it collects garbage */
    if (inputs[i] != NULL)
      bam_tensor_retain(inputs[i]);
  const uint64_t drawn = context->random_counter;
  if (context->profile != NULL)
    bam_profile_push(context, op->name, false);
  bam_status status = run(&call, &scope, n_outputs);
  if (context->profile != NULL)
    bam_profile_pop(context, n_inputs > 0 ? bam_call_device(&call) : NULL, bytes_of_call(&call));
  if (status != BAM_OK)
    context->random_counter = drawn; /* a failed op changes nothing, the generator included */
  for (int i = 0; i < n_inputs; i++)
    bam_tensor_release(inputs[i]);
  for (int i = 0; i < BAM_MAX_SAVED; i++)
    bam_tensor_release(call.saved[i]);
  for (int k = 0; k < n_outputs; k++)
    if (status == BAM_OK)
      outputs[k] = call.outputs[k];
    else
      bam_tensor_release(call.outputs[k]);
  return status;
}

bam_status bam_apply1(const bam_op *op, bam_tensor *x, const bam_attr *attrs, bam_tensor **y) {
  return bam_op_apply(x->context, op, &x, 1, attrs, y);
}

bam_status bam_temp_apply(bam_scope *scope, const bam_op *op, bam_tensor *const *inputs,
                          int n_inputs, const bam_attr *attrs, bam_tensor **y) {
  bam_tensor *made = NULL;
  BAM_TRY(bam_op_apply(scope->context, op, inputs, n_inputs, attrs, &made));
  BAM_TRY(bam_scope_take(scope, made));
  *y = made;
  return BAM_OK;
}

bam_status bam_temp_apply1(bam_scope *scope, const bam_op *op, bam_tensor *x, const bam_attr *attrs,
                           bam_tensor **y) {
  return bam_temp_apply(scope, op, &x, 1, attrs, y);
}

bam_status bam_temp_apply2(bam_scope *scope, const bam_op *op, bam_tensor *a, bam_tensor *b,
                           const bam_attr *attrs, bam_tensor **y) {
  return bam_temp_apply(scope, op, (bam_tensor *[]){ a, b }, 2, attrs, y);
}
