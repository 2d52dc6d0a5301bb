/* Writing by position or by mask. A mask is turned into positions: both end in one kernel. */
#include "../core/devices.h"
#include "assign.h"

#include "../autograd/autograd.h"
#include "support/axis.h"

/* `from` converted and broadcast to `shape`, in memory of its own or at least not that of `to`;
   owned. */
static bam_status prepare_source(bam_tensor *to, bam_tensor *from, const bam_shape *shape,
                                 bam_tensor **out) {
  bam_tensor *source = NULL;
  bam_status status = BAM_OK;
  if (from->dtype == to->dtype && bam_shape_equal(&from->shape, shape) &&
      from->storage != to->storage && bam_tensor_device(from) == bam_tensor_device(to))
    return bam_tensor_contiguous(from, out);
  BAM_TRY_OR_DONE(bam_tensor_new(to->context, bam_tensor_device(to), to->dtype, shape, &source));
  BAM_TRY_OR_DONE(bam_tensor_copy(source, from));
  *out = bam_tensor_retain(source);
done:
  bam_tensor_release(source);
  return status;
}

/* Checked positions in memory that is not being written: x[x] = v would change them on the way;
   owned. */
static bam_status prepare_positions(const char *what, const bam_tensor *to, bam_tensor *positions,
                                    int64_t n, bam_tensor **out) {
  bam_tensor *checked = NULL, *apart = NULL;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(bam_check_positions(to->context, what, positions, n, &checked));
  if (checked->storage == to->storage) {
    BAM_TRY_OR_DONE(bam_tensor_new(to->context, bam_tensor_device(to), BAM_I64, &checked->shape, &apart));
    BAM_TRY_OR_DONE(bam_tensor_copy(apart, checked));
  }
  *out = bam_tensor_retain(apart != NULL ? apart : checked);
done:
  bam_tensor_release(checked);
  bam_tensor_release(apart);
  return status;
}

/* Write contiguous `from` into `to`, seen as [outer, n, inner], through a contiguous copy where
   needed. */
static bam_status put(bam_tensor *to, const bam_axis *along, bam_tensor *positions,
                      bam_tensor *from) {
  bam_status status = BAM_OK;
  bam_tensor *flat = NULL;
  bam_device *device = bam_tensor_device(to);
  BAM_TRY_OR_DONE(bam_tensor_contiguous(to, &flat));
  device->kernels[to->dtype]->index_put(device->stream, bam_tensor_data(flat),
                                        bam_tensor_data(from), bam_tensor_data(positions),
                                        along->outer, along->n, bam_tensor_count(positions),
                                        along->inner);
  if (flat != to)
    BAM_TRY_OR_DONE(bam_tensor_copy(to, flat));
  else
    bam_tensor_changed(to);
  status = bam_device_check(to->context, device);
done:
  bam_tensor_release(flat);
  return status;
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

bam_status bam_index_assign(bam_tensor *to, int64_t dim, bam_tensor *positions, bam_tensor *from) {
  static const char what[] = "assignment by positions";
  bam_status status = BAM_OK;
  bam_axis along;
  bam_tensor *checked = NULL, *source = NULL;
  BAM_TRY_OR_DONE(check_target(what, to, positions));
  BAM_TRY_OR_DONE(bam_axis_init(to->context, what, &to->shape, dim, &along));
  if (positions->shape.ndim != 1 || to->shape.ndim == 0)
    BAM_TRY_OR_DONE(bam_fail(
        to->context, BAM_ERROR_ARGUMENT,
        "%s: positions with %d dimensions into a tensor with %d; it takes 1 into 1 or more", what,
        positions->shape.ndim, to->shape.ndim));
  BAM_TRY_OR_DONE(prepare_positions(what, to, positions, along.n, &checked));
  bam_shape shape = to->shape;
  shape.size[along.dim] = positions->shape.size[0];
  BAM_TRY_OR_DONE(prepare_source(to, from, &shape, &source));
  BAM_TRY_OR_DONE(put(to, &along, checked, source));
done:
  bam_tensor_release(checked);
  bam_tensor_release(source);
  return status;
}

bam_status bam_masked_assign(bam_tensor *to, bam_tensor *mask, bam_tensor *from) {
  static const char what[] = "assignment by mask";
  bam_status status = BAM_OK;
  bam_tensor *positions = NULL, *source = NULL;
  bam_axis along = { .outer = 1, .n = bam_tensor_count(mask), .inner = 1 };
  bam_shape shape;
  BAM_TRY_OR_DONE(check_target(what, to, mask));
  BAM_TRY_OR_DONE(bam_check_mask(to->context, what, &to->shape, mask));
  BAM_TRY_OR_DONE(bam_mask_positions(what, mask, &positions));
  bam_masked_shape(&to->shape, mask, bam_tensor_count(positions), &shape, &along.inner);
  BAM_TRY_OR_DONE(prepare_source(to, from, &shape, &source));
  BAM_TRY_OR_DONE(put(to, &along, positions, source));
done:
  bam_tensor_release(positions);
  bam_tensor_release(source);
  return status;
}

bam_status bam_mask_positions(const char *what, bam_tensor *mask, bam_tensor **out) {
  bam_status status = BAM_OK;
  bam_tensor *flat = NULL;
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
  BAM_TRY_OR_DONE(bam_tensor_new(mask->context, device, BAM_I64, &shape, out));
  kernels->nonzero(device->stream, bam_tensor_data(*out), bam_tensor_data(flat), n);
  status = bam_device_check(mask->context, device);
done:
  bam_tensor_release(flat);
  return status;
}
