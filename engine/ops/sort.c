/* Sorting along a dimension: values and the positions (from 1) they came from. Kernels work on
   rows; other dimensions than the last are moved there and back. */
#include <inttypes.h>

#include "support/axis.h"

/* The first k columns of the rows `values` and `positions`, moved back to their dimension, become
   the outputs. */
static bam_status hand_out(bam_call *call, const bam_axis *along, int64_t k, bam_tensor *values,
                           bam_tensor *positions) {
  bam_tensor *rows[2] = { values, positions };
  for (int i = 0; i < 2; i++) {
    bam_tensor *narrowed, *back;
    bam_shape shape = rows[i]->shape;
    if (shape.ndim > 0)
      shape.size[shape.ndim - 1] = k;
    BAM_TRY(
      bam_temp_view(call->scope, rows[i], &shape, rows[i]->stride, rows[i]->offset, &narrowed));
    BAM_TRY(bam_axis_restore(call->scope, narrowed, along->dim, &back));
    BAM_TRY(bam_tensor_contiguous(back, &call->outputs[i]));
  }
  return bam_call_save(call, 0, call->outputs[1]);
}

/* Two tensors like `rows`: of its dtype and of i64, with size k in the last dimension. */
static bam_status make_pair(bam_scope *scope, bam_tensor *rows, int64_t k, bam_tensor **values,
                            bam_tensor **positions) {
  bam_shape shape = rows->shape;
  bam_device *device = bam_tensor_device(rows);
  if (shape.ndim > 0)
    shape.size[shape.ndim - 1] = k;
  BAM_TRY(bam_temp_new(scope, device, rows->dtype, &shape, values));
  return bam_temp_new(scope, device, BAM_I64, &shape, positions);
}

/* Sort along `along` and hand out the first k. */
static bam_status sort_rows(bam_call *call, const bam_axis *along, int64_t k, bool descending) {
  const bam_kernels *kernels;
  bam_device *device = bam_call_device(call);
  bam_tensor *x = NULL, *values = NULL, *positions = NULL, *spare = NULL, *spare_positions = NULL;
  bam_dtype dtype = call->inputs[0]->dtype;
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  BAM_TRY(bam_axis_rows(call->scope, call->inputs[0], along->dim, &x));
  BAM_TRY(make_pair(call->scope, x, along->n, &values, &positions));
  BAM_TRY(make_pair(call->scope, x, along->n, &spare, &spare_positions));
  if (along->n > 0)
    kernels->sort(device->stream, &(bam_sort){ .y = bam_tensor_data(values),
                                               .positions = bam_tensor_data(positions),
                                               .spare = bam_tensor_data(spare),
                                               .spare_positions = bam_tensor_data(spare_positions),
                                               .x = bam_tensor_data(x),
                                               .rows = along->outer * along->inner,
                                               .n = along->n,
                                               .descending = descending });
  return hand_out(call, along, k, values, positions);
}

/* The gradient of each value goes where the value came from. */
static bam_status sort_backward(bam_backward *pass, int64_t dim) {
  bam_axis along;
  const bam_kernels *kernels;
  bam_tensor *dy = NULL, *dx = NULL;
  const bam_shape *shape = bam_backward_shape(pass, 0);
  BAM_TRY(bam_axis_init(pass->context, pass->op->name, shape, dim, &along));
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_temp_zeros(pass->scope, bam_tensor_device(dy), dy->dtype, shape, &dx));
  int64_t k = shape->ndim > 0 ? dy->shape.size[along.dim] : 1;
  kernels->scatter_add(bam_tensor_device(dy)->stream, bam_tensor_data(dx), bam_tensor_data(dy),
                       bam_tensor_data(pass->saved[0]), along.outer, along.n, k, along.inner);
  return bam_accumulate_grad(pass, 0, dx);
}

/* ---- sort ---- */

static bam_status sort_all_forward(bam_call *call) {
  bam_axis along;
  BAM_TRY(bam_axis_init(call->context, call->op->name, &call->inputs[0]->shape, call->attrs[0].i,
                        &along));
  return sort_rows(call, &along, along.n, call->attrs[1].i);
}

static bam_status sort_all_backward(bam_backward *pass) {
  return sort_backward(pass, pass->attrs[0].i);
}

const bam_op bam_op_sort = {
  .name = "sort",
  .help = "Sort x along `dim`. Returns the sorted tensor and the positions, from 1, of its "
          "elements in x. The sort "
          "is stable; NaN counts as largest.",
  .inputs = { "x" },
  .attrs = (const bam_attr_spec[]){ { .name = "dim", .kind = BAM_ATTR_DIM, .initial = -1 },
                                    { .name = "descending", .kind = BAM_ATTR_BOOL },
                                    { 0 } },
  .outputs = 2,
  .forward = sort_all_forward,
  .backward = sort_all_backward,
};

/* ---- topk ---- */

#define FEW 64 /* up to so many are kept by insertion; for more the whole row is sorted */

static bam_status keep_few(bam_call *call, const bam_axis *along, int64_t k, bool largest) {
  const bam_kernels *kernels;
  bam_tensor *x = NULL, *values = NULL, *positions = NULL;
  bam_dtype dtype = call->inputs[0]->dtype;
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  BAM_TRY(bam_axis_rows(call->scope, call->inputs[0], along->dim, &x));
  BAM_TRY(make_pair(call->scope, x, k, &values, &positions));
  kernels->topk(bam_call_device(call)->stream, bam_tensor_data(values), bam_tensor_data(positions),
                bam_tensor_data(x), along->outer * along->inner, along->n, k, largest);
  return hand_out(call, along, k, values, positions);
}

static bam_status topk_forward(bam_call *call) {
  bam_axis along;
  int64_t k = call->attrs[0].i;
  bool largest = call->attrs[2].i;
  BAM_TRY(bam_axis_init(call->context, call->op->name, &call->inputs[0]->shape, call->attrs[1].i,
                        &along));
  if (k < 0 || k > along.n)
    return bam_call_fail(call, "k is %" PRId64 ", but dimension %d has %" PRId64 " elements", k,
                         along.dim + 1, along.n);
  if (call->inputs[0]->shape.ndim == 0 && k == 0)
    return bam_call_fail(call, "k is 1 for a tensor of 0 dimensions");
  return k > 0 && k <= FEW ? keep_few(call, &along, k, largest)
                           : sort_rows(call, &along, k, largest);
}

static bam_status topk_backward(bam_backward *pass) {
  return sort_backward(pass, pass->attrs[1].i);
}

const bam_op bam_op_topk = {
  .name = "topk",
  .help = "The `k` largest elements along `dim` (with largest = false, the smallest), most extreme "
          "first, and their "
          "positions from 1. Of equal elements the first are taken; NaN counts as largest.",
  .inputs = { "x" },
  .attrs = (const bam_attr_spec[]){ { .name = "k", .kind = BAM_ATTR_INT, .required = true },
                                    { .name = "dim", .kind = BAM_ATTR_DIM, .initial = -1 },
                                    { .name = "largest", .kind = BAM_ATTR_BOOL, .initial = 1 },
                                    { 0 } },
  .outputs = 2,
  .forward = topk_forward,
  .backward = topk_backward,
};
