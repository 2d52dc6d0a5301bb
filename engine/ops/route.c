/* The router of a mixture: which experts a token goes to, with what gates, and what that costs in
   auxiliary losses (BAM §3.3, §4.2, eq. 2). One pass over the logits gives all of it. */
#include <inttypes.h>

#include "support/axis.h"
#include "support/layer_inputs.h"

enum { ATTR_K, ATTR_RENORMALISE, ATTR_DENSE, ATTR_AUX_TOKENS };
enum { GATES, EXPERTS, LOSSES, STATISTICS };
enum { LOGITS, MASK };
enum { SAVED_P, SAVED_LSE, SAVED_LOAD, SAVED_COUNTED, SAVED_EXPERTS, SAVED_MASK };
enum { OWN = SAVED_EXPERTS }; /* what is made for backward alone */

/* The sizes; group is at least 1, also of no tokens. */
static bam_route describe(const bam_shape *logits, const bam_attr *attrs) {
  bam_route r = { .tokens = bam_shape_rows(logits),
                  .experts = bam_shape_width(logits),
                  .k = attrs[ATTR_K].i,
                  .group = attrs[ATTR_AUX_TOKENS].i,
                  .renormalise = attrs[ATTR_RENORMALISE].i,
                  .dense = attrs[ATTR_DENSE].i };
  r.group = r.group > 0 ? r.group : r.tokens;
  r.group = r.group > 0 ? r.group : 1;
  return r;
}

static bam_status check_route(bam_call *call) {
  const bam_shape *logits = &call->inputs[0]->shape;
  int64_t k = call->attrs[ATTR_K].i, group = call->attrs[ATTR_AUX_TOKENS].i;
  char text[BAM_SHAPE_TEXT];
  if (logits->ndim < 1 || bam_shape_width(logits) < 1)
    return bam_call_fail(call, "logits are %s; they must be [..., experts]",
                         bam_shape_text(logits, text));
  if (k < 1 || k > bam_shape_width(logits))
    return bam_call_fail(call, "k is %" PRId64 "; of %" PRId64 " experts, 1 to all can be chosen",
                         k, bam_shape_width(logits));
  if (group < 0 || (group > 0 && bam_shape_rows(logits) % group != 0))
    return bam_call_fail(call, "aux_tokens is %" PRId64 "; it must divide the %" PRId64 " tokens",
                         group, bam_shape_rows(logits));
  return bam_call_need_real(call, LOGITS);
}

/* A bool per token; contiguous and owned, or NULL when left out. */
static bam_status take_mask(bam_call *call, bam_tensor **out) {
  bam_tensor *mask = bam_call_optional(call, MASK);
  char text[BAM_SHAPE_TEXT], tokens[BAM_SHAPE_TEXT];
  if (mask == NULL)
    return BAM_OK;
  bam_shape shape = call->inputs[LOGITS]->shape;
  shape.ndim--;
  if (mask->dtype != BAM_BOOL || !bam_shape_equal(&mask->shape, &shape))
    return bam_call_fail(call, "the mask is %s %s; it must be bool %s, a value per token",
                         bam_dtype_name(mask->dtype), bam_shape_text(&mask->shape, text),
                         bam_shape_text(&shape, tokens));
  return bam_temp_contiguous(call->scope, mask, out);
}

static bam_status make_outputs(bam_call *call, bam_dtype dtype, const bam_route *r) {
  bam_shape experts = call->inputs[0]->shape, gates = experts;
  experts.size[experts.ndim - 1] = r->k;
  gates.size[gates.ndim - 1] = r->dense ? r->experts : r->k;
  BAM_TRY(bam_call_output(call, GATES, dtype, &gates));
  BAM_TRY(bam_call_output(call, EXPERTS, BAM_I64, &experts));
  BAM_TRY(bam_call_output(call, LOSSES, dtype, &(bam_shape){ .ndim = 1, .size = { 2 } }));
  return bam_call_output(call, STATISTICS, dtype,
                         &(bam_shape){ .ndim = 2, .size = { 3, r->experts } });
}

/* What backward needs: p [tokens, experts], lse [tokens], load [groups, experts], the number of
   tokens that count. */
static bam_status make_saved(bam_call *call, bam_dtype dtype, const bam_route *r, bam_tensor *mask,
                             bam_tensor *saved[OWN]) {
  const int64_t counts[OWN] = { r->tokens * r->experts, r->tokens,
                                r->tokens / r->group * r->experts, 1 };
  for (int i = 0; i < OWN; i++) {
    BAM_TRY(bam_temp_scratch(call->scope, bam_call_device(call),
                             i == SAVED_COUNTED ? BAM_F64 : dtype, counts[i], &saved[i]));
    BAM_TRY(bam_call_save(call, SAVED_P + i, saved[i]));
  }
  BAM_TRY(bam_call_save(call, SAVED_EXPERTS, call->outputs[EXPERTS]));
  if (mask != NULL)
    BAM_TRY(bam_call_save(call, SAVED_MASK, mask));
  return BAM_OK;
}

static bam_status run_route(bam_call *call, bam_tensor *logits, bam_tensor *mask,
                            const bam_route *r) {
  bam_tensor *saved[OWN] = { NULL }, *scratch = NULL;
  bam_device *device = bam_call_device(call);
  int64_t groups = r->tokens / r->group;
  int64_t parts = groups * ((r->group + BAM_ROUTE_PART - 1) / BAM_ROUTE_PART);
  const bam_kernels *kernels;
  BAM_TRY(bam_call_kernels(call, logits->dtype, &kernels));
  BAM_TRY(make_saved(call, logits->dtype, r, mask, saved));
  BAM_TRY(bam_temp_scratch(call->scope, device, BAM_F64, parts * (3 * r->experts + 2) + groups,
                           &scratch));
  if (r->tokens == 0) {
    BAM_TRY(bam_tensor_fill(call->outputs[LOSSES], 0));
    BAM_TRY(bam_tensor_fill(call->outputs[STATISTICS], 0));
    return BAM_OK;
  }
  kernels->route(device->stream,
                 &(bam_route_tensors){ .gates = bam_tensor_data(call->outputs[GATES]),
                                       .chosen = bam_tensor_data(call->outputs[EXPERTS]),
                                       .losses = bam_tensor_data(call->outputs[LOSSES]),
                                       .statistics = bam_tensor_data(call->outputs[STATISTICS]),
                                       .p = bam_tensor_data(saved[SAVED_P]),
                                       .lse = bam_tensor_data(saved[SAVED_LSE]),
                                       .load = bam_tensor_data(saved[SAVED_LOAD]),
                                       .counted = bam_tensor_data(saved[SAVED_COUNTED]),
                                       .scratch = bam_tensor_data(scratch),
                                       .logits = bam_tensor_data(logits),
                                       .mask = mask != NULL ? bam_tensor_data(mask) : NULL },
                 r);
  bam_facts_bound(call->outputs[EXPERTS], 1, r->experts);
  return BAM_OK;
}

static bam_status route_forward(bam_call *call) {
  bam_tensor *logits = NULL, *mask = NULL;
  BAM_TRY(check_route(call));
  BAM_TRY(take_mask(call, &mask));
  bam_route r = describe(&call->inputs[LOGITS]->shape, call->attrs);
  const bam_dtype real = bam_dtype_arithmetic(call->inputs[LOGITS]->dtype);
  BAM_TRY(bam_temp_convert(call->scope, call->inputs[LOGITS], real, &logits));
  BAM_TRY(make_outputs(call, logits->dtype, &r));
  return run_route(call, logits, mask, &r);
}

static bam_status route_backward(bam_backward *pass) {
  bam_tensor *dgates = NULL, *dlosses = NULL, *dlogits = NULL, *const *saved = pass->saved;
  bam_device *device = bam_tensor_device(saved[SAVED_P]);
  bam_route r = describe(bam_backward_shape(pass, 0), pass->attrs);
  const bam_kernels *kernels;
  if (r.tokens == 0)
    return bam_accumulate_zeros(pass);
  BAM_TRY(bam_backward_kernels(pass, saved[SAVED_P]->dtype, &kernels));
  if (pass->grads[GATES] != NULL)
    BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[GATES], &dgates));
  if (pass->grads[LOSSES] != NULL)
    BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[LOSSES], &dlosses));
  BAM_TRY(bam_temp_new(pass->scope, device, saved[SAVED_P]->dtype, bam_backward_shape(pass, 0),
                       &dlogits));
  kernels->route_backward(
    device->stream,
    &(bam_route_gradients){ .dlogits = bam_tensor_data(dlogits),
                            .dgates = dgates != NULL ? bam_tensor_data(dgates) : NULL,
                            .dlosses = dlosses != NULL ? bam_tensor_data(dlosses) : NULL,
                            .p = bam_tensor_data(saved[SAVED_P]),
                            .lse = bam_tensor_data(saved[SAVED_LSE]),
                            .load = bam_tensor_data(saved[SAVED_LOAD]),
                            .chosen = bam_tensor_data(saved[SAVED_EXPERTS]),
                            .counted = bam_tensor_data(saved[SAVED_COUNTED]),
                            .mask = saved[SAVED_MASK] != NULL ? bam_tensor_data(saved[SAVED_MASK])
                                                              : NULL },
    &r);
  return bam_accumulate_grad(pass, 0, dlogits);
}

const bam_op bam_op_route = {
  .name = "route",
  .help = "Route each token to the `k` experts with the largest p = softmax(logits) (BAM §4.2). "
          "`logits` is [..., "
          "N], f32, f64, or bf16 on a GPU. Returns: gates [..., k], the p of the selected experts "
          "(divided by "
          "their sum with "
          "`renormalise`; with `dense` [..., N], 0 for the others); experts [..., k], their "
          "positions from 1, "
          "largest first; losses [2], load balance and z; statistics [3, N], per expert the share "
          "of assignments, "
          "the mean of p and the mean of -p ln p, without gradient. The load-balance loss is N * "
          "sum(share * mean "
          "p), averaged over groups of `aux_tokens` consecutive tokens (0: all tokens are one "
          "group); no gradient "
          "flows through the share. The z loss is the mean of logsumexp(logits)^2. Tokens where "
          "`mask`, bool [...], "
          "is false are left out of losses and statistics; groups are weighted by their remaining "
          "tokens.",
  .inputs = { "logits", "mask?" },
  .attrs = (const bam_attr_spec[]){ { .name = "k", .kind = BAM_ATTR_INT, .required = true },
                                    { .name = "renormalise", .kind = BAM_ATTR_BOOL },
                                    { .name = "dense", .kind = BAM_ATTR_BOOL },
                                    { .name = "aux_tokens", .kind = BAM_ATTR_INT },
                                    { 0 } },
  .outputs = 4,
  .constant_outputs = 1 << STATISTICS,
  .forward = route_forward,
  .backward = route_backward,
};
