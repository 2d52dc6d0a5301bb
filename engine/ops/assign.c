/* Writing by position or by mask. A mask is turned into positions: both end in one kernel. */
#include "assign.h"
#include "../core/devices.h"

#include "../autograd/autograd.h"
#include "support/axis.h"

/* `from` converted and broadcast to `shape`, in memory of its own or at least not that of `to`. */
static bam_status prepare_source(bam_scope *scope, bam_tensor *to, bam_tensor *from,
                                 const bam_shape *shape, bam_tensor **out) {
  if (from->dtype == to->dtype && bam_shape_equal(&from->shape, shape) &&
      from->storage != to->storage && bam_tensor_device(from) == bam_tensor_device(to))
    return bam_temp_contiguous(scope, from, out);
  BAM_TRY(bam_temp_new(scope, bam_tensor_device(to), to->dtype, shape, out));
  return bam_tensor_copy(*out, from);
}

/* Checked positions in memory that is not being written: x[x] = v would change them on the way. */
static bam_status prepare_positions(bam_scope *scope, const char *what, const bam_tensor *to,
                                    bam_tensor *positions, int64_t n, bam_tensor **out) {
  bam_tensor *checked;
  BAM_TRY(bam_check_positions(scope, what, positions, n, &checked));
  *out = checked;
  if (checked->storage != to->storage)
    return BAM_OK;
  BAM_TRY(bam_temp_like(scope, checked, out));
  return bam_tensor_copy(*out, checked);
}

/* Write contiguous `from` into `to`, seen as [outer, n, inner], through a contiguous copy where
   needed. */
static bam_status put(bam_scope *scope, bam_tensor *to, const bam_axis *along,
                      bam_tensor *positions, bam_tensor *from) {
  bam_tensor *flat;
  bam_device *device = bam_tensor_device(to);
  BAM_TRY(bam_temp_contiguous(scope, to, &flat));
  device->kernels[to->dtype]->index_put(
    device->stream, bam_tensor_data(flat), bam_tensor_data(from), bam_tensor_data(positions),
    along->outer, along->n, bam_tensor_count(positions), along->inner);
  if (flat != to)
    BAM_TRY(bam_tensor_copy(to, flat));
  else
    bam_tensor_changed(to);
  return bam_device_check(to->context, device);
}

/* What both check about `to` before anything else. */
static bam_status check_target(const char *what, bam_tensor *to, const bam_tensor *other) {
  if (bam_tensor_device(to) != bam_tensor_device(other))
    return bam_fail(to->context, BAM_ERROR_ARGUMENT, "%s: tensors on %s and %s", what,
                    bam_tensor_device(to)->name, bam_tensor_device(other)->name);
  if (bam_tensor_device(to)->kernels[to->dtype] == NULL)
    return bam_fail(to->context, BAM_ERROR_ARGUMENT,
                    "%s: %s only stores values; write x:to \"f32\"", what,
                    bam_dtype_name(to->dtype));
  return bam_autograd_check_write(what, to);
}

static bam_status index_assign(bam_scope *scope, bam_tensor *to, int64_t dim, bam_tensor *positions,
                               bam_tensor *from) {
  static const char what[] = "assignment by positions";
  bam_axis along;
  bam_tensor *checked, *source;
  BAM_TRY(check_target(what, to, positions));
  BAM_TRY(bam_axis_init(to->context, what, &to->shape, dim, &along));
  if (positions->shape.ndim != 1 || to->shape.ndim == 0)
    return bam_fail(
      to->context, BAM_ERROR_ARGUMENT,
      "%s: positions with %d dimensions into a tensor with %d; it takes 1 into 1 or more", what,
      positions->shape.ndim, to->shape.ndim);
  BAM_TRY(prepare_positions(scope, what, to, positions, along.n, &checked));
  bam_shape shape = to->shape;
  shape.size[along.dim] = positions->shape.size[0];
  BAM_TRY(prepare_source(scope, to, from, &shape, &source));
  return put(scope, to, &along, checked, source);
}

bam_status bam_index_assign(bam_tensor *to, int64_t dim, bam_tensor *positions, bam_tensor *from) {
  bam_scope scope;
  bam_scope_begin(&scope, to->context);
  bam_status status = index_assign(&scope, to, dim, positions, from);
  bam_scope_end(&scope);
  return status;
}

static bam_status masked_assign(bam_scope *scope, bam_tensor *to, bam_tensor *mask,
                                bam_tensor *from) {
  static const char what[] = "assignment by mask";
  bam_tensor *positions, *source;
  bam_axis along = { .outer = 1, .n = bam_tensor_count(mask), .inner = 1 };
  bam_shape shape;
  BAM_TRY(check_target(what, to, mask));
  BAM_TRY(bam_check_mask(to->context, what, &to->shape, mask));
  BAM_TRY(bam_mask_positions(what, mask, &positions));
  BAM_TRY(bam_scope_take(scope, positions));
  bam_masked_shape(&to->shape, mask, bam_tensor_count(positions), &shape, &along.inner);
  BAM_TRY(prepare_source(scope, to, from, &shape, &source));
  return put(scope, to, &along, positions, source);
}

bam_status bam_masked_assign(bam_tensor *to, bam_tensor *mask, bam_tensor *from) {
  bam_scope scope;
  bam_scope_begin(&scope, to->context);
  bam_status status = masked_assign(&scope, to, mask, from);
  bam_scope_end(&scope);
  return status;
}

bam_status bam_mask_positions(const char *what, bam_tensor *mask, bam_tensor **out) {
  bam_status status = BAM_OK;
  bam_tensor *flat = NULL, *positions = NULL;
  bam_device *device = bam_tensor_device(mask);
  if (mask->dtype != BAM_BOOL)
    return bam_fail(mask->context, BAM_ERROR_ARGUMENT,
                    "%s: a mask is bool, not %s; compare first, as in x:gt(0)", what,
                    bam_dtype_name(mask->dtype));
  BAM_TRY_OR_DONE(bam_tensor_contiguous(mask, &flat));
  const bam_kernels *kernels = device->kernels[BAM_BOOL];
  bam_shape shape = { .ndim = 1 };
  int64_t n = bam_tensor_count(flat);
  kernels->count_nonzero(device->stream, &shape.size[0], bam_tensor_data(flat), n);
  BAM_TRY_OR_DONE(bam_device_check(mask->context, device));
  BAM_TRY_OR_DONE(bam_tensor_new(mask->context, device, BAM_I64, &shape, &positions));
  kernels->nonzero(device->stream, bam_tensor_data(positions), bam_tensor_data(flat), n);
  BAM_TRY_OR_DONE(bam_device_check(mask->context, device));
  *out = bam_tensor_retain(positions);
done:
  bam_tensor_release(flat);
  bam_tensor_release(positions);
  return status;
}
