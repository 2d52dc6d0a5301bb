/* Accumulating gradients, see gradients.h. */
#include "gradients.h"

#include <stdarg.h>
#include <stdio.h>

#include "../core/assert.h"
#include "../core/capture.h"

/* In a capture: what follows would add to it. */
#define FIRST_GRADIENT \
  "the first gradient of a tensor; compute gradients once before, and set them to 0"

bam_tensor **bam_grad_slot(const bam_backward *pass, int i) {
  bam_edge *edge = &pass->node->edges[i];
  if (edge->node != NULL)
    return &edge->node->grads[edge->output];
  return edge->leaf != NULL ? &edge->leaf->grad : NULL;
}

bool bam_needs_grad(const bam_backward *pass, int i) {
  return i < pass->n_inputs && bam_grad_slot(pass, i) != NULL;
}

const bam_shape *bam_backward_shape(const bam_backward *pass, int i) {
  return &pass->node->edges[i].shape;
}

bam_dtype bam_backward_dtype(const bam_backward *pass, int i) { return pass->node->edges[i].dtype; }

static bam_dtype collected_dtype(const bam_edge *edge) {
  return edge->leaf != NULL ? bam_dtype_arithmetic(edge->dtype) : edge->dtype;
}

bam_dtype bam_grad_dtype(const bam_backward *pass, int i) {
  return collected_dtype(&pass->node->edges[i]);
}

bam_status bam_backward_fail(bam_backward *pass, const char *format, ...) {
  char text[BAM_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return bam_fail(pass->context, BAM_ERROR_ARGUMENT, "backward of %s: %s", pass->op->name, text);
}

/* Whether nothing else refers to the tensor's storage, so it may be added to in place. */
static bool is_exclusive(const bam_tensor *tensor) {
  return tensor->refs == 1 && tensor->storage->refs == 1 && bam_tensor_is_contiguous(tensor);
}

static bam_status add_into(bam_tensor *sum, bam_tensor *a, bam_tensor *b);

/* add_into for a dtype that the device only stores: computes in f32. */
static bam_status add_stored(bam_tensor *sum, bam_tensor *a, bam_tensor *b) {
  bam_tensor *x = NULL, *y = NULL, *z = NULL;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(bam_tensor_convert(a, BAM_F32, &x));
  BAM_TRY_OR_DONE(bam_tensor_convert(b, BAM_F32, &y));
  BAM_TRY_OR_DONE(bam_tensor_new(a->context, bam_tensor_device(a), BAM_F32, &a->shape, &z));
  BAM_TRY_OR_DONE(add_into(z, x, y));
  BAM_TRY_OR_DONE(bam_tensor_copy(sum, z));
done:
  bam_tensor_release(x);
  bam_tensor_release(y);
  bam_tensor_release(z);
  return status;
}

/* Compute sum = a + b. All have one shape and dtype; `sum` may be `a` or `b`. */
static bam_status add_into(bam_tensor *sum, bam_tensor *a, bam_tensor *b) {
  bam_device *device = bam_tensor_device(sum);
  bam_loop loop;
  if (bam_tensor_count(sum) == 0)
    return BAM_OK;
  if (device->kernels[sum->dtype] == NULL)
    return add_stored(sum, a, b);
  bam_loop_init(&loop, (bam_tensor *[]){ sum, a, b }, 3);
  device->kernels[sum->dtype]->add(device->stream, &loop, bam_tensor_data(sum), bam_tensor_data(a),
                                   bam_tensor_data(b));
  bam_tensor_changed(sum);
  return BAM_OK;
}

bam_status bam_grad_add(bam_tensor **at, bam_tensor *leaf, bam_tensor *grad) {
  const bool is_leaf = leaf != NULL;
  bam_status status = BAM_OK;
  bam_tensor *fresh = NULL;
  bam_assert(at != NULL); /* whoever computes a gradient has asked whether it is needed */
  if (is_leaf && *at == NULL)
    BAM_TRY(bam_capture_change_leaf(leaf, FIRST_GRADIENT));
  if (*at == NULL && !is_leaf) {
    *at = bam_tensor_retain(grad);
  } else if (*at != NULL && (is_leaf || is_exclusive(*at))) {
    status = add_into(*at, *at, grad);
  } else {
    status = bam_tensor_new(grad->context, bam_tensor_device(grad), grad->dtype, &grad->shape,
                            &fresh);
    if (status == BAM_OK)
      status = *at == NULL ? bam_tensor_copy(fresh, grad) : add_into(fresh, *at, grad);
    if (status != BAM_OK) {
      bam_tensor_release(fresh);
      return status;
    }
    bam_tensor_release(*at);
    *at = fresh;
  }
  return status;
}

bam_status bam_grad_buffer(bam_backward *pass, int i, bam_tensor **target, bool *accumulates) {
  return bam_grad_buffer_as(pass, i, bam_backward_dtype(pass, i), target, accumulates);
}

/* A temporary of `dtype` for the gradient of input `i`, to be delivered. */
static bam_status buffer(bam_backward *pass, int i, bam_dtype dtype, bam_tensor **target) {
  const bam_edge *edge = &pass->node->edges[i];
  if (pass->n_buffered == BAM_MAX_INPUT_NAMES)
    return bam_backward_fail(pass, "more than %d inputs with gradients of two dtypes",
                             BAM_MAX_INPUT_NAMES);
  BAM_TRY(bam_temp_new(pass->scope, edge->device, dtype, &edge->shape, target));
  pass->buffered[pass->n_buffered].input = i;
  pass->buffered[pass->n_buffered++].grad = *target;
  return BAM_OK;
}

bam_status bam_grad_deliver(bam_backward *pass) {
  for (int k = 0; k < pass->n_buffered; k++) {
    const int i = pass->buffered[k].input;
    bam_tensor *grad;
    BAM_TRY(bam_temp_convert(pass->scope, pass->buffered[k].grad, bam_grad_dtype(pass, i), &grad));
    BAM_TRY(bam_grad_add(bam_grad_slot(pass, i), pass->node->edges[i].leaf, grad));
  }
  return BAM_OK;
}

bam_status bam_grad_buffer_as(bam_backward *pass, int i, bam_dtype dtype, bam_tensor **target,
                              bool *accumulates) {
  bam_tensor **at = bam_grad_slot(pass, i);
  bam_edge *edge = &pass->node->edges[i];
  bam_tensor *fresh = NULL;
  if (at == NULL)
    return bam_backward_fail(pass, "input %d needs no gradient; ask bam_needs_grad first", i + 1);
  *accumulates = *at != NULL && dtype == collected_dtype(edge);
  if (dtype != collected_dtype(edge))
    return buffer(pass, i, dtype, target);
  if (*at == NULL && edge->leaf != NULL)
    BAM_TRY(bam_capture_change_leaf(edge->leaf, FIRST_GRADIENT));
  if (*at == NULL || (edge->leaf == NULL && !is_exclusive(*at))) {
    bam_status status = bam_tensor_new(pass->context, edge->device, dtype, &edge->shape, &fresh);
    if (status == BAM_OK && *at != NULL)
      status = bam_tensor_copy(fresh, *at);
    if (status != BAM_OK) {
      bam_tensor_release(fresh);
      return status;
    }
    edge->grad_is_new = *at == NULL;
    bam_tensor_release(*at);
    *at = fresh;
  }
  bam_tensor_changed(*at);
  *target = *at;
  return BAM_OK;
}
