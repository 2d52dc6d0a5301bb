/* Loops over several tensors at once: operands are broadcast, and adjacent dimensions are merged where
   the strides of all operands allow it. */
#include "tensor.h"

/* Every operand has the output's shape and is contiguous: one flat row. */
static bool is_flat(bam_tensor *const *tensors, int operands) {
  for (int k = 0; k < operands; k++)
    if ((k > 0 && !bam_shape_equal(&tensors[k]->shape, &tensors[0]->shape)) ||
        !bam_tensor_is_contiguous(tensors[k]))
      return false;
  return true;
}

/* Stride of operand `tensor` along dimension d of a broadcast shape with `ndim` dimensions. */
static int64_t broadcast_stride(const bam_tensor *tensor, int d, int ndim) {
  int own = d - (ndim - tensor->shape.ndim);
  return own < 0 || tensor->shape.size[own] == 1 ? 0 : tensor->stride[own];
}

/* Append a dimension to the loop, or merge it into the last one if the strides of all operands allow. */
static void push_dimension(bam_loop *loop, int operands, int64_t size, const int64_t *stride) {
  int last = loop->ndim - 1;
  bool folds = last >= 0;
  for (int k = 0; folds && k < operands; k++)
    folds = loop->stride[k][last] == stride[k] * size;
  int d = folds ? last : loop->ndim++;
  loop->size[d] = folds ? loop->size[d] * size : size;
  for (int k = 0; k < operands; k++)
    loop->stride[k][d] = stride[k];
}

void bam_loop_init(bam_loop *loop, bam_tensor *const *tensors, int operands) {
  const bam_shape *shape = &tensors[0]->shape;
  *loop = (bam_loop){ .ndim = 0 }; /* all of it: the shim takes words of arguments for pointers */
  if (is_flat(tensors, operands)) {
    loop->ndim = 1;
    loop->size[0] = bam_tensor_count(tensors[0]);
    for (int k = 0; k < operands; k++)
      loop->stride[k][0] = 1;
    return;
  }
  for (int d = 0; d < shape->ndim; d++) {
    if (shape->size[d] == 1)
      continue;
    int64_t stride[BAM_MAX_OPERANDS];
    for (int k = 0; k < operands; k++)
      stride[k] = broadcast_stride(tensors[k], d, shape->ndim);
    push_dimension(loop, operands, shape->size[d], stride);
  }
  if (loop->ndim == 0) { /* one element */
    loop->ndim = 1;
    loop->size[0] = 1;
    for (int k = 0; k < operands; k++)
      loop->stride[k][0] = 1;
  }
}
