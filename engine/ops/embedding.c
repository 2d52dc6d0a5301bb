/* Token ids to rows of a table (BAM Table 8: input embedding). */
#include <string.h>

#include "support/layer_inputs.h"

static bam_status embedding_forward(bam_call *call) {
  bam_tensor *ids = NULL, *weight = NULL;
  bam_shape shape = call->inputs[0]->shape;
  const bam_shape *table = &call->inputs[1]->shape;
  char text[BAM_SHAPE_TEXT];
  const bam_kernels *kernels;
  if (table->ndim != 2)
    return bam_call_fail(call, "`weight` is %s; it must be [tokens, width]",
                         bam_shape_text(table, text));
  if (shape.ndim == BAM_MAX_DIMS)
    return bam_call_fail(call, "`ids` has %d dimensions already; the result needs one more",
                         BAM_MAX_DIMS);
  shape.size[shape.ndim++] = table->size[1];
  BAM_TRY(bam_call_layer_input(call, 1, 1, &weight));
  BAM_TRY(bam_call_ids(call, 0, table->size[0], INT64_MIN, &ids));
  BAM_TRY(bam_call_kernels(call, weight->dtype, &kernels));
  BAM_TRY(bam_call_output(call, 0, weight->dtype, &shape));
  BAM_TRY(bam_call_save(call, 0, ids));
  kernels->embedding(bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]),
                     bam_tensor_data(weight), bam_tensor_data(ids), bam_tensor_count(ids),
                     table->size[1]);
  return BAM_OK;
}

static bam_status embedding_backward(bam_backward *pass) {
  bam_tensor *dy = NULL, *dweight, *ids = pass->saved[0];
  bool accumulate;
  const bam_kernels *kernels;
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_grad_buffer_as(pass, 1, bam_dtype_arithmetic(dy->dtype), &dweight, &accumulate));
  if (!accumulate)
    BAM_TRY(bam_tensor_fill(dweight, 0));
  kernels->embedding_backward(bam_tensor_device(dy)->stream, bam_tensor_data(dweight),
                              bam_tensor_data(dy), bam_tensor_data(ids), bam_tensor_count(ids),
                              bam_shape_width(&dweight->shape));
  return BAM_OK;
}

const bam_op bam_op_embedding = {
  .name = "embedding",
  .help = "Look up rows by token id: y[..., :] = weight[ids[...]]. `ids` are integers of any "
          "shape, counted from 0; "
          "`weight` is [V, D], f32, f64, or bf16 on a GPU; the result is [..., D].",
  .inputs = { "ids", "weight" },
  .forward = embedding_forward,
  .backward = embedding_backward,
};
