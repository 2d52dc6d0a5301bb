/* Reverse-mode differentiation. Every recorded op creates a node with links to its inputs and the tensors
   saved for its backward; sequence numbers order the nodes into a tape. Backward visits the reachable
   nodes from newest to oldest without recursion, and releases them on the way. */
#ifndef BAM_AUTOGRAD_H
#define BAM_AUTOGRAD_H

#include "op.h"

#define BAM_WHERE_SIZE 128 /* of a node's script line */

/* Where the gradient of one input goes. */
typedef struct bam_edge {
  struct bam_node *node;   /* the op that made the input, owned; or */
  struct bam_tensor *leaf; /* the leaf, owned; both NULL: no gradient needed */
  int16_t output;          /* which output of `node` */
  bool grad_is_new;        /* the running backward made the gradient there */
  bam_dtype dtype;
  bam_shape shape;
  bam_device *device;
} bam_edge;

typedef struct bam_node {
  int64_t refs;
  bool queued;   /* in the heap of a backward pass */
  bool released; /* backward went through it and released what it had saved */
  bool running;  /* its backward function is running, and may differentiate other graphs */
  int n_inputs;
  const bam_op *op;
  uint64_t sequence;
  int64_t graph;     /* the host's number for the graph of custom ops it belongs to; 0: none */
  bool has_function; /* the host stores its backward function */
  bam_context *context;
  bam_device *device;    /* where the op ran */
  char *where;           /* the script line, recorded in debug mode; else NULL */
  struct bam_node *next; /* in the list of nodes being freed */
  bam_edge *edges;       /* n_inputs of them, in the node's allocation, like attrs */
  bam_attr *attrs;
  bam_tensor *saved[BAM_MAX_SAVED];
  uint64_t saved_version[BAM_MAX_SAVED];
  bam_tensor *grads[BAM_MAX_OUTPUTS]; /* of the outputs, accumulated so far; owned */
} bam_node;

/* Differentiate `root` with respect to every leaf it depends on, and add the results to their `grad`. `seed`
   (borrowed) is the gradient of root, of the same shape; NULL means 1, for a root with one element.
   Releases the nodes unless `retain`. On failure, the gradients already added to leaves stay; none is
   half-written. */
bam_status bam_autograd_backward(bam_tensor *root, bam_tensor *seed, bool retain);

/* bam_autograd_backward for use inside the backward function of a custom op, on a graph built there. Nodes
   recorded before that function started only accumulate gradients; the outer pass visits them
   later. */
bam_status bam_autograd_backward_within(bam_tensor *root, bam_tensor *seed, bool retain);

/* Set whether a leaf requires a gradient. Fails for results of recorded ops, and for non-float tensors. */
bam_status bam_autograd_require(bam_tensor *tensor, bool requires_grad);

/* Set the gradient of a leaf to `grad`, borrowed; NULL clears it. `grad` must have the leaf's shape, device
   and dtype (f32 for a leaf of f16 or bf16), be contiguous, not require a gradient, and have none. */
bam_status bam_autograd_set_grad(bam_tensor *leaf, bam_tensor *grad);

/* Check that `tensor` may be written in place. Fails, naming `what`, if it requires a gradient while recording
   is on, or if several of its elements share memory (an expanded view). */
bam_status bam_autograd_check_write(const char *what, bam_tensor *tensor);

/* Backward goes through nodes, and adds up gradients, in the order of their numbers. Keep numbers for nodes that will
   be recorded later, as if they were recorded now: a forward pass may then run in another order, and backward has the
   same bits. Returns the first of them. */
uint64_t bam_autograd_reserve(bam_context *context);

/* Number the next nodes from `number` on: what bam_autograd_reserve returned, or, when that is over, what this function
   returned, the number that was next before. The inputs of those ops must be older than the reservation, and must not
   depend on anything recorded after it. */
uint64_t bam_autograd_number_from(bam_context *context, uint64_t number);

/* ---- used by the op machinery ---- */

/* Whether an op on these inputs would be recorded now. */
bool bam_autograd_recording(const bam_context *context, bam_tensor *const *inputs, int n_inputs);

/* Record `call`: its outputs become the results of a new node, which takes ownership of call->saved. `graph`
   is the host's graph number for a custom op, else 0. */
bam_status bam_autograd_record(bam_call *call, int n_outputs, int64_t graph);

/* With bam.debug { nan = true }, fail with "<what> a NaN at <script line>" if `tensor` (may be NULL)
   contains a NaN. */
bam_status bam_debug_check(bam_context *context, const char *what, bam_tensor *tensor);

/* Write ", in the backward of sqrt at train.lua:6," into `text` if a backward function is running; else leave it. */
void bam_autograd_describe_walk(const bam_context *context, char *text, size_t size);

/* Release the gradients accumulated at `node`. */
void bam_node_release_grads(bam_node *node);

/* Drop what `node` saved and its links to older nodes: backward has gone through it. */
void bam_node_release_saved(bam_node *node);

void bam_node_release(bam_node *node); /* NULL is allowed; never recurses */

#endif
