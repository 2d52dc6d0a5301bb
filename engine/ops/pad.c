/* Padding, reversing and rotating along dimensions. */
#include <inttypes.h>

#include "ops.h"

/* A view of `x` of shape `shape` that begins at `first`. */
static bam_status window(bam_scope *scope, bam_tensor *x, const int64_t *first,
                         const bam_shape *shape, bam_tensor **out) {
  int64_t offset = x->offset;
  for (int d = 0; d < shape->ndim; d++)
    offset += first[d] * x->stride[d];
  return bam_temp_view(scope, x, shape, x->stride, offset, out);
}

/* Copy the window of `x` at `from` into the window of `y` at `to`; both have shape `shape`. */
static bam_status copy_window(bam_scope *scope, bam_tensor *y, const int64_t *to, bam_tensor *x,
                              const int64_t *from, const bam_shape *shape) {
  bam_tensor *target, *source;
  BAM_TRY(window(scope, y, to, shape, &target));
  BAM_TRY(window(scope, x, from, shape, &source));
  return bam_tensor_copy(target, source);
}

static const int64_t origin[BAM_MAX_DIMS];

/* ---- pad ---- */

/* One entry per dimension of `name`; zeros when not given. */
static bam_status read_margin(bam_call *call, int attr, int64_t *margin) {
  const bam_attr *given = &call->attrs[attr];
  int ndim = call->inputs[0]->shape.ndim;
  const char *name = call->op->attrs[attr].name;
  if (given->given && given->count != ndim)
    return bam_call_fail(call, "`%s` has %d entries for %d dimensions; give one per dimension",
                         name, given->count, ndim);
  for (int d = 0; d < ndim; d++) {
    margin[d] = given->given ? given->list[d] : 0;
    if (margin[d] < 0)
      return bam_call_fail(call, "`%s` for dimension %d is negative: %" PRId64 "; to cut, index",
                           name, d + 1, margin[d]);
  }
  return BAM_OK;
}

static bam_status pad_forward(bam_call *call) {
  int64_t before[BAM_MAX_DIMS], after[BAM_MAX_DIMS];
  bam_tensor *x = call->inputs[0];
  bam_shape shape = x->shape;
  BAM_TRY(read_margin(call, 0, before));
  BAM_TRY(read_margin(call, 1, after));
  for (int d = 0; d < shape.ndim; d++)
    if (__builtin_add_overflow(shape.size[d], before[d], &shape.size[d]) ||
        __builtin_add_overflow(shape.size[d], after[d], &shape.size[d]))
      return bam_call_fail(call, "the size of dimension %d exceeds 64 bits", d + 1);
  BAM_TRY(bam_number_check(call->context, call->op->name, x->dtype, false, 0, call->attrs[2].f));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &shape));
  BAM_TRY(bam_tensor_fill(call->outputs[0], call->attrs[2].f));
  return copy_window(call->scope, call->outputs[0], before, x, origin, &x->shape);
}

/* The gradient of the inside. */
static bam_status pad_backward(bam_backward *pass) {
  bam_tensor *inside;
  const int64_t *before = pass->attrs[0].given ? pass->attrs[0].list : origin;
  BAM_TRY(window(pass->scope, pass->grads[0], before, bam_backward_shape(pass, 0), &inside));
  return bam_accumulate_grad(pass, 0, inside);
}

const bam_op bam_op_pad = {
  .name = "pad",
  .help = "Pad x with `value`: `before[d]` elements in front of dimension d and `after[d]` behind "
          "it. Each list has "
          "one entry per dimension; one that is not given is all 0.",
  .inputs = { "x" },
  .attrs = (const bam_attr_spec[]){ { .name = "before", .kind = BAM_ATTR_SIZES },
                                    { .name = "after", .kind = BAM_ATTR_SIZES },
                                    { .name = "value", .kind = BAM_ATTR_FLOAT },
                                    { 0 } },
  .forward = pad_forward,
  .backward = pad_backward,
};

/* ---- flip ---- */

/* A view of `x` that walks the dimensions `dims` (not given: all) from their ends. */
static bam_status flipped(bam_scope *scope, bam_tensor *x, const char *what, const bam_attr *dims,
                          bam_tensor **out) {
  int64_t stride[BAM_MAX_DIMS], offset = x->offset;
  bool flips[BAM_MAX_DIMS] = { false };
  for (int i = 0; dims->given && i < dims->count; i++) {
    int d;
    BAM_TRY(bam_shape_dim(x->context, what, dims->list[i], x->shape.ndim, &d));
    flips[d] = true;
  }
  for (int d = 0; d < x->shape.ndim; d++) {
    bool flip = flips[d] || !dims->given;
    stride[d] = flip ? -x->stride[d] : x->stride[d];
    offset += flip && x->shape.size[d] > 0 ? (x->shape.size[d] - 1) * x->stride[d] : 0;
  }
  return bam_temp_view(scope, x, &x->shape, stride, offset, out);
}

static bam_status flip_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0], *view;
  BAM_TRY(flipped(call->scope, x, call->op->name, &call->attrs[0], &view));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &x->shape));
  return bam_tensor_copy(call->outputs[0], view);
}

static bam_status flip_backward(bam_backward *pass) {
  bam_tensor *view;
  BAM_TRY(flipped(pass->scope, pass->grads[0], pass->op->name, &pass->attrs[0], &view));
  return bam_accumulate_grad(pass, 0, view);
}

const bam_op bam_op_flip = {
  .name = "flip",
  .help = "Reverse the order along the dimensions `dim` (one, a list, or all of them); a copy.",
  .inputs = { "x" },
  .attrs = (const bam_attr_spec[]){ { .name = "dim", .kind = BAM_ATTR_DIMS }, { 0 } },
  .forward = flip_forward,
  .backward = flip_backward,
};

/* ---- roll ---- */

/* y = x moved by `shift` along `dim`, what leaves at one end entering at the other. */
static bam_status rotate(bam_scope *scope, bam_tensor *y, bam_tensor *x, int dim, int64_t shift) {
  int64_t n = x->shape.size[dim], at[BAM_MAX_DIMS] = { 0 };
  if (n == 0)
    return BAM_OK;
  bam_shape head = x->shape, tail = x->shape;
  tail.size[dim] = (shift % n + n) % n; /* the end of x that comes to the front */
  head.size[dim] = n - tail.size[dim];
  at[dim] = tail.size[dim];
  BAM_TRY(copy_window(scope, y, at, x, origin, &head));
  at[dim] = head.size[dim];
  return copy_window(scope, y, origin, x, at, &tail);
}

static bam_status roll_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0];
  int dim;
  BAM_TRY(bam_shape_dim(call->context, call->op->name, call->attrs[1].i, x->shape.ndim, &dim));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &x->shape));
  return rotate(call->scope, call->outputs[0], x, dim, call->attrs[0].i);
}

static bam_status roll_backward(bam_backward *pass) {
  bam_tensor *dx, *dy = pass->grads[0];
  int dim;
  BAM_TRY(bam_shape_dim(pass->context, pass->op->name, pass->attrs[1].i, dy->shape.ndim, &dim));
  BAM_TRY(bam_temp_like(pass->scope, dy, &dx));
  int64_t n = dy->shape.size[dim];
  BAM_TRY(rotate(pass->scope, dx, dy, dim, n > 0 ? -(pass->attrs[0].i % n) : 0));
  return bam_accumulate_grad(pass, 0, dx);
}

const bam_op bam_op_roll = {
  .name = "roll",
  .help =
    "Shift x by `shift` positions along `dim`; elements that leave at one end enter at the other.",
  .inputs = { "x" },
  .attrs = (const bam_attr_spec[]){ { .name = "shift", .kind = BAM_ATTR_INT, .required = true },
                                    { .name = "dim", .kind = BAM_ATTR_DIM },
                                    { 0 } },
  .forward = roll_forward,
  .backward = roll_backward,
};
