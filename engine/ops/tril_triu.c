/* The lower or upper triangle of matrices. */
#include "support/axis.h"

/* y = a triangle of x. */
static void cut(const bam_kernels *kernels, bam_tensor *y, bam_tensor *x, int64_t diagonal,
                bool upper) {
  int last = x->shape.ndim - 1;
  int64_t rows = x->shape.size[last - 1], columns = x->shape.size[last];
  if (bam_tensor_count(x) > 0)
    kernels->triangle(bam_tensor_device(x)->stream, bam_tensor_data(y), bam_tensor_data(x),
                      bam_tensor_count(x) / (rows * columns), rows, columns, diagonal, upper);
}

/* Diagonals beyond the matrix mean all or nothing; kept small so that sums with sizes cannot
   overflow. */
static int64_t bounded(int64_t diagonal) {
  const int64_t limit = INT64_MAX / 4;
  return diagonal > limit ? limit : diagonal < -limit ? -limit : diagonal;
}

static bam_status triangle_forward(bam_call *call, bool upper) {
  const bam_kernels *kernels;
  bam_tensor *x = NULL;
  bam_dtype dtype = call->inputs[0]->dtype;
  if (call->inputs[0]->shape.ndim < 2)
    return bam_call_fail(call, "needs at least 2 dimensions, not %d", call->inputs[0]->shape.ndim);
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  BAM_TRY(bam_temp_contiguous(call->scope, call->inputs[0], &x));
  BAM_TRY(bam_call_output(call, 0, dtype, &x->shape));
  cut(kernels, call->outputs[0], x, bounded(call->attrs[0].i), upper);
  return BAM_OK;
}

static bam_status triangle_backward(bam_backward *pass, bool upper) {
  const bam_kernels *kernels;
  bam_tensor *dy = NULL, *dx = NULL;
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_temp_like(pass->scope, dy, &dx));
  cut(kernels, dx, dy, bounded(pass->attrs[0].i), upper);
  return bam_accumulate_grad(pass, 0, dx);
}

static const bam_attr_spec attrs[] = { { .name = "diagonal", .kind = BAM_ATTR_INT }, { 0 } };

static bam_status tril_forward(bam_call *call) { return triangle_forward(call, false); }
static bam_status tril_backward(bam_backward *pass) { return triangle_backward(pass, false); }

const bam_op bam_op_tril = {
  .name = "tril",
  .help = "x with zeros above a diagonal of its last two dimensions: `diagonal` 0 is the main one, "
          "1 the one above "
          "it, -1 the one below.",
  .inputs = { "x" },
  .attrs = attrs,
  .forward = tril_forward,
  .backward = tril_backward,
};

static bam_status triu_forward(bam_call *call) { return triangle_forward(call, true); }
static bam_status triu_backward(bam_backward *pass) { return triangle_backward(pass, true); }

const bam_op bam_op_triu = {
  .name = "triu",
  .help = "x with zeros below a diagonal of its last two dimensions: `diagonal` 0 is the main one, "
          "1 the one above "
          "it, -1 the one below.",
  .inputs = { "x" },
  .attrs = attrs,
  .forward = triu_forward,
  .backward = triu_backward,
};
