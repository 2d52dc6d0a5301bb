/* Tensors: making, viewing, copying. */
#include "tensor.h"
#include "devices.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assert.h"
#include "capture.h"

/* Whether all elements of `tensor` lie inside its storage, and its sizes pass the overflow checks of
   bam_shape_count. */
static bool lies_in_storage(const bam_tensor *tensor) {
  int64_t first = tensor->offset, last = first, count, reach;
  const bam_shape *shape = &tensor->shape;
  if (bam_shape_count(tensor->context, shape, &count) != BAM_OK)
    return false;
  for (int d = 0; d < shape->ndim && count > 0; d++)
    if (__builtin_mul_overflow(shape->size[d] - 1, tensor->stride[d], &reach) ||
        __builtin_add_overflow(reach < 0 ? first : last, reach, reach < 0 ? &first : &last))
      return false;
  const int64_t capacity = tensor->storage->bytes / bam_dtype_size(tensor->dtype);
  return first >= 0 && last <= capacity - (count > 0);
}

/* A tensor over `storage`, whose reference it takes over on success. */
static bam_status wrap(bam_context *context, bam_storage *storage, bam_dtype dtype,
                       const bam_shape *shape, bam_tensor **out) {
  bam_tensor *tensor = bam_object_alloc(context, sizeof *tensor);
  if (tensor == NULL)
    return BAM_ERROR_MEMORY;
  tensor->refs = 1;
  tensor->dtype = dtype;
  tensor->requires_grad = false;
  tensor->is_number = false;
  tensor->output = 0;
  tensor->context = context;
  tensor->storage = storage;
  tensor->offset = 0;
  tensor->shape = *shape;
  tensor->node = NULL;
  tensor->grad = NULL;
  *out = tensor;
  return BAM_OK;
}

bam_status bam_tensor_new(bam_context *context, bam_device *device, bam_dtype dtype,
                          const bam_shape *shape, bam_tensor **out) {
  int64_t count;
  bam_storage *storage;
  bam_status status = bam_shape_count(context, shape, &count);
  if (status == BAM_OK)
    status = bam_storage_alloc(context, device, count * bam_dtype_size(dtype), &storage);
  if (status != BAM_OK)
    return status;
  status = wrap(context, storage, dtype, shape, out);
  if (status != BAM_OK)
    bam_storage_release(context, storage);
  else
    bam_shape_strides(shape, (*out)->stride);
  return status;
}

bam_status bam_tensor_zeros(bam_context *context, bam_device *device, bam_dtype dtype,
                            const bam_shape *shape, bam_tensor **out) {
  bam_tensor *tensor = NULL;
  bam_status status = bam_tensor_new(context, device, dtype, shape, &tensor);
  if (status == BAM_OK) {
    status = bam_tensor_fill(tensor, 0);
    if (status == BAM_OK)
      *out = tensor;
    else
      bam_tensor_release(tensor);
  }
  return status;
}

bam_status bam_tensor_from(bam_context *context, bam_dtype dtype, const bam_shape *shape,
                           const void *data, bam_tensor **out) {
  bam_tensor *tensor = NULL;
  BAM_TRY(bam_tensor_new(context, &context->cpu, dtype, shape, &tensor));
  size_t bytes = (size_t)(bam_tensor_count(tensor) * bam_dtype_size(dtype));
  if (bytes > 0)
    memcpy(tensor->storage->data, data, bytes);
  *out = tensor;
  return BAM_OK;
}

bam_status bam_tensor_over(bam_context *context, bam_storage *storage, bam_dtype dtype,
                           const bam_shape *shape, bam_tensor **out) {
  BAM_TRY(wrap(context, storage, dtype, shape, out));
  bam_storage_retain(storage);
  bam_shape_strides(shape, (*out)->stride);
  bam_assert(lies_in_storage(*out));
  return BAM_OK;
}

bam_status bam_tensor_view(bam_tensor *of, const bam_shape *shape, const int64_t *stride,
                           int64_t offset, bam_tensor **out) {
  BAM_TRY(wrap(of->context, of->storage, of->dtype, shape, out));
  bam_storage_retain(of->storage);
  (*out)->offset = bam_tensor_count(*out) > 0 ? offset : of->offset;
  memcpy((*out)->stride, stride, sizeof(int64_t) * (size_t)shape->ndim);
  bam_assert(lies_in_storage(*out));
  return BAM_OK;
}

bam_status bam_tensor_alias(bam_tensor *of, bam_tensor **out) {
  return bam_tensor_view(of, &of->shape, of->stride, of->offset, out);
}

bam_tensor *bam_tensor_retain(bam_tensor *tensor) {
  bam_assert(tensor->refs > 0);
  tensor->refs++;
  return tensor;
}

void bam_tensor_release(bam_tensor *tensor) {
  while (tensor != NULL && --tensor->refs == 0) { /* a gradient may have a gradient itself */
    bam_context *context = tensor->context;
    struct bam_node *node = tensor->node;
    bam_tensor *grad = tensor->grad;
    bam_storage_release(context, tensor->storage);
    bam_object_free(context, tensor, sizeof *tensor);
    if (node != NULL)
      context->release_node(node);
    tensor = grad;
  }
}

int64_t bam_tensor_count(const bam_tensor *tensor) {
  int64_t count = 1;
  for (int d = 0; d < tensor->shape.ndim; d++)
    count *= tensor->shape.size[d];
  return count;
}

bool bam_tensor_is_contiguous(const bam_tensor *tensor) {
  int64_t step = 1;
  for (int d = 0; d < tensor->shape.ndim; d++)
    if (tensor->shape.size[d] == 0) /* without elements the strides do not matter */
      return true;
  for (int d = tensor->shape.ndim - 1; d >= 0; d--) {
    int64_t size = tensor->shape.size[d];
    if (size != 1 && tensor->stride[d] != step)
      return false;
    step *= size;
  }
  return true;
}

bam_device *bam_tensor_device(const bam_tensor *tensor) { return tensor->storage->device; }

void *bam_tensor_data(const bam_tensor *tensor) {
  if (tensor->context->capture != NULL)
    bam_capture_use(tensor->context->capture, tensor->storage);
  return (char *)tensor->storage->data + tensor->offset * bam_dtype_size(tensor->dtype);
}

/* A contiguous copy in `dtype`; owned. */
static bam_status converted_copy(bam_tensor *tensor, bam_dtype dtype, bam_tensor **out) {
  bam_tensor *copy = NULL;
  bam_status status = bam_tensor_new(tensor->context, bam_tensor_device(tensor), dtype,
                                     &tensor->shape, &copy);
  if (status == BAM_OK)
    status = bam_tensor_copy(copy, tensor);
  if (status == BAM_OK)
    *out = copy;
  else
    bam_tensor_release(copy);
  return status;
}

bam_status bam_tensor_contiguous(bam_tensor *tensor, bam_tensor **out) {
  if (!bam_tensor_is_contiguous(tensor))
    return converted_copy(tensor, tensor->dtype, out);
  *out = bam_tensor_retain(tensor);
  return BAM_OK;
}

bam_status bam_tensor_convert(bam_tensor *tensor, bam_dtype dtype, bam_tensor **out) {
  return tensor->dtype == dtype ? bam_tensor_contiguous(tensor, out)
                                : converted_copy(tensor, dtype, out);
}

/* ---- numbers ---- */

bam_status bam_number_check(bam_context *context, const char *what, bam_dtype dtype,
                            bool is_integer, int64_t integer, double real) {
  int64_t low, high;
  if (!bam_dtype_range(dtype, &low, &high))
    return BAM_OK;
  if (is_integer ? integer >= low && integer <= high
                 : real >= (double)low && real < (double)high + 1 && real == trunc(real))
    return BAM_OK;
  char number[32];
  if (is_integer)
    snprintf(number, sizeof number, "%" PRId64, integer);
  else
    snprintf(number, sizeof number, isnan(real) ? "NaN" : "%.14g", real);
  if (!is_integer && isfinite(real) && real != trunc(real))
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "%s: %s does not fit %s, which holds whole numbers; round it, or use a float",
                    what, number, bam_dtype_name(dtype));
  return bam_fail(context, BAM_ERROR_ARGUMENT,
                  "%s: %s does not fit %s (%" PRId64 " to %" PRId64 "); use a wider dtype", what,
                  number, bam_dtype_name(dtype), low, high);
}

bam_status bam_tensor_check_number(const char *what, bam_tensor *number, bam_dtype dtype) {
  int64_t low, high, integer;
  double real;
  if (!bam_dtype_range(dtype, &low, &high) || number->dtype == dtype)
    return BAM_OK;
  BAM_TRY(bam_tensor_get(number, 0, &real, &integer));
  return bam_number_check(number->context, what, dtype, !bam_dtype_is_float(number->dtype), integer,
                          real);
}

/* Whether both are views of the same elements in the same order. */
static bool same_view(const bam_tensor *a, const bam_tensor *b) {
  return a->offset == b->offset && a->dtype == b->dtype && bam_shape_equal(&a->shape, &b->shape) &&
         memcmp(a->stride, b->stride, sizeof(int64_t) * (size_t)a->shape.ndim) == 0;
}

static void copy_elements(bam_tensor *to, bam_tensor *from) {
  bam_device *device = bam_tensor_device(to);
  bam_loop loop;
  bam_loop_init(&loop, (bam_tensor *[]){ to, from }, 2);
  const bam_kernels *kernels = device->kernels[to->dtype];
  if (to->dtype == from->dtype && kernels != NULL)
    kernels->copy(device->stream, &loop, bam_tensor_data(to), bam_tensor_data(from));
  else
    device->convert(device->stream, &loop, bam_tensor_data(to), to->dtype, bam_tensor_data(from),
                    from->dtype);
}

/* ---- between devices ---- */

#define BOUNCE_BYTES (16LL << 20)

/* Copy from one accelerator to another through a buffer in host memory. */
static bam_status bounce(bam_tensor *to, const bam_tensor *from, int64_t bytes) {
  bam_context *context = to->context;
  bam_device *there = bam_tensor_device(to), *here = bam_tensor_device(from);
  bam_storage *buffer;
  int64_t most = bytes < BOUNCE_BYTES ? bytes : BOUNCE_BYTES;
  BAM_TRY(bam_storage_alloc(context, &context->cpu, most, &buffer));
  for (int64_t done = 0; done < bytes; done += most) {
    int64_t step = bytes - done < most ? bytes - done : most;
    here->copy_out(here->stream, buffer->data, (const char *)bam_tensor_data(from) + done, step);
    there->copy_in(there->stream, (char *)bam_tensor_data(to) + done, buffer->data, step);
  }
  bam_storage_release(context, buffer);
  return BAM_OK;
}

/* Copy the bytes of `from` to `to`. Both are contiguous and equal in dtype and shape; the devices
   differ. */
static bam_status transfer(bam_tensor *to, const bam_tensor *from) {
  bam_device *there = bam_tensor_device(to), *here = bam_tensor_device(from);
  int64_t bytes = bam_tensor_count(from) * bam_dtype_size(from->dtype);
  bam_status status = BAM_OK;
  if (here->is_host)
    there->copy_in(there->stream, bam_tensor_data(to), bam_tensor_data(from), bytes);
  else if (there->is_host)
    here->copy_out(here->stream, bam_tensor_data(to), bam_tensor_data(from), bytes);
  else
    status = bounce(to, from, bytes);
  if (status == BAM_OK)
    status = bam_device_check(to->context, here);
  return status == BAM_OK ? bam_device_check(to->context, there) : status;
}

bam_status bam_tensor_to(bam_tensor *tensor, bam_device *device, bam_tensor **out) {
  if (bam_tensor_device(tensor) == device) {
    *out = bam_tensor_retain(tensor);
    return BAM_OK;
  }
  bam_tensor *whole = NULL, *moved = NULL;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(bam_tensor_contiguous(tensor, &whole));
  BAM_TRY_OR_DONE(bam_tensor_new(tensor->context, device, tensor->dtype, &tensor->shape, &moved));
  if (bam_tensor_count(tensor) > 0)
    BAM_TRY_OR_DONE(transfer(moved, whole));
  if (tensor->dtype == BAM_I64 && bam_tensor_device(tensor)->is_host)
    bam_facts_measure(moved, whole);
  moved->is_number = tensor->is_number;
  *out = bam_tensor_retain(moved);
done:
  bam_tensor_release(whole);
  bam_tensor_release(moved);
  return status;
}

/* Copy between devices. Conversion and broadcasting happen on the target's device. */
static bam_status copy_between(bam_tensor *to, bam_tensor *from) {
  bam_tensor *here = NULL;
  bam_status status = BAM_OK;
  if (to->dtype == from->dtype && bam_shape_equal(&to->shape, &from->shape) &&
      bam_tensor_is_contiguous(to)) {
    BAM_TRY_OR_DONE(bam_tensor_contiguous(from, &here));
    BAM_TRY_OR_DONE(transfer(to, here));
  } else {
    BAM_TRY_OR_DONE(bam_tensor_to(from, bam_tensor_device(to), &here));
    copy_elements(to, here);
    BAM_TRY_OR_DONE(bam_device_check(to->context, bam_tensor_device(to)));
  }
  bam_tensor_changed(to);
done:
  bam_tensor_release(here);
  return status;
}

bam_status bam_tensor_copy(bam_tensor *to, bam_tensor *from) {
  if (!bam_shape_expands(&from->shape, &to->shape)) {
    char ta[BAM_SHAPE_TEXT], tb[BAM_SHAPE_TEXT];
    return bam_fail(to->context, BAM_ERROR_ARGUMENT, "copy: shape %s does not broadcast to %s",
                    bam_shape_text(&from->shape, tb), bam_shape_text(&to->shape, ta));
  }
  if (bam_tensor_count(to) == 0)
    return BAM_OK;
  BAM_TRY(from->is_number ? bam_tensor_check_number("copy", from, to->dtype) : BAM_OK);
  if (bam_tensor_device(to) != bam_tensor_device(from))
    return copy_between(to, from);
  bam_tensor *source = bam_tensor_retain(from);
  if (to->storage == from->storage) {
    bam_tensor_release(source);
    if (same_view(to, from))
      return BAM_OK;
    bam_tensor *fresh = NULL; /* the views may overlap: go through a copy */
    BAM_TRY(
      bam_tensor_new(from->context, bam_tensor_device(from), from->dtype, &from->shape, &fresh));
    copy_elements(fresh, from);
    source = fresh;
  }
  copy_elements(to, source);
  bam_tensor_release(source);
  bam_tensor_changed(to);
  return bam_device_check(to->context, bam_tensor_device(to));
}

bam_status bam_tensor_fill(bam_tensor *tensor, double value) {
  bam_device *device = bam_tensor_device(tensor);
  bam_status status = bam_number_check(tensor->context, "fill", tensor->dtype, false, 0, value);
  if (status != BAM_OK || bam_tensor_count(tensor) == 0)
    return status;
  bam_loop loop;
  bam_loop_init(&loop, &tensor, 1);
  const bam_kernels *kernels = device->kernels[tensor->dtype];
  if (kernels != NULL) {
    kernels->fill(device->stream, &loop, bam_tensor_data(tensor), value);
    bam_tensor_changed(tensor);
    return bam_device_check(tensor->context, device);
  }
  bam_tensor *number = NULL; /* a storage-only dtype has no kernels: convert from f64 */
  status = bam_tensor_new(tensor->context, device, BAM_F64, &(bam_shape){ .ndim = 0 }, &number);
  if (status != BAM_OK)
    return status;
  bam_loop_init(&loop, &number, 1);
  device->kernels[BAM_F64]->fill(device->stream, &loop, bam_tensor_data(number), value);
  status = bam_tensor_copy(tensor, number);
  bam_tensor_release(number);
  return status;
}

/* Offset in the storage, in elements, of the index-th element in row-major order. */
static int64_t element_offset(const bam_tensor *tensor, int64_t index) {
  int64_t offset = tensor->offset;
  for (int d = tensor->shape.ndim - 1; d >= 0; d--) {
    offset += index % tensor->shape.size[d] * tensor->stride[d];
    index /= tensor->shape.size[d];
  }
  return offset;
}

static bam_status check_index(const bam_tensor *tensor, int64_t index) {
  int64_t count = bam_tensor_count(tensor);
  if (index >= 0 && index < count)
    return BAM_OK;
  return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                  "element %" PRId64 " is out of range: the tensor has %" PRId64 " elements",
                  index + 1, count);
}

bam_status bam_tensor_get(bam_tensor *tensor, int64_t index, double *value, int64_t *integer) {
  BAM_TRY(check_index(tensor, index));
  int64_t size = bam_dtype_size(tensor->dtype);
  bam_device *device = bam_tensor_device(tensor);
  const char *data = tensor->storage->data;
  char raw[8];
  device->copy_out(device->stream, raw, data + element_offset(tensor, index) * size, size);
  const bam_loop one = { .ndim = 1, .size = { 1 } };
  bam_cpu_convert(NULL, &one, value, BAM_F64, raw, tensor->dtype);
  bam_cpu_convert(NULL, &one, integer, BAM_I64, raw, tensor->dtype);
  return bam_device_check(tensor->context, device);
}

void bam_tensor_changed(bam_tensor *tensor) {
  if (tensor->context->capture != NULL)
    bam_capture_note_change(tensor->context->capture, tensor->storage);
  tensor->storage->version++;
}

bam_status bam_tensor_move(bam_tensor *leaf, bam_tensor *place) {
  char a[BAM_SHAPE_TEXT], b[BAM_SHAPE_TEXT];
  if (leaf->node != NULL)
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT,
                    "move: the tensor is the result of an op; only a leaf can be moved");
  if (leaf->dtype != place->dtype || !bam_shape_equal(&leaf->shape, &place->shape) ||
      !bam_tensor_is_contiguous(place))
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT, "move: %s %s does not fit into %s %s",
                    bam_dtype_name(leaf->dtype), bam_shape_text(&leaf->shape, a),
                    bam_dtype_name(place->dtype), bam_shape_text(&place->shape, b));
  BAM_TRY(bam_capture_change_leaf(leaf, "that a parameter moves"));
  BAM_TRY(bam_tensor_copy(place, leaf));
  bam_storage_retain(place->storage);
  bam_storage_release(leaf->context, leaf->storage);
  leaf->storage = place->storage;
  leaf->offset = place->offset;
  memcpy(leaf->stride, place->stride, sizeof leaf->stride);
  bam_assert(lies_in_storage(leaf));
  return BAM_OK;
}
