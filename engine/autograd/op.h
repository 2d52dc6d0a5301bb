/* An op: one descriptor with its inputs, attributes, forward and backward. engine/autograd applies, records
   and differentiates ops; engine/ops defines them.

   Positions in tensors that ops take or return (argmax, topk, gather, ...) count from 1, as in scripts;
   token ids count from 0. Dimension attributes count from 0 here; the Lua binding converts. */
#ifndef BAM_OP_H
#define BAM_OP_H

#include "../core/scope.h"
#include "../core/tensor.h"

#define BAM_MAX_INPUT_NAMES 10
#define BAM_MAX_OUTPUTS 4
#define BAM_MAX_SAVED 11

typedef enum bam_attr_kind {
  BAM_ATTR_INT,
  BAM_ATTR_FLOAT,
  BAM_ATTR_BOOL,
  BAM_ATTR_DTYPE,    /* .i is a bam_dtype */
  BAM_ATTR_DEVICE,   /* .i is the number of an open device of the context */
  BAM_ATTR_DIM,      /* .i is a dimension, negative from the end */
  BAM_ATTR_DIMS,     /* .list holds .count dimensions; not given: all dimensions */
  BAM_ATTR_POSITION, /* .i counts from 0, negative from the end; scripts count from 1 */
  BAM_ATTR_SIZES     /* .list holds .count sizes */
} bam_attr_kind;

typedef struct bam_attr {
  bool given; /* false: the value is the default of the spec */
  int count;
  union {
    int64_t i; /* INT, BOOL, DTYPE, DEVICE, DIM, POSITION */
    double f;  /* FLOAT */
    int64_t list[BAM_MAX_DIMS];
  };
} bam_attr;

typedef struct bam_attr_spec {
  const char *name;
  bam_attr_kind kind;
  bool required;
  double initial; /* the default of INT, FLOAT, BOOL and DIM; NAN if the op tests `given` */
} bam_attr_spec;

typedef struct bam_call bam_call;
typedef struct bam_backward bam_backward;

typedef struct bam_op {
  const char *name;
  const char *help; /* one or more sentences: what it computes, shapes, dtypes */
  /* Names of the inputs, NULL-terminated. "x?" is optional (NULL if omitted); "...xs", as the only input,
     takes a list of any length >= 1. */
  const char *inputs[BAM_MAX_INPUT_NAMES + 1];
  const bam_attr_spec *attrs; /* ends with a NULL name; NULL: none. In positional order for
                                 scripts. */
  int outputs;                /* 0 means 1 */
  bool constant; /* the result has no gradient (comparisons, argmax), even if inputs require one */
  unsigned constant_outputs; /* bit k: output k alone carries no gradient (statistics) */
  bool is_view;              /* the result is a view of the first input where possible */

  /* Check everything, then compute. Fails before it changes anything. */
  bam_status (*forward)(bam_call *call);
  /* Accumulate the gradient of each input that needs one. NULL (and not constant): differentiating is
     an error. */
  bam_status (*backward)(bam_backward *pass);
} bam_op;

/* One application of an op, as its forward sees it. */
struct bam_call {
  bam_context *context;
  const bam_op *op;
  bam_tensor *const *inputs; /* borrowed; NULL where an optional one was omitted */
  int n_inputs;
  const bam_attr *attrs;                /* one per spec */
  bam_tensor *outputs[BAM_MAX_OUTPUTS]; /* owned; forward fills them */
  bam_tensor *saved[BAM_MAX_SAVED];     /* owned; for backward */
  bam_scope *scope; /* owns the temporaries of forward; it ends when forward has returned */
  bool recording;   /* the call will be recorded: save what backward needs */
};

/* The device of the call, which all inputs share. */
bam_device *bam_call_device(const bam_call *call);

/* Fail with a message, prefixed with the op's name. */
bam_status bam_call_fail(bam_call *call, const char *format, ...)
  __attribute__((format(printf, 2, 3)));

/* Allocate output `k`, contiguous and uninitialized. */
bam_status bam_call_output(bam_call *call, int k, bam_dtype dtype, const bam_shape *shape);

/* Save `tensor` (an input, an output, or an intermediate result) in `slot` for backward, which will fail if the
   tensor is changed in place before. Does nothing unless recording. */
bam_status bam_call_save(bam_call *call, int slot, bam_tensor *tensor);

/* Whether `dtype` is floating-point and has kernels on the device of the call. */
bool bam_call_computes_real(const bam_call *call, bam_dtype dtype);

/* Get the kernel table for `dtype` on the call's device. Fails for a dtype that the device only stores. */
bam_status bam_call_kernels(bam_call *call, bam_dtype dtype, const bam_kernels **kernels);

/* The number of attributes of `op`. */
int bam_op_attr_count(const bam_op *op);

/* Fill `attrs[0 .. bam_op_attr_count)` with the defaults. */
void bam_op_default_attrs(const bam_op *op, bam_attr *attrs);

/* Run `op` on `inputs` (borrowed), and record it if an input requires a gradient. attrs may be NULL for all
   defaults. outputs[0 .. op->outputs) receive owned references; untouched on failure. */
bam_status bam_op_apply(bam_context *context, const bam_op *op, bam_tensor *const *inputs,
                        int n_inputs, const bam_attr *attrs, bam_tensor **outputs);

/* A shorthand for an op with one input and one output. */
bam_status bam_apply1(const bam_op *op, bam_tensor *x, const bam_attr *attrs, bam_tensor **y);

/* Run `op`, which has one output; the result is a temporary of `scope`. */
bam_status bam_temp_apply(bam_scope *scope, const bam_op *op, bam_tensor *const *inputs,
                          int n_inputs, const bam_attr *attrs, bam_tensor **y);
bam_status bam_temp_apply1(bam_scope *scope, const bam_op *op, bam_tensor *x, const bam_attr *attrs,
                           bam_tensor **y);
bam_status bam_temp_apply2(bam_scope *scope, const bam_op *op, bam_tensor *a, bam_tensor *b,
                           const bam_attr *attrs, bam_tensor **y);

/* ---- helpers for backward functions ---- */

struct bam_backward {
  bam_context *context;
  const bam_op *op;
  struct bam_node *node;
  const bam_attr *attrs;
  bam_tensor *const *saved;
  bam_tensor *const *grads; /* one per output, of the output's shape and dtype; NULL: zero */
  int n_inputs;
  bam_scope *scope; /* owns the temporaries of backward; it ends when backward has returned */

  /* Gradients in buffers of another dtype than where they belong, see bam_grad_buffer_as. */
  struct {
    int input;
    bam_tensor *grad; /* borrowed from the scope */
  } buffered[BAM_MAX_INPUT_NAMES];
  int n_buffered;
};

/* Whether input `i` needs a gradient. */
bool bam_needs_grad(const bam_backward *pass, int i);

/* The shape and dtype of input `i`. */
const bam_shape *bam_backward_shape(const bam_backward *pass, int i);
bam_dtype bam_backward_dtype(const bam_backward *pass, int i);

/* The dtype in which the gradient of input `i` is collected: that of the input, but f32 for a leaf of f16 or bf16. */
bam_dtype bam_grad_dtype(const bam_backward *pass, int i);

/* Alternative to bam_accumulate_grad: get the contiguous tensor (borrowed, of input i's shape and dtype) to
   write the gradient into. *accumulate: add to its contents, else overwrite all of them. A GEMM adds
   with beta = 1, which saves a separate pass over weight gradients. */
bam_status bam_grad_buffer(bam_backward *pass, int i, bam_tensor **target, bool *accumulate);

/* The same of `dtype`. With bam_grad_dtype it is the gradient itself; else it may be a temporary, which is added to
   the gradient when backward has returned. */
bam_status bam_grad_buffer_as(bam_backward *pass, int i, bam_dtype dtype, bam_tensor **target,
                              bool *accumulate);

/* Counterparts of the bam_call_ functions for backward. */
bam_status bam_backward_fail(bam_backward *pass, const char *format, ...)
  __attribute__((format(printf, 2, 3)));
bam_status bam_backward_kernels(bam_backward *pass, bam_dtype dtype, const bam_kernels **kernels);

#endif
