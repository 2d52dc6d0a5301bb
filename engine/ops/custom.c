/* Custom ops: forward has run in the host language, and backward is called there. */
#include "custom.h"

#include <string.h>

#include "ops.h"

/* Let the host compute the gradients of the inputs. Those of the outputs may be shared with other
   nodes, so a host function that writes them would spoil gradients elsewhere. */
static bam_status call_host(bam_backward *pass, bam_tensor **grads) {
  bam_context *context = pass->context;
  int n_out = (int)pass->attrs[0].i;
  uint64_t before[BAM_MAX_OUTPUTS] = { 0 };
  for (int k = 0; k < n_out; k++)
    before[k] = pass->grads[k] != NULL ? pass->grads[k]->storage->version : 0;
  const bam_function function = { pass->node->graph, pass->node->sequence };
  bam_status status = context->host.backward(context->host.state, function, pass->grads, n_out,
                                             grads, pass->n_inputs);
  for (int k = 0; k < n_out && status == BAM_OK; k++)
    if (pass->grads[k] != NULL && pass->grads[k]->storage->version != before[k])
      status = bam_backward_fail(pass,
                                 "it wrote gradient %d of its arguments in place; others may need "
                                 "that: use g:clone()",
                                 k + 1);
  return status;
}

static bam_status backward_custom(bam_backward *pass) {
  bam_context *context = pass->context;
  int n = pass->n_inputs;
  bam_tensor **grads = bam_object_alloc(context, sizeof *grads * (size_t)n);
  if (grads == NULL)
    return BAM_ERROR_MEMORY;
  memset(grads, 0, sizeof *grads * (size_t)n);
  bam_status status = call_host(pass, grads);
  for (int i = 0; i < n; i++) {
    if (status == BAM_OK && grads[i] != NULL)
      status = bam_accumulate_grad(pass, i, grads[i]);
    bam_tensor_release(grads[i]);
  }
  bam_object_free(context, grads, sizeof *grads * (size_t)n);
  return status;
}

static const bam_op custom_op = {
  .name = "custom",
  .inputs = { "...inputs" },
  .attrs = (const bam_attr_spec[]){ { .name = "outputs", .kind = BAM_ATTR_INT }, { 0 } },
  .backward = backward_custom,
};

bam_status bam_record_custom(bam_context *context, bam_tensor *const *inputs, int n_inputs,
                             int64_t graph, bam_tensor *const *outputs, int n_outputs) {
  if (n_outputs > BAM_MAX_OUTPUTS)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "custom: at most %d outputs, not %d",
                    BAM_MAX_OUTPUTS, n_outputs);
  if (!bam_autograd_recording(context, inputs, n_inputs))
    return BAM_OK;
  bam_attr count = { .given = true, .i = n_outputs };
  bam_call call = { .context = context,
                    .op = &custom_op,
                    .inputs = inputs,
                    .n_inputs = n_inputs,
                    .attrs = &count,
                    .recording = true };
  for (int k = 0; k < n_outputs; k++)
    call.outputs[k] = outputs[k];
  return bam_autograd_record(&call, n_outputs, graph);
}
