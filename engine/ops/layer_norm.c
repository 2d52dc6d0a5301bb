/* Layer norm and RMS norm over the last dimension, alone or on the sum of two tensors: then the sum,
   which the residual stream goes on with, is the second result, and no separate addition passes over
   memory.
   Backward is one pass for all gradients. */
#include "support/layer_inputs.h"

/* The parts of `rows` rows whose shares of the weight gradients are summed by themselves: on the CPU a few; on a device
   as many as there can be groups of threads at once on 132 multiprocessors, more of short rows, which take fewer
   threads (kernels/cuda/norm.cu). Not on this device's: the order of sums depends on sizes only. */
static int64_t parts_of(const bam_device *device, int64_t rows, int64_t width) {
  const int64_t each = device->is_host ? 64 : 16;
  const int64_t groups = width > 2560 ? 1 : width > 1024 ? 2 : width > 256 ? 6 : 24;
  const int64_t most = device->is_host ? 64 : 132 * groups;
  const int64_t parts = (rows + each - 1) / each;
  return parts < most ? parts : most;
}

/* Inputs 0 .. first_weight-1 are summed; then come weight and, optionally, bias. */
static bam_status check_norm(bam_call *call, int first_weight) {
  const bam_shape *x = &call->inputs[0]->shape;
  if (x->ndim < 1)
    return bam_call_fail(call, "x has no dimensions; it must be [..., D]");
  bam_shape width = { .ndim = 1, .size = { bam_shape_width(x) } };
  if (first_weight == 2)
    BAM_TRY(bam_call_expect_shape(call, 1, x, "the shape of x"));
  BAM_TRY(bam_call_expect_shape(call, first_weight, &width, "the last size of x"));
  if (bam_call_optional(call, first_weight + 1) != NULL)
    BAM_TRY(bam_call_expect_shape(call, first_weight + 1, &width, "the last size of x"));
  return BAM_OK;
}

/* Save the normalised tensor (slot 0), its statistics (1) and the weight (2). */
static bam_status normalise(bam_call *call, bam_tensor *const in[4], bool rms) {
  bam_tensor *x = in[0], *residual = in[1], *weight = in[2], *bias = in[3], *stats = NULL;
  const bam_kernels *kernels;
  int64_t rows = bam_shape_rows(&x->shape), width = bam_shape_width(&x->shape);
  BAM_TRY(bam_call_kernels(call, x->dtype, &kernels));
  BAM_TRY(bam_temp_scratch(call->scope, bam_tensor_device(x), bam_dtype_arithmetic(x->dtype),
                           3 * rows, &stats));
  BAM_TRY(bam_call_output(call, 0, x->dtype, &x->shape));
  if (residual != NULL)
    BAM_TRY(bam_call_output(call, 1, x->dtype, &x->shape));
  BAM_TRY(bam_call_save(call, 0, residual != NULL ? call->outputs[1] : x));
  BAM_TRY(bam_call_save(call, 1, stats));
  BAM_TRY(bam_call_save(call, 2, weight));
  if (width > 0)
    kernels->layer_norm(
      bam_call_device(call)->stream,
      &(bam_layer_norm){ .y = bam_tensor_data(call->outputs[0]),
                         .s = residual != NULL ? bam_tensor_data(call->outputs[1]) : NULL,
                         .stats = bam_tensor_data(stats),
                         .x = bam_tensor_data(x),
                         .residual = residual != NULL ? bam_tensor_data(residual) : NULL,
                         .weight = bam_tensor_data(weight),
                         .bias = bias != NULL ? bam_tensor_data(bias) : NULL,
                         .rows = rows,
                         .n = width,
                         .eps = call->attrs[0].f,
                         .rms = rms });
  return BAM_OK;
}

static bam_status forward_norm(bam_call *call, int first_weight, bool rms) {
  bam_tensor *in[4] = { NULL };
  BAM_TRY(check_norm(call, first_weight));
  BAM_TRY(bam_call_layer_input(call, 0, 0, &in[0]));
  if (first_weight == 2)
    BAM_TRY(bam_call_layer_input(call, 1, 0, &in[1]));
  BAM_TRY(bam_call_layer_input(call, first_weight, 0, &in[2]));
  if (bam_call_optional(call, first_weight + 1) != NULL)
    BAM_TRY(bam_call_layer_input(call, first_weight + 1, 0, &in[3]));
  return normalise(call, in, rms);
}

static bam_status layer_norm_forward(bam_call *call) { return forward_norm(call, 1, false); }
static bam_status add_layer_norm_forward(bam_call *call) { return forward_norm(call, 2, false); }
static bam_status rms_norm_forward(bam_call *call) { return forward_norm(call, 1, true); }
static bam_status add_rms_norm_forward(bam_call *call) { return forward_norm(call, 2, true); }

/* Where the gradients of one backward pass are written, or added; NULL: not wanted. */
typedef struct norm_gradients {
  bam_tensor *dx, *dweight, *dbias;
  bool rms, add_x, add_weight, add_bias;
} norm_gradients;

static bam_status find_gradients(bam_backward *pass, int first_weight, norm_gradients *to) {
  bam_tensor *s = pass->saved[0];
  const bam_dtype real = bam_dtype_arithmetic(s->dtype);
  if (first_weight == 2 && (bam_needs_grad(pass, 0) || bam_needs_grad(pass, 1)))
    BAM_TRY(bam_temp_like(pass->scope, s, &to->dx));
  else if (bam_needs_grad(
             pass, 0)) /* added in the same pass: that of a residual stream is there already */
    BAM_TRY(bam_grad_buffer_as(pass, 0, s->dtype, &to->dx, &to->add_x));
  if (bam_needs_grad(pass, first_weight))
    BAM_TRY(bam_grad_buffer_as(pass, first_weight, real, &to->dweight, &to->add_weight));
  if (bam_needs_grad(pass, first_weight + 1))
    BAM_TRY(bam_grad_buffer_as(pass, first_weight + 1, real, &to->dbias, &to->add_bias));
  return BAM_OK;
}

/* dy is contiguous; ds, the gradient of the sum from elsewhere, too, or NULL. */
static bam_status differentiate(bam_backward *pass, bam_tensor *dy, bam_tensor *ds,
                                const norm_gradients *to) {
  bam_tensor *s = pass->saved[0], *scratch = NULL;
  int64_t rows = bam_shape_rows(&s->shape), width = bam_shape_width(&s->shape);
  const int64_t parts = parts_of(bam_tensor_device(s), rows, width);
  const bam_kernels *kernels;
  if (width == 0)
    return BAM_OK;
  BAM_TRY(bam_backward_kernels(pass, s->dtype, &kernels));
  BAM_TRY(bam_temp_scratch(pass->scope, bam_tensor_device(s), bam_dtype_arithmetic(s->dtype),
                           parts * 2 * width, &scratch));
  kernels->layer_norm_backward(
    bam_tensor_device(s)->stream,
    &(bam_layer_norm_backward){ .dx = to->dx != NULL ? bam_tensor_data(to->dx) : NULL,
                                .dweight = to->dweight != NULL ? bam_tensor_data(to->dweight)
                                                               : NULL,
                                .dbias = to->dbias != NULL ? bam_tensor_data(to->dbias) : NULL,
                                .scratch = bam_tensor_data(scratch),
                                .dy = bam_tensor_data(dy),
                                .ds = ds != NULL ? bam_tensor_data(ds) : NULL,
                                .s = bam_tensor_data(s),
                                .stats = bam_tensor_data(pass->saved[1]),
                                .weight = bam_tensor_data(pass->saved[2]),
                                .rows = rows,
                                .n = width,
                                .parts = parts,
                                .rms = to->rms,
                                .add_weight = to->add_weight,
                                .add_bias = to->add_bias });
  bam_temp_release(pass->scope, scratch);
  return BAM_OK;
}

static bam_status backward_norm(bam_backward *pass, int first_weight, bool rms) {
  bam_tensor *dy = NULL, *ds = NULL;
  norm_gradients to = { .rms = rms };
  if (pass->grads[0] == NULL) { /* only the sum was used */
    BAM_TRY(bam_accumulate_grad(pass, 0, pass->grads[1]));
    BAM_TRY(bam_accumulate_grad(pass, 1, pass->grads[1]));
    return BAM_OK;
  }
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  if (first_weight == 2 && pass->grads[1] != NULL)
    BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[1], &ds));
  BAM_TRY(find_gradients(pass, first_weight, &to));
  BAM_TRY(differentiate(pass, dy, to.add_x ? to.dx : ds, &to));
  if (to.dx != NULL && first_weight == 2) {
    BAM_TRY(bam_accumulate_grad(pass, 0, to.dx));
    BAM_TRY(bam_accumulate_grad(pass, 1, to.dx));
  }
  return BAM_OK;
}

static bam_status layer_norm_backward(bam_backward *pass) { return backward_norm(pass, 1, false); }
static bam_status add_layer_norm_backward(bam_backward *pass) {
  return backward_norm(pass, 2, false);
}
static bam_status rms_norm_backward(bam_backward *pass) { return backward_norm(pass, 1, true); }
static bam_status add_rms_norm_backward(bam_backward *pass) { return backward_norm(pass, 2, true); }

static const bam_attr_spec norm_attrs[] = {
  { .name = "eps", .kind = BAM_ATTR_FLOAT, .initial = 1e-5 },
  { 0 },
};

const bam_op bam_op_layer_norm = {
  .name = "layer_norm",
  .help = "Layer normalization over the last dimension: (x - mean) / sqrt(var + eps) * weight + "
          "bias. `x` is [..., "
          "D], `weight` and `bias` are [D]; f32, f64, or bf16 on a GPU.",
  .inputs = { "x", "weight", "bias?" },
  .attrs = norm_attrs,
  .forward = layer_norm_forward,
  .backward = layer_norm_backward,
};

const bam_op bam_op_add_layer_norm = {
  .name = "add_layer_norm",
  .help =
    "layer_norm(x + residual) in one pass. Returns the normalized sum and the sum itself, "
    "for the residual "
    "stream. `x` and `residual` are [..., D], `weight` and `bias` [D]; f32, f64, or bf16 on a GPU.",
  .inputs = { "x", "residual", "weight", "bias?" },
  .attrs = norm_attrs,
  .outputs = 2,
  .forward = add_layer_norm_forward,
  .backward = add_layer_norm_backward,
};

const bam_op bam_op_rms_norm = {
  .name = "rms_norm",
  .help =
    "RMS normalization over the last dimension (Zhang and Sennrich 2019): x / sqrt(mean(x²) + "
    "eps) * weight. `x` is [..., D], `weight` is [D]; f32, f64, or bf16 on a GPU.",
  .inputs = { "x", "weight" },
  .attrs = norm_attrs,
  .forward = rms_norm_forward,
  .backward = rms_norm_backward,
};

const bam_op bam_op_add_rms_norm = {
  .name = "add_rms_norm",
  .help = "rms_norm(x + residual) in one pass. Returns the normalized sum and the sum itself, for "
          "the residual stream. `x` and `residual` are [..., D], `weight` is [D]; f32, f64, or "
          "bf16 on a GPU.",
  .inputs = { "x", "residual", "weight" },
  .attrs = norm_attrs,
  .outputs = 2,
  .forward = add_rms_norm_forward,
  .backward = add_rms_norm_backward,
};
