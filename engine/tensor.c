/* Tensors: making, viewing, copying. */
#include "tensor.h"

#include <inttypes.h>
#include <string.h>

#include "autograd.h"

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
  bam_status status = bam_tensor_new(context, &context->cpu, dtype, shape, &tensor);
  if (status != BAM_OK)
    return status;
  size_t bytes = (size_t)(bam_tensor_count(tensor) * bam_dtype_size(dtype));
  if (bytes > 0)
    memcpy(tensor->storage->data, data, bytes);
  *out = tensor;
  return BAM_OK;
}

bam_status bam_tensor_over(bam_context *context, bam_storage *storage, bam_dtype dtype,
                           const bam_shape *shape, bam_tensor **out) {
  bam_status status = wrap(context, storage, dtype, shape, out);
  if (status != BAM_OK)
    return status;
  bam_storage_retain(storage);
  bam_shape_strides(shape, (*out)->stride);
  return BAM_OK;
}

bam_status bam_tensor_view(bam_tensor *of, const bam_shape *shape, const int64_t *stride,
                           int64_t offset, bam_tensor **out) {
  bam_status status = wrap(of->context, of->storage, of->dtype, shape, out);
  if (status != BAM_OK)
    return status;
  bam_storage_retain(of->storage);
  (*out)->offset = offset;
  memcpy((*out)->stride, stride, sizeof(int64_t) * (size_t)shape->ndim);
  return BAM_OK;
}

bam_status bam_tensor_alias(bam_tensor *of, bam_tensor **out) {
  return bam_tensor_view(of, &of->shape, of->stride, of->offset, out);
}

bam_tensor *bam_tensor_retain(bam_tensor *tensor) {
  tensor->refs++;
  return tensor;
}

void bam_tensor_release(bam_tensor *tensor) {
  while (tensor != NULL && --tensor->refs == 0) { /* a gradient may have one itself */
    bam_context *context = tensor->context;
    bam_node *node = tensor->node;
    bam_tensor *grad = tensor->grad;
    bam_storage_release(context, tensor->storage);
    bam_object_free(context, tensor, sizeof *tensor);
    bam_node_release(node);
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
  for (int d = tensor->shape.ndim - 1; d >= 0; d--) {
    int64_t size = tensor->shape.size[d];
    if (size == 0)
      return true;
    if (size != 1 && tensor->stride[d] != step)
      return false;
    step *= size;
  }
  return true;
}

bam_device *bam_tensor_device(const bam_tensor *tensor) { return tensor->storage->device; }

void *bam_tensor_data(const bam_tensor *tensor) {
  return (char *)tensor->storage->data + tensor->offset * bam_dtype_size(tensor->dtype);
}

bam_status bam_tensor_contiguous(bam_tensor *tensor, bam_tensor **out) {
  if (!bam_tensor_is_contiguous(tensor)) {
    bam_tensor *copy = NULL;
    bam_status status = bam_tensor_new(tensor->context, bam_tensor_device(tensor), tensor->dtype,
                                       &tensor->shape, &copy);
    if (status == BAM_OK)
      status = bam_tensor_copy(copy, tensor);
    if (status == BAM_OK)
      *out = copy;
    else
      bam_tensor_release(copy);
    return status;
  }
  *out = bam_tensor_retain(tensor);
  return BAM_OK;
}

bam_status bam_tensor_convert(bam_tensor *tensor, bam_dtype dtype, bam_tensor **out) {
  if (tensor->dtype == dtype)
    return bam_tensor_contiguous(tensor, out);
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

/* Do both show the same elements in the same order? */
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

bam_status bam_tensor_copy(bam_tensor *to, bam_tensor *from) {
  if (!bam_shape_expands(&from->shape, &to->shape)) {
    char ta[BAM_SHAPE_TEXT], tb[BAM_SHAPE_TEXT];
    return bam_fail(to->context, BAM_ERROR_ARGUMENT,
                    "copy: a value of shape %s does not fit into %s",
                    bam_shape_text(&from->shape, tb), bam_shape_text(&to->shape, ta));
  }
  if (bam_tensor_device(to) != bam_tensor_device(from))
    return bam_fail(to->context, BAM_ERROR_ARGUMENT, "copy: tensors on %s and %s",
                    bam_tensor_device(to)->name, bam_tensor_device(from)->name);
  if (bam_tensor_count(to) == 0)
    return BAM_OK;
  bam_tensor *source = bam_tensor_retain(from);
  if (to->storage == from->storage) {
    bam_tensor_release(source);
    if (same_view(to, from))
      return BAM_OK;
    bam_tensor *fresh = NULL; /* the views may overlap: go through a copy */
    bam_status status = bam_tensor_new(from->context, bam_tensor_device(from), from->dtype,
                                       &from->shape, &fresh);
    if (status != BAM_OK)
      return status;
    copy_elements(fresh, from);
    source = fresh;
  }
  copy_elements(to, source);
  bam_tensor_release(source);
  bam_tensor_changed(to);
  return BAM_OK;
}

bam_status bam_tensor_fill(bam_tensor *tensor, double value) {
  bam_device *device = bam_tensor_device(tensor);
  if (bam_tensor_count(tensor) == 0)
    return BAM_OK;
  bam_loop loop;
  bam_loop_init(&loop, &tensor, 1);
  const bam_kernels *kernels = device->kernels[tensor->dtype];
  if (kernels != NULL) {
    kernels->fill(device->stream, &loop, bam_tensor_data(tensor), value);
    bam_tensor_changed(tensor);
    return BAM_OK;
  }
  bam_tensor *number = NULL; /* a dtype that only stores: convert from f64 */
  bam_status status =
    bam_tensor_new(tensor->context, device, BAM_F64, &(bam_shape){ .ndim = 0 }, &number);
  if (status != BAM_OK)
    return status;
  bam_loop_init(&loop, &number, 1);
  device->kernels[BAM_F64]->fill(device->stream, &loop, bam_tensor_data(number), value);
  status = bam_tensor_copy(tensor, number);
  bam_tensor_release(number);
  return status;
}

/* Element offset of the index-th element in row-major order. */
static int64_t element_offset(const bam_tensor *tensor, int64_t index) {
  int64_t offset = tensor->offset;
  for (int d = tensor->shape.ndim - 1; d >= 0; d--) {
    offset += index % tensor->shape.size[d] * tensor->stride[d];
    index /= tensor->shape.size[d];
  }
  return offset;
}

bam_status bam_tensor_get(bam_tensor *tensor, int64_t index, double *value, int64_t *integer) {
  int64_t count = bam_tensor_count(tensor), size = bam_dtype_size(tensor->dtype);
  if (index < 0 || index >= count)
    return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                    "element %" PRId64 " of a tensor with %" PRId64 " elements", index + 1, count);
  bam_device *device = bam_tensor_device(tensor);
  const char *data = tensor->storage->data;
  char raw[8];
  device->copy_out(device->stream, raw, data + element_offset(tensor, index) * size, size);
  const bam_loop one = { .ndim = 1, .size = { 1 } };
  bam_cpu_convert(NULL, &one, value, BAM_F64, raw, tensor->dtype);
  bam_cpu_convert(NULL, &one, integer, BAM_I64, raw, tensor->dtype);
  return BAM_OK;
}

void bam_tensor_changed(bam_tensor *tensor) { tensor->storage->version++; }

bam_status bam_tensor_move(bam_tensor *leaf, bam_tensor *place) {
  char a[BAM_SHAPE_TEXT], b[BAM_SHAPE_TEXT];
  if (leaf->node != NULL)
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT, "move: the result of an op cannot be moved");
  if (leaf->dtype != place->dtype || !bam_shape_equal(&leaf->shape, &place->shape) ||
      !bam_tensor_is_contiguous(place))
    return bam_fail(leaf->context, BAM_ERROR_ARGUMENT, "move: %s %s does not fit into %s %s",
                    bam_dtype_name(leaf->dtype), bam_shape_text(&leaf->shape, a),
                    bam_dtype_name(place->dtype), bam_shape_text(&place->shape, b));
  bam_status status = bam_tensor_copy(place, leaf);
  if (status != BAM_OK)
    return status;
  bam_storage_retain(place->storage);
  bam_storage_release(leaf->context, leaf->storage);
  leaf->storage = place->storage;
  leaf->offset = place->offset;
  memcpy(leaf->stride, place->stride, sizeof leaf->stride);
  return BAM_OK;
}
