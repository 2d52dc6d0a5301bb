/* Rotary position embedding in the interleaved layout (Su et al. 2021; BAM Table 8). Backward is
   the rotation the other way. */
#include "rope.h"

#include <inttypes.h>
#include <string.h>

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

/* ---- tables ---- */

/* Of a rotation of heads of `width`, where a rope->width of 0 stands for all of it. */
static bam_rope resolved(const bam_rope *rope, int64_t width) {
  bam_rope r = *rope;
  r.width = r.width > 0 ? r.width : width;
  return r;
}

/* A hash of the frequencies, not 0. Without a context nothing is interpolated. */
static uint64_t hash_of(const bam_rope *r) {
  const bool scaled = r->context != 0;
  const double numbers[] = {
    (double)r->width,     r->base, r->factor, r->context, scaled ? r->low : 0, scaled ? r->high : 0,
    scaled ? r->yarn : 0, 1
  };
  uint64_t hash = 0;
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    uint64_t bits;
    memcpy(&bits, &numbers[i], sizeof bits);
    hash = (hash ^ bits) * UINT64_C(0x9E3779B97F4A7C15);
    hash ^= hash >> 32;
  }
  return hash | 1;
}

/* Whether `p` is [T] or [B, T] of x, then `more`. */
static bool fits(const bam_shape *p, const bam_shape *x, const bam_shape *more) {
  bam_shape shared = { .ndim = 1, .size = { x->size[1] } };
  bam_shape own = { .ndim = 2, .size = { x->size[0], x->size[1] } };
  for (int d = 0; d < more->ndim; d++) {
    shared.size[shared.ndim++] = more->size[d];
    own.size[own.ndim++] = more->size[d];
  }
  return bam_shape_equal(p, &shared) || bam_shape_equal(p, &own);
}

/* Input `i` is a result of rope_table. */
static bam_status check_table(bam_call *call, int i, uint64_t found, const bam_rope *r) {
  const bam_tensor *table = call->inputs[i];
  const bam_shape *x = &call->inputs[0]->shape, pairs = { .ndim = 2, .size = { r->width / 2, 2 } };
  const bam_dtype real = bam_dtype_arithmetic(call->inputs[0]->dtype);
  char text[BAM_SHAPE_TEXT], tx[BAM_SHAPE_TEXT];
  if (found != hash_of(r))
    return bam_call_fail(call, "positions are a rope_table of other frequencies; make it with the "
                               "same width, base and scaling");
  if (table->dtype != real)
    return bam_call_fail(call, "positions are a rope_table of %s; make it with dtype = \"%s\"",
                         bam_dtype_name(table->dtype), bam_dtype_name(real));
  if (!fits(&table->shape, x, &pairs))
    return bam_call_fail(call,
                         "positions are a rope_table %s; for x %s it must be of [T] or [B, T]",
                         bam_shape_text(&table->shape, text), bam_shape_text(x, tx));
  return BAM_OK;
}

bam_status bam_call_check_positions(bam_call *call, int i) {
  const bam_shape *x = &call->inputs[0]->shape;
  char tx[BAM_SHAPE_TEXT], tp[BAM_SHAPE_TEXT];
  if (bam_call_optional(call, i) == NULL)
    return BAM_OK;
  if (!fits(&call->inputs[i]->shape, x, &(bam_shape){ .ndim = 0 }))
    return bam_call_fail(call, "positions are %s; for x %s they must be [T] or [B, T]",
                         bam_shape_text(&call->inputs[i]->shape, tp), bam_shape_text(x, tx));
  if (!bam_dtype_is_integer(call->inputs[i]->dtype))
    return bam_call_fail(call, "positions are integers (i64) or a result of rope_table, not %s",
                         bam_dtype_name(call->inputs[i]->dtype));
  return BAM_OK;
}

/* Make the table of `positions`, contiguous i64, or NULL: 0 .. time - 1. */
static void fill_table(const bam_kernels *kernels, bam_tensor *table, bam_tensor *positions,
                       const bam_rope *r) {
  kernels->rope_table(bam_tensor_device(table)->stream, bam_tensor_data(table),
                      positions != NULL ? bam_tensor_data(positions) : NULL,
                      r->width > 0 ? bam_tensor_count(table) / r->width : 0, r);
}

bam_status bam_call_rotations(bam_call *call, int i, const bam_kernels *kernels, int64_t width,
                              const bam_rope *rope, bam_tensor **table) {
  const bam_rope r = resolved(rope, width);
  bam_tensor *given = bam_call_optional(call, i), *positions = NULL;
  const bam_dtype real = bam_dtype_arithmetic(call->inputs[0]->dtype);
  bam_shape shape = { .ndim = 1, .size = { call->inputs[0]->shape.size[1] } };
  if (given != NULL && bam_facts_rotation(given) != 0) {
    *table = given;
    return check_table(call, i, bam_facts_rotation(given), &r);
  }
  BAM_TRY(bam_call_check_positions(call, i));
  if (given != NULL) {
    BAM_TRY(bam_temp_convert(call->scope, given, BAM_I64, &positions));
    shape = given->shape;
  }
  shape.size[shape.ndim++] = r.width / 2;
  shape.size[shape.ndim++] = 2;
  BAM_TRY(bam_temp_new(call->scope, bam_call_device(call), real, &shape, table));
  fill_table(kernels, *table, positions, &r);
  return BAM_OK;
}

void bam_rope_run(const bam_kernels *kernels, bam_tensor *y, bam_tensor *x, bam_tensor *table,
                  bool inverse) {
  const int64_t *size = x->shape.size;
  bam_rotation rotation = { .batch = size[0],
                            .time = size[1],
                            .heads = size[2],
                            .width = 2 * table->shape.size[table->shape.ndim - 2],
                            .table_batch = table->shape.ndim == 4 ? size[1] : 0,
                            .inverse = inverse };
  for (int d = 0; d < 3; d++) {
    rotation.x[d] = x->stride[d];
    rotation.y[d] = y->stride[d];
  }
  kernels->rope(bam_tensor_device(x)->stream, bam_tensor_data(y), bam_tensor_data(x),
                bam_tensor_data(table), &rotation);
}

enum { TABLE_WIDTH, TABLE_BASE, TABLE_SCALING, TABLE_DTYPE = TABLE_SCALING + 6 };

static bam_status check_rope_table(bam_call *call, const bam_rope *rope, bam_dtype dtype) {
  const bam_tensor *positions = call->inputs[0];
  const int64_t width = call->attrs[TABLE_WIDTH].i;
  char text[BAM_SHAPE_TEXT];
  if (positions->shape.ndim != 1 && positions->shape.ndim != 2)
    return bam_call_fail(call, "positions are %s; they must be [T] or [B, T]",
                         bam_shape_text(&positions->shape, text));
  if (!bam_dtype_is_integer(positions->dtype))
    return bam_call_fail(call, "positions are integers (i64), not %s",
                         bam_dtype_name(positions->dtype));
  if (width < 2)
    return bam_call_fail(call, "a width of %" PRId64 "; heads have 2 elements or more", width);
  if (dtype != bam_dtype_arithmetic(dtype) || !bam_dtype_is_float(dtype))
    return bam_call_fail(call, "a table of %s; it is f32, also for bf16, or f64",
                         bam_dtype_name(dtype));
  return bam_call_check_rope(call, width, rope);
}

static bam_status rope_table_forward(bam_call *call) {
  const bam_attr *attrs = call->attrs;
  const bam_rope given = bam_rope_of(&attrs[TABLE_BASE], &attrs[TABLE_SCALING]);
  const bam_rope r = resolved(&given, attrs[TABLE_WIDTH].i);
  const bam_dtype dtype = attrs[TABLE_DTYPE].given ? (bam_dtype)attrs[TABLE_DTYPE].i : BAM_F32;
  const bam_kernels *kernels;
  bam_shape shape = call->inputs[0]->shape;
  bam_tensor *positions;
  BAM_TRY(check_rope_table(call, &given, dtype));
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  BAM_TRY(bam_temp_convert(call->scope, call->inputs[0], BAM_I64, &positions));
  shape.size[shape.ndim++] = r.width / 2;
  shape.size[shape.ndim++] = 2;
  BAM_TRY(bam_call_output(call, 0, dtype, &shape));
  fill_table(kernels, call->outputs[0], positions, &r);
  bam_facts_are_rotations(call->outputs[0], hash_of(&r));
  return BAM_OK;
}

const bam_op bam_op_rope_table = {
  .name = "rope_table",
  .help =
    "cos and sin of the angles by which `rope` rotates heads of `width` elements at `positions`, "
    "integers [T] or [B, T]: [T, width / 2, 2] or [B, T, width / 2, 2], f32 or f64. Where `rope` "
    "and `mixture_of_attention` take `positions` they take this too, made with their base and "
    "scaling, and do not compute it again: once per batch is enough for all layers. f32 for x in "
    "f32 or bf16, f64 for x in f64. " BAM_ROPE_SCALING_HELP,
  .inputs = { "positions" },
  .attrs = (const bam_attr_spec[]){ { .name = "width", .kind = BAM_ATTR_INT, .required = true },
                                    { .name = "base", .kind = BAM_ATTR_FLOAT, .initial = 10000 },
                                    BAM_ROPE_SCALING,
                                    { .name = "dtype", .kind = BAM_ATTR_DTYPE },
                                    { 0 } },
  .constant = true,
  .forward = rope_table_forward,
};

/* ---- the rotation ---- */

static bam_status check_rope(bam_call *call, const bam_rope *rope) {
  const bam_shape *x = &call->inputs[0]->shape;
  char text[BAM_SHAPE_TEXT];
  if (x->ndim != 4)
    return bam_call_fail(call, "x is %s; it must be [B, T, H, K]", bam_shape_text(x, text));
  return bam_call_check_rope(call, x->size[3], rope);
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
                         bam_tensor *table, bool inverse) {
  if (2 * table->shape.size[table->shape.ndim - 2] < x->shape.size[3]) {
    BAM_TRY(bam_tensor_copy(y, x));
    x = y;
  }
  bam_rope_run(kernels, y, x, table, inverse);
  return BAM_OK;
}

static bam_status rope_forward(bam_call *call) {
  const bam_rope rope = bam_rope_of(&call->attrs[0], &call->attrs[1]);
  bam_tensor *x = NULL, *table = NULL;
  const bam_kernels *kernels;
  BAM_TRY(check_rope(call, &rope));
  BAM_TRY(bam_call_need_real(call, 0));
  BAM_TRY(bam_call_kernels(call, call->inputs[0]->dtype, &kernels));
  BAM_TRY(bam_call_rotations(call, 1, kernels, call->inputs[0]->shape.size[3], &rope, &table));
  BAM_TRY(whole_heads(call->scope, call->inputs[0], &x));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &x->shape));
  BAM_TRY(bam_call_save(call, 0, table));
  return rotate(kernels, call->outputs[0], x, table, false);
}

static bam_status rope_backward(bam_backward *pass) {
  bam_tensor *dy = NULL, *dx = NULL;
  const bam_kernels *kernels;
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_temp_like(pass->scope, dy, &dx));
  BAM_TRY(rotate(kernels, dx, dy, pass->saved[0], true));
  return bam_accumulate_grad(pass, 0, dx);
}

const bam_op bam_op_rope = {
  .name = "rope",
  .help = "Rotary position embedding, interleaved (Su et al. 2021): rotate the pairs (2i, 2i + 1) "
          "of each head by "
          "position * base^(-2i / K). `x` is [B, T, H, K], f32, f64, or bf16 on a GPU; `positions` "
          "are integers "
          "[T] or [B, T] "
          "counted from 0, or their rope_table; 0 to T - 1 by default. " BAM_ROPE_SCALING_HELP,
  .inputs = { "x", "positions?" },
  .attrs = (const bam_attr_spec[]){ { .name = "base", .kind = BAM_ATTR_FLOAT, .initial = 10000 },
                                    BAM_ROPE_SCALING,
                                    { 0 } },
  .forward = rope_forward,
  .backward = rope_backward,
};
