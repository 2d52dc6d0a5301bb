/* Picking and adding by position, along one dimension. Positions are tensors of integers that count
   from 1; they are all checked before anything is computed. */
#include "assign.h"
#include "support/axis.h"

static const bam_attr_spec row_attrs[] = { { .name = "dim", .kind = BAM_ATTR_DIM }, { 0 } };
static const bam_attr_spec element_attrs[] = {
  { .name = "dim", .kind = BAM_ATTR_DIM, .required = true }, { 0 }
};

/* Everything the four ops need to know: the layout around the dimension, checked positions,
   kernels. */
typedef struct plan {
  bam_axis along;
  bam_tensor *positions; /* a temporary of the call */
  const bam_kernels *kernels;
  int64_t m; /* size of the side with positions along the dimension */
} plan;

static bam_status make_plan(bam_call *call, bool whole_rows, plan *out) {
  const bam_shape *x = &call->inputs[0]->shape, *positions = &call->inputs[1]->shape;
  out->positions = NULL;
  BAM_TRY(bam_call_kernels(call, call->inputs[0]->dtype, &out->kernels));
  BAM_TRY(bam_axis_init(call->context, call->op->name, x, call->attrs[0].i, &out->along));
  if (x->ndim == 0)
    BAM_TRY(bam_call_fail(call, "`x` has no dimension to take positions from"));
  if (whole_rows && positions->ndim != 1)
    BAM_TRY(bam_call_fail(call, "positions have 1 dimension here, not %d", positions->ndim));
  BAM_TRY(bam_call_positions(call, 1, out->along.n, &out->positions));
  out->m = whole_rows ? positions->size[0] : positions->size[out->along.dim];
  return BAM_OK;
}

/* x's shape with size m along the plan's dimension. */
static bam_shape picked_shape(const bam_shape *x, const plan *p) {
  bam_shape shape = *x;
  shape.size[p->along.dim] = p->m;
  return shape;
}

/* Give input i of `pass` its gradient by picking from `dy` with the saved positions. */
static bam_status give_picked(bam_backward *pass, int i, bool whole_rows) {
  bam_axis along;
  const bam_kernels *kernels;
  bam_tensor *dy = NULL, *dx = NULL, *positions = pass->saved[0];
  const bam_shape *shape = bam_backward_shape(pass, i);
  if (!bam_needs_grad(pass, i))
    return BAM_OK;
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_axis_init(pass->context, pass->op->name, &dy->shape, pass->attrs[0].i, &along));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_temp_new(pass->scope, bam_tensor_device(dy), dy->dtype, shape, &dx));
  (whole_rows ? kernels->index_select : kernels->gather)(
    bam_tensor_device(dy)->stream, bam_tensor_data(dx), bam_tensor_data(dy),
    bam_tensor_data(positions), along.outer, along.n, shape->size[along.dim], along.inner);
  return bam_accumulate_grad(pass, i, dx);
}

/* Give input 0 its gradient by adding `dy` at the saved positions: straight into the gradient's
   memory. */
static bam_status give_added(bam_backward *pass, bool whole_rows) {
  bam_axis along;
  const bam_kernels *kernels;
  bam_tensor *dy = NULL, *target;
  bool accumulate;
  const bam_shape *shape = bam_backward_shape(pass, 0);
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_axis_init(pass->context, pass->op->name, shape, pass->attrs[0].i, &along));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_grad_buffer(pass, 0, &target, &accumulate));
  if (!accumulate)
    BAM_TRY(bam_tensor_fill(target, 0));
  (whole_rows ? kernels->index_add : kernels->scatter_add)(
    bam_tensor_device(dy)->stream, bam_tensor_data(target), bam_tensor_data(dy),
    bam_tensor_data(pass->saved[0]), along.outer, along.n, dy->shape.size[along.dim], along.inner);
  return BAM_OK;
}

/* ---- picking ---- */

static bam_status pick(bam_call *call, bool whole_rows) {
  plan p = { 0 };
  bam_tensor *x = NULL;
  BAM_TRY(make_plan(call, whole_rows, &p));
  bam_shape shape = picked_shape(&call->inputs[0]->shape, &p);
  BAM_TRY(bam_temp_contiguous(call->scope, call->inputs[0], &x));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &shape));
  BAM_TRY(bam_call_save(call, 0, p.positions));
  (whole_rows ? p.kernels->index_select : p.kernels->gather)(
    bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]), bam_tensor_data(x),
    bam_tensor_data(p.positions), p.along.outer, p.along.n, p.m, p.along.inner);
  return BAM_OK;
}

static bam_status index_select_forward(bam_call *call) { return pick(call, true); }
static bam_status index_select_backward(bam_backward *pass) { return give_added(pass, true); }

const bam_op bam_op_index_select = {
  .name = "index_select",
  .help = "The slices of x at `positions` (integers [n] from 1, repeats allowed) along `dim`.",
  .inputs = { "x", "positions" },
  .attrs = row_attrs,
  .forward = index_select_forward,
  .backward = index_select_backward,
};

/* Fail unless input i has x's shape, the dimension of the plan aside. */
static bam_status check_beside(bam_call *call, int i) {
  const bam_shape *x = &call->inputs[0]->shape, *other = &call->inputs[i]->shape;
  char ta[BAM_SHAPE_TEXT], tb[BAM_SHAPE_TEXT];
  bam_axis along;
  BAM_TRY(bam_axis_init(call->context, call->op->name, x, call->attrs[0].i, &along));
  bool fits = x->ndim == other->ndim;
  for (int d = 0; fits && d < x->ndim; d++)
    fits = d == along.dim || x->size[d] == other->size[d];
  if (!fits)
    return bam_call_fail(call, "x %s and %s %s may differ in dimension %d only",
                         bam_shape_text(x, ta), call->op->inputs[i], bam_shape_text(other, tb),
                         along.dim + 1);
  return BAM_OK;
}

static bam_status gather_forward(bam_call *call) {
  BAM_TRY(check_beside(call, 1));
  return pick(call, false);
}

static bam_status gather_backward(bam_backward *pass) { return give_added(pass, false); }

const bam_op bam_op_gather = {
  .name = "gather",
  .help = "Pick elements along `dim` by position (integers from 1): y[i, j] = x[positions[i, j], "
          "j] for dim 1. "
          "`positions` has the shape of x in all other dimensions.",
  .inputs = { "x", "positions" },
  .attrs = element_attrs,
  .forward = gather_forward,
  .backward = gather_backward,
};

/* ---- adding ---- */

static bam_status check_source(bam_call *call, const bam_shape *want) {
  const bam_tensor *x = call->inputs[0], *source = call->inputs[2];
  char ta[BAM_SHAPE_TEXT], tb[BAM_SHAPE_TEXT];
  if (x->dtype != source->dtype)
    return bam_call_fail(call, "x is %s and source %s; write source:to \"%s\"",
                         bam_dtype_name(x->dtype), bam_dtype_name(source->dtype),
                         bam_dtype_name(x->dtype));
  if (!bam_shape_equal(&source->shape, want))
    return bam_call_fail(call, "source has shape %s where positions ask for %s",
                         bam_shape_text(&source->shape, ta), bam_shape_text(want, tb));
  return BAM_OK;
}

/* Output 0 = a copy of x, to which the source is added. */
static bam_status add_at(bam_call *call, bool whole_rows) {
  plan p = { 0 };
  bam_tensor *source = NULL;
  bam_tensor *x = call->inputs[0];
  BAM_TRY(make_plan(call, whole_rows, &p));
  bam_shape shape = picked_shape(&x->shape, &p);
  BAM_TRY(check_source(call, &shape));
  BAM_TRY(bam_temp_contiguous(call->scope, call->inputs[2], &source));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &x->shape));
  BAM_TRY(bam_tensor_copy(call->outputs[0], x));
  BAM_TRY(bam_call_save(call, 0, p.positions));
  (whole_rows ? p.kernels->index_add : p.kernels->scatter_add)(
    bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]), bam_tensor_data(source),
    bam_tensor_data(p.positions), p.along.outer, p.along.n, p.m, p.along.inner);
  return BAM_OK;
}

static bam_status index_add_forward(bam_call *call) { return add_at(call, true); }

static bam_status index_add_backward(bam_backward *pass) {
  BAM_TRY(bam_accumulate_grad(pass, 0, pass->grads[0]));
  return give_picked(pass, 2, true);
}

const bam_op bam_op_index_add = {
  .name = "index_add",
  .help = "x with slices of `source` added at `positions` (integers [n] from 1) along `dim`. "
          "Repeated positions "
          "accumulate, in order.",
  .inputs = { "x", "positions", "source" },
  .attrs = row_attrs,
  .forward = index_add_forward,
  .backward = index_add_backward,
};

static bam_status scatter_add_forward(bam_call *call) {
  BAM_TRY(check_beside(call, 1));
  return add_at(call, false);
}

static bam_status scatter_add_backward(bam_backward *pass) {
  BAM_TRY(bam_accumulate_grad(pass, 0, pass->grads[0]));
  return give_picked(pass, 2, false);
}

const bam_op bam_op_scatter_add = {
  .name = "scatter_add",
  .help = "x with each element of `source` added at its position (integers from 1) along `dim`: "
          "y[positions[i, j], "
          "j] += source[i, j] for dim 1. Repeated positions accumulate, in order.",
  .inputs = { "x", "positions", "source" },
  .attrs = element_attrs,
  .forward = scatter_add_forward,
  .backward = scatter_add_backward,
};
