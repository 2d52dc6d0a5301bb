/* Handing gradients to the inputs of an op, whatever broadcasting, dtype and device they had. */
#include "../../autograd/gradients.h"
#include "../ops.h"
#include "axis.h"

/* The sum of `grad` over `dims`, as in sum; of bf16 in f32, not rounded. *out is owned. */
static bam_status sum_over(bam_backward *pass, bam_tensor *grad, const bam_attr *dims,
                           bam_tensor **out) {
  const bam_attr attrs[2] = { *dims, { .given = true, .i = true } };
  const bam_dtype real = bam_dtype_arithmetic(grad->dtype);
  const bam_kernels *kernels = bam_tensor_device(grad)->kernels[grad->dtype];
  bam_reduction plan;
  bam_tensor *x;
  if (real == grad->dtype || kernels == NULL)
    return bam_apply1(&bam_op_sum, grad, attrs, out);
  BAM_TRY(bam_reduction_init(pass->context, "sum", &grad->shape, dims, true, true, &plan));
  BAM_TRY(bam_reduction_arrange(pass->scope, &plan, grad, &x));
  BAM_TRY(bam_tensor_new(pass->context, bam_tensor_device(grad), real, &plan.result, out));
  kernels->sum_real(bam_tensor_device(grad)->stream, bam_tensor_data(*out), bam_tensor_data(x),
                    plan.outer, plan.n, plan.inner);
  return BAM_OK;
}

/* Sum the dimensions of `grad` that broadcasting added or stretched; *out is owned. */
static bam_status unbroadcast(bam_backward *pass, bam_tensor *grad, const bam_shape *shape,
                              bam_tensor **out) {
  bam_attr dims = { .given = true };
  int extra = grad->shape.ndim - shape->ndim;
  for (int d = 0; d < grad->shape.ndim; d++)
    if (d < extra || (shape->size[d - extra] == 1 && grad->shape.size[d] != 1))
      dims.list[dims.count++] = d;
  bam_tensor *sum = NULL;
  BAM_TRY(sum_over(pass, grad, &dims, &sum));
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
    BAM_TRY_OR_DONE(unbroadcast(pass, grad, &edge->shape, &summed));
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
