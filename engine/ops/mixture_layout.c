/* The sizes of a mixture of attention, and checks of what its op is given. */
#include "mixture_layout.h"

#include <inttypes.h>

#include "attention.h"
#include "rope.h"
#include "support/axis.h"
#include "support/layer_inputs.h"

void bam_mixture_layout_of(bam_mixture_layout *l, const bam_shape *x, const bam_shape *qkv,
                           const bam_shape *out, int64_t experts, const bam_attr *attrs) {
  l->batch = x->size[0];
  l->time = x->size[1];
  l->tokens = l->batch * l->time;
  l->in = x->size[2];
  l->out = out->size[0];
  l->experts = experts;
  l->heads = experts * attrs[ATTR_HEADS].i;
  l->group = attrs[ATTR_HEADS].i / attrs[ATTR_KV_HEADS].i;
  l->columns = qkv->size[0];
  l->width = l->heads > 0 ? out->size[1] / l->heads : 0;
  l->kv_heads = l->width > 0 ? (l->columns / l->width - l->heads) / 2 : 0;
}

static bam_status check_heads(bam_call *call) {
  int64_t heads = call->attrs[ATTR_HEADS].i, kv_heads = call->attrs[ATTR_KV_HEADS].i;
  if (heads < 1 || heads > INT32_MAX || kv_heads < 1 || heads % kv_heads != 0)
    return bam_call_fail(call,
                         "an expert with %" PRId64 " query heads and %" PRId64
                         " key heads: the first must be a multiple of the second",
                         heads, kv_heads);
  return BAM_OK;
}

static bam_status check_ranks(bam_call *call) {
  const bam_shape *x = &call->inputs[X]->shape, *qkv = &call->inputs[QKV]->shape;
  const bam_shape *out = &call->inputs[OUT]->shape;
  char tx[BAM_SHAPE_TEXT], tq[BAM_SHAPE_TEXT], to[BAM_SHAPE_TEXT];
  if (x->ndim != 3 || qkv->ndim != 2 || out->ndim != 2 || qkv->size[1] != x->size[2])
    return bam_call_fail(call,
                         "needs x [B, T, D], qkv [rows, D] and out [Dout, columns], not %s, "
                         "%s and %s",
                         bam_shape_text(x, tx), bam_shape_text(qkv, tq), bam_shape_text(out, to));
  if (x->size[1] > INT32_MAX)
    return bam_call_fail(call, "sequences of %" PRId64 " tokens are too long", x->size[1]);
  return BAM_OK;
}

/* The number of experts, from the gates [B, T, N]. */
static bam_status check_gates(bam_call *call, int64_t *experts) {
  const bam_tensor *gates = bam_call_optional(call, GATES);
  const bam_shape *x = &call->inputs[X]->shape;
  char text[BAM_SHAPE_TEXT], tx[BAM_SHAPE_TEXT];
  *experts = 1;
  if (gates == NULL)
    return BAM_OK;
  const bam_shape *g = &gates->shape;
  if (g->ndim != 3 || g->size[0] != x->size[0] || g->size[1] != x->size[1] || g->size[2] < 1 ||
      g->size[2] > INT32_MAX)
    return bam_call_fail(call, "gates are %s; for x %s they must be [B, T, experts]",
                         bam_shape_text(g, text), bam_shape_text(x, tx));
  *experts = g->size[2];
  return BAM_OK;
}

/* qkv and out must be made of whole heads, with one set of key heads or one per expert. */
static bam_status check_weights(bam_call *call, const bam_mixture_layout *l) {
  int64_t kv_heads = call->attrs[ATTR_KV_HEADS].i;
  char tq[BAM_SHAPE_TEXT], to[BAM_SHAPE_TEXT];
  bool whole = l->width > 0 && l->heads * l->width == call->inputs[OUT]->shape.size[1] &&
               (l->heads + 2 * l->kv_heads) * l->width == l->columns;
  if (!whole || (l->kv_heads != kv_heads && l->kv_heads != l->experts * kv_heads))
    return bam_call_fail(call,
                         "qkv %s and out %s do not fit %" PRId64 " experts of %" PRId64
                         " query heads and %" PRId64 " key heads, shared or each its own",
                         bam_shape_text(&call->inputs[QKV]->shape, tq),
                         bam_shape_text(&call->inputs[OUT]->shape, to), l->experts,
                         call->attrs[ATTR_HEADS].i, kv_heads);
  return BAM_OK;
}

static bam_status check_summands(bam_call *call, const bam_mixture_layout *l) {
  const bam_shape rows = { .ndim = 1, .size = { l->columns } };
  const bam_shape sets = { .ndim = 2, .size = { l->experts, l->out } };
  const bam_shape result = { .ndim = 3, .size = { l->batch, l->time, l->out } };
  if (bam_call_optional(call, RESIDUAL) != NULL)
    BAM_TRY(bam_call_expect_shape(call, RESIDUAL, &result, "the shape of the result"));
  if (bam_call_optional(call, QKV_BIAS) != NULL)
    BAM_TRY(bam_call_expect_shape(call, QKV_BIAS, &rows, "one per row of qkv"));
  if (bam_call_optional(call, OUT_BIAS) != NULL)
    BAM_TRY(
      bam_call_expect_shape(call, OUT_BIAS, &sets, "one row per expert, as wide as the result"));
  return BAM_OK;
}

bam_rope bam_mixture_rope(const bam_attr *attrs) {
  return bam_rope_of(&attrs[ATTR_ROPE_BASE], &attrs[ATTR_ROPE_SCALING]);
}

bam_status bam_mixture_check(bam_call *call, bam_mixture_layout *l) {
  int64_t experts;
  BAM_TRY(bam_call_need_real(call, X));
  BAM_TRY(check_heads(call));
  BAM_TRY(check_ranks(call));
  BAM_TRY(check_gates(call, &experts));
  bam_mixture_layout_of(l, &call->inputs[X]->shape, &call->inputs[QKV]->shape,
                        &call->inputs[OUT]->shape, experts, call->attrs);
  BAM_TRY(check_weights(call, l));
  BAM_TRY(check_summands(call, l));
  for (int i = X; i <= OUT; i++)
    BAM_TRY(bam_call_check_product(call, i));
  BAM_TRY(bam_call_check_documents(call, DOCUMENTS, l->batch, l->time));
  BAM_TRY(bam_call_check_window(call, &call->attrs[ATTR_WINDOW]));
  const bam_rope rope = bam_mixture_rope(call->attrs);
  return rope.base != 0 ? bam_call_check_rope(call, l->width, &rope) : BAM_OK;
}
