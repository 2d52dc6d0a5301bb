/* Reverse-mode differentiation. Every recorded op leaves a node that knows its inputs and what its
   backward needs; sequence numbers order the nodes into a tape. Backward walks reachable nodes from
   the newest to the oldest without recursion, and drops them as it goes. */
#ifndef BAM_AUTOGRAD_H
#define BAM_AUTOGRAD_H

#include "op.h"

#define BAM_WHERE_SIZE 128 /* of a node's script line */

/* Where the gradient of one input goes. */
typedef struct bam_edge {
  struct bam_node *node;   /* the op that made the input, owned; or */
  struct bam_tensor *leaf; /* the leaf, owned; both NULL: it wants no gradient */
  int16_t output;          /* which output of `node` */
  bool grad_is_new;        /* the running backward made the gradient there */
  bam_dtype dtype;
  bam_shape shape;
  bam_device *device;
} bam_edge;

typedef struct bam_node {
  int64_t refs;
  bool queued; /* in the heap of a running backward */
  bool released; /* backward went through it and released what it had saved */
  bool running; /* its backward function runs, which may walk back other graphs */
  int n_inputs;
  const bam_op *op;
  uint64_t sequence;
  int64_t graph;     /* the host's, of the custom ops that it and the nodes before it are; 0: none */
  bool has_function; /* the host keeps its backward function */
  bam_context *context;
  bam_device *device; /* where the op ran */
  char *where;       /* the script line, when bam.debug asks for it */
  struct bam_node *next; /* in the list of nodes being freed */
  bam_edge *edges;   /* n_inputs, in the same allocation, as are attrs */
  bam_attr *attrs;
  bam_tensor *saved[BAM_MAX_SAVED];
  uint64_t saved_version[BAM_MAX_SAVED];
  bam_tensor *grads[BAM_MAX_OUTPUTS]; /* arrived so far, owned */
} bam_node;

/* Differentiate `root` with respect to every leaf it depends on, adding to their `grad`. `seed`
   (borrowed) is the gradient of root, of its shape; NULL means 1 and needs a root with one element.
   The nodes are dropped unless `retain`. On failure, gradients of leaves already reached stay as
   they are; none is left half-written. */
bam_status bam_autograd_backward(bam_tensor *root, bam_tensor *seed, bool retain);

/* The same in the backward function of a custom op, for a graph made there: nodes recorded before that
   function began collect their gradients, and the walk that called it goes on through them. */
bam_status bam_autograd_backward_within(bam_tensor *root, bam_tensor *seed, bool retain);

/* Make a leaf collect a gradient or not. Fails for results of recorded ops and non-float
   tensors. */
bam_status bam_autograd_require(bam_tensor *tensor, bool requires_grad);

/* Set the gradient of a leaf to `grad` (borrowed; same shape, dtype and device, contiguous, outside
   of any graph and without a gradient of its own; NULL clears). */
bam_status bam_autograd_set_grad(bam_tensor *leaf, bam_tensor *grad);

/* Fails, naming `what`, when `tensor` may not be written in place: it requires a gradient while
   recording, or several of its elements share one place (an expanded view). */
bam_status bam_autograd_check_write(const char *what, bam_tensor *tensor);

/* ---- used by the op machinery ---- */

/* Would a gradient be recorded for these inputs now? */
bool bam_autograd_recording(const bam_context *context, bam_tensor *const *inputs, int n_inputs);

/* Record `call`: its outputs become results of a new node, which takes over call->saved. `graph` is that
   of a custom op, else 0. */
bam_status bam_autograd_record(bam_call *call, int n_outputs, int64_t graph);

/* Under bam.debug { nan = true }: fail with "<what> a NaN at <script line>" when `tensor`
   (may be NULL) holds one. */
bam_status bam_debug_check(bam_context *context, const char *what, bam_tensor *tensor);

/* Drop the gradients that arrived at `node`. */
void bam_node_release_grads(bam_node *node);

/* Drop what `node` saved and its links to older nodes: backward has gone through it. */
void bam_node_release_saved(bam_node *node);

void bam_node_release(bam_node *node); /* NULL is legal; never recurses */

#endif
