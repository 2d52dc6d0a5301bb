/* Handing gradients to the inputs of an op, whatever broadcasting, dtype and device they had. */
#include "../../autograd/gradients.h"
#include "../ops.h"

/* Sum the dimensions of `grad` that broadcasting added or stretched; *out is owned. */
static bam_status unbroadcast(bam_tensor *grad, const bam_shape *shape, bam_tensor **out) {
  bam_attr attrs[2] = { { .given = true }, { .given = true, .i = true } };
  int extra = grad->shape.ndim - shape->ndim;
  for (int d = 0; d < grad->shape.ndim; d++)
    if (d < extra || (shape->size[d - extra] == 1 && grad->shape.size[d] != 1))
      attrs[0].list[attrs[0].count++] = d;
  bam_tensor *sum = NULL;
  BAM_TRY(bam_apply1(&bam_op_sum, grad, attrs, &sum));
  int64_t stride[BAM_MAX_DIMS];
  bam_shape_strides(shape, stride);
  bam_status status = bam_tensor_view(sum, shape, stride, sum->offset, out);
  bam_tensor_release(sum);
  return status;
}

bam_status bam_accumulate_grad(bam_backward *pass, int i, bam_tensor *grad) {
  if (!bam_needs_grad(pass, i))
    return BAM_OK;
  bam_status status = BAM_OK;
  const bam_edge *edge = &pass->node->edges[i];
  bam_tensor *summed = NULL, *converted = NULL, *moved = NULL;
  if (!bam_shape_equal(&grad->shape, &edge->shape)) {
    char a[BAM_SHAPE_TEXT], b[BAM_SHAPE_TEXT];
    if (!bam_shape_expands(&edge->shape, &grad->shape)) /* only a custom op can be so wrong */
      return bam_backward_fail(pass, "gradient %d has shape %s, and the input %s", i + 1,
                               bam_shape_text(&grad->shape, a), bam_shape_text(&edge->shape, b));
    BAM_TRY_OR_DONE(unbroadcast(grad, &edge->shape, &summed));
    grad = summed;
  }
  if (grad->dtype != bam_grad_dtype(pass, i)) {
    BAM_TRY_OR_DONE(bam_tensor_convert(grad, bam_grad_dtype(pass, i), &converted));
    grad = converted;
  }
  if (bam_tensor_device(grad) != edge->device) {
    BAM_TRY_OR_DONE(bam_tensor_to(grad, edge->device, &moved));
    grad = moved;
  }
  BAM_TRY_OR_DONE(bam_grad_add(bam_grad_slot(pass, i), edge->leaf, grad));
done:
  bam_tensor_release(summed);
  bam_tensor_release(converted);
  bam_tensor_release(moved);
  return status;
}

bam_status bam_accumulate_temp(bam_backward *pass, int i, bam_tensor *temporary) {
  BAM_TRY(bam_accumulate_grad(pass, i, temporary));
  bam_temp_release(pass->scope, temporary);
  return BAM_OK;
}
