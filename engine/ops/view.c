/* Views: ops whose output shares the input's storage. Backward applies the inverse view. Squeeze,
   transpose, split and friends are made of these on the script side. */
#include <inttypes.h>
#include <string.h>

#include "ops.h"

/* ---- reshape, view ---- */

/* Fill in one size of -1; check that the sizes hold exactly the elements of x. */
static bam_status resolve_sizes(bam_call *call, const bam_attr *sizes, bam_shape *shape) {
  const bam_tensor *x = call->inputs[0];
  int64_t count = bam_tensor_count(x), known = 1;
  int unknown = -1;
  shape->ndim = sizes->count;
  for (int d = 0; d < sizes->count; d++) {
    int64_t size = sizes->list[d];
    shape->size[d] = size;
    if (size == -1 && unknown < 0)
      unknown = d;
    else if (size < 0)
      return bam_call_fail(call, "size %d is %" PRId64 "; only one size may be -1 (worked out)",
                           d + 1, size);
    else if (__builtin_mul_overflow(known, size, &known))
      return bam_call_fail(call, "the sizes overflow 64 bits");
  }
  if (unknown >= 0 && known > 0 && count % known == 0)
    shape->size[unknown] = count / known;
  else if (unknown >= 0 || known != count) {
    char from[BAM_SHAPE_TEXT], to[BAM_SHAPE_TEXT];
    return bam_call_fail(call, "%s has %" PRId64 " elements and does not fit into %s",
                         bam_shape_text(&x->shape, from), count, bam_shape_text(shape, to));
  }
  /* beside a size of 0 the others may still overflow strides */
  bam_status status = bam_shape_count(call->context, shape, &count);
  return status == BAM_OK ? BAM_OK : bam_fail_within(call->context, status, call->op->name);
}

/* Strides that show x's elements in `shape` without copying; false when there are none. */
static bool view_strides(const bam_tensor *x, const bam_shape *shape, int64_t *stride) {
  bam_shape_strides(shape, stride);
  if (bam_tensor_is_contiguous(x))
    return true;
  int d = shape->ndim - 1;
  for (int xd = x->shape.ndim - 1; xd >= 0;) {
    /* the longest run of x's dimensions that steps evenly */
    int64_t run = x->shape.size[xd], step = x->stride[xd];
    while (xd > 0 && (x->shape.size[xd - 1] == 1 || x->stride[xd - 1] == step * run))
      run *= x->shape.size[--xd];
    xd--;
    int64_t filled = 1;
    for (; d >= 0 && (filled < run || shape->size[d] == 1); d--) {
      stride[d] = step * filled;
      filled *= shape->size[d];
    }
    if (filled != run)
      return false;
  }
  return d < 0;
}

static bam_status forward_reshape(bam_call *call, bool may_copy) {
  bam_tensor *x = call->inputs[0], *source;
  bam_shape shape;
  int64_t stride[BAM_MAX_DIMS];
  BAM_TRY(resolve_sizes(call, &call->attrs[0], &shape));
  if (view_strides(x, &shape, stride))
    return bam_tensor_view(x, &shape, stride, x->offset, &call->outputs[0]);
  if (!may_copy)
    return bam_call_fail(call, "this layout cannot be viewed so without a copy; "
                               "use x:reshape(...)");
  BAM_TRY(bam_temp_contiguous(call->scope, x, &source));
  bam_shape_strides(&shape, stride);
  return bam_tensor_view(source, &shape, stride, source->offset, &call->outputs[0]);
}

static bam_status reshape_forward(bam_call *call) { return forward_reshape(call, true); }

static bam_status view_forward(bam_call *call) { return forward_reshape(call, false); }

static bam_status reshape_backward(bam_backward *pass) {
  bam_tensor *grad = NULL, *shaped = NULL;
  const bam_shape *shape = bam_backward_shape(pass, 0);
  int64_t stride[BAM_MAX_DIMS];
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &grad));
  bam_shape_strides(shape, stride);
  BAM_TRY(bam_temp_view(pass->scope, grad, shape, stride, grad->offset, &shaped));
  return bam_accumulate_grad(pass, 0, shaped);
}

static const bam_attr_spec sizes_attrs[] = { { "sizes", BAM_ATTR_SIZES, true, 0 }, { 0 } };

const bam_op bam_op_reshape = {
  .name = "reshape",
  .help = "The same elements in another shape: a view if the strides allow it, otherwise a copy. "
          "One size may be -1.",
  .inputs = { "x" },
  .attrs = sizes_attrs,
  .is_view = true,
  .forward = reshape_forward,
  .backward = reshape_backward,
};

const bam_op bam_op_view = {
  .name = "view",
  .help =
    "The same elements in another shape without copying. An error if the strides do not allow it.",
  .inputs = { "x" },
  .attrs = sizes_attrs,
  .is_view = true,
  .forward = view_forward,
  .backward = reshape_backward,
};

/* ---- permute ---- */

static bam_status permute_forward(bam_call *call) {
  const bam_tensor *x = call->inputs[0];
  const bam_attr *dims = &call->attrs[0];
  int ndim = x->shape.ndim;
  bam_shape shape = { .ndim = ndim };
  int64_t stride[BAM_MAX_DIMS];
  bool seen[BAM_MAX_DIMS] = { false };
  if (dims->count != ndim)
    return bam_call_fail(call, "%d dimensions given for a tensor that has %d", dims->count, ndim);
  for (int d = 0; d < ndim; d++) {
    int from;
    BAM_TRY(bam_shape_dim(call->context, call->op->name, dims->list[d], ndim, &from));
    if (seen[from])
      return bam_call_fail(call, "dimension %d is named twice", from + 1);
    seen[from] = true;
    shape.size[d] = x->shape.size[from];
    stride[d] = x->stride[from];
  }
  return bam_tensor_view(call->inputs[0], &shape, stride, x->offset, &call->outputs[0]);
}

static bam_status permute_backward(bam_backward *pass) {
  bam_tensor *grad = pass->grads[0], *back;
  const bam_attr *dims = &pass->attrs[0];
  bam_shape shape = { .ndim = dims->count };
  int64_t stride[BAM_MAX_DIMS];
  for (int d = 0; d < dims->count; d++) {
    int64_t to = dims->list[d] < 0 ? dims->list[d] + dims->count : dims->list[d];
    shape.size[to] = grad->shape.size[d];
    stride[to] = grad->stride[d];
  }
  BAM_TRY(bam_temp_view(pass->scope, grad, &shape, stride, grad->offset, &back));
  return bam_accumulate_grad(pass, 0, back);
}

const bam_op bam_op_permute = {
  .name = "permute",
  .help = "A view with the dimensions in another order: permute(x, { 3, 1, 2 }).",
  .inputs = { "x" },
  .is_view = true,
  .attrs = (const bam_attr_spec[]){ { "dims", BAM_ATTR_DIMS, true, 0 }, { 0 } },
  .forward = permute_forward,
  .backward = permute_backward,
};

/* ---- narrow, select ---- */

/* Add `grad` into the elements of x's gradient that the view showed. Several views of one tensor
   collect in one buffer this way. */
static bam_status add_to_part(bam_backward *pass, int dim, int64_t start, int64_t length,
                              bool keep) {
  bam_tensor *whole, *part = NULL, *sum = NULL, *grad = pass->grads[0];
  bool accumulate;
  BAM_TRY(bam_grad_buffer_as(pass, 0, bam_grad_dtype(pass, 0), &whole, &accumulate));
  if (!accumulate)
    BAM_TRY(bam_tensor_fill(whole, 0));
  bam_shape shape = whole->shape;
  int64_t stride[BAM_MAX_DIMS];
  memcpy(stride, whole->stride, sizeof stride);
  int64_t offset = whole->offset + start * stride[dim];
  shape.size[dim] = length;
  if (!keep) { /* select: the dimension is not in the view */
    size_t rest = (size_t)(--shape.ndim - dim);
    memmove(&shape.size[dim], &shape.size[dim + 1], rest * sizeof(int64_t));
    memmove(&stride[dim], &stride[dim + 1], rest * sizeof(int64_t));
  }
  BAM_TRY(bam_temp_view(pass->scope, whole, &shape, stride, offset, &part));
  if (!accumulate) {
    BAM_TRY(bam_tensor_copy(part, grad));
  } else {
    BAM_TRY(bam_temp_apply2(pass->scope, &bam_op_add, part, grad, NULL, &sum));
    BAM_TRY(bam_tensor_copy(part, sum));
  }
  return BAM_OK;
}

enum { DIM, START, LENGTH };

static bam_status narrow_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0];
  int dim;
  BAM_TRY(bam_shape_dim(call->context, "narrow", call->attrs[DIM].i, x->shape.ndim, &dim));
  int64_t size = x->shape.size[dim], start = call->attrs[START].i, length = call->attrs[LENGTH].i;
  start = start < 0 ? start + size : start;
  if (start < 0 || length < 0 || start > size || length > size - start)
    return bam_call_fail(
      call, "%" PRId64 " elements from position %" PRId64 " leave dimension %d, which has %" PRId64,
      length, start + 1, dim + 1, size);
  bam_shape shape = x->shape;
  shape.size[dim] = length;
  return bam_tensor_view(x, &shape, x->stride, x->offset + start * x->stride[dim],
                         &call->outputs[0]);
}

static bam_status narrow_backward(bam_backward *pass) {
  const bam_shape *shape = bam_backward_shape(pass, 0);
  int64_t dim = pass->attrs[DIM].i, start = pass->attrs[START].i;
  dim = dim < 0 ? dim + shape->ndim : dim;
  start = start < 0 ? start + shape->size[dim] : start;
  return add_to_part(pass, (int)dim, start, pass->attrs[LENGTH].i, true);
}

const bam_op bam_op_narrow = {
  .name = "narrow",
  .help = "A view of `length` positions of dimension `dim`, starting at position `start`.",
  .inputs = { "x" },
  .is_view = true,
  .attrs = (const bam_attr_spec[]){ { "dim", BAM_ATTR_DIM, true, 0 },
                                    { "start", BAM_ATTR_POSITION, true, 0 },
                                    { "length", BAM_ATTR_INT, true, 0 },
                                    { 0 } },
  .forward = narrow_forward,
  .backward = narrow_backward,
};

enum { SELECT_DIM, POSITION };

static bam_status select_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0];
  int dim;
  BAM_TRY(bam_shape_dim(call->context, "select", call->attrs[SELECT_DIM].i, x->shape.ndim, &dim));
  int64_t size = x->shape.size[dim], at = call->attrs[POSITION].i;
  if (at < -size || at >= size)
    return bam_call_fail(
      call, "position %" PRId64 " is out of range: dimension %d has %" PRId64 " positions",
      at < 0 ? at : at + 1, dim + 1, size);
  bam_shape shape = { .ndim = x->shape.ndim - 1 };
  int64_t stride[BAM_MAX_DIMS];
  for (int d = 0; d < shape.ndim; d++) {
    shape.size[d] = x->shape.size[d < dim ? d : d + 1];
    stride[d] = x->stride[d < dim ? d : d + 1];
  }
  int64_t offset = x->offset + (at < 0 ? at + size : at) * x->stride[dim];
  return bam_tensor_view(x, &shape, stride, offset, &call->outputs[0]);
}

static bam_status select_backward(bam_backward *pass) {
  const bam_shape *shape = bam_backward_shape(pass, 0);
  int64_t dim = pass->attrs[SELECT_DIM].i, at = pass->attrs[POSITION].i;
  dim = dim < 0 ? dim + shape->ndim : dim;
  return add_to_part(pass, (int)dim, at < 0 ? at + shape->size[dim] : at, 1, false);
}

const bam_op bam_op_select = {
  .name = "select",
  .help = "A view of one position of dimension `dim`, which is dropped: select(x, 1, 3) is x[3].",
  .inputs = { "x" },
  .is_view = true,
  .attrs = (const bam_attr_spec[]){ { "dim", BAM_ATTR_DIM, true, 0 },
                                    { "position", BAM_ATTR_POSITION, true, 0 },
                                    { 0 } },
  .forward = select_forward,
  .backward = select_backward,
};

/* ---- expand ---- */

static bam_status expand_forward(bam_call *call) {
  bam_tensor *x = call->inputs[0];
  const bam_attr *sizes = &call->attrs[0];
  bam_shape shape = { .ndim = sizes->count };
  int64_t stride[BAM_MAX_DIMS], count;
  int extra = sizes->count - x->shape.ndim;
  bool grows = extra >= 0; /* a dimension never disappears, not even into {} */
  for (int d = 0; d < sizes->count && grows; d++) {
    int64_t own = d < extra ? 1 : x->shape.size[d - extra];
    shape.size[d] = sizes->list[d] == -1 && d >= extra ? own : sizes->list[d];
    stride[d] = d < extra || own != shape.size[d] ? 0 : x->stride[d - extra];
    grows = own == 1 || own == shape.size[d];
  }
  if (!grows) {
    char from[BAM_SHAPE_TEXT], to[BAM_SHAPE_TEXT];
    memcpy(shape.size, sizes->list, sizeof shape.size);
    return bam_call_fail(call, "%s does not expand to %s: only sizes of 1 can grow",
                         bam_shape_text(&x->shape, from), bam_shape_text(&shape, to));
  }
  bam_status status = bam_shape_count(call->context, &shape, &count);
  if (status != BAM_OK)
    return bam_fail_within(call->context, status, "expand");
  return bam_tensor_view(x, &shape, stride, x->offset, &call->outputs[0]);
}

static bam_status expand_backward(bam_backward *pass) {
  return bam_accumulate_grad(pass, 0, pass->grads[0]); /* giving sums what was broadcast */
}

const bam_op bam_op_expand = {
  .name = "expand",
  .help = "A view with dimensions of size 1 repeated, without copying. -1 keeps a size.",
  .inputs = { "x" },
  .attrs = sizes_attrs,
  .is_view = true,
  .forward = expand_forward,
  .backward = expand_backward,
};
