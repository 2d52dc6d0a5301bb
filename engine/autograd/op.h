/* An op: one descriptor with its shape rule, forward and backward. This room applies, records and
   differentiates ops; engine/ops defines them.

   Positions that ops give or take as tensor values (argmax, topk, gather, ...) count
   from 1, as scripts do; token ids count from 0. Dimension attributes count from 0 here;
   the script side converts. */
#ifndef BAM_OP_H
#define BAM_OP_H

#include "../core/scope.h"
#include "../core/tensor.h"

#define BAM_MAX_INPUT_NAMES 10
#define BAM_MAX_OUTPUTS 4
#define BAM_MAX_SAVED 9

typedef enum bam_attr_kind {
  BAM_ATTR_INT,
  BAM_ATTR_FLOAT,
  BAM_ATTR_BOOL,
  BAM_ATTR_DTYPE,    /* .i is a bam_dtype */
  BAM_ATTR_DEVICE,   /* .i is the number of an open device of the context */
  BAM_ATTR_DIM,      /* .i is a dimension, negative from the end */
  BAM_ATTR_DIMS,     /* .list holds .count dimensions; not given: all of them */
  BAM_ATTR_POSITION, /* .i counts from 0, negative from the end; scripts count from 1 */
  BAM_ATTR_SIZES     /* .list holds .count sizes */
} bam_attr_kind;

typedef struct bam_attr {
  bool given; /* false: the default of the spec is in place */
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
  double initial; /* the default of INT, FLOAT, BOOL and DIM; NAN if the op asks whether it was given */
} bam_attr_spec;

typedef struct bam_call bam_call;
typedef struct bam_backward bam_backward;

typedef struct bam_op {
  const char *name;
  const char *help; /* one or more sentences: what it computes, shapes, dtypes */
  /* Names of the inputs, NULL-terminated. "x?" may be left out (NULL); "...xs" stands alone and
     takes a list of any length >= 1. */
  const char *inputs[BAM_MAX_INPUT_NAMES + 1];
  const bam_attr_spec *attrs; /* ends with a NULL name; NULL: none. In positional order for
                                 scripts. */
  int outputs;                /* 0 means 1 */
  bool constant; /* the result carries no gradient (comparisons, argmax): inputs may require one */
  unsigned constant_outputs; /* bit k: output k alone carries no gradient (statistics) */
  bool is_view;  /* it shows the first input's elements, in the same storage where it can */

  /* Check everything, then compute. Fails before it changes anything. */
  bam_status (*forward)(bam_call *call);
  /* Hand each input that wants one its gradient. NULL (and not constant):
     differentiating is an error. */
  bam_status (*backward)(bam_backward *pass);
} bam_op;

/* One application of an op, as its forward sees it. */
struct bam_call {
  bam_context *context;
  const bam_op *op;
  bam_tensor *const *inputs; /* borrowed; NULL where an optional one was left out */
  int n_inputs;
  const bam_attr *attrs; /* one per spec */
  bam_tensor *outputs[BAM_MAX_OUTPUTS]; /* owned; forward fills them */
  bam_tensor *saved[BAM_MAX_SAVED];     /* owned; for backward */
  bam_scope *scope; /* owns the temporaries of forward; it ends when forward has returned */
  bool recording; /* a gradient may be wanted: save what backward needs */
};

/* The device of the call: that of its first non-NULL input. All inputs are on it. */
bam_device *bam_call_device(const bam_call *call);

/* Fail with "name: " and a message. */
bam_status bam_call_fail(bam_call *call, const char *format, ...)
  __attribute__((format(printf, 2, 3)));

/* Make output `k`: contiguous, uninitialised. */
bam_status bam_call_output(bam_call *call, int k, bam_dtype dtype, const bam_shape *shape);

/* Keep `tensor` (an input, an output, or something computed) for backward in `slot`. A later
   in-place change of an input or output is then noticed. Does nothing when not recording. */
bam_status bam_call_save(bam_call *call, int slot, bam_tensor *tensor);

/* The kernel table for `dtype` on the call's device; fails when the dtype cannot compute. */
bam_status bam_call_kernels(bam_call *call, bam_dtype dtype, const bam_kernels **kernels);

/* How many attributes `op` has. */
int bam_op_attr_count(const bam_op *op);

/* Fill `attrs[0 .. bam_op_attr_count)` with the defaults. */
void bam_op_default_attrs(const bam_op *op, bam_attr *attrs);

/* Run `op` on `inputs` (borrowed) and record it when a gradient may be wanted. attrs may be NULL
   for all defaults. outputs[0 .. op->outputs) receive owned references; untouched on failure. */
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

/* ---- what backward functions use ---- */

struct bam_backward {
  bam_context *context;
  const bam_op *op;
  struct bam_node *node;
  const bam_attr *attrs;
  bam_tensor *const *saved;
  bam_tensor *const *grads; /* one per output, of the output's shape and dtype; NULL: no gradient
                               arrived */
  int n_inputs;
  bam_scope *scope; /* owns the temporaries of backward; it ends when backward has returned */
};

/* Does input `i` want a gradient? */
bool bam_needs_grad(const bam_backward *pass, int i);

/* Shape and dtype that input `i` had. */
const bam_shape *bam_backward_shape(const bam_backward *pass, int i);
bam_dtype bam_backward_dtype(const bam_backward *pass, int i);

/* Instead of bam_accumulate_grad: the contiguous tensor (borrowed, of input i's shape and dtype) to write the
   gradient into. *accumulate tells whether to add to its contents or to overwrite all of them. A
   GEMM adds with beta = 1, so a weight gradient never takes a pass of its own. */
bam_status bam_grad_buffer(bam_backward *pass, int i, bam_tensor **target, bool *accumulate);

/* Like the call_ functions above, for backward. */
bam_status bam_backward_fail(bam_backward *pass, const char *format, ...)
  __attribute__((format(printf, 2, 3)));
bam_status bam_backward_kernels(bam_backward *pass, bam_dtype dtype, const bam_kernels **kernels);

#endif
