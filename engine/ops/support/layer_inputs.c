/* Inputs of the fused layers: checked once, then plain pointers and sizes. */
#include "layer_inputs.h"
#include "../../core/devices.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "axis.h"

bam_tensor *bam_call_optional(const bam_call *call, int i) {
  return i < call->n_inputs ? call->inputs[i] : NULL;
}

/* The name of input `i`, without the mark of an optional one. */
static const char *input_name(const bam_call *call, int i, char name[40]) {
  size_t length = strcspn(call->op->inputs[i], "?");
  length = length < 39 ? length : 39;
  memcpy(name, call->op->inputs[i], length);
  name[length] = '\0';
  return name;
}

static bam_status check_dtype(bam_call *call, int i, int like) {
  char a[40], b[40];
  bam_dtype dtype = call->inputs[i]->dtype, want = call->inputs[like]->dtype;
  BAM_TRY(bam_call_need_real(call, like));
  if (dtype == want)
    return BAM_OK;
  input_name(call, i, a);
  return bam_call_fail(call, "`%s` is %s and `%s` is %s; convert one: %s:to \"%s\"",
                       input_name(call, like, b), bam_dtype_name(want), a, bam_dtype_name(dtype), a,
                       bam_dtype_name(want));
}

bam_status bam_call_layer_input(bam_call *call, int i, int like, bam_tensor **out) {
  BAM_TRY(check_dtype(call, i, like));
  return bam_temp_contiguous(call->scope, call->inputs[i], out);
}

bam_status bam_call_real_input(bam_call *call, int i, int like, bam_tensor **out) {
  const bam_dtype real = bam_dtype_arithmetic(call->inputs[like]->dtype);
  if (call->inputs[i]->dtype != real)
    BAM_TRY(check_dtype(call, i, like));
  return bam_temp_convert(call->scope, call->inputs[i], real, out);
}

bam_status bam_call_check_product(bam_call *call, int i) {
  const bam_shape *shape = &call->inputs[i]->shape;
  char name[40], text[BAM_SHAPE_TEXT];
  if (bam_shape_rows(shape) <= INT_MAX && bam_shape_width(shape) <= INT_MAX)
    return BAM_OK;
  return bam_call_fail(call, "`%s` %s has more than %d rows or columns; take it in parts",
                       input_name(call, i, name), bam_shape_text(shape, text), INT_MAX);
}

/* Do the rows of x lie evenly apart and whole? */
static bool find_row_stride(const bam_tensor *x, int64_t *stride) {
  int last = x->shape.ndim - 1;
  int64_t width = x->shape.size[last], run = 1, step = width;
  if (width > 1 && x->stride[last] != 1)
    return false;
  for (int d = last - 1; d >= 0; d--) {
    if (x->shape.size[d] == 1)
      continue;
    if (run == 1)
      step = x->stride[d];
    else if (x->stride[d] != step * run)
      return false;
    run *= x->shape.size[d];
  }
  *stride = step;
  return step >= width && step <= INT_MAX; /* a product counts in 32 bits */
}

bam_status bam_call_rows_input(bam_call *call, int i, int like, int64_t *stride, bam_tensor **out) {
  BAM_TRY(check_dtype(call, i, like));
  if (find_row_stride(call->inputs[i], stride)) {
    *out = call->inputs[i];
    return BAM_OK;
  }
  *stride = bam_shape_width(&call->inputs[i]->shape);
  return bam_temp_contiguous(call->scope, call->inputs[i], out);
}

static bam_status check_ids(bam_call *call, int i, bam_tensor *ids, int64_t limit, int64_t ignore) {
  bam_device *device = bam_tensor_device(ids);
  int64_t bad = -1, id;
  double unused;
  char name[40];
  device->kernels[BAM_F32]->check_ids(device->stream, &bad, bam_tensor_data(ids),
                                      bam_tensor_count(ids), limit, ignore);
  BAM_TRY(bam_device_check(call->context, device));
  if (bad < 0)
    return BAM_OK;
  BAM_TRY(bam_tensor_get(ids, bad, &unused, &id));
  return bam_call_fail(
    call, "token id %" PRId64 " (element %" PRId64 " of `%s`) is outside 0 .. %" PRId64, id,
    bad + 1, input_name(call, i, name), limit - 1);
}

bam_status bam_call_ids(bam_call *call, int i, int64_t limit, int64_t ignore, bam_tensor **out) {
  char name[40];
  if (!bam_dtype_is_integer(call->inputs[i]->dtype))
    return bam_call_fail(call, "token ids are integers (i64), and `%s` is %s",
                         input_name(call, i, name), bam_dtype_name(call->inputs[i]->dtype));
  BAM_TRY(bam_temp_convert(call->scope, call->inputs[i], BAM_I64, out));
  if (bam_facts_within(*out, 0, limit - 1, ignore))
    return BAM_OK;
  return check_ids(call, i, *out, limit, ignore);
}

bam_status bam_call_expect_shape(bam_call *call, int i, const bam_shape *want, const char *why) {
  char name[40], is[BAM_SHAPE_TEXT], should[BAM_SHAPE_TEXT];
  if (bam_shape_equal(&call->inputs[i]->shape, want))
    return BAM_OK;
  return bam_call_fail(call, "`%s` is %s; it must be %s, %s", input_name(call, i, name),
                       bam_shape_text(&call->inputs[i]->shape, is), bam_shape_text(want, should),
                       why);
}

bam_status bam_accumulate_zeros(bam_backward *pass) {
  for (int i = 0; i < pass->n_inputs; i++) {
    bam_tensor *target;
    bool accumulate;
    if (!bam_needs_grad(pass, i))
      continue;
    BAM_TRY(bam_grad_buffer_as(pass, i, bam_grad_dtype(pass, i), &target, &accumulate));
    if (!accumulate)
      BAM_TRY(bam_tensor_fill(target, 0));
  }
  return BAM_OK;
}

int64_t bam_shape_width(const bam_shape *shape) { return shape->size[shape->ndim - 1]; }

int64_t bam_shape_rows(const bam_shape *shape) {
  int64_t rows = 1;
  for (int d = 0; d < shape->ndim - 1; d++)
    rows *= shape->size[d];
  return rows;
}

void bam_product_run(const bam_product *product, bam_device *device, bam_dtype dtype, void *c,
                     const void *a, const void *b) {
  int64_t a_width = product->transpose_a ? product->m : product->k;
  device->flops += 2.0 * (double)product->m * (double)product->n * (double)product->k;
  bam_gemm gemm = { .transpose_a = product->transpose_a,
                    .transpose_b = product->transpose_b,
                    .real_c = product->real_c,
                    .m = product->m,
                    .n = product->n,
                    .k = product->k,
                    .lda = product->lda > 0 ? product->lda : a_width,
                    .ldb = product->transpose_b ? product->k : product->n,
                    .ldc = product->n,
                    .alpha = 1,
                    .beta = product->add ? 1 : 0,
                    .base = product->base,
                    .batch = 1 };
  device->kernels[dtype]->gemm(device->stream, &gemm, c, a, b);
}

void bam_sum_run(bam_tensor *y, bam_tensor *a, bam_tensor *b) {
  bam_device *device = bam_tensor_device(y);
  bam_loop loop;
  if (bam_tensor_count(y) == 0)
    return;
  bam_loop_init(&loop, (bam_tensor *[]){ y, a, b }, 3);
  device->kernels[y->dtype]->add(device->stream, &loop, bam_tensor_data(y), bam_tensor_data(a),
                                 bam_tensor_data(b));
}
