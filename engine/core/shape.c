/* Shapes, strides and broadcasting. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shape.h"

bool bam_shape_equal(const bam_shape *a, const bam_shape *b) {
  if (a->ndim != b->ndim)
    return false;
  for (int d = 0; d < a->ndim; d++)
    if (a->size[d] != b->size[d])
      return false;
  return true;
}

bam_status bam_shape_count(bam_context *context, const bam_shape *shape, int64_t *count) {
  if (shape->ndim < 0 || shape->ndim > BAM_MAX_DIMS)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "a tensor has at most %d dimensions, not %d",
                    BAM_MAX_DIMS, shape->ndim);
  int64_t n = 1;
  bool empty = false;
  for (int d = 0; d < shape->ndim; d++) {
    if (shape->size[d] < 0)
      return bam_fail(context, BAM_ERROR_ARGUMENT, "size %d is negative: %" PRId64, d + 1,
                      shape->size[d]);
    empty = empty || shape->size[d] == 0;
  }
  for (int d = 0; d < shape->ndim; d++)
    /* the widest dtype has 8 bytes: the byte count must not overflow either, nor may the strides
       of an empty tensor, hence the 1 in place of 0 */
    if (__builtin_mul_overflow(n, shape->size[d] > 0 ? shape->size[d] : 1, &n) ||
        n > INT64_MAX / 16)
      return bam_fail(context, BAM_ERROR_ARGUMENT, "a tensor of this size overflows 64 bits");
  *count = empty ? 0 : n;
  return BAM_OK;
}

bam_status bam_shape_broadcast(bam_context *context, const char *what, const bam_shape *a,
                               const bam_shape *b, bam_shape *out) {
  bam_shape result = { .ndim = a->ndim > b->ndim ? a->ndim : b->ndim };
  for (int d = 0; d < result.ndim; d++) {
    int da = d - (result.ndim - a->ndim), db = d - (result.ndim - b->ndim);
    int64_t sa = da < 0 ? 1 : a->size[da], sb = db < 0 ? 1 : b->size[db];
    if (sa != sb && sa != 1 && sb != 1) {
      char ta[BAM_SHAPE_TEXT], tb[BAM_SHAPE_TEXT];
      return bam_fail(context, BAM_ERROR_ARGUMENT,
                      "%s: shapes %s and %s do not broadcast: sizes must be equal or 1, "
                      "counted from the last",
                      what, bam_shape_text(a, ta), bam_shape_text(b, tb));
    }
    result.size[d] = sa == 1 ? sb : sa;
  }
  *out = result;
  return BAM_OK;
}

bool bam_shape_expands(const bam_shape *from, const bam_shape *to) {
  int extra = to->ndim - from->ndim;
  for (int d = 0; d < from->ndim; d++)
    if (extra < 0 || (from->size[d] != 1 && from->size[d] != to->size[d + extra]))
      return false;
  return true;
}

bam_status bam_shape_dim(bam_context *context, const char *what, int64_t dim, int ndim, int *out) {
  int64_t d = dim < 0 ? dim + ndim : dim;
  if (d < 0 || d >= ndim) {
    if (ndim == 0)
      return bam_fail(context, BAM_ERROR_ARGUMENT,
                      "%s: dimension %" PRId64 " does not exist: the tensor is 0-dimensional", what,
                      dim < 0 ? dim : dim + 1);
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "%s: dimension %" PRId64 " is out of range 1 to %d (or -%d to -1)", what,
                    dim < 0 ? dim : dim + 1, ndim, ndim);
  }
  *out = (int)d;
  return BAM_OK;
}

const char *bam_shape_text(const bam_shape *shape, char text[BAM_SHAPE_TEXT]) {
  size_t used = 0;
  text[used++] = '(';
  for (int d = 0; d < shape->ndim; d++)
    used += (size_t)snprintf(text + used, BAM_SHAPE_TEXT - used, "%s%" PRId64, d ? ", " : "",
                             shape->size[d]);
  snprintf(text + used, BAM_SHAPE_TEXT - used, ")");
  return text;
}

void bam_shape_strides(const bam_shape *shape, int64_t stride[BAM_MAX_DIMS]) {
  int64_t step = 1;
  for (int d = shape->ndim - 1; d >= 0; d--) {
    stride[d] = step;
    step *= shape->size[d] > 1 ? shape->size[d] : 1;
  }
}
