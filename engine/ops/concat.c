/* Joining tensors along a dimension that is there (concat) or new (stack): each input is copied
   into its part of the output, and receives that part of the gradient. */
#include "ops.h"

static const bam_attr_spec dim_attr[] = { { .name = "dim", .kind = BAM_ATTR_DIM }, { 0 } };

/* The part of `whole` from `first` on with `size` slices along `dim`; without that dimension when
   `drop`. */
static bam_status part_of(bam_scope *scope, bam_tensor *whole, int dim, int64_t first, int64_t size,
                          bool drop, bam_tensor **out) {
  bam_shape shape = { .ndim = 0 };
  int64_t stride[BAM_MAX_DIMS];
  for (int d = 0; d < whole->shape.ndim; d++)
    if (d != dim || !drop) {
      shape.size[shape.ndim] = d == dim ? size : whole->shape.size[d];
      stride[shape.ndim++] = whole->stride[d];
    }
  return bam_temp_view(scope, whole, &shape, stride, whole->offset + first * whole->stride[dim],
                       out);
}

static bam_status copy_in(bam_call *call, int i, int dim, int64_t first, int64_t size, bool drop) {
  bam_tensor *part;
  BAM_TRY(part_of(call->scope, call->outputs[0], dim, first, size, drop, &part));
  BAM_TRY(bam_tensor_copy(part, call->inputs[i]));
  bam_temp_release(call->scope, part);
  return BAM_OK;
}

static bam_status give_part(bam_backward *pass, int i, int dim, int64_t first, int64_t size,
                            bool drop) {
  bam_tensor *part;
  if (!bam_needs_grad(pass, i))
    return BAM_OK;
  BAM_TRY(part_of(pass->scope, pass->grads[0], dim, first, size, drop, &part));
  return bam_accumulate_temp(pass, i, part);
}

/* The dtype that holds all inputs. */
static bam_dtype common_dtype(const bam_call *call) {
  bam_dtype dtype = call->inputs[0]->dtype;
  for (int i = 1; i < call->n_inputs; i++)
    dtype = bam_dtype_promote(dtype, call->inputs[i]->dtype);
  return dtype;
}

static bam_status shapes_differ(bam_call *call, int i, const char *rule) {
  char ta[BAM_SHAPE_TEXT], tb[BAM_SHAPE_TEXT];
  return bam_call_fail(call, "tensor 1 is %s and tensor %d is %s; %s",
                       bam_shape_text(&call->inputs[0]->shape, ta), i + 1,
                       bam_shape_text(&call->inputs[i]->shape, tb), rule);
}

/* ---- concat ---- */

/* The output's shape: the sizes along `dim` add up, the others are equal. */
static bam_status joined_shape(bam_call *call, int dim, bam_shape *out) {
  *out = call->inputs[0]->shape;
  for (int i = 1; i < call->n_inputs; i++) {
    const bam_shape *shape = &call->inputs[i]->shape;
    bool fits = shape->ndim == out->ndim;
    for (int d = 0; fits && d < out->ndim; d++)
      fits = d == dim || shape->size[d] == out->size[d];
    if (!fits)
      return shapes_differ(call, i, "they may differ only in the dimension they are joined along");
    if (__builtin_add_overflow(out->size[dim], shape->size[dim], &out->size[dim]))
      return bam_call_fail(call, "the sizes add up to more than 64 bits");
  }
  return BAM_OK;
}

static bam_status concat_forward(bam_call *call) {
  bam_shape shape;
  int dim;
  BAM_TRY(bam_shape_dim(call->context, call->op->name, call->attrs[0].i,
                        call->inputs[0]->shape.ndim, &dim));
  BAM_TRY(joined_shape(call, dim, &shape));
  BAM_TRY(bam_call_output(call, 0, common_dtype(call), &shape));
  int64_t first = 0;
  for (int i = 0; i < call->n_inputs; i++) {
    int64_t size = call->inputs[i]->shape.size[dim];
    BAM_TRY(copy_in(call, i, dim, first, size, false));
    first += size;
  }
  return BAM_OK;
}

static bam_status concat_backward(bam_backward *pass) {
  int dim;
  BAM_TRY(bam_shape_dim(pass->context, pass->op->name, pass->attrs[0].i, pass->grads[0]->shape.ndim,
                        &dim));
  int64_t first = 0;
  for (int i = 0; i < pass->n_inputs; i++) {
    int64_t size = bam_backward_shape(pass, i)->size[dim];
    BAM_TRY(give_part(pass, i, dim, first, size, false));
    first += size;
  }
  return BAM_OK;
}

const bam_op bam_op_concat = {
  .name = "concat",
  .help = "Concatenate tensors along an existing dimension. Their other sizes must be equal. The "
          "dtype is the "
          "smallest that holds all of them.",
  .inputs = { "...tensors" },
  .attrs = dim_attr,
  .forward = concat_forward,
  .backward = concat_backward,
};

/* ---- stack ---- */

static bam_status stacked_shape(bam_call *call, int dim, bam_shape *out) {
  const bam_shape *one = &call->inputs[0]->shape;
  for (int i = 1; i < call->n_inputs; i++)
    if (!bam_shape_equal(one, &call->inputs[i]->shape))
      return shapes_differ(call, i, "stack takes equal shapes; use concat?");
  if (one->ndim == BAM_MAX_DIMS)
    return bam_call_fail(call, "the tensors have %d dimensions already, the most there are",
                         one->ndim);
  out->ndim = one->ndim + 1;
  for (int d = 0; d < out->ndim; d++)
    out->size[d] = d == dim ? call->n_inputs : one->size[d < dim ? d : d - 1];
  return BAM_OK;
}

static bam_status stack_forward(bam_call *call) {
  bam_shape shape;
  int dim;
  BAM_TRY(bam_shape_dim(call->context, call->op->name, call->attrs[0].i,
                        call->inputs[0]->shape.ndim + 1, &dim));
  BAM_TRY(stacked_shape(call, dim, &shape));
  BAM_TRY(bam_call_output(call, 0, common_dtype(call), &shape));
  for (int i = 0; i < call->n_inputs; i++)
    BAM_TRY(copy_in(call, i, dim, i, 1, true));
  return BAM_OK;
}

static bam_status stack_backward(bam_backward *pass) {
  int dim;
  BAM_TRY(bam_shape_dim(pass->context, pass->op->name, pass->attrs[0].i, pass->grads[0]->shape.ndim,
                        &dim));
  for (int i = 0; i < pass->n_inputs; i++)
    BAM_TRY(give_part(pass, i, dim, i, 1, true));
  return BAM_OK;
}

const bam_op bam_op_stack = {
  .name = "stack",
  .help = "Stack tensors of equal shape along a new dimension `dim`. The dtype is the smallest "
          "that holds all of "
          "them.",
  .inputs = { "...tensors" },
  .attrs = dim_attr,
  .forward = stack_forward,
  .backward = stack_backward,
};
