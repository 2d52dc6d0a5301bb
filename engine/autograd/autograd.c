/* Recording the tape: nodes are created when ops run, and freed when nothing refers to them. The
   backward pass is in backward.c. */
#include "autograd.h"

#include <string.h>

#include "../core/capture.h"

#define RESERVED ((uint64_t)1 << 20) /* numbers: more nodes than any layer records */

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
  edge->grad_is_new = false;
  if (input == NULL)
    return;
  edge->dtype = input->dtype;
  edge->device = bam_tensor_device(input);
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

/* In debug mode, copy the script's current line into the node, for messages. */
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

/* Make a node for `call`, linked to its inputs. NULL if memory is short. */
static bam_node *make_node(const bam_call *call, int64_t graph) {
  int n_attrs = bam_op_attr_count(call->op);
  bam_node *node = bam_object_alloc(call->context, node_bytes(call->n_inputs, n_attrs));
  if (node == NULL)
    return NULL;
  memset(node, 0, sizeof *node);
  node->refs = 1;
  node->op = call->op;
  node->context = call->context;
  node->n_inputs = call->n_inputs;
  node->sequence = call->context->next_node++;
  node->device = bam_call_device(call);
  node->edges = (bam_edge *)(node + 1);
  node->attrs = (bam_attr *)(node->edges + call->n_inputs);
  node->graph = graph;
  for (int i = 0; i < call->n_inputs; i++) {
    link_input(&node->edges[i], call->inputs[i]);
    if (node->graph == 0 && node->edges[i].node != NULL)
      node->graph = node->edges[i].node->graph;
  }
  if (n_attrs > 0)
    memcpy(node->attrs, call->attrs, (size_t)n_attrs * sizeof(bam_attr));
  return node;
}

bam_status bam_autograd_record(bam_call *call, int n_outputs, int64_t graph) {
  bam_node *node = make_node(call, graph);
  if (node == NULL)
    return BAM_ERROR_MEMORY;
  call->context->release_node = bam_node_release;
  bam_status status = note_where(node);
  if (status != BAM_OK) {
    bam_node_release(node);
    return status;
  }
  node->has_function = graph != 0;
  for (int i = 0; i < BAM_MAX_SAVED; i++) {
    node->saved[i] = call->saved[i];
    node->saved_version[i] = call->saved[i] != NULL ? call->saved[i]->storage->version : 0;
    call->saved[i] = NULL;
  }
  for (int k = 0; k < n_outputs; k++)
    if (bam_dtype_is_float(call->outputs[k]->dtype) && !(call->op->constant_outputs >> k & 1)) {
      call->outputs[k]->requires_grad = true;
      call->outputs[k]->output = (int16_t)k;
      call->outputs[k]->node = node;
      node->refs++;
    }
  bam_node_release(node); /* the outputs now hold references */
  return BAM_OK;
}

/* ---- another order of recording ---- */

uint64_t bam_autograd_reserve(bam_context *context) {
  const uint64_t first = context->next_node;
  context->next_node += RESERVED;
  return first;
}

uint64_t bam_autograd_number_from(bam_context *context, uint64_t number) {
  const uint64_t before = context->next_node;
  context->next_node = number;
  return before;
}

/* ---- releasing ---- */

/* Drop one reference to `node`. At zero, append it to the list of nodes to free. */
static void drop(bam_node *node, bam_node **dead) {
  if (node == NULL || --node->refs > 0)
    return;
  node->next = *dead;
  *dead = node;
}

void bam_node_release_grads(bam_node *node) {
  for (int k = 0; k < BAM_MAX_OUTPUTS; k++) {
    bam_tensor_release(node->grads[k]);
    node->grads[k] = NULL;
  }
}

/* Release everything that the node holds, but not the node. */
static void let_go(bam_node *node, bam_node **dead) {
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
  const bam_host *host = &node->context->host;
  if (node->has_function && host->release != NULL)
    host->release(host->state, (bam_function){ node->graph, node->sequence });
  node->has_function = false;
}

static void free_dead(bam_node *dead) {
  while (dead != NULL) {
    bam_node *node = dead;
    dead = node->next;
    let_go(node, &dead);
    bam_node_release_grads(node);
    bam_object_free(node->context, node->where, BAM_WHERE_SIZE);
    bam_object_free(node->context, node, node_bytes(node->n_inputs, bam_op_attr_count(node->op)));
  }
}

void bam_node_release(bam_node *node) {
  bam_node *dead = NULL;
  drop(node, &dead);
  free_dead(dead);
}

void bam_node_release_saved(bam_node *node) {
  bam_node *dead = NULL;
  node->released = true;
  let_go(node, &dead);
  free_dead(dead);
}

/* ---- leaves ---- */

bam_status bam_autograd_require(bam_tensor *tensor, bool requires_grad) {
  if (tensor->node != NULL && !requires_grad)
    return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                    "requires_grad: this tensor is the result of `%s`; use x:detach()",
                    tensor->node->op->name);
  if (requires_grad && !bam_dtype_is_float(tensor->dtype))
    return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                    "requires_grad: only floating-point tensors have gradients, but this is %s; "
                    "convert it first: x:to \"f32\"",
                    bam_dtype_name(tensor->dtype));
  if (tensor->requires_grad != requires_grad)
    BAM_TRY(bam_capture_change_leaf(tensor, "a change of requires_grad"));
  tensor->requires_grad = requires_grad;
  return BAM_OK;
}

/* Whether two gradients of one tensor, NULL for none, are the same memory. */
static bool is_same(const bam_tensor *a, const bam_tensor *b) {
  return a == b || (a != NULL && b != NULL && a->storage == b->storage && a->offset == b->offset);
}

bam_status bam_autograd_set_grad(bam_tensor *leaf, bam_tensor *grad) {
  if (grad != NULL && (!bam_shape_equal(&grad->shape, &leaf->shape) ||
                       grad->dtype != bam_dtype_arithmetic(leaf->dtype))) {
    char a[BAM_SHAPE_TEXT], b[BAM_SHAPE_TEXT];
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT,
                    "grad: a gradient of %s %s for a tensor of %s %s", bam_dtype_name(grad->dtype),
                    bam_shape_text(&grad->shape, a), bam_dtype_name(leaf->dtype),
                    bam_shape_text(&leaf->shape, b));
  }
  if (grad != NULL &&
      (grad->node != NULL || grad->requires_grad || !bam_tensor_is_contiguous(grad)))
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT,
                    "grad: must be contiguous and not require a gradient itself");
  if (grad != NULL && (grad == leaf || grad->grad != NULL)) /* a cycle would never be freed */
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT,
                    "grad: this tensor has a gradient itself; use x:clone()");
  if (grad != NULL && bam_tensor_device(grad) != bam_tensor_device(leaf))
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT, "grad: must be on the tensor's device");
  if (!is_same(leaf->grad, grad))
    BAM_TRY(bam_capture_change_leaf(leaf, "that a tensor is given another gradient"));
  if (grad != NULL)
    bam_tensor_retain(grad);
  bam_tensor_release(leaf->grad);
  leaf->grad = grad;
  return BAM_OK;
}

bam_status bam_autograd_check_write(const char *what, bam_tensor *tensor) {
  if (tensor->requires_grad && !tensor->context->no_grad)
    return bam_fail(
      tensor->context, BAM_ERROR_ARGUMENT,
      "%s: this tensor requires a gradient, so it cannot be written in place; write inside "
      "bam.no_grad(f), or out of place",
      what);
  for (int d = 0; d < tensor->shape.ndim; d++)
    if (tensor->shape.size[d] > 1 && tensor->stride[d] == 0)
      return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                      "%s: several elements of an expanded view share memory; write to x:clone()",
                      what);
  return BAM_OK;
}
