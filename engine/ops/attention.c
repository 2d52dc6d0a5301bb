/* Causal attention over grouped key/value heads, restricted to documents, in tiles: nothing of size
   T x T is ever stored. Forward keeps its result and one logarithm per row; backward computes the
   weights again. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>

#include "attention.h"
#include "support/axis.h"
#include "support/layer_inputs.h"

enum { SAVED_Q, SAVED_K, SAVED_V, SAVED_O, SAVED_STATS, SAVED_FIRST };

bam_status bam_call_check_documents(bam_call *call, int i, int64_t batch, int64_t time) {
  const bam_tensor *documents = bam_call_optional(call, i);
  if (documents == NULL)
    return BAM_OK;
  if (!bam_dtype_is_integer(documents->dtype))
    return bam_call_fail(call, "documents are integers (i64), not %s",
                         bam_dtype_name(documents->dtype));
  return bam_call_expect_shape(call, i, &(bam_shape){ .ndim = 2, .size = { batch, time } },
                               "one id per token");
}

bam_status bam_call_check_window(bam_call *call, const bam_attr *window) {
  if (window->i < 0)
    return bam_call_fail(call, "a window of %" PRId64 " tokens; it takes 1 or more, or 0 for all",
                         window->i);
  return BAM_OK;
}

int64_t bam_attention_window(const bam_attr *window, int64_t time) {
  return window->i > 0 && window->i < time ? window->i : time;
}

static bam_status check_attention(bam_call *call) {
  const bam_shape *q = &call->inputs[0]->shape, *k = &call->inputs[1]->shape;
  char tq[BAM_SHAPE_TEXT], tk[BAM_SHAPE_TEXT];
  if (q->ndim != 4 || k->ndim != 4)
    return bam_call_fail(call, "needs q [B, T, H, K] and k, v [B, T, G, K], not %s and %s",
                         bam_shape_text(q, tq), bam_shape_text(k, tk));
  if (q->size[0] != k->size[0] || q->size[1] != k->size[1] || q->size[3] != k->size[3])
    return bam_call_fail(call, "q is %s and k is %s: batch, time and head width must agree",
                         bam_shape_text(q, tq), bam_shape_text(k, tk));
  BAM_TRY(bam_call_expect_shape(call, 2, k, "the shape of k"));
  if (k->size[2] == 0 || q->size[2] % k->size[2] != 0)
    return bam_call_fail(call,
                         "%" PRId64 " query heads do not share %" PRId64
                         " key heads evenly; make the first a multiple of the second",
                         q->size[2], k->size[2]);
  if (q->size[1] > INT32_MAX)
    return bam_call_fail(call, "sequences of %" PRId64 " tokens are too long", q->size[1]);
  BAM_TRY(bam_call_check_window(call, &call->attrs[1]));
  return bam_call_check_documents(call, 3, q->size[0], q->size[1]);
}

/* Input `i` with the elements of a head together. */
static bam_status heads_input(bam_call *call, int i, bam_tensor **out) {
  bam_tensor *x = call->inputs[i];
  if (x->stride[3] != 1 || x->dtype != call->inputs[0]->dtype)
    return bam_call_layer_input(call, i, 0, out);
  *out = x;
  return BAM_OK;
}

static void copy_strides(int64_t to[3], const bam_tensor *x) {
  for (int d = 0; d < 3; d++)
    to[d] = x->stride[d];
}

static bam_attention describe(const bam_tensor *q, const bam_tensor *k, const bam_tensor *v,
                              const bam_attr *attrs) {
  const bam_attr *scale = &attrs[0];
  const int64_t *size = q->shape.size;
  bam_attention a = { .batch = size[0],
                      .time = size[1],
                      .heads = size[2],
                      .width = size[3],
                      .kv_heads = k->shape.size[2],
                      .window = bam_attention_window(&attrs[1], size[1]),
                      .threads = q->context->threads };
  a.scale = scale->given ? scale->f : 1 / sqrt((double)a.width);
  copy_strides(a.q, q);
  copy_strides(a.k, k);
  copy_strides(a.v, v);
  return a;
}

bam_status bam_call_document_starts(bam_call *call, int i, const bam_kernels *kernels,
                                    bam_tensor **first) {
  bam_tensor *documents = NULL;
  if (bam_call_optional(call, i) == NULL)
    return BAM_OK;
  const bam_shape *shape = &call->inputs[i]->shape;
  if (bam_facts_have_starts(call->inputs[i])) {
    *first = call->inputs[i];
    return BAM_OK;
  }
  BAM_TRY(bam_temp_convert(call->scope, call->inputs[i], BAM_I64, &documents));
  BAM_TRY(bam_temp_new(call->scope, bam_tensor_device(documents), BAM_I32, shape, first));
  kernels->document_starts(bam_tensor_device(documents)->stream, bam_tensor_data(*first),
                           bam_tensor_data(documents), shape->size[0], shape->size[1]);
  bam_temp_release(call->scope, documents);
  return BAM_OK;
}

static bam_status document_starts_forward(bam_call *call) {
  bam_tensor *documents = NULL;
  const bam_shape *shape = &call->inputs[0]->shape;
  bam_device *device = bam_call_device(call);
  char text[BAM_SHAPE_TEXT];
  if (shape->ndim != 2 || shape->size[1] > INT32_MAX)
    return bam_call_fail(call, "`documents` is %s; it must be [batch, time]",
                         bam_shape_text(shape, text));
  BAM_TRY(bam_call_check_documents(call, 0, shape->size[0], shape->size[1]));
  BAM_TRY(bam_temp_convert(call->scope, call->inputs[0], BAM_I64, &documents));
  BAM_TRY(bam_call_output(call, 0, BAM_I32, shape));
  device->kernels[BAM_F32]->document_starts(device->stream, bam_tensor_data(call->outputs[0]),
                                            bam_tensor_data(documents), shape->size[0],
                                            shape->size[1]);
  bam_facts_are_starts(call->outputs[0]);
  return BAM_OK;
}

const bam_op bam_op_document_starts = {
  .name = "document_starts",
  .help = "The position, from 0, of the first token of each token's document, for `documents`, "
          "integers [B, T]: i32 [B, T]. Where `attention` and `mixture_of_attention` take "
          "`documents` they take this too, and do not compute it again: once per batch is enough "
          "for all layers.",
  .inputs = { "documents" },
  .constant = true,
  .forward = document_starts_forward,
};

static bam_status save_attention(bam_call *call, bam_tensor *const qkv[3], bam_tensor *stats,
                                 bam_tensor *first) {
  for (int i = 0; i < 3; i++)
    BAM_TRY(bam_call_save(call, SAVED_Q + i, qkv[i]));
  BAM_TRY(bam_call_save(call, SAVED_O, call->outputs[0]));
  BAM_TRY(bam_call_save(call, SAVED_STATS, stats));
  return bam_call_save(call, SAVED_FIRST, first);
}

static bam_status attention_forward(bam_call *call) {
  bam_tensor *qkv[3] = { NULL }, *stats = NULL, *first = NULL, *scratch = NULL;
  bam_device *device = bam_call_device(call);
  const bam_kernels *kernels;
  int64_t forward, backward;
  BAM_TRY(check_attention(call));
  BAM_TRY(bam_call_need_real(call, 0));
  bam_shape pairs = call->inputs[0]->shape; /* one of numbers for each query */
  pairs.size[3] = 2;
  bam_dtype dtype = call->inputs[0]->dtype, real = bam_dtype_arithmetic(dtype);
  for (int i = 0; i < 3; i++)
    BAM_TRY(heads_input(call, i, &qkv[i]));
  BAM_TRY(bam_call_kernels(call, dtype, &kernels));
  bam_attention a = describe(qkv[0], qkv[1], qkv[2], call->attrs);
  BAM_TRY(bam_call_output(call, 0, dtype, &call->inputs[0]->shape));
  BAM_TRY(bam_temp_new(call->scope, device, real, &pairs, &stats));
  BAM_TRY(bam_call_document_starts(call, 3, kernels, &first));
  BAM_TRY(save_attention(call, qkv, stats, first));
  if (bam_tensor_count(call->outputs[0]) == 0)
    return BAM_OK;
  kernels->attention_scratch(device->stream, &forward, &backward, &a);
  BAM_TRY(bam_temp_scratch(call->scope, device, real, forward, &scratch));
  bam_count_attention(device, &a, 2);
  kernels->attention(
    device->stream,
    &(bam_attention_tensors){ .o = bam_tensor_data(call->outputs[0]),
                              .stats = bam_tensor_data(stats),
                              .scratch = bam_tensor_data(scratch),
                              .q = bam_tensor_data(qkv[0]),
                              .k = bam_tensor_data(qkv[1]),
                              .v = bam_tensor_data(qkv[2]),
                              .first = first != NULL ? bam_tensor_data(first) : NULL },
    &a);
  return BAM_OK;
}

/* Where the gradients go: targets of the inputs that want one, else scratch. */
static bam_status find_targets(bam_backward *pass, bam_tensor *to[3], bool add[3]) {
  for (int i = 0; i < 3; i++)
    if (bam_needs_grad(pass, i))
      BAM_TRY(bam_grad_buffer(pass, i, &to[i], &add[i]));
    else
      BAM_TRY(bam_temp_like(pass->scope, pass->saved[SAVED_Q + i], &to[i]));
  return BAM_OK;
}

/* delta[b, t, h] = the sum over K of o * dy, which the softmax's derivative needs. */
static bam_status compute_delta(bam_backward *pass, const bam_kernels *kernels, bam_tensor *dy,
                                bam_tensor **delta) {
  bam_tensor *o = pass->saved[SAVED_O];
  bam_shape rows = o->shape;
  rows.ndim = 3;
  BAM_TRY(
    bam_temp_new(pass->scope, bam_tensor_device(o), bam_dtype_arithmetic(o->dtype), &rows, delta));
  kernels->attention_delta(bam_tensor_device(o)->stream, bam_tensor_data(*delta),
                           bam_tensor_data(o), bam_tensor_data(dy), bam_tensor_count(*delta),
                           o->shape.size[3]);
  return BAM_OK;
}

static bam_status attention_backward(bam_backward *pass) {
  bam_tensor *dy = NULL, *delta = NULL, *scratch = NULL, *to[3];
  bam_tensor *const *saved = pass->saved, *first = saved[SAVED_FIRST];
  bam_device *device = bam_tensor_device(saved[SAVED_O]);
  bool add[3] = { false };
  const bam_kernels *kernels;
  int64_t forward, backward;
  if (bam_tensor_count(saved[SAVED_O]) == 0)
    return bam_accumulate_zeros(pass);
  bam_attention a = describe(saved[SAVED_Q], saved[SAVED_K], saved[SAVED_V], pass->attrs);
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  kernels->attention_scratch(device->stream, &forward, &backward, &a);
  BAM_TRY(
    bam_temp_scratch(pass->scope, device, bam_dtype_arithmetic(dy->dtype), backward, &scratch));
  BAM_TRY(compute_delta(pass, kernels, dy, &delta));
  BAM_TRY(find_targets(pass, to, add));
  copy_strides(a.dq, to[0]);
  copy_strides(a.dk, to[1]);
  copy_strides(a.dv, to[2]);
  a.add_dq = add[0];
  a.add_dk = add[1];
  a.add_dv = add[2];
  bam_count_attention(device, &a, 5);
  kernels->attention_backward(
    device->stream,
    &(bam_attention_gradients){ .dq = bam_tensor_data(to[0]),
                                .dk = bam_tensor_data(to[1]),
                                .dv = bam_tensor_data(to[2]),
                                .scratch = bam_tensor_data(scratch),
                                .grad_out = bam_tensor_data(dy),
                                .q = bam_tensor_data(saved[SAVED_Q]),
                                .k = bam_tensor_data(saved[SAVED_K]),
                                .v = bam_tensor_data(saved[SAVED_V]),
                                .stats = bam_tensor_data(saved[SAVED_STATS]),
                                .delta = bam_tensor_data(delta),
                                .first = first != NULL ? bam_tensor_data(first) : NULL },
    &a);
  return BAM_OK;
}

const bam_op bam_op_attention = {
  .name = "attention",
  .help = "Causal scaled dot-product attention, softmax(q kᵀ * scale) v, without a T×T matrix (Dao "
          "2023). `q` is [B, "
          "T, H, K], `k` and `v` are [B, T, G, K], where H is a multiple of G: query head h uses "
          "key head floor(h / "
          "(H / G)) (grouped-query attention, Ainslie et al. 2023). `documents`, integers [B, T], "
          "restricts each "
          "token to its own document, `window` to as many tokens, itself counted (0: all). `scale` "
          "is 1 / sqrt(K) by default. The result is [B, T, H, K]; f32, f64, or bf16 on a GPU. "
          "Slices of one QKV product are read without copying.",
  .inputs = { "q", "k", "v", "documents?" },
  .attrs = (const bam_attr_spec[]){ { .name = "scale", .kind = BAM_ATTR_FLOAT, .initial = NAN },
                                    { .name = "window", .kind = BAM_ATTR_INT, .initial = 0 },
                                    { 0 } },
  .forward = attention_forward,
  .backward = attention_backward,
};
