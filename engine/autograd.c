/* The tape: recording nodes and walking them backwards. */
#include "autograd.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- recording ---- */

bool bam_autograd_recording(const bam_context *context, bam_tensor *const *inputs, int n_inputs) {
  if (context->no_grad)
    return false;
  for (int i = 0; i < n_inputs; i++)
    if (inputs[i] != NULL && inputs[i]->requires_grad)
      return true;
  return false;
}

static size_t node_bytes(int n_inputs, int n_attrs) {
  return sizeof(bam_node) + (size_t)n_inputs * sizeof(bam_edge) +
         (size_t)n_attrs * sizeof(bam_attr);
}

static void link_input(bam_edge *edge, bam_tensor *input) {
  edge->node = NULL;
  edge->leaf = NULL;
  edge->output = 0;
  if (input == NULL)
    return;
  edge->dtype = input->dtype;
  edge->shape = input->shape;
  if (!input->requires_grad)
    return;
  edge->output = input->output;
  if (input->node != NULL) {
    edge->node = input->node;
    edge->node->refs++;
  } else {
    edge->leaf = bam_tensor_retain(input);
  }
}

/* Copy the script line into the node, for messages; only while debugging. */
static bam_status note_where(bam_node *node) {
  bam_context *context = node->context;
  if (!context->check_nan || context->host.where == NULL)
    return BAM_OK;
  node->where = bam_object_alloc(context, BAM_WHERE_SIZE);
  if (node->where == NULL)
    return BAM_ERROR_MEMORY;
  node->where[0] = '\0';
  context->host.where(context->host.state, node->where, BAM_WHERE_SIZE);
  return BAM_OK;
}

bam_status bam_autograd_record(bam_call *call, int n_outputs, intptr_t function) {
  int n_attrs = bam_op_attr_count(call->op);
  bam_node *node = bam_object_alloc(call->context, node_bytes(call->n_inputs, n_attrs));
  if (node == NULL)
    return BAM_ERROR_MEMORY;
  memset(node, 0, sizeof *node);
  node->refs = 1;
  node->op = call->op;
  node->context = call->context;
  node->n_inputs = call->n_inputs;
  node->sequence = call->context->next_node++;
  node->edges = (bam_edge *)(node + 1);
  node->attrs = (bam_attr *)(node->edges + call->n_inputs);
  for (int i = 0; i < call->n_inputs; i++)
    link_input(&node->edges[i], call->inputs[i]);
  if (n_attrs > 0)
    memcpy(node->attrs, call->attrs, (size_t)n_attrs * sizeof(bam_attr));
  bam_status status = note_where(node);
  if (status != BAM_OK) {
    bam_node_release(node);
    return status;
  }
  node->function = function;
  for (int i = 0; i < BAM_MAX_SAVED; i++) {
    node->saved[i] = call->saved[i];
    node->saved_version[i] = call->saved[i] != NULL ? call->saved[i]->storage->version : 0;
    call->saved[i] = NULL;
  }
  for (int k = 0; k < n_outputs; k++)
    if (bam_dtype_is_float(call->outputs[k]->dtype)) {
      call->outputs[k]->requires_grad = true;
      call->outputs[k]->output = (int16_t)k;
      call->outputs[k]->node = node;
      node->refs++;
    }
  bam_node_release(node); /* the outputs hold it now */
  return BAM_OK;
}

/* ---- releasing ---- */

/* Drop one reference to `node`; at zero put it on the list of nodes to free. */
static void drop(bam_node *node, bam_node **dead) {
  if (node == NULL || --node->refs > 0)
    return;
  node->next = *dead;
  *dead = node;
}

static void release_grads(bam_node *node) {
  for (int k = 0; k < BAM_MAX_OUTPUTS; k++) {
    bam_tensor_release(node->grads[k]);
    node->grads[k] = NULL;
  }
}

/* Let go of everything the node holds but itself. */
static void clear(bam_node *node, bam_node **dead) {
  for (int i = 0; i < BAM_MAX_SAVED; i++) {
    bam_tensor_release(node->saved[i]);
    node->saved[i] = NULL;
  }
  for (int i = 0; i < node->n_inputs; i++) {
    drop(node->edges[i].node, dead);
    bam_tensor_release(node->edges[i].leaf); /* a leaf has no node: no recursion */
    node->edges[i].node = NULL;
    node->edges[i].leaf = NULL;
  }
  if (node->function != 0 && node->context->host.release != NULL)
    node->context->host.release(node->context->host.state, node->function);
  node->function = 0;
}

static void free_dead(bam_node *dead) {
  while (dead != NULL) {
    bam_node *node = dead;
    dead = node->next;
    clear(node, &dead);
    release_grads(node);
    bam_object_free(node->context, node->where, BAM_WHERE_SIZE);
    bam_object_free(node->context, node, node_bytes(node->n_inputs, bam_op_attr_count(node->op)));
  }
}

void bam_node_release(bam_node *node) {
  bam_node *dead = NULL;
  drop(node, &dead);
  free_dead(dead);
}

/* ---- gradients on their way ---- */

/* Where the gradient of input `i` collects; NULL when it wants none. */
static bam_tensor **slot(const bam_backward *pass, int i) {
  bam_edge *edge = &pass->node->edges[i];
  if (edge->node != NULL)
    return &edge->node->grads[edge->output];
  return edge->leaf != NULL ? &edge->leaf->grad : NULL;
}

bool bam_backward_wants(const bam_backward *pass, int i) {
  return i < pass->n_inputs && slot(pass, i) != NULL;
}

const bam_shape *bam_backward_shape(const bam_backward *pass, int i) {
  return &pass->node->edges[i].shape;
}

bam_dtype bam_backward_dtype(const bam_backward *pass, int i) { return pass->node->edges[i].dtype; }

bam_status bam_backward_fail(bam_backward *pass, const char *format, ...) {
  char text[BAM_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return bam_fail(pass->context, BAM_ERROR_ARGUMENT, "backward of %s: %s", pass->op->name, text);
}

/* Nobody else sees these bytes, so they may be added to. */
static bool is_exclusive(const bam_tensor *tensor) {
  return tensor->refs == 1 && tensor->storage->refs == 1 && bam_tensor_is_contiguous(tensor);
}

static bam_status add_into(bam_tensor *sum, bam_tensor *a, bam_tensor *b) {
  bam_device *device = bam_tensor_device(sum);
  bam_loop loop;
  if (bam_tensor_count(sum) == 0)
    return BAM_OK;
  bam_loop_init(&loop, (bam_tensor *[]){ sum, a, b }, 3);
  device->kernels[sum->dtype]->add(device->stream, &loop, bam_tensor_data(sum), bam_tensor_data(a),
                                   bam_tensor_data(b));
  bam_tensor_changed(sum);
  return BAM_OK;
}

/* Add `grad`, which has the right shape and dtype, to what is at *at (a leaf's gradient when `is_leaf`). */
static bam_status accumulate(bam_tensor **at, bool is_leaf, bam_tensor *grad) {
  bam_status status = BAM_OK;
  bam_tensor *fresh = NULL;
  if (*at == NULL && (!is_leaf || is_exclusive(grad))) {
    *at = bam_tensor_retain(grad);
  } else if (*at != NULL && (is_leaf || is_exclusive(*at))) {
    status = add_into(*at, *at, grad);
  } else {
    status = bam_tensor_new(grad->context, bam_tensor_device(grad), grad->dtype, &grad->shape, &fresh);
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

/* Sum the dimensions of `grad` that broadcasting added or stretched; *out is owned. */
static bam_status unbroadcast(bam_tensor *grad, const bam_shape *shape, bam_tensor **out) {
  bam_attr attrs[2] = { { .given = true }, { .given = true, .i = true } };
  int extra = grad->shape.ndim - shape->ndim;
  for (int d = 0; d < grad->shape.ndim; d++)
    if (d < extra || (shape->size[d - extra] == 1 && grad->shape.size[d] != 1))
      attrs[0].list[attrs[0].count++] = d;
  bam_tensor *sum = NULL;
  bam_status status = bam_apply1(&bam_op_sum, grad, attrs, &sum);
  if (status != BAM_OK)
    return status;
  int64_t stride[BAM_MAX_DIMS];
  bam_shape_strides(shape, stride);
  status = bam_tensor_view(sum, shape, stride, sum->offset, out);
  bam_tensor_release(sum);
  return status;
}

bam_status bam_backward_give(bam_backward *pass, int i, bam_tensor *grad) {
  if (!bam_backward_wants(pass, i))
    return BAM_OK;
  bam_status status = BAM_OK;
  const bam_edge *edge = &pass->node->edges[i];
  bam_tensor *summed = NULL, *converted = NULL;
  if (!bam_shape_equal(&grad->shape, &edge->shape)) {
    BAM_TRY(unbroadcast(grad, &edge->shape, &summed));
    grad = summed;
  }
  if (grad->dtype != edge->dtype) {
    BAM_TRY(bam_tensor_convert(grad, edge->dtype, &converted));
    grad = converted;
  }
  BAM_TRY(accumulate(slot(pass, i), edge->leaf != NULL, grad));
done:
  bam_tensor_release(summed);
  bam_tensor_release(converted);
  return status;
}

bam_status bam_backward_target(bam_backward *pass, int i, bam_tensor **target, bool *accumulates) {
  bam_tensor **at = slot(pass, i);
  const bam_edge *edge = &pass->node->edges[i];
  bam_tensor *fresh = NULL;
  *accumulates = *at != NULL;
  if (*at == NULL || (edge->leaf == NULL && !is_exclusive(*at))) {
    bam_device *device = &pass->context->cpu;
    for (int k = 0; k < BAM_MAX_OUTPUTS; k++)
      if (pass->grads[k] != NULL)
        device = bam_tensor_device(pass->grads[k]);
    bam_status status = bam_tensor_new(pass->context, device, edge->dtype, &edge->shape, &fresh);
    if (status == BAM_OK && *at != NULL)
      status = bam_tensor_copy(fresh, *at);
    if (status != BAM_OK) {
      bam_tensor_release(fresh);
      return status;
    }
    bam_tensor_release(*at);
    *at = fresh;
  }
  bam_tensor_changed(*at);
  *target = *at;
  return BAM_OK;
}

/* ---- the walk ---- */

/* A max-heap of nodes by sequence number; each is held once. */
typedef struct {
  bam_storage *storage;
  int64_t count;
} heap;

static bam_status heap_push(bam_context *context, heap *h, bam_node *node) {
  if (node->queued)
    return BAM_OK;
  int64_t bytes = (h->count + 1) * (int64_t)sizeof(bam_node *);
  bam_status status = bam_storage_grow(context, &h->storage, bytes);
  if (status != BAM_OK)
    return status;
  bam_node **nodes = h->storage->data;
  int64_t i = h->count++;
  for (; i > 0 && nodes[(i - 1) / 2]->sequence < node->sequence; i = (i - 1) / 2)
    nodes[i] = nodes[(i - 1) / 2];
  nodes[i] = node;
  node->queued = true;
  node->refs++;
  return BAM_OK;
}

/* The newest node, whose reference passes to the caller; NULL when the heap is empty. */
static bam_node *heap_pop(heap *h) {
  if (h->count == 0)
    return NULL;
  bam_node **nodes = h->storage->data, *top = nodes[0], *last = nodes[--h->count];
  int64_t i = 0;
  for (int64_t child = 1; child < h->count; child = 2 * i + 1) {
    if (child + 1 < h->count && nodes[child + 1]->sequence > nodes[child]->sequence)
      child++;
    if (nodes[child]->sequence <= last->sequence)
      break;
    nodes[i] = nodes[child];
    i = child;
  }
  nodes[i] = last;
  top->queued = false;
  return top;
}

static const char *node_where(const bam_node *node, char text[BAM_WHERE_SIZE + 8]) {
  snprintf(text, BAM_WHERE_SIZE + 8, "%s%s", node->where ? " at " : "", node->where ? node->where : "");
  return text;
}

static bam_status check_node(bam_node *node) {
  char where[BAM_WHERE_SIZE + 8];
  if (node->spent)
    return bam_fail(node->context, BAM_ERROR_ARGUMENT,
                    "backward: the graph below %s%s was dropped by an earlier backward; "
                    "give that one { retain = true }, or compute the forward again",
                    node->op->name, node_where(node, where));
  for (int i = 0; i < BAM_MAX_SAVED; i++)
    if (node->saved[i] != NULL && node->saved[i]->storage->version != node->saved_version[i])
      return bam_fail(node->context, BAM_ERROR_ARGUMENT,
                      "backward of %s%s: a tensor it needs was changed in place since; "
                      "change a copy (x:clone()) or write out of place",
                      node->op->name, node_where(node, where));
  return BAM_OK;
}

/* A custom op: let the host compute the gradients of the inputs. */
static bam_status backward_custom(bam_backward *pass) {
  bam_context *context = pass->context;
  int n = pass->n_inputs;
  bam_tensor **grads = bam_object_alloc(context, sizeof *grads * (size_t)n);
  if (grads == NULL)
    return BAM_ERROR_MEMORY;
  memset(grads, 0, sizeof *grads * (size_t)n);
  int n_out = (int)pass->attrs[0].i;
  bam_status status = context->host.backward(context->host.state, pass->node->function, pass->grads,
                                             n_out, grads, n);
  for (int i = 0; i < n; i++) {
    if (status == BAM_OK && grads[i] != NULL)
      status = bam_backward_give(pass, i, grads[i]);
    bam_tensor_release(grads[i]);
  }
  bam_object_free(context, grads, sizeof *grads * (size_t)n);
  return status;
}

static const bam_op custom_op = {
  .name = "custom",
  .inputs = { "...inputs" },
  .attrs = (const bam_attr_spec[]){ { .name = "outputs", .kind = BAM_ATTR_INT }, { 0 } },
  .backward = backward_custom,
};

static bam_status check_gradients(bam_backward *pass) {
  char what[100];
  for (int i = 0; i < pass->n_inputs; i++)
    if (bam_backward_wants(pass, i)) {
      char where[BAM_WHERE_SIZE + 8];
      snprintf(what, sizeof what, "backward of %s%s made", pass->op->name,
               node_where(pass->node, where));
      bam_status status = bam_debug_check(pass->context, what, *slot(pass, i));
      if (status != BAM_OK)
        return status;
    }
  return BAM_OK;
}

/* Run one node's backward and queue the nodes of its inputs. */
static bam_status step(bam_node *node, heap *h) {
  bam_status status = check_node(node);
  if (status != BAM_OK)
    return status;
  bam_backward pass = { .context = node->context, .op = node->op, .node = node,
                        .attrs = node->attrs, .saved = node->saved, .grads = node->grads,
                        .n_inputs = node->n_inputs };
  if (node->op->backward == NULL)
    return bam_backward_fail(&pass, "this op has no derivative; detach its input");
  status = node->op->backward(&pass);
  if (status == BAM_OK && node->context->check_nan)
    status = check_gradients(&pass);
  for (int i = 0; i < node->n_inputs && status == BAM_OK; i++) {
    bam_edge *edge = &node->edges[i];
    if (edge->node != NULL && edge->node->grads[edge->output] != NULL)
      status = heap_push(node->context, h, edge->node);
  }
  return status;
}

static bam_status walk(bam_node *root, bool retain) {
  bam_context *context = root->context;
  heap h = { 0 };
  bam_status status = heap_push(context, &h, root);
  for (bam_node *node; (node = heap_pop(&h)) != NULL;) {
    bam_node *dead = NULL;
    if (status == BAM_OK)
      status = step(node, &h);
    release_grads(node);
    if (status == BAM_OK && !retain) {
      node->spent = true;
      clear(node, &dead);
    }
    drop(node, &dead);
    free_dead(dead);
  }
  bam_storage_release(context, h.storage);
  return status;
}

static bam_status make_seed(bam_tensor *root, bam_tensor *seed, bam_tensor **out) {
  char a[BAM_SHAPE_TEXT], b[BAM_SHAPE_TEXT];
  bam_context *context = root->context;
  if (seed != NULL) {
    if (!bam_shape_equal(&seed->shape, &root->shape))
      return bam_fail(context, BAM_ERROR_ARGUMENT,
                      "backward: the seed gradient has shape %s, the tensor %s",
                      bam_shape_text(&seed->shape, a), bam_shape_text(&root->shape, b));
    if (bam_tensor_device(seed) != bam_tensor_device(root))
      return bam_fail(context, BAM_ERROR_ARGUMENT, "backward: the seed is on another device");
    return bam_tensor_convert(seed, root->dtype, out);
  }
  if (bam_tensor_count(root) != 1)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "backward: a tensor of shape %s needs a seed gradient; reduce it first "
                    "(x:sum():backward()) or pass one",
                    bam_shape_text(&root->shape, a));
  bam_tensor *one = NULL;
  bam_status status =
    bam_tensor_new(context, bam_tensor_device(root), root->dtype, &root->shape, &one);
  if (status == BAM_OK)
    status = bam_tensor_fill(one, 1);
  if (status == BAM_OK)
    *out = one;
  else
    bam_tensor_release(one);
  return status;
}

bam_status bam_autograd_backward(bam_tensor *root, bam_tensor *seed, bool retain) {
  bam_context *context = root->context;
  if (!root->requires_grad)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "backward: nothing here requires a gradient; make a leaf with "
                    "{ requires_grad = true } before computing");
  bam_tensor *grad = NULL;
  bam_status status = make_seed(root, seed, &grad);
  if (status != BAM_OK)
    return status;
  bool was = context->no_grad;
  context->no_grad = true;
  if (root->node == NULL) {
    status = accumulate(&root->grad, true, grad);
  } else {
    bam_node *node = root->node;
    node->refs++; /* the walk may release the root's graph around it */
    status = accumulate(&node->grads[root->output], false, grad);
    if (status == BAM_OK) {
      bam_tensor_release(grad); /* so that a fresh seed is the node's alone */
      grad = NULL;
      status = walk(node, retain);
    }
    bam_node_release(node);
  }
  bam_tensor_release(grad);
  context->no_grad = was;
  return status;
}

/* ---- leaves ---- */

bam_status bam_autograd_require(bam_tensor *tensor, bool requires_grad) {
  if (tensor->node != NULL && !requires_grad)
    return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                    "requires_grad: this tensor is the result of `%s`; use x:detach()",
                    tensor->node->op->name);
  if (requires_grad && !bam_dtype_is_float(tensor->dtype))
    return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                    "requires_grad: only floating point has gradients, and this is %s",
                    bam_dtype_name(tensor->dtype));
  tensor->requires_grad = requires_grad;
  return BAM_OK;
}

bam_status bam_autograd_set_grad(bam_tensor *leaf, bam_tensor *grad) {
  if (grad != NULL && (!bam_shape_equal(&grad->shape, &leaf->shape) || grad->dtype != leaf->dtype)) {
    char a[BAM_SHAPE_TEXT], b[BAM_SHAPE_TEXT];
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT,
                    "grad: a gradient of %s %s for a tensor of %s %s", bam_dtype_name(grad->dtype),
                    bam_shape_text(&grad->shape, a), bam_dtype_name(leaf->dtype),
                    bam_shape_text(&leaf->shape, b));
  }
  if (grad != NULL && (grad->node != NULL || grad->requires_grad || !bam_tensor_is_contiguous(grad)))
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT,
                    "grad: must be contiguous and require no gradient itself");
  if (grad != NULL && bam_tensor_device(grad) != bam_tensor_device(leaf))
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT, "grad: is on another device");
  if (grad != NULL)
    bam_tensor_retain(grad);
  bam_tensor_release(leaf->grad);
  leaf->grad = grad;
  return BAM_OK;
}

bam_status bam_autograd_check_write(const char *what, bam_tensor *tensor) {
  if (tensor->requires_grad && !tensor->context->no_grad)
    return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                    "%s: this tensor is being differentiated; write inside bam.no_grad(f), "
                    "or out of place", what);
  for (int d = 0; d < tensor->shape.ndim; d++)
    if (tensor->shape.size[d] > 1 && tensor->stride[d] == 0)
      return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                      "%s: an expanded view shares its elements; write to x:clone()", what);
  return BAM_OK;
}

bam_status bam_autograd_custom(bam_context *context, bam_tensor *const *inputs, int n_inputs,
                               intptr_t function, bam_tensor *const *outputs, int n_outputs) {
  if (n_outputs > BAM_MAX_OUTPUTS)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "custom: at most %d outputs, not %d",
                    BAM_MAX_OUTPUTS, n_outputs);
  if (!bam_autograd_recording(context, inputs, n_inputs)) {
    context->host.release(context->host.state, function);
    return BAM_OK;
  }
  bam_attr count = { .given = true, .i = n_outputs };
  bam_call call = { .context = context, .op = &custom_op, .inputs = inputs, .n_inputs = n_inputs,
                    .attrs = &count, .recording = true };
  for (int k = 0; k < n_outputs; k++)
    call.outputs[k] = outputs[k];
  return bam_autograd_record(&call, n_outputs, function);
}
