/* Rotary position embedding in the interleaved layout (Su et al. 2021; BAM Table 8). Backward is
   the rotation the other way. */
#include "rope.h"

#include <inttypes.h>

#include "support/axis.h"
#include "support/layer_inputs.h"

bam_rope bam_rope_of(const bam_attr *base, const bam_attr *scaling) {
  return (bam_rope){ .base = base->f,
                     .factor = scaling[0].f,
                     .low = scaling[1].f,
                     .high = scaling[2].f,
                     .context = scaling[3].f,
                     .yarn = scaling[4].i != 0,
                     .width = scaling[5].i };
}

static bam_status check_scaling(bam_call *call, const bam_rope *r) {
  if (!(r->factor > 0) || !(r->context >= 0))
    return bam_call_fail(call,
                         "rope_factor is %g and rope_context %g; frequencies are divided by a "
                         "factor above 0, within a context of at least 0",
                         r->factor, r->context);
  if (r->context > 0 && !(r->low > 0 && r->low < r->high))
    return bam_call_fail(call,
                         "rope_low is %g and rope_high %g; with a rope_context it takes 0 < "
                         "rope_low < rope_high",
                         r->low, r->high);
  return BAM_OK;
}

bam_status bam_call_check_rope(bam_call *call, int64_t width, const bam_rope *rope) {
  const double base = rope->base;
  if (rope->width < 0 || rope->width > width)
    return bam_call_fail(call,
                         "rope_width is %" PRId64 "; of heads of %" PRId64
                         " it takes a number of elements, 0 for all",
                         rope->width, width);
  if (rope->width > 0)
    width = rope->width;
  if (width % 2 != 0)
    return bam_call_fail(call, "heads of %" PRId64 " cannot be rotated in pairs; K must be even",
                         width);
  if (width > BAM_ROPE_WIDTH)
    return bam_call_fail(call, "heads of %" PRId64 " are too wide; at most %d", width,
                         BAM_ROPE_WIDTH);
  if (!(base > 0))
    return bam_call_fail(call, "a base of %g cannot rotate heads; it must be positive", base);
  if (rope->yarn && !(base > 1 && rope->context > 0))
    return bam_call_fail(call, "rope_yarn takes a base above 1 and a rope_context, not %g and %g",
                         base, rope->context);
  return check_scaling(call, rope);
}

bam_status bam_call_rope_positions(bam_call *call, int i, bam_tensor **positions) {
  const bam_shape *x = &call->inputs[0]->shape;
  char tx[BAM_SHAPE_TEXT], tp[BAM_SHAPE_TEXT];
  if (bam_call_optional(call, i) == NULL)
    return BAM_OK;
  const bam_shape *p = &call->inputs[i]->shape;
  bool fits = p->ndim == 1 ? p->size[0] == x->size[1]
                           : p->ndim == 2 && p->size[0] == x->size[0] && p->size[1] == x->size[1];
  if (!fits)
    return bam_call_fail(call, "positions are %s; for x %s they must be [T] or [B, T]",
                         bam_shape_text(p, tp), bam_shape_text(x, tx));
  if (!bam_dtype_is_integer(call->inputs[i]->dtype))
    return bam_call_fail(call, "positions are integers (i64), not %s",
                         bam_dtype_name(call->inputs[i]->dtype));
  return bam_temp_convert(call->scope, call->inputs[i], BAM_I64, positions);
}

void bam_rope_run(const bam_kernels *kernels, bam_tensor *y, bam_tensor *x, bam_tensor *positions,
                  const bam_rope *given, bool inverse) {
  const int64_t *size = x->shape.size;
  bam_rope rope = *given;
  rope.batch = size[0];
  rope.time = size[1];
  rope.heads = size[2];
  rope.width = given->width > 0 ? given->width : size[3];
  rope.inverse = inverse;
  for (int d = 0; d < 3; d++) {
    rope.x[d] = x->stride[d];
    rope.y[d] = y->stride[d];
  }
  if (positions != NULL && positions->shape.ndim == 2)
    rope.position_batch = rope.time;
  kernels->rope(bam_tensor_device(x)->stream, bam_tensor_data(y), bam_tensor_data(x),
                positions != NULL ? bam_tensor_data(positions) : NULL, &rope);
}

static bam_status check_rope(bam_call *call) {
  const bam_shape *x = &call->inputs[0]->shape;
  char text[BAM_SHAPE_TEXT];
  if (x->ndim != 4)
    return bam_call_fail(call, "x is %s; it must be [B, T, H, K]", bam_shape_text(x, text));
  const bam_rope rope = bam_rope_of(&call->attrs[0], &call->attrs[1]);
  return bam_call_check_rope(call, x->size[3], &rope);
}

/* x itself when the elements of a head lie together, else a contiguous copy. */
static bam_status whole_heads(bam_scope *scope, bam_tensor *x, bam_tensor **out) {
  if (x->stride[3] != 1)
    return bam_temp_contiguous(scope, x, out);
  *out = x;
  return BAM_OK;
}

/* y = x, rotated; what does not rotate is copied. Both are [B, T, H, K]. */
static bam_status rotate(const bam_kernels *kernels, bam_tensor *y, bam_tensor *x,
                         bam_tensor *positions, const bam_attr *attrs, bool inverse) {
  const bam_rope rope = bam_rope_of(&attrs[0], &attrs[1]);
  if (rope.width > 0 && rope.width < x->shape.size[3]) {
    BAM_TRY(bam_tensor_copy(y, x));
    x = y;
  }
  bam_rope_run(kernels, y, x, positions, &rope, inverse);
  return BAM_OK;
}

static bam_status rope_forward(bam_call *call) {
  bam_tensor *x = NULL, *positions = NULL;
  const bam_kernels *kernels;
  BAM_TRY(check_rope(call));
  BAM_TRY(bam_call_need_real(call, 0));
  BAM_TRY(bam_call_kernels(call, call->inputs[0]->dtype, &kernels));
  BAM_TRY(bam_call_rope_positions(call, 1, &positions));
  BAM_TRY(whole_heads(call->scope, call->inputs[0], &x));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &x->shape));
  BAM_TRY(bam_call_save(call, 0, positions));
  return rotate(kernels, call->outputs[0], x, positions, call->attrs, false);
}

static bam_status rope_backward(bam_backward *pass) {
  bam_tensor *dy = NULL, *dx = NULL;
  const bam_kernels *kernels;
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_temp_like(pass->scope, dy, &dx));
  BAM_TRY(rotate(kernels, dx, dy, pass->saved[0], pass->attrs, true));
  return bam_accumulate_grad(pass, 0, dx);
}

const bam_op bam_op_rope = {
  .name = "rope",
  .help = "Rotary position embedding, interleaved (Su et al. 2021): rotate the pairs (2i, 2i + 1) "
          "of each head by "
          "position * base^(-2i / K). `x` is [B, T, H, K], f32, f64, or bf16 on a GPU; `positions` "
          "are integers "
          "[T] or [B, T] "
          "counted from 0; 0 to T - 1 by default. " BAM_ROPE_SCALING_HELP,
  .inputs = { "x", "positions?" },
  .attrs = (const bam_attr_spec[]){ { .name = "base", .kind = BAM_ATTR_FLOAT, .initial = 10000 },
                                    BAM_ROPE_SCALING,
                                    { 0 } },
  .forward = rope_forward,
  .backward = rope_backward,
};
