/* Rotary position embedding in the interleaved layout (Su et al. 2021; BAM Table 8). Backward is
   the rotation the other way. */
#include "rope.h"

#include <inttypes.h>

#include "support/axis.h"
#include "support/layer_inputs.h"

bam_status bam_call_check_rope(bam_call *call, int64_t width, double base) {
  if (width % 2 != 0)
    return bam_call_fail(call, "heads of %" PRId64 " cannot be rotated in pairs; K must be even",
                         width);
  if (width > BAM_ROPE_WIDTH)
    return bam_call_fail(call, "heads of %" PRId64 " are too wide; at most %d", width,
                         BAM_ROPE_WIDTH);
  if (!(base > 0))
    return bam_call_fail(call, "a base of %g cannot rotate heads; it must be positive", base);
  return BAM_OK;
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
                  double base, bool inverse) {
  const int64_t *size = x->shape.size, *from = x->stride, *to = y->stride;
  bam_rope rope = { .batch = size[0],
                    .time = size[1],
                    .heads = size[2],
                    .width = size[3],
                    .x = { from[0], from[1], from[2] },
                    .y = { to[0], to[1], to[2] },
                    .base = base,
                    .inverse = inverse };
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
  return bam_call_check_rope(call, x->size[3], call->attrs[0].f);
}

/* x itself when the elements of a head lie together, else a contiguous copy. */
static bam_status whole_heads(bam_scope *scope, bam_tensor *x, bam_tensor **out) {
  if (x->stride[3] != 1)
    return bam_temp_contiguous(scope, x, out);
  *out = x;
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
  bam_rope_run(kernels, call->outputs[0], x, positions, call->attrs[0].f, false);
  return BAM_OK;
}

static bam_status rope_backward(bam_backward *pass) {
  bam_tensor *dy = NULL, *dx = NULL;
  const bam_kernels *kernels;
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_temp_like(pass->scope, dy, &dx));
  bam_rope_run(kernels, dx, dy, pass->saved[0], pass->attrs[0].f, true);
  return bam_accumulate_grad(pass, 0, dx);
}

const bam_op bam_op_rope = {
  .name = "rope",
  .help = "Rotary position embedding, interleaved (Su et al. 2021): rotate the pairs (2i, 2i + 1) "
          "of each head by "
          "position * base^(-2i / K). `x` is [B, T, H, K], f32 or f64; `positions` are integers "
          "[T] or [B, T] "
          "counted from 0; 0 to T - 1 by default.",
  .inputs = { "x", "positions?" },
  .attrs = (const bam_attr_spec[]){ { .name = "base", .kind = BAM_ATTR_FLOAT, .initial = 10000 },
                                    { 0 } },
  .forward = rope_forward,
  .backward = rope_backward,
};
