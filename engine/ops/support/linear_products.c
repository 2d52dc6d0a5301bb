#include "linear_products.h"

#include "../../../kernels/fp8.h"

bam_status bam_call_check_fp8(bam_call *call, const bam_attr *fp8) {
  const bam_device *device = bam_call_device(call);
  if (fp8->i == 0)
    return BAM_OK;
  if (device->fp8 == NULL)
    return bam_call_fail(call,
                         "%s does not multiply in fp8; it takes a GPU of compute capability 8.9 or "
                         "newer, or leave `fp8` out",
                         device->name);
  if (call->inputs[0]->dtype != BAM_BF16)
    return bam_call_fail(call, "with `fp8` inputs are bf16, not %s; convert them: x:to \"bf16\"",
                         bam_dtype_name(call->inputs[0]->dtype));
  return BAM_OK;
}

bam_status bam_call_fp8_scales(bam_call *call, const bam_attr *fp8, int slot, int layers,
                               bam_tensor **scales) {
  *scales = NULL;
  if (fp8->i == 0)
    return BAM_OK;
  BAM_TRY(bam_temp_scratch(call->scope, bam_call_device(call), BAM_F32, BAM_LINEAR_SCALES * layers,
                           scales));
  return bam_call_save(call, slot, *scales);
}

void bam_linear_use_fp8(bam_linear *l, bam_tensor *scales, int i) {
  const int64_t sizes[] = { l->rows, l->in, l->out };
  l->inverse = NULL;
  if (scales == NULL)
    return;
  for (int s = 0; s < 3; s++)
    if (sizes[s] == 0 || sizes[s] % BAM_FP8_MULTIPLE != 0)
      return;
  l->inverse = (float *)bam_tensor_data(scales) + BAM_LINEAR_SCALES * i;
}

/* ---- codes ---- */

/* Encode q->x; its scale is found first if `measure`. `y` and `transposed` may be NULL. */
static bam_status encode(bam_scope *scope, bam_device *device, bam_fp8_quantize q, bool measure,
                         bam_tensor **y, bam_tensor **transposed) {
  bam_tensor *parts = NULL;
  const int64_t count = q.rows * q.columns;
  if (y != NULL) {
    BAM_TRY(bam_temp_scratch(scope, device, BAM_U8, count, y));
    q.y = bam_tensor_data(*y);
  }
  if (transposed != NULL) {
    BAM_TRY(bam_temp_scratch(scope, device, BAM_U8, count, transposed));
    q.transposed = bam_tensor_data(*transposed);
  }
  if (measure) {
    BAM_TRY(bam_temp_scratch(scope, device, BAM_I32, BAM_FP8_PARTS, &parts));
    q.parts = bam_tensor_data(parts);
    device->fp8->amax(device->stream, bam_tensor_data(parts), q.x, q.rows, q.columns, q.ld);
  }
  device->fp8->quantize(device->stream, &q);
  if (parts != NULL)
    bam_temp_release(scope, parts);
  return BAM_OK;
}

static bam_fp8_quantize codes_of_x(const bam_linear *l, const bam_tensor *x, int64_t stride) {
  return (bam_fp8_quantize){ .x = bam_tensor_data(x),
                             .rows = l->rows,
                             .columns = l->in,
                             .ld = stride > 0 ? stride : l->in,
                             .inverse = l->inverse,
                             .format = BAM_E4M3 };
}

static bam_fp8_quantize codes_of_weight(const bam_linear *l, const bam_tensor *weight) {
  return (bam_fp8_quantize){ .x = bam_tensor_data(weight),
                             .rows = l->out,
                             .columns = l->in,
                             .ld = l->in,
                             .inverse = l->inverse + 1,
                             .format = BAM_E4M3 };
}

static void multiply(bam_device *device, const bam_fp8_product *p) {
  device->flops += 2.0 * (double)p->m * (double)p->n * (double)p->k;
  device->fp8->product(device->stream, p);
}

/* ---- forward ---- */

static bam_status forward_fp8(bam_scope *scope, const bam_linear *l, bam_tensor *y, bam_tensor *x,
                              bam_tensor *weight) {
  bam_device *device = bam_tensor_device(x);
  bam_tensor *left, *right;
  BAM_TRY(encode(scope, device, codes_of_x(l, x, l->stride), true, &left, NULL));
  BAM_TRY(encode(scope, device, codes_of_weight(l, weight), true, &right, NULL));
  multiply(device, &(bam_fp8_product){ .c = bam_tensor_data(y),
                                       .a = bam_tensor_data(left),
                                       .b = bam_tensor_data(right),
                                       .a_inverse = l->inverse,
                                       .b_inverse = l->inverse + 1,
                                       .m = l->rows,
                                       .n = l->out,
                                       .k = l->in,
                                       .a_format = BAM_E4M3,
                                       .add = l->add,
                                       .base = l->base,
                                       .real_c = y->dtype != x->dtype });
  bam_temp_release(scope, left);
  bam_temp_release(scope, right);
  return BAM_OK;
}

bam_status bam_linear_forward(bam_scope *scope, const bam_linear *l, bam_tensor *y, bam_tensor *x,
                              bam_tensor *weight) {
  if (l->inverse != NULL)
    return forward_fp8(scope, l, y, x, weight);
  bam_product_run(&(bam_product){ .m = l->rows,
                                  .n = l->out,
                                  .k = l->in,
                                  .lda = l->stride,
                                  .transpose_b = true,
                                  .add = l->add,
                                  .base = l->base,
                                  .real_c = y->dtype != x->dtype },
                  bam_tensor_device(x), x->dtype, bam_tensor_data(y), bam_tensor_data(x),
                  bam_tensor_data(weight));
  return BAM_OK;
}

/* ---- backward ---- */

bam_status bam_linear_backward_begin(bam_scope *scope, const bam_linear *l, bam_tensor *dy,
                                     bool for_x, bool for_weight, bam_linear_backward *out) {
  bam_device *device = bam_tensor_device(dy);
  *out = (bam_linear_backward){ .l = *l, .scope = scope, .dy = dy };
  if (l->inverse == NULL || (!for_x && !for_weight))
    return BAM_OK;
  BAM_TRY(bam_temp_scratch(scope, device, BAM_F32, 1, &out->inverse));
  const bam_fp8_quantize q = { .x = bam_tensor_data(dy),
                               .rows = l->rows,
                               .columns = l->out,
                               .ld = l->out,
                               .inverse = bam_tensor_data(out->inverse),
                               .format = BAM_E5M2 };
  return encode(scope, device, q, true, for_x ? &out->codes : NULL,
                for_weight ? &out->transposed : NULL);
}

static bam_status grad_x_fp8(const bam_linear_backward *b, bam_tensor *target, bool add,
                             bam_tensor *weight) {
  const bam_linear *l = &b->l;
  bam_device *device = bam_tensor_device(weight);
  bam_tensor *right;
  BAM_TRY(encode(b->scope, device, codes_of_weight(l, weight), false, NULL, &right));
  multiply(device, &(bam_fp8_product){ .c = bam_tensor_data(target),
                                       .a = bam_tensor_data(b->codes),
                                       .b = bam_tensor_data(right),
                                       .a_inverse = bam_tensor_data(b->inverse),
                                       .b_inverse = l->inverse + 1,
                                       .m = l->rows,
                                       .n = l->in,
                                       .k = l->out,
                                       .a_format = BAM_E5M2,
                                       .add = add,
                                       .real_c = target->dtype != b->dy->dtype });
  bam_temp_release(b->scope, right);
  bam_temp_release(b->scope, b->codes);
  return BAM_OK;
}

bam_status bam_linear_grad_x(const bam_linear_backward *b, bam_tensor *target, bool add,
                             bam_tensor *weight) {
  const bam_linear *l = &b->l;
  if (l->inverse != NULL)
    return grad_x_fp8(b, target, add, weight);
  bam_product_run(&(bam_product){ .m = l->rows,
                                  .n = l->in,
                                  .k = l->out,
                                  .add = add,
                                  .real_c = target->dtype != b->dy->dtype },
                  bam_tensor_device(weight), b->dy->dtype, bam_tensor_data(target),
                  bam_tensor_data(b->dy), bam_tensor_data(weight));
  return BAM_OK;
}

static bam_status grad_weight_fp8(const bam_linear_backward *b, bam_tensor *target, bool add,
                                  bam_tensor *x) {
  const bam_linear *l = &b->l;
  bam_device *device = bam_tensor_device(x);
  bam_tensor *right;
  BAM_TRY(encode(b->scope, device, codes_of_x(l, x, 0), false, NULL, &right));
  multiply(device, &(bam_fp8_product){ .c = bam_tensor_data(target),
                                       .a = bam_tensor_data(b->transposed),
                                       .b = bam_tensor_data(right),
                                       .a_inverse = bam_tensor_data(b->inverse),
                                       .b_inverse = l->inverse,
                                       .m = l->out,
                                       .n = l->in,
                                       .k = l->rows,
                                       .a_format = BAM_E5M2,
                                       .add = add,
                                       .real_c = target->dtype != b->dy->dtype });
  bam_temp_release(b->scope, right);
  bam_temp_release(b->scope, b->transposed);
  return BAM_OK;
}

bam_status bam_linear_grad_weight(const bam_linear_backward *b, bam_tensor *target, bool add,
                                  bam_tensor *x) {
  const bam_linear *l = &b->l;
  if (l->inverse != NULL)
    return grad_weight_fp8(b, target, add, x);
  bam_product_run(&(bam_product){ .m = l->out,
                                  .n = l->in,
                                  .k = l->rows,
                                  .transpose_a = true,
                                  .add = add,
                                  .real_c = target->dtype != b->dy->dtype },
                  bam_tensor_device(x), b->dy->dtype, bam_tensor_data(target),
                  bam_tensor_data(b->dy), bam_tensor_data(x));
  return BAM_OK;
}
