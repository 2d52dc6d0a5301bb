/* SwiGLU on the result of the gate and up projections, which lie side by side (BAM Table 8). */
#include <inttypes.h>

#include "support/layer_inputs.h"

static bam_status swiglu_forward(bam_call *call) {
  bam_tensor *x = NULL;
  bam_shape shape = call->inputs[0]->shape;
  char text[BAM_SHAPE_TEXT];
  int64_t stride;
  const bam_kernels *kernels;
  if (shape.ndim < 1 || bam_shape_width(&shape) % 2 != 0)
    return bam_call_fail(call, "x is %s; its last size must be even: gate, then up",
                         bam_shape_text(&shape, text));
  shape.size[shape.ndim - 1] /= 2;
  BAM_TRY(bam_call_rows_input(call, 0, 0, &stride, &x));
  BAM_TRY(bam_call_kernels(call, x->dtype, &kernels));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &shape));
  BAM_TRY(bam_call_save(call, 0, call->inputs[0]));
  kernels->swiglu(bam_call_device(call)->stream, bam_tensor_data(call->outputs[0]),
                  bam_tensor_data(x), stride, bam_shape_rows(&shape), bam_shape_width(&shape));
  return BAM_OK;
}

static bam_status swiglu_backward(bam_backward *pass) {
  bam_tensor *dy = NULL, *x = NULL, *dx = NULL;
  const bam_kernels *kernels;
  const bam_shape *shape = bam_backward_shape(pass, 0);
  int64_t width = bam_shape_width(shape);
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->saved[0], &x));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_temp_new(pass->scope, bam_tensor_device(x), x->dtype, shape, &dx));
  kernels->swiglu_backward(bam_tensor_device(x)->stream, bam_tensor_data(dx), bam_tensor_data(dy),
                           bam_tensor_data(x), width, bam_shape_rows(shape), width / 2);
  return bam_accumulate_grad(pass, 0, dx);
}

const bam_op bam_op_swiglu = {
  .name = "swiglu",
  .help = "silu(gate) * up (Shazeer 2020), where `x` is [..., 2F] with gate in its first half and "
          "up in its second. "
          "The result is [..., F]; f32 or f64. Backward needs only x.",
  .inputs = { "x" },
  .forward = swiglu_forward,
  .backward = swiglu_backward,
};
