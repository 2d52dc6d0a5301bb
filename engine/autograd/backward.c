/* The backward pass over the tape. */
#include <stdio.h>

#include "../core/assert.h"
#include "../core/devices.h"
#include "../core/profile.h"
#include "gradients.h"

/* ---- the heap ---- */

/* A max-heap of nodes by sequence number. It holds one reference to each, and no node twice. */
typedef struct {
  bam_storage *storage;
  int64_t count;
} heap;

static bam_status heap_push(bam_context *context, heap *h, bam_node *node) {
  if (node->queued)
    return BAM_OK;
  int64_t bytes = (h->count + 1) * (int64_t)sizeof(bam_node *);
  BAM_TRY(bam_storage_grow(context, &h->storage, bytes));
  bam_node **nodes = h->storage->data;
  int64_t i = h->count++;
  for (; i > 0 && nodes[(i - 1) / 2]->sequence < node->sequence; i = (i - 1) / 2)
    nodes[i] = nodes[(i - 1) / 2];
  nodes[i] = node;
  node->queued = true;
  node->refs++;
  return BAM_OK;
}

/* Pop the newest node; the caller gets its reference. NULL if the heap is empty. */
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

/* ---- the walk ---- */

/* A backward pass in progress. */
typedef struct bam_walk {
  heap nodes;
  const bam_node *node;   /* the node whose backward function is running */
  uint64_t since;         /* sequence number of the first node recorded after it started */
  struct bam_walk *outer; /* takes over older nodes, see bam_autograd_backward_within; NULL: none */
} bam_walk;

static const char *node_where(const bam_node *node, char text[BAM_WHERE_SIZE + 8]) {
  snprintf(text, BAM_WHERE_SIZE + 8, "%s%s", node->where ? " at " : "",
           node->where ? node->where : "");
  return text;
}

void bam_autograd_describe_walk(const bam_context *context, char *text, size_t size) {
  char where[BAM_WHERE_SIZE + 8];
  const bam_node *node = context->walk != NULL ? context->walk->node : NULL;
  if (node != NULL && node->running)
    snprintf(text, size, ", in the backward of %s%s,", node->op->name, node_where(node, where));
}

/* Fail: a pass started inside the backward function of `node` has reached `node`. */
static bam_status fail_running(const bam_node *node) {
  char where[BAM_WHERE_SIZE + 8];
  return bam_fail(
    node->context, BAM_ERROR_ARGUMENT,
    "backward: the backward function of %s%s started a backward pass that reached itself; "
    "differentiate only graphs built in that function, or detach",
    node->op->name, node_where(node, where));
}

static bam_status check_node(bam_node *node) {
  char where[BAM_WHERE_SIZE + 8];
  if (node->released)
    return bam_fail(node->context, BAM_ERROR_ARGUMENT,
                    "backward: the graph below %s%s was released by an earlier backward; "
                    "pass { retain = true } there, or compute the forward again",
                    node->op->name, node_where(node, where));
  for (int i = 0; i < node->n_inputs; i++)
    if (node->edges[i].node != NULL && node->edges[i].node->running)
      return fail_running(node->edges[i].node);
  for (int i = 0; i < BAM_MAX_SAVED; i++)
    if (node->saved[i] != NULL && node->saved[i]->storage->version != node->saved_version[i])
      return bam_fail(node->context, BAM_ERROR_ARGUMENT,
                      "backward of %s%s: a tensor saved for it was changed in place; "
                      "change a copy (x:clone()) or write out of place",
                      node->op->name, node_where(node, where));
  return BAM_OK;
}

static bam_status check_gradients(bam_backward *pass) {
  char what[BAM_WHERE_SIZE + 100];
  for (int i = 0; i < pass->n_inputs; i++)
    if (bam_needs_grad(pass, i)) {
      char where[BAM_WHERE_SIZE + 8];
      snprintf(what, sizeof what, "backward of %s%s made", pass->op->name,
               node_where(pass->node, where));
      BAM_TRY(bam_debug_check(pass->context, what, *bam_grad_slot(pass, i)));
    }
  return BAM_OK;
}

/* Undo a failed backward of `node`: drop gradient buffers that it may not have written, and gradients on
   nodes that are not queued, which the next pass would count twice. */
static void undo_backward(bam_node *node) {
  for (int i = 0; i < node->n_inputs; i++) {
    bam_edge *edge = &node->edges[i];
    if (edge->node != NULL && !edge->node->queued)
      bam_node_release_grads(edge->node);
    if (edge->leaf != NULL && edge->grad_is_new) {
      bam_tensor_release(edge->leaf->grad);
      edge->leaf->grad = NULL;
    }
    edge->grad_is_new = false;
  }
}

/* Queue `node` in the pass that is to visit it: this one, or an outer one. */
static bam_status queue(bam_walk *walk, bam_node *node) {
  char where[BAM_WHERE_SIZE + 8];
  for (; walk->outer != NULL && node->sequence < walk->outer->since; walk = walk->outer)
    if (node->sequence > walk->outer->node->sequence)
      return bam_fail(
        node->context, BAM_ERROR_ARGUMENT,
        "backward: a recomputation used the result of %s%s, which was recorded after the "
        "first run; it must use the same tensors as the first run",
        node->op->name, node_where(node, where));
  return heap_push(node->context, &walk->nodes, node);
}

/* Of the tensors that its forward saved, and of the gradients that came in. */
static double bytes_of_node(const bam_node *node) {
  double bytes = 0;
  for (int i = 0; i < BAM_MAX_SAVED; i++)
    bytes += bam_profile_bytes(node->saved[i]);
  for (int k = 0; k < BAM_MAX_OUTPUTS; k++)
    bytes += bam_profile_bytes(node->grads[k]);
  return bytes;
}

/* Whether the device has failed; the message then names the op. */
static bam_status check_device(bam_node *node) {
  char what[BAM_MESSAGE_SIZE];
  const bam_status status = bam_device_check(node->context, node->device);
  if (status == BAM_OK)
    return BAM_OK;
  snprintf(what, sizeof what, "backward of %s", node->op->name);
  return bam_fail_within(node->context, status, what);
}

/* Run one node's backward. */
static bam_status differentiate(bam_walk *walk, bam_node *node) {
  bam_scope scope;
  bam_backward pass = { .context = node->context,
                        .op = node->op,
                        .node = node,
                        .attrs = node->attrs,
                        .saved = node->saved,
                        .grads = node->grads,
                        .n_inputs = node->n_inputs,
                        .scope = &scope };
  if (node->op->backward == NULL)
    return bam_backward_fail(&pass, "this op has no derivative; detach its input");
  walk->node = node;
  walk->since = node->context->next_node;
  node->running = true;
  bam_scope_begin(&scope, node->context);
  if (node->context->profile != NULL)
    bam_profile_push(node->context, node->op->name, true);
  bam_status status = node->op->backward(&pass);
  if (status == BAM_OK)
    status = bam_grad_deliver(&pass);
  bam_scope_end(&scope);
  if (node->context->profile != NULL)
    bam_profile_pop(node->context, node->device, bytes_of_node(node));
  node->running = false;
  if (status == BAM_OK)
    status = check_device(node);
  if (status == BAM_OK && node->context->check_nan)
    status = check_gradients(&pass);
  return status;
}

/* Run one node's backward and queue the nodes of its inputs. */
static bam_status step(bam_walk *walk, bam_node *node) {
  bam_status status = check_node(node);
  if (status != BAM_OK)
    return status; /* without undo_backward: the gradients of the nodes below may be another walk's */
  status = differentiate(walk, node);
  for (int i = 0; i < node->n_inputs && status == BAM_OK; i++) {
    bam_edge *edge = &node->edges[i];
    if (edge->node != NULL && edge->node->grads[edge->output] != NULL)
      status = queue(walk, edge->node);
  }
  for (int i = 0; i < node->n_inputs && status == BAM_OK; i++)
    node->edges[i].grad_is_new = false;
  if (status != BAM_OK)
    undo_backward(node);
  return status;
}

static bam_status go_back(bam_node *root, bool retain, bam_walk *outer) {
  bam_context *context = root->context;
  bam_walk walk = { .outer = outer }, *around = context->walk;
  bam_status status = queue(&walk, root);
  context->walk = &walk;
  for (bam_node *node; (node = heap_pop(&walk.nodes)) != NULL;) {
    if (status == BAM_OK)
      status = step(&walk, node);
    bam_node_release_grads(node);
    if (status == BAM_OK && !retain)
      bam_node_release_saved(node);
    bam_node_release(node);
  }
  context->walk = around;
  bam_storage_release(context, walk.nodes.storage);
  if (status != BAM_OK && !root->queued)
    bam_node_release_grads(root); /* the seed, when not even root came onto the heap */
  return status;
}

/* A leaf may be the root: then the seed is its gradient. */
static bam_dtype seed_dtype(const bam_tensor *root) {
  return root->node == NULL ? bam_dtype_arithmetic(root->dtype) : root->dtype;
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
    return bam_tensor_convert(seed, seed_dtype(root), out);
  }
  if (bam_tensor_count(root) != 1)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "backward: a tensor of shape %s needs a seed gradient; reduce it first "
                    "(x:sum():backward()) or pass one",
                    bam_shape_text(&root->shape, a));
  bam_tensor *one = NULL;
  bam_status status = bam_tensor_new(context, bam_tensor_device(root), seed_dtype(root),
                                     &root->shape, &one);
  if (status == BAM_OK)
    status = bam_tensor_fill(one, 1);
  if (status == BAM_OK)
    *out = one;
  else
    bam_tensor_release(one);
  return status;
}

static bam_status backward(bam_tensor *root, bam_tensor *seed, bool retain, bam_walk *outer) {
  bam_context *context = root->context;
  if (!root->requires_grad)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "backward: nothing here requires a gradient; make a leaf with "
                    "{ requires_grad = true } before computing");
  if (root->node != NULL && root->node->running)
    return fail_running(root->node);
  bam_tensor *grad = NULL;
  bam_status status = make_seed(root, seed, &grad);
  if (status != BAM_OK)
    return status;
  bam_assert(grad != NULL);
  bool was = context->no_grad;
  const bam_storage *around = context->unit_seed; /* of the enclosing backward pass, if any */
  context->no_grad = true;
  context->unit_seed = seed == NULL ? grad->storage : NULL;
  if (root->node == NULL) {
    status = bam_grad_add(&root->grad, root, grad);
  } else {
    bam_node *node = root->node;
    node->refs++; /* keep the root alive: the pass may release its graph */
    status = bam_grad_add(&node->grads[root->output], NULL, grad);
    if (status == BAM_OK)
      status = go_back(node, retain, outer);
    bam_node_release(node);
  }
  context->unit_seed = around;
  bam_tensor_release(grad);
  context->no_grad = was;
  return status;
}

bam_status bam_autograd_backward(bam_tensor *root, bam_tensor *seed, bool retain) {
  return backward(root, seed, retain, NULL);
}

bam_status bam_autograd_backward_within(bam_tensor *root, bam_tensor *seed, bool retain) {
  return backward(root, seed, retain, root->context->walk);
}
