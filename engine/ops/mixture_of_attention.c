/* The soft mixture of attention experts (BAM §3.4, §4.1), computed as one attention: the experts
   are heads. One product gives queries, keys and values of all experts, one attention serves all
   heads, the gates are folded into the heads' results, and one product with the stacked output
   projections adds the experts up. A single expert without gates is a plain attention layer.

   Query head (g * N + n) * R + r is head r of those that expert n has at KV head g, so that with
   shared KV this is grouped-query attention in order. Backward keeps the heads' results ungated and
   divides by no gate (kernels/cpu/mixture_of_attention.c). */
#include <inttypes.h>
#include <math.h>

#include "attention.h"
#include "mixture_layout.h"
#include "rope.h"
#include "support/axis.h"
#include "support/linear_products.h"

enum {
  SAVED_X,
  SAVED_QKV_WEIGHT,
  SAVED_OUT_WEIGHT,
  SAVED_GATES,
  SAVED_QKV,
  SAVED_O,
  SAVED_STATS,
  SAVED_FIRST,
  SAVED_ROTATIONS,
  SAVED_OUT_BIAS,
  SAVED_SCALES
};

typedef bam_mixture_layout layout;

/* A bam_attention whose q, k and v (and their gradients) lie in rows of all three. */
static bam_attention describe(const layout *l, const bam_attr *attrs, int threads) {
  const bam_attr *scale = &attrs[ATTR_SCALE];
  bam_attention a = { .batch = l->batch,
                      .time = l->time,
                      .heads = l->heads,
                      .kv_heads = l->kv_heads,
                      .width = l->width,
                      .window = bam_attention_window(&attrs[ATTR_WINDOW], l->time),
                      .threads = threads };
  const int64_t stride[3] = { l->time * l->columns, l->columns, l->width };
  a.scale = scale->given ? scale->f : 1 / sqrt((double)l->width);
  for (int d = 0; d < 3; d++)
    a.q[d] = a.k[d] = a.v[d] = a.dq[d] = a.dk[d] = a.dv[d] = stride[d];
  return a;
}

/* Element `head` * width of the first row: where the queries, keys or values begin. */
static void *head_of(const bam_tensor *qkv, int64_t head, const layout *l) {
  return (char *)bam_tensor_data(qkv) + head * l->width * bam_dtype_size(qkv->dtype);
}

static bam_gated_heads gated_heads(const layout *l) {
  return (bam_gated_heads){ .tokens = l->tokens,
                            .heads = l->heads,
                            .width = l->width,
                            .experts = l->experts,
                            .group = l->group };
}

/* ---- both passes ---- */

/* The products with the stacked projections of queries, keys and values, and with those of the output. */
static bam_linear input_product(const layout *l, bam_tensor *scales) {
  bam_linear product = { .rows = l->tokens, .in = l->in, .out = l->columns };
  bam_linear_use_fp8(&product, scales, 0);
  return product;
}

static bam_linear output_product(const layout *l, bam_tensor *scales) {
  bam_linear product = { .rows = l->tokens, .in = l->heads * l->width, .out = l->out };
  bam_linear_use_fp8(&product, scales, 1);
  return product;
}

/* `qkv` as [tokens, columns]. */
static bam_status as_rows(bam_scope *scope, const layout *l, bam_tensor *qkv, bam_tensor **rows) {
  const bam_shape shape = { .ndim = 2, .size = { l->tokens, l->columns } };
  return bam_temp_view(scope, qkv, &shape, (int64_t[]){ l->columns, 1 }, qkv->offset, rows);
}

/* Rotate all queries and keys of `qkv` [tokens, columns] in place, by a table, or not if it is NULL. */
static bam_status rotate(bam_scope *scope, const layout *l, const bam_kernels *kernels,
                         bam_tensor *qkv, bam_tensor *table, bool inverse) {
  bam_tensor *heads;
  bam_shape shape = { .ndim = 4, .size = { l->batch, l->time, l->heads + l->kv_heads, l->width } };
  const int64_t stride[] = { l->time * l->columns, l->columns, l->width, 1 };
  if (table == NULL)
    return BAM_OK;
  BAM_TRY(bam_temp_view(scope, qkv, &shape, stride, qkv->offset, &heads));
  bam_rope_run(kernels, heads, heads, table, inverse);
  return BAM_OK;
}

/* ---- forward ---- */

/* The inputs, contiguous, and what forward makes; temporaries of the call. */
typedef struct mixture {
  layout l;
  const bam_kernels *kernels;
  bam_tensor *in[INPUTS]; /* NULL: left out, and DOCUMENTS and POSITIONS */
  bam_tensor *qkv, *o, *stats, *first, *rotations, *scales;
} mixture;

/* The table of rotations; NULL if heads do not rotate. */
static bam_status find_rotations(bam_call *call, mixture *m) {
  const bam_rope rope = bam_mixture_rope(call->attrs);
  if (rope.base == 0)
    return bam_call_check_positions(call, POSITIONS);
  return bam_call_rotations(call, POSITIONS, m->kernels, m->l.width, &rope, &m->rotations);
}

static bam_status open_mixture(bam_call *call, mixture *m) {
  bam_device *device = bam_call_device(call);
  bam_dtype dtype = call->inputs[X]->dtype;
  const layout *l = &m->l;
  bam_shape y = call->inputs[X]->shape;
  BAM_TRY(bam_mixture_check(call, &m->l));
  BAM_TRY(bam_call_check_fp8(call, &call->attrs[ATTR_FP8]));
  y.size[2] = l->out;
  for (int i = X; i < INPUTS; i++)
    if (i != DOCUMENTS && i != POSITIONS && bam_call_optional(call, i) != NULL)
      BAM_TRY((i == GATES ? bam_call_real_input : bam_call_layer_input)(call, i, X, &m->in[i]));
  BAM_TRY(bam_call_kernels(call, dtype, &m->kernels));
  BAM_TRY(find_rotations(call, m));
  BAM_TRY(bam_call_document_starts(call, DOCUMENTS, m->kernels, &m->first));
  BAM_TRY(bam_temp_scratch(call->scope, device, dtype, l->tokens * l->columns, &m->qkv));
  BAM_TRY(bam_temp_scratch(call->scope, device, dtype, l->tokens * l->heads * l->width, &m->o));
  BAM_TRY(bam_temp_scratch(call->scope, device, bam_dtype_arithmetic(dtype),
                           2 * l->tokens * l->heads, &m->stats));
  BAM_TRY(bam_call_fp8_scales(call, &call->attrs[ATTR_FP8], SAVED_SCALES, 2, &m->scales));
  return bam_call_output(call, 0, dtype, &y);
}

static bam_status save_mixture(bam_call *call, const mixture *m) {
  bam_tensor *const made[] = { m->qkv, m->o, m->stats, m->first, m->rotations };
  for (int i = X; i <= GATES; i++)
    BAM_TRY(bam_call_save(call, SAVED_X + i, m->in[i]));
  for (int i = 0; i < 5; i++)
    BAM_TRY(bam_call_save(call, SAVED_QKV + i, made[i]));
  return bam_call_save(call, SAVED_OUT_BIAS, m->in[OUT_BIAS]);
}

/* Queries, keys and values, not rotated. */
static bam_status multiply(bam_call *call, const mixture *m) {
  bam_linear product = input_product(&m->l, m->scales);
  if (m->in[QKV_BIAS] != NULL) {
    bam_tensor *rows;
    BAM_TRY(as_rows(call->scope, &m->l, m->qkv, &rows));
    BAM_TRY(bam_tensor_copy(rows, m->in[QKV_BIAS]));
    product.add = true;
  }
  return bam_linear_forward(call->scope, &product, m->qkv, m->in[X], m->in[QKV]);
}

/* Queries, keys and values, and from them o, the heads' results without gates. */
static bam_status attend(bam_call *call, const mixture *m) {
  const layout *l = &m->l;
  bam_device *device = bam_call_device(call);
  bam_dtype dtype = m->qkv->dtype;
  bam_attention a = describe(l, call->attrs, call->context->threads);
  bam_tensor *scratch = NULL;
  int64_t forward, backward;
  m->kernels->attention_scratch(device->stream, &forward, &backward, &a);
  BAM_TRY(bam_temp_scratch(call->scope, device, bam_dtype_arithmetic(dtype), forward, &scratch));
  BAM_TRY(multiply(call, m));
  BAM_TRY(rotate(call->scope, l, m->kernels, m->qkv, m->rotations, false));
  bam_count_attention(device, &a, 2);
  m->kernels->attention(
    device->stream,
    &(bam_attention_tensors){ .o = bam_tensor_data(m->o),
                              .stats = bam_tensor_data(m->stats),
                              .scratch = bam_tensor_data(scratch),
                              .q = head_of(m->qkv, 0, l),
                              .k = head_of(m->qkv, l->heads, l),
                              .v = head_of(m->qkv, l->heads + l->kv_heads, l),
                              .first = m->first != NULL ? bam_tensor_data(m->first) : NULL },
    &a);
  bam_temp_release(call->scope, scratch);
  return BAM_OK;
}

/* y = the biases of the output projections, weighted by the gates. */
static bam_status begin_with_bias(bam_call *call, const mixture *m) {
  const layout *l = &m->l;
  bam_tensor *bias = m->in[OUT_BIAS], *gates = m->in[GATES], *y = call->outputs[0];
  if (gates == NULL)
    return bam_tensor_copy(y, bias);
  BAM_TRY(bam_temp_convert(call->scope, gates, bias->dtype, &gates)); /* operands have one dtype */
  bam_product_run(&(bam_product){ .m = l->tokens, .n = l->out, .k = l->experts },
                  bam_call_device(call), y->dtype, bam_tensor_data(y), bam_tensor_data(gates),
                  bam_tensor_data(bias));
  return BAM_OK;
}

/* What the output product is added to: the residual, or y with the biases and the residual in it. */
static bam_status begin_sum(bam_call *call, const mixture *m, bam_linear *product) {
  bam_tensor *residual = m->in[RESIDUAL], *bias = m->in[OUT_BIAS], *y = call->outputs[0];
  product->add = bias != NULL || residual != NULL;
  if (bias == NULL && residual != NULL)
    product->base = bam_tensor_data(residual);
  if (bias != NULL)
    BAM_TRY(begin_with_bias(call, m));
  if (bias != NULL && residual != NULL)
    bam_sum_run(y, y, residual);
  return BAM_OK;
}

/* y = the gated results times the stacked output projections. */
static bam_status project(bam_call *call, const mixture *m) {
  const layout *l = &m->l;
  bam_device *device = bam_call_device(call);
  bam_gated_heads heads = gated_heads(l);
  bam_linear product = output_product(l, m->scales);
  bam_tensor *gated = NULL, *o = m->o;
  if (m->in[GATES] != NULL) {
    BAM_TRY(
      bam_temp_scratch(call->scope, device, o->dtype, l->tokens * l->heads * l->width, &gated));
    m->kernels->gate_heads(device->stream, bam_tensor_data(gated), bam_tensor_data(o),
                           bam_tensor_data(m->in[GATES]), &heads);
    o = gated;
  }
  BAM_TRY(begin_sum(call, m, &product));
  return bam_linear_forward(call->scope, &product, call->outputs[0], o, m->in[OUT]);
}

static bam_status mixture_of_attention_forward(bam_call *call) {
  mixture m = { .kernels = NULL };
  BAM_TRY(open_mixture(call, &m));
  BAM_TRY(save_mixture(call, &m));
  if (m.l.tokens > 0) {
    BAM_TRY(attend(call, &m));
    BAM_TRY(project(call, &m));
  }
  return BAM_OK;
}

/* ---- backward ---- */

/* Temporaries of the pass; delta is [tokens, heads], grad_out and gated [tokens, heads * width], dqkv like qkv. */
typedef struct gradients {
  layout l;
  const bam_kernels *kernels;
  bam_device *device;
  bam_tensor *dy, *grad_out, *gated, *delta, *dgates, *dqkv, *scratch;
} gradients;

static bam_status open_gradients(bam_backward *pass, gradients *g) {
  bam_tensor *const *saved = pass->saved, *gates = saved[SAVED_GATES];
  bam_dtype dtype = saved[SAVED_X]->dtype, real = bam_dtype_arithmetic(dtype);
  layout *l = &g->l;
  bam_mixture_layout_of(l, &saved[SAVED_X]->shape, &saved[SAVED_QKV_WEIGHT]->shape,
                        &saved[SAVED_OUT_WEIGHT]->shape, gates != NULL ? gates->shape.size[2] : 1,
                        pass->attrs);
  g->device = bam_tensor_device(saved[SAVED_X]);
  BAM_TRY(bam_backward_kernels(pass, dtype, &g->kernels));
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &g->dy));
  BAM_TRY(
    bam_temp_scratch(pass->scope, g->device, dtype, l->tokens * l->heads * l->width, &g->grad_out));
  BAM_TRY(bam_temp_scratch(pass->scope, g->device, real, l->tokens * l->heads, &g->delta));
  if (gates != NULL) {
    BAM_TRY(
      bam_temp_scratch(pass->scope, g->device, dtype, l->tokens * l->heads * l->width, &g->gated));
    BAM_TRY(bam_temp_new(pass->scope, g->device, real, &gates->shape, &g->dgates));
  }
  return BAM_OK;
}

/* The gradient of the biases of the output projections, and what they add to that of the gates. */
static bam_status out_bias_backward(bam_backward *pass, gradients *g) {
  const layout *l = &g->l;
  bam_tensor *bias = pass->saved[SAVED_OUT_BIAS], *gates = pass->saved[SAVED_GATES], *target;
  bool add;
  if (bias == NULL)
    return BAM_OK;
  if (gates == NULL)
    return bam_accumulate_grad(pass, OUT_BIAS, g->dy); /* summed over the tokens */
  bam_product_run(&(bam_product){ .m = l->tokens,
                                  .n = l->experts,
                                  .k = l->out,
                                  .transpose_b = true,
                                  .add = true,
                                  .real_c = g->dgates->dtype != bias->dtype },
                  g->device, bias->dtype, bam_tensor_data(g->dgates), bam_tensor_data(g->dy),
                  bam_tensor_data(bias));
  if (!bam_needs_grad(pass, OUT_BIAS))
    return BAM_OK;
  BAM_TRY(bam_temp_convert(pass->scope, gates, bias->dtype, &gates));
  BAM_TRY(bam_grad_buffer_as(pass, OUT_BIAS, bam_grad_dtype(pass, OUT_BIAS), &target, &add));
  bam_product_run(&(bam_product){ .m = l->experts,
                                  .n = l->out,
                                  .k = l->tokens,
                                  .transpose_a = true,
                                  .add = add,
                                  .real_c = target->dtype != bias->dtype },
                  g->device, bias->dtype, bam_tensor_data(target), bam_tensor_data(gates),
                  bam_tensor_data(g->dy));
  return BAM_OK;
}

/* From dy to grad_out, delta, and the gradients of the gates and of the output projections. */
static bam_status project_backward(bam_backward *pass, gradients *g) {
  const layout *l = &g->l;
  bam_tensor *o = pass->saved[SAVED_O], *gates = pass->saved[SAVED_GATES], *target;
  const bam_linear product = output_product(l, pass->saved[SAVED_SCALES]);
  bam_gated_heads heads = gated_heads(l);
  bam_linear_backward b;
  bool add;
  BAM_TRY(
    bam_linear_backward_begin(pass->scope, &product, g->dy, true, bam_needs_grad(pass, OUT), &b));
  BAM_TRY(bam_linear_grad_x(&b, g->grad_out, false, pass->saved[SAVED_OUT_WEIGHT]));
  if (gates != NULL)
    g->kernels->gate_heads_backward(g->device->stream,
                                    &(bam_gate_gradients){ .grad_out = bam_tensor_data(g->grad_out),
                                                           .y = bam_tensor_data(g->gated),
                                                           .delta = bam_tensor_data(g->delta),
                                                           .dgates = bam_tensor_data(g->dgates),
                                                           .dy = bam_tensor_data(g->grad_out),
                                                           .o = bam_tensor_data(o),
                                                           .gates = bam_tensor_data(gates) },
                                    &heads);
  else
    g->kernels->attention_delta(g->device->stream, bam_tensor_data(g->delta), bam_tensor_data(o),
                                bam_tensor_data(g->grad_out), l->tokens * l->heads, l->width);
  BAM_TRY(out_bias_backward(pass, g));
  if (gates != NULL)
    BAM_TRY(bam_accumulate_grad(pass, GATES, g->dgates));
  if (bam_needs_grad(pass, OUT)) {
    BAM_TRY(bam_grad_buffer_as(pass, OUT, bam_grad_dtype(pass, OUT), &target, &add));
    BAM_TRY(bam_linear_grad_weight(&b, target, add, gates != NULL ? g->gated : o));
  }
  return BAM_OK;
}

/* From grad_out and delta to the gradients of queries, keys and values before they were rotated. */
static bam_status attend_backward(bam_backward *pass, gradients *g) {
  const layout *l = &g->l;
  bam_tensor *const *saved = pass->saved, *qkv = saved[SAVED_QKV], *first = saved[SAVED_FIRST];
  bam_attention a = describe(l, pass->attrs, pass->context->threads);
  int64_t forward, backward, keys = l->heads, values = l->heads + l->kv_heads;
  g->kernels->attention_scratch(g->device->stream, &forward, &backward, &a);
  BAM_TRY(bam_temp_scratch(pass->scope, g->device, bam_dtype_arithmetic(qkv->dtype), backward,
                           &g->scratch));
  BAM_TRY(bam_temp_scratch(pass->scope, g->device, qkv->dtype, l->tokens * l->columns, &g->dqkv));
  bam_count_attention(g->device, &a, 5);
  g->kernels->attention_backward(
    g->device->stream,
    &(bam_attention_gradients){ .dq = head_of(g->dqkv, 0, l),
                                .dk = head_of(g->dqkv, keys, l),
                                .dv = head_of(g->dqkv, values, l),
                                .scratch = bam_tensor_data(g->scratch),
                                .grad_out = bam_tensor_data(g->grad_out),
                                .q = head_of(qkv, 0, l),
                                .k = head_of(qkv, keys, l),
                                .v = head_of(qkv, values, l),
                                .stats = bam_tensor_data(saved[SAVED_STATS]),
                                .delta = bam_tensor_data(g->delta),
                                .first = first != NULL ? bam_tensor_data(first) : NULL },
    &a);
  return rotate(pass->scope, l, g->kernels, g->dqkv, saved[SAVED_ROTATIONS], true);
}

/* From dqkv to the gradients of x, of the projection and of its bias. */
static bam_status input_backward(bam_backward *pass, gradients *g) {
  const bool for_x = bam_needs_grad(pass, X), for_weight = bam_needs_grad(pass, QKV);
  const bam_linear product = input_product(&g->l, pass->saved[SAVED_SCALES]);
  bam_tensor *target, *rows;
  bam_linear_backward b;
  bool add;
  BAM_TRY(bam_linear_backward_begin(pass->scope, &product, g->dqkv, for_x, for_weight, &b));
  if (bam_needs_grad(pass, QKV_BIAS)) {
    BAM_TRY(as_rows(pass->scope, &g->l, g->dqkv, &rows));
    BAM_TRY(bam_accumulate_grad(pass, QKV_BIAS, rows)); /* summed over the tokens */
  }
  if (for_x) {
    BAM_TRY(bam_grad_buffer_as(pass, X, bam_grad_dtype(pass, X), &target, &add));
    BAM_TRY(bam_linear_grad_x(&b, target, add, pass->saved[SAVED_QKV_WEIGHT]));
  }
  if (for_weight) {
    BAM_TRY(bam_grad_buffer_as(pass, QKV, bam_grad_dtype(pass, QKV), &target, &add));
    BAM_TRY(bam_linear_grad_weight(&b, target, add, pass->saved[SAVED_X]));
  }
  return BAM_OK;
}

static bam_status mixture_of_attention_backward(bam_backward *pass) {
  gradients g = { .kernels = NULL };
  if (bam_tensor_count(pass->saved[SAVED_STATS]) == 0)
    return bam_accumulate_zeros(pass);
  BAM_TRY(bam_accumulate_grad(pass, RESIDUAL, pass->grads[0]));
  BAM_TRY(open_gradients(pass, &g));
  BAM_TRY(project_backward(pass, &g));
  if (bam_needs_grad(pass, X) || bam_needs_grad(pass, QKV) || bam_needs_grad(pass, QKV_BIAS)) {
    BAM_TRY(attend_backward(pass, &g));
    BAM_TRY(input_backward(pass, &g));
  }
  return BAM_OK;
}

const bam_op bam_op_mixture_of_attention = {
  .name = "mixture_of_attention",
  .help =
    "N attention experts mixed by gates (BAM §3.4, §4.1): the sum over n of gates[n] * "
    "(causal attention of "
    "expert n, projected), computed as one attention over the heads of all experts. `x` is "
    "[B, T, D], `gates` "
    "[B, T, N] (not needed for a single expert). Each expert has `heads` query heads and "
    "`kv_heads` key and "
    "value heads of width K. `qkv` stacks the rows of all queries, keys and values, K per "
    "head: query heads in "
    "the order (KV head, expert, head); key and value heads in the order (KV head, expert), "
    "or only `kv_heads` "
    "if the experts share them. `out` is [Dout, N * heads * K]. RoPE with `rope_base` (0: "
    "none) uses "
    "`positions`, integers [T] or [B, T] or their rope_table, 0 to T - 1 by default. `documents`, "
    "integers [B, "
    "T], restricts each "
    "token to its own document, `window` to as many tokens, itself counted (0: all). `scale` "
    "is 1 / sqrt(K) by default. `qkv_bias` has one element per row of `qkv`, and `out_bias`, "
    "[N, Dout], "
    "a row for each expert, which its gate weights. `rope_factor`, `rope_low`, `rope_high`, "
    "`rope_context`, "
    "`rope_yarn` and `rope_width` are as in rope, and `fp8` is as in linear, for the products with "
    "`qkv` and `out`. `residual`, [B, T, Dout], is added to the result by the last product. The "
    "result is [B, T, Dout]; f32, f64, or "
    "bf16 on a GPU.",
  .inputs = { "x", "qkv", "out", "gates?", "documents?", "positions?", "qkv_bias?", "out_bias?",
              "residual?" },
  .attrs =
    (const bam_attr_spec[]){ { .name = "heads", .kind = BAM_ATTR_INT, .required = true },
                             { .name = "kv_heads", .kind = BAM_ATTR_INT, .required = true },
                             { .name = "rope_base", .kind = BAM_ATTR_FLOAT, .initial = 10000 },
                             { .name = "scale", .kind = BAM_ATTR_FLOAT, .initial = NAN },
                             { .name = "window", .kind = BAM_ATTR_INT, .initial = 0 },
                             BAM_ROPE_SCALING,
                             { .name = "fp8", .kind = BAM_ATTR_BOOL },
                             { 0 } },
  .forward = mixture_of_attention_forward,
  .backward = mixture_of_attention_backward,
};
