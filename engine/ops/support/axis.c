/* Arranging tensors for kernels that work along dimensions. */
#include "axis.h"
#include "../../core/devices.h"

#include <inttypes.h>

static int64_t product(const bam_shape *shape, int first, int end) {
  int64_t n = 1;
  for (int d = first; d < end; d++)
    n *= shape->size[d];
  return n;
}

/* A view of `x` whose dimension d is dimension order[d] of x. */
static bam_status permuted(bam_scope *scope, bam_tensor *x, const int *order, bam_tensor **out) {
  bam_shape shape = { .ndim = x->shape.ndim };
  int64_t stride[BAM_MAX_DIMS];
  for (int d = 0; d < shape.ndim; d++) {
    shape.size[d] = x->shape.size[order[d]];
    stride[d] = x->stride[order[d]];
  }
  return bam_temp_view(scope, x, &shape, stride, x->offset, out);
}

static bam_status permuted_copy(bam_scope *scope, bam_tensor *x, const int *order,
                                bam_tensor **out) {
  bam_tensor *view;
  BAM_TRY(permuted(scope, x, order, &view));
  BAM_TRY(bam_temp_contiguous(scope, view, out));
  if (*out != view)
    bam_temp_release(scope, view); /* it holds the storage of x */
  return BAM_OK;
}

/* ---- along one dimension ---- */

bam_status bam_axis_init(bam_context *context, const char *what, const bam_shape *shape,
                         int64_t dim, bam_axis *out) {
  *out = (bam_axis){ .dim = 0, .outer = 1, .n = 1, .inner = 1 };
  if (shape->ndim == 0 && (dim == 0 || dim == -1))
    return BAM_OK;
  BAM_TRY(bam_shape_dim(context, what, dim, shape->ndim, &out->dim));
  out->outer = product(shape, 0, out->dim);
  out->n = shape->size[out->dim];
  out->inner = product(shape, out->dim + 1, shape->ndim);
  return BAM_OK;
}

bam_status bam_axis_rows(bam_scope *scope, bam_tensor *x, int dim, bam_tensor **out) {
  int order[BAM_MAX_DIMS], n = 0;
  for (int d = 0; d < x->shape.ndim; d++)
    if (d != dim)
      order[n++] = d;
  order[n] = dim;
  return permuted_copy(scope, x, order, out);
}

bam_status bam_axis_restore(bam_scope *scope, bam_tensor *rows, int dim, bam_tensor **out) {
  int order[BAM_MAX_DIMS], last = rows->shape.ndim - 1;
  for (int d = 0; d <= last; d++)
    order[d] = d < dim ? d : d - 1;
  if (last >= 0)
    order[dim] = last;
  return permuted(scope, rows, order, out);
}

/* ---- over several dimensions ---- */

static bam_status mark_reduced(bam_context *context, const char *what, const bam_shape *shape,
                               const bam_attr *dims, bool *reduced) {
  for (int d = 0; d < shape->ndim; d++)
    reduced[d] = !dims->given;
  if (dims->given && dims->count == 0)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "%s: an empty list names no dimension; leave it out to reduce all", what);
  for (int i = 0; dims->given && i < dims->count; i++) {
    int d;
    if (shape->ndim == 0 && (dims->list[i] == 0 || dims->list[i] == -1))
      continue;
    BAM_TRY(bam_shape_dim(context, what, dims->list[i], shape->ndim, &d));
    if (reduced[d])
      return bam_fail(context, BAM_ERROR_ARGUMENT, "%s: dimension %d is named twice", what, d + 1);
    reduced[d] = true;
  }
  return BAM_OK;
}

/* Where a single stretch of reduced dimensions begins and ends; false when there are several. */
static bool find_stretch(const bool *reduced, int ndim, int *first, int *end) {
  *first = 0;
  while (*first < ndim && !reduced[*first])
    ++*first;
  *end = *first;
  while (*end < ndim && reduced[*end])
    ++*end;
  for (int d = *end; d < ndim; d++)
    if (reduced[d])
      return false;
  return true;
}

static void plan_order(bam_reduction *plan, const bam_shape *shape, bool columns) {
  int first, end, n = 0;
  bool stretch = find_stretch(plan->reduced, shape->ndim, &first, &end);
  if (stretch && (columns || end == shape->ndim)) {
    for (int d = 0; d < shape->ndim; d++)
      plan->order[d] = d;
    plan->outer = product(shape, 0, first);
    plan->n = product(shape, first, end);
    plan->inner = product(shape, end, shape->ndim);
    return;
  }
  plan->outer = plan->n = plan->inner = 1;
  for (int d = 0; d < shape->ndim; d++)
    if (!plan->reduced[d]) {
      plan->order[n++] = d;
      plan->outer *= shape->size[d];
    }
  for (int d = 0; d < shape->ndim; d++)
    if (plan->reduced[d]) {
      plan->order[n++] = d;
      plan->n *= shape->size[d];
    }
}

bam_status bam_reduction_init(bam_context *context, const char *what, const bam_shape *shape,
                              const bam_attr *dims, bool keepdim, bool columns,
                              bam_reduction *out) {
  BAM_TRY(mark_reduced(context, what, shape, dims, out->reduced));
  out->result.ndim = 0;
  for (int d = 0; d < shape->ndim; d++)
    if (!out->reduced[d] || keepdim)
      out->result.size[out->result.ndim++] = out->reduced[d] ? 1 : shape->size[d];
  plan_order(out, shape, columns);
  return BAM_OK;
}

bam_status bam_reduction_arrange(bam_scope *scope, const bam_reduction *plan, bam_tensor *x,
                                 bam_tensor **out) {
  return permuted_copy(scope, x, plan->order, out);
}

bam_status bam_reduction_restore(bam_scope *scope, const bam_reduction *plan, bam_tensor *arranged,
                                 bam_tensor **out) {
  int back[BAM_MAX_DIMS];
  for (int d = 0; d < arranged->shape.ndim; d++)
    back[plan->order[d]] = d;
  return permuted(scope, arranged, back, out);
}

bam_status bam_reduction_spread(bam_scope *scope, const bam_reduction *plan, const bam_shape *shape,
                                bam_tensor *dy, bam_tensor **out) {
  int64_t stride[BAM_MAX_DIMS];
  bool kept = dy->shape.ndim == shape->ndim; /* keepdim, or nothing was reduced */
  for (int d = 0, from = 0; d < shape->ndim; d++) {
    stride[d] = plan->reduced[d] ? 0 : dy->stride[from];
    from += kept || !plan->reduced[d];
  }
  return bam_temp_view(scope, dy, shape, stride, dy->offset, out);
}

/* ---- checks ---- */

bam_status bam_call_need_real(bam_call *call, int i) {
  bam_dtype dtype = call->inputs[i]->dtype;
  if (bam_call_computes_real(call, dtype))
    return BAM_OK;
  return bam_call_fail(call, "computes in f32 or f64, and `%s` is %s; write %s:to \"f32\"",
                       call->op->inputs[i], bam_dtype_name(dtype), call->op->inputs[i]);
}

/* Fail when a position is outside 1 .. n. */
static bam_status check_range(bam_context *context, const char *what, bam_tensor *positions,
                              int64_t n) {
  bam_device *device = bam_tensor_device(positions);
  const int64_t *data = bam_tensor_data(positions);
  int64_t found = -1, value;
  double unused;
  device->kernels[BAM_I64]->find_outside(device->stream, &found, data, bam_tensor_count(positions),
                                         1, n);
  BAM_TRY(bam_device_check(context, device));
  if (found < 0)
    return BAM_OK;
  BAM_TRY(bam_tensor_get(positions, found, &unused, &value));
  return bam_fail(context, BAM_ERROR_ARGUMENT,
                  "%s: position %" PRId64 " (element %" PRId64
                  " of positions) is outside 1 .. %" PRId64,
                  what, value, found + 1, n);
}

bam_status bam_check_positions(bam_scope *scope, const char *what, bam_tensor *positions, int64_t n,
                               bam_tensor **out) {
  if (!bam_dtype_is_integer(positions->dtype))
    return bam_fail(scope->context, BAM_ERROR_ARGUMENT, "%s: positions are integers (i64), not %s",
                    what, bam_dtype_name(positions->dtype));
  BAM_TRY(bam_temp_convert(scope, positions, BAM_I64, out));
  return n >= 0 ? check_range(scope->context, what, *out, n) : BAM_OK;
}

bam_status bam_call_positions(bam_call *call, int i, int64_t n, bam_tensor **out) {
  return bam_check_positions(call->scope, call->op->name, call->inputs[i], n, out);
}

bam_status bam_check_mask(bam_context *context, const char *what, const bam_shape *shape,
                          const bam_tensor *mask) {
  bam_shape first = *shape;
  if (mask->shape.ndim <= shape->ndim)
    first.ndim = mask->shape.ndim;
  char ta[BAM_SHAPE_TEXT], tb[BAM_SHAPE_TEXT];
  bool counts = mask->shape.ndim > 0 || shape->ndim == 0;
  if (!counts || !bam_shape_equal(&first, &mask->shape))
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "%s: a mask of shape %s for a tensor of shape %s; it needs that shape, or the "
                    "first sizes of it",
                    what, bam_shape_text(&mask->shape, ta), bam_shape_text(shape, tb));
  return BAM_OK;
}

void bam_masked_shape(const bam_shape *shape, const bam_tensor *mask, int64_t count, bam_shape *out,
                      int64_t *inner) {
  out->ndim = 0;
  out->size[out->ndim++] = count;
  for (int d = mask->shape.ndim; d < shape->ndim; d++)
    out->size[out->ndim++] = shape->size[d];
  *inner = product(out, 1, out->ndim);
}
