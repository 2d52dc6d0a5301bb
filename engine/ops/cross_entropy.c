/* Cross-entropy of logits against token ids, for when the logits are at hand; see
   linear_cross_entropy for when they need not be. */
#include "support/layer_inputs.h"

enum { ATTR_IGNORE, ATTR_SUM };
enum { SAVED_LOGITS, SAVED_STATS, SAVED_TARGETS, SAVED_SCALE };

static bam_status check_logits(bam_call *call) {
  bam_shape rows = call->inputs[0]->shape;
  if (rows.ndim < 1)
    return bam_call_fail(call, "logits have no dimensions; they must be [..., V]");
  rows.ndim--;
  return bam_call_expect_shape(call, 1, &rows, "one id per row of logits");
}

/* What the sum of the losses is multiplied by, on the device: 1, or 1 / the number of targets that
   count. */
static bam_status find_scale(bam_call *call, const bam_kernels *kernels, bam_tensor *targets,
                             bam_tensor *scale) {
  if (call->attrs[ATTR_SUM].i != 0)
    return bam_tensor_fill(scale, 1);
  kernels->loss_scale(bam_call_device(call)->stream, bam_tensor_data(scale),
                      bam_tensor_data(targets), bam_tensor_count(targets),
                      call->attrs[ATTR_IGNORE].i);
  return BAM_OK;
}

static bam_status cross_entropy_forward(bam_call *call) {
  bam_tensor *logits = NULL, *targets = NULL, *losses = NULL, *stats = NULL, *scale = NULL;
  bam_device *device = bam_call_device(call);
  int64_t ignore = call->attrs[ATTR_IGNORE].i;
  const bam_kernels *kernels;
  BAM_TRY(check_logits(call));
  const bam_shape *shape = &call->inputs[0]->shape, *rows = &call->inputs[1]->shape;
  BAM_TRY(bam_call_layer_input(call, 0, 0, &logits));
  BAM_TRY(bam_call_ids(call, 1, bam_shape_width(shape), ignore, &targets));
  BAM_TRY(bam_call_kernels(call, logits->dtype, &kernels));
  const bam_dtype real = bam_dtype_arithmetic(logits->dtype);
  BAM_TRY(bam_call_output(call, 0, real, &(bam_shape){ .ndim = 0 }));
  BAM_TRY(bam_temp_new(call->scope, device, BAM_F64, rows, &losses));
  BAM_TRY(bam_temp_scratch(call->scope, device, real, 2 * bam_shape_rows(shape), &stats));
  BAM_TRY(bam_temp_scratch(call->scope, device, BAM_F64, 1, &scale));
  BAM_TRY(find_scale(call, kernels, targets, scale));
  kernels->cross_entropy(device->stream, bam_tensor_data(losses), bam_tensor_data(stats),
                         bam_tensor_data(logits), bam_tensor_data(targets), bam_shape_rows(shape),
                         bam_shape_width(shape), ignore);
  kernels->loss_total(device->stream, bam_tensor_data(call->outputs[0]), bam_tensor_data(losses),
                      bam_tensor_data(scale), bam_shape_rows(shape));
  BAM_TRY(bam_call_save(call, SAVED_LOGITS, logits));
  BAM_TRY(bam_call_save(call, SAVED_STATS, stats));
  BAM_TRY(bam_call_save(call, SAVED_TARGETS, targets));
  return bam_call_save(call, SAVED_SCALE, scale);
}

static bam_status cross_entropy_backward(bam_backward *pass) {
  bam_tensor *logits = pass->saved[SAVED_LOGITS], *dx = NULL, *seed = NULL;
  const bam_shape *shape = &logits->shape;
  const bam_kernels *kernels;
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &seed));
  BAM_TRY(bam_backward_kernels(pass, logits->dtype, &kernels));
  BAM_TRY(bam_temp_new(pass->scope, bam_tensor_device(logits), logits->dtype, shape, &dx));
  kernels->cross_entropy_backward(
    bam_tensor_device(logits)->stream,
    &(bam_cross_entropy_gradients){ .dx = bam_tensor_data(dx),
                                    .x = bam_tensor_data(logits),
                                    .stats = bam_tensor_data(pass->saved[SAVED_STATS]),
                                    .targets = bam_tensor_data(pass->saved[SAVED_TARGETS]),
                                    .scale = bam_tensor_data(pass->saved[SAVED_SCALE]),
                                    .seed = bam_tensor_data(seed),
                                    .rows = bam_shape_rows(shape),
                                    .n = bam_shape_width(shape),
                                    .ignore = pass->attrs[ATTR_IGNORE].i });
  return bam_accumulate_grad(pass, 0, dx);
}

const bam_op bam_op_cross_entropy = {
  .name = "cross_entropy",
  .help = "The mean of -log softmax(logits)[target] over the targets that are not `ignore_index`, "
          "or the sum with "
          "`sum`. `logits` is [..., V], f32, f64, or bf16 on a GPU; `targets` are integers [...] "
          "counted from 0. "
          "The result has no "
          "dimensions. If all targets are ignored, loss and gradient are 0.",
  .inputs = { "logits", "targets" },
  .attrs =
    (const bam_attr_spec[]){ { .name = "ignore_index", .kind = BAM_ATTR_INT, .initial = -100 },
                             { .name = "sum", .kind = BAM_ATTR_BOOL },
                             { 0 } },
  .forward = cross_entropy_forward,
  .backward = cross_entropy_backward,
};
