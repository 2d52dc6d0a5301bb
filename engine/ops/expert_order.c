/* Sorting assignments, choices of one token each, by expert. The order of A assignments to N experts is one tensor of
   integers: rows [A], the assignments in order of expert, and within an expert in order of the tokens, then -1 for each
   that names none; slots [A], where in rows each assignment is, or -1 if it names none; offsets [N + 1], where in rows
   each expert begins. The host must know the offsets to size the experts' products, so their copy is begun at once:
   what is enqueued between this and routed_ffn hides the wait for it. */
#include "expert_order.h"

#include <inttypes.h>

#include "../core/devices.h"
#include "../core/facts.h"

enum { EXPERTS };
enum { ATTR_EXPERTS };

/* Input `i` as contiguous i64 within 0 .. `limit`. */
static bam_status check_ids(bam_call *call, int i, int64_t limit, bam_tensor **out) {
  bam_tensor *experts = call->inputs[i], *ids;
  bam_device *device = bam_tensor_device(experts);
  int64_t bad = -1, id = 0;
  double unused;
  if (!bam_dtype_is_integer(experts->dtype))
    return bam_call_fail(call, "experts are integers (i64), not %s",
                         bam_dtype_name(experts->dtype));
  BAM_TRY(bam_temp_convert(call->scope, experts, BAM_I64, &ids));
  *out = ids;
  if (bam_facts_within(ids, 0, limit, 0))
    return BAM_OK;
  device->kernels[BAM_I64]->find_outside(device->stream, &bad, bam_tensor_data(ids),
                                         bam_tensor_count(ids), 0, limit);
  BAM_TRY(bam_device_check(call->context, device));
  if (bad < 0)
    return BAM_OK;
  BAM_TRY(bam_tensor_get(ids, bad, &unused, &id));
  return bam_call_fail(call,
                       "expert %" PRId64 " (element %" PRId64 " of `experts`) is outside "
                       "0 .. %" PRId64 "; they count from 1, and 0 means none",
                       id, bad + 1, limit);
}

bam_status bam_call_sort_experts(bam_call *call, int i, int64_t experts, bam_tensor *order) {
  bam_tensor *chosen = NULL;
  bam_device *device = bam_tensor_device(order);
  const int64_t assignments = bam_tensor_count(call->inputs[i]);
  int64_t *rows = bam_tensor_data(order), *offsets = rows + 2 * assignments;
  BAM_TRY(check_ids(call, i, experts, &chosen));
  device->kernels[BAM_F32]->sort_by_expert(device->stream, rows, rows + assignments, offsets,
                                           bam_tensor_data(chosen), assignments, experts);
  const uint64_t copy = bam_device_begin_copy(device, offsets,
                                              (experts + 1) * (int64_t)sizeof *offsets);
  bam_facts_are_order(order, assignments, experts, bam_facts_within(chosen, 1, experts, 1), copy);
  bam_temp_release(call->scope, chosen);
  return BAM_OK;
}

static bam_status expert_order_forward(bam_call *call) {
  const int64_t experts = call->attrs[ATTR_EXPERTS].i;
  bam_shape shape = { .ndim = 1 };
  if (experts < 1 || experts > INT32_MAX)
    return bam_call_fail(call, "%" PRId64 " experts; there must be at least 1", experts);
  shape.size[0] = bam_order_size(bam_tensor_count(call->inputs[EXPERTS]), experts);
  BAM_TRY(bam_call_output(call, 0, BAM_I64, &shape));
  if (!bam_facts_within(call->inputs[EXPERTS], 1, experts, 1)) /* rows may be left over */
    BAM_TRY(bam_tensor_fill(call->outputs[0], -1));
  return bam_call_sort_experts(call, EXPERTS, experts, call->outputs[0]);
}

const bam_op bam_op_expert_order = {
  .name = "expert_order",
  .help = "Sort choices of experts, as `routed_ffn` needs them: `experts`, integers [...] from 1 "
          "to `n` (0: none), A of them, give i64 [2 A + n + 1]. The first A are the positions, "
          "from 0, of the choices in order of expert, then -1 for choices of none; the next A say "
          "where among those each "
          "choice is (-1: none); the last say where each expert begins. `routed_ffn` takes this "
          "in place of `experts`. On a GPU it must wait for how many tokens each expert has: not "
          "for long, if this was called before other work.",
  .inputs = { "experts" },
  .attrs = (const bam_attr_spec[]){ { .name = "n", .kind = BAM_ATTR_INT, .required = true },
                                    { 0 } },
  .constant = true,
  .forward = expert_order_forward,
};
