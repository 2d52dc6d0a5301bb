/* Gated activations of the result of the gate and up projections, which lie side by side: SwiGLU (BAM
   Table 8), and GeGLU. Backward computes the activation again. */
#include <inttypes.h>

#include "support/layer_inputs.h"

static bam_status check_halves(bam_call *call) {
  const bam_shape *x = &call->inputs[0]->shape;
  char text[BAM_SHAPE_TEXT];
  if (x->ndim < 1 || bam_shape_width(x) % 2 != 0)
    return bam_call_fail(call, "x is %s; its last size must be even: gate, then up",
                         bam_shape_text(x, text));
  return BAM_OK;
}

static bam_status glu_forward(bam_call *call, bool gelu) {
  bam_tensor *x = NULL;
  bam_shape shape = call->inputs[0]->shape;
  int64_t stride;
  const bam_kernels *kernels;
  BAM_TRY(check_halves(call));
  shape.size[shape.ndim - 1] /= 2;
  BAM_TRY(bam_call_rows_input(call, 0, 0, &stride, &x));
  BAM_TRY(bam_call_kernels(call, x->dtype, &kernels));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &shape));
  BAM_TRY(bam_call_save(call, 0, call->inputs[0]));
  const int64_t rows = bam_shape_rows(&shape), hidden = bam_shape_width(&shape);
  void *y = bam_tensor_data(call->outputs[0]);
  bam_stream stream = bam_call_device(call)->stream;
  if (gelu)
    kernels->geglu(stream, y,
                   &(bam_geglu){ .x = bam_tensor_data(x),
                                 .stride = stride,
                                 .count = rows,
                                 .hidden = hidden,
                                 .approximate = call->attrs[0].i != 0 });
  else
    kernels->swiglu(stream, y, bam_tensor_data(x), stride, rows, hidden);
  return BAM_OK;
}

static bam_status glu_backward(bam_backward *pass, bool gelu) {
  bam_tensor *dy = NULL, *x = NULL, *dx = NULL;
  const bam_kernels *kernels;
  const bam_shape *shape = bam_backward_shape(pass, 0);
  int64_t width = bam_shape_width(shape);
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->saved[0], &x));
  BAM_TRY(bam_backward_kernels(pass, dy->dtype, &kernels));
  BAM_TRY(bam_temp_new(pass->scope, bam_tensor_device(x), x->dtype, shape, &dx));
  bam_stream stream = bam_tensor_device(x)->stream;
  if (gelu)
    kernels->geglu_backward(stream, &(bam_geglu_gradients){ .dx = bam_tensor_data(dx),
                                                            .dy = bam_tensor_data(dy),
                                                            .x = bam_tensor_data(x),
                                                            .count = bam_shape_rows(shape),
                                                            .hidden = width / 2,
                                                            .approximate = pass->attrs[0].i != 0 });
  else
    kernels->swiglu_backward(stream, bam_tensor_data(dx), bam_tensor_data(dy), bam_tensor_data(x),
                             width, bam_shape_rows(shape), width / 2);
  return bam_accumulate_grad(pass, 0, dx);
}

static bam_status swiglu_forward(bam_call *call) { return glu_forward(call, false); }
static bam_status swiglu_backward(bam_backward *pass) { return glu_backward(pass, false); }
static bam_status geglu_forward(bam_call *call) { return glu_forward(call, true); }
static bam_status geglu_backward(bam_backward *pass) { return glu_backward(pass, true); }

const bam_op bam_op_swiglu = {
  .name = "swiglu",
  .help = "silu(gate) * up (Shazeer 2020), where `x` is [..., 2F] with gate in its first half and "
          "up in its second. "
          "The result is [..., F]; f32, f64, or bf16 on a GPU. Backward needs only x.",
  .inputs = { "x" },
  .forward = swiglu_forward,
  .backward = swiglu_backward,
};

const bam_op bam_op_geglu = {
  .name = "geglu",
  .help = "gelu(gate) * up (Shazeer 2020), where `x` is [..., 2F] with gate in its first half and "
          "up in its second. The result is [..., F]; f32, f64, or bf16 on a GPU. `approximate` "
          "computes GELU by "
          "tanh, as in gelu.",
  .inputs = { "x" },
  .attrs = (const bam_attr_spec[]){ { .name = "approximate", .kind = BAM_ATTR_BOOL }, { 0 } },
  .forward = geglu_forward,
  .backward = geglu_backward,
};
