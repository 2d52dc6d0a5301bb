/* Argument checks for the fused optimizer kernels, and the global norm. */
#include "optim.h"
#include "../core/devices.h"
#include "../core/profile.h"

#include "../ops/ops.h"

#include <inttypes.h>
#include <math.h>

/* ---- checks ---- */

static bam_status check_range(bam_context *context, const char *what, const char *name,
                              double value, double low, double high) {
  if (value >= low && value <= high)
    return BAM_OK;
  return bam_fail(context, BAM_ERROR_ARGUMENT, "%s: %s is %g; it must be in %g .. %g", what, name,
                  value, low, high);
}

/* Check that a number such as a learning rate is finite and not negative. */
static bam_status check_rate(bam_context *context, const char *what, const char *name,
                             double value) {
  if (value >= 0 && isfinite(value))
    return BAM_OK;
  return bam_fail(context, BAM_ERROR_ARGUMENT, "%s: %s is %g; it must be finite and at least 0",
                  what, name, value);
}

static bam_status check_step(bam_context *context, const char *what, int64_t step) {
  if (step >= 1)
    return BAM_OK;
  return bam_fail(context, BAM_ERROR_ARGUMENT, "%s: step is %" PRId64 "; steps count from 1", what,
                  step);
}

/* Check that `other`, called `name`, matches `param` in shape, dtype (of bf16 f32) and device, and is contiguous. */
static bam_status check_buffer(const char *what, const bam_tensor *param, const char *name,
                               const bam_tensor *other) {
  char a[BAM_SHAPE_TEXT], b[BAM_SHAPE_TEXT];
  const bam_dtype dtype = bam_dtype_arithmetic(param->dtype);
  if (!bam_tensor_is_contiguous(other))
    return bam_fail(param->context, BAM_ERROR_ARGUMENT, "%s: %s is not contiguous", what, name);
  if (other->dtype != dtype || !bam_shape_equal(&other->shape, &param->shape))
    return bam_fail(param->context, BAM_ERROR_ARGUMENT,
                    "%s: %s is %s %s, but the parameters are %s %s", what, name,
                    bam_dtype_name(other->dtype), bam_shape_text(&other->shape, a),
                    bam_dtype_name(param->dtype), bam_shape_text(&param->shape, b));
  if (bam_tensor_device(other) != bam_tensor_device(param))
    return bam_fail(param->context, BAM_ERROR_ARGUMENT, "%s: %s is on %s, but the parameters on %s",
                    what, name, bam_tensor_device(other)->name, bam_tensor_device(param)->name);
  return BAM_OK;
}

static bam_status check_real(const char *what, const bam_tensor *x) {
  if (x->dtype == BAM_F32 || x->dtype == BAM_F64)
    return BAM_OK;
  return bam_fail(x->context, BAM_ERROR_ARGUMENT, "%s: parameters must be f32 or f64, not %s", what,
                  bam_dtype_name(x->dtype));
}

/* The low halves of masters: u8, two for each of the parameters. */
static bam_status check_low(const char *what, const bam_tensor *param, const bam_tensor *low) {
  if (low->dtype != BAM_U8 || !bam_tensor_is_contiguous(low) ||
      bam_tensor_count(low) != 2 * bam_tensor_count(param) || low->offset % 2 != 0)
    return bam_fail(param->context, BAM_ERROR_ARGUMENT,
                    "%s: the low halves of masters must be contiguous u8, two for each parameter",
                    what);
  if (bam_tensor_device(low) != bam_tensor_device(param))
    return bam_fail(param->context, BAM_ERROR_ARGUMENT,
                    "%s: the low halves of masters are on %s, but the parameters on %s", what,
                    bam_tensor_device(low)->name, bam_tensor_device(param)->name);
  return BAM_OK;
}

static bam_status check_bf16(const char *what, const bam_tensor *param) {
  if (param->dtype == BAM_BF16 && bam_tensor_is_contiguous(param))
    return BAM_OK;
  return bam_fail(param->context, BAM_ERROR_ARGUMENT,
                  "%s: the parameters must be contiguous bf16, and are %s", what,
                  bam_dtype_name(param->dtype));
}

static bam_status check_param(const char *what, const bam_tensor *param, const bam_tensor *low) {
  if (low != NULL && param->dtype != BAM_BF16)
    return bam_fail(param->context, BAM_ERROR_ARGUMENT,
                    "%s: only bf16 parameters have masters, and these are %s", what,
                    bam_dtype_name(param->dtype));
  if (low == NULL)
    BAM_TRY(check_real(what, param));
  else
    BAM_TRY(check_low(what, param, low));
  if (bam_tensor_device(param)->kernels[param->dtype] == NULL)
    return bam_fail(param->context, BAM_ERROR_ARGUMENT, "%s: %s does not compute in %s", what,
                    bam_tensor_device(param)->name, bam_dtype_name(param->dtype));
  if (bam_tensor_is_contiguous(param))
    return BAM_OK;
  return bam_fail(param->context, BAM_ERROR_ARGUMENT, "%s: the parameter slice is not contiguous",
                  what);
}

/* Get the clip factor on the device of the parameters, owned. NULL stays NULL. */
static bam_status take_clip(const char *what, const bam_tensor *param, bam_tensor *clip,
                            bam_tensor **out) {
  if (clip == NULL)
    return BAM_OK;
  if (clip->dtype != BAM_F64 || clip->shape.ndim != 0)
    return bam_fail(param->context, BAM_ERROR_ARGUMENT,
                    "%s: the clip factor must be f64 and 0-dimensional", what);
  return bam_tensor_to(clip, bam_tensor_device(param), out);
}

static const double *clip_data(const bam_tensor *clip) {
  return clip != NULL ? bam_tensor_data(clip) : NULL;
}

/* ---- updates ---- */

static void *data_of(const bam_tensor *tensor) {
  return tensor != NULL ? bam_tensor_data(tensor) : NULL;
}

bam_status bam_optim_adamw(bam_tensor *param, bam_tensor *low, bam_tensor *grad, bam_tensor *m,
                           bam_tensor *v, bam_tensor *clip, const bam_adamw *settings) {
  bam_context *context = param->context;
  bam_tensor *factor = NULL;
  const char *what = "adamw";
  bam_profile_push(context, what, false);
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(check_param(what, param, low));
  BAM_TRY_OR_DONE(check_buffer(what, param, "the gradient", grad));
  BAM_TRY_OR_DONE(check_buffer(what, param, "the first moment", m));
  BAM_TRY_OR_DONE(check_buffer(what, param, "the second moment", v));
  BAM_TRY_OR_DONE(check_rate(context, what, "lr", settings->lr));
  BAM_TRY_OR_DONE(check_rate(context, what, "eps", settings->eps));
  BAM_TRY_OR_DONE(check_rate(context, what, "weight_decay", settings->weight_decay));
  BAM_TRY_OR_DONE(check_range(context, what, "beta1", settings->beta1, 0, nextafter(1, 0)));
  BAM_TRY_OR_DONE(check_range(context, what, "beta2", settings->beta2, 0, nextafter(1, 0)));
  BAM_TRY_OR_DONE(check_step(context, what, settings->step));
  BAM_TRY_OR_DONE(take_clip(what, param, clip, &factor));
  bam_device *device = bam_tensor_device(param);
  device->kernels[param->dtype]->adamw(
    device->stream, bam_tensor_data(param), data_of(low), bam_tensor_data(grad), bam_tensor_data(m),
    bam_tensor_data(v), clip_data(factor), bam_tensor_count(param), settings);
  bam_tensor_changed(param);
  if (low != NULL)
    bam_tensor_changed(low);
  bam_tensor_changed(m);
  bam_tensor_changed(v);
  status = bam_device_check(context, device);
done:
  bam_tensor_release(factor);
  bam_profile_pop(context, bam_tensor_device(param),
                  bam_profile_bytes(param) + bam_profile_bytes(low) + bam_profile_bytes(grad) +
                    bam_profile_bytes(m) + bam_profile_bytes(v));
  return status;
}

bam_status bam_optim_lion(bam_tensor *param, bam_tensor *low, bam_tensor *grad, bam_tensor *m,
                          bam_tensor *clip, const bam_lion *settings) {
  bam_context *context = param->context;
  bam_tensor *factor = NULL;
  const char *what = "lion";
  bam_profile_push(context, what, false);
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(check_param(what, param, low));
  BAM_TRY_OR_DONE(check_buffer(what, param, "the gradient", grad));
  BAM_TRY_OR_DONE(check_buffer(what, param, "the momentum", m));
  BAM_TRY_OR_DONE(check_rate(context, what, "lr", settings->lr));
  BAM_TRY_OR_DONE(check_rate(context, what, "weight_decay", settings->weight_decay));
  BAM_TRY_OR_DONE(check_range(context, what, "beta1", settings->beta1, 0, nextafter(1, 0)));
  BAM_TRY_OR_DONE(check_range(context, what, "beta2", settings->beta2, 0, nextafter(1, 0)));
  BAM_TRY_OR_DONE(take_clip(what, param, clip, &factor));
  bam_device *device = bam_tensor_device(param);
  device->kernels[param->dtype]->lion(device->stream, bam_tensor_data(param), data_of(low),
                                      bam_tensor_data(grad), bam_tensor_data(m), clip_data(factor),
                                      bam_tensor_count(param), settings);
  bam_tensor_changed(param);
  if (low != NULL)
    bam_tensor_changed(low);
  bam_tensor_changed(m);
  status = bam_device_check(context, device);
done:
  bam_tensor_release(factor);
  bam_profile_pop(context, bam_tensor_device(param),
                  bam_profile_bytes(param) + bam_profile_bytes(low) + bam_profile_bytes(grad) +
                    bam_profile_bytes(m));
  return status;
}

bam_status bam_optim_sgd(bam_tensor *param, bam_tensor *low, bam_tensor *grad, bam_tensor *buffer,
                         bam_tensor *clip, const bam_sgd *settings) {
  bam_context *context = param->context;
  bam_tensor *factor = NULL;
  const char *what = "sgd";
  bam_profile_push(context, what, false);
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(check_param(what, param, low));
  BAM_TRY_OR_DONE(check_buffer(what, param, "the gradient", grad));
  if (buffer != NULL)
    BAM_TRY_OR_DONE(check_buffer(what, param, "the momentum buffer", buffer));
  else if (settings->momentum != 0)
    BAM_TRY_OR_DONE(bam_fail(context, BAM_ERROR_ARGUMENT, "sgd: momentum needs a momentum buffer"));
  BAM_TRY_OR_DONE(check_rate(context, what, "lr", settings->lr));
  BAM_TRY_OR_DONE(check_rate(context, what, "momentum", settings->momentum));
  BAM_TRY_OR_DONE(check_rate(context, what, "weight_decay", settings->weight_decay));
  BAM_TRY_OR_DONE(check_step(context, what, settings->step));
  BAM_TRY_OR_DONE(take_clip(what, param, clip, &factor));
  bam_device *device = bam_tensor_device(param);
  device->kernels[param->dtype]->sgd(device->stream, bam_tensor_data(param), data_of(low),
                                     bam_tensor_data(grad),
                                     buffer != NULL ? bam_tensor_data(buffer) : NULL,
                                     clip_data(factor), bam_tensor_count(param), settings);
  bam_tensor_changed(param);
  if (low != NULL)
    bam_tensor_changed(low);
  if (buffer != NULL)
    bam_tensor_changed(buffer);
  status = bam_device_check(context, device);
done:
  bam_tensor_release(factor);
  bam_profile_pop(context, bam_tensor_device(param),
                  bam_profile_bytes(param) + bam_profile_bytes(low) + bam_profile_bytes(grad) +
                    bam_profile_bytes(buffer));
  return status;
}

/* ---- masters ---- */

bam_status bam_optim_join(bam_tensor *param, bam_tensor *low, bam_tensor **masters) {
  bam_device *device = bam_tensor_device(param);
  bam_tensor *made = NULL;
  BAM_TRY(check_bf16("join_masters", param));
  BAM_TRY(check_low("join_masters", param, low));
  BAM_TRY(bam_tensor_new(param->context, device, BAM_F32, &param->shape, &made));
  device->kernels[BAM_F32]->join_masters(device->stream, bam_tensor_data(made),
                                         bam_tensor_data(param), bam_tensor_data(low),
                                         bam_tensor_count(param));
  const bam_status status = bam_device_check(param->context, device);
  if (status == BAM_OK)
    *masters = made;
  else
    bam_tensor_release(made);
  return status;
}

bam_status bam_optim_split(bam_tensor *masters, bam_tensor *param, bam_tensor *low) {
  bam_device *device = bam_tensor_device(param);
  BAM_TRY(check_bf16("split_masters", param));
  BAM_TRY(check_low("split_masters", param, low));
  BAM_TRY(check_buffer("split_masters", param, "the masters", masters));
  device->kernels[BAM_F32]->split_masters(device->stream, bam_tensor_data(param),
                                          bam_tensor_data(low), bam_tensor_data(masters),
                                          bam_tensor_count(param));
  bam_tensor_changed(param);
  bam_tensor_changed(low);
  return bam_device_check(param->context, device);
}

/* ---- the norm ---- */

/* Compute the sum of squares of `tensor` in the 0-d f64 tensor `sum`, on the same device. */
static bam_status sum_squares(bam_tensor *tensor, bam_tensor *sum) {
  bam_device *device = bam_tensor_device(tensor);
  bam_tensor *x = NULL, *parts = NULL;
  int64_t count = bam_tensor_count(tensor);
  bam_shape chunks = { .ndim = 1, .size = { (count + BAM_SUM_CHUNK - 1) / BAM_SUM_CHUNK } };
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(check_real("norm", tensor));
  BAM_TRY_OR_DONE(bam_tensor_contiguous(tensor, &x));
  BAM_TRY_OR_DONE(bam_tensor_new(tensor->context, device, BAM_F64, &chunks, &parts));
  device->kernels[x->dtype]->sum_of_squares(device->stream, bam_tensor_data(parts),
                                            bam_tensor_data(x), count);
  device->kernels[BAM_F64]->sum(device->stream, bam_tensor_data(sum), bam_tensor_data(parts), 1,
                                chunks.size[0], 1);
  status = bam_device_check(tensor->context, device);
done:
  bam_tensor_release(x);
  bam_tensor_release(parts);
  return status;
}

/* Compute the sum of squares of `tensor` in element `k` of `sums`, which may be on another device. */
static bam_status sum_squares_at(bam_tensor *tensor, bam_tensor *sums, int k) {
  const bam_shape scalar = { .ndim = 0 };
  bam_tensor *place = NULL, *sum = NULL;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(bam_tensor_view(sums, &scalar, sums->stride, k, &place));
  BAM_TRY_OR_DONE(bam_tensor_new(sums->context, bam_tensor_device(tensor), BAM_F64, &scalar, &sum));
  BAM_TRY_OR_DONE(sum_squares(tensor, sum));
  BAM_TRY_OR_DONE(bam_tensor_copy(place, sum));
done:
  bam_tensor_release(place);
  bam_tensor_release(sum);
  return status;
}

bam_status bam_optim_norm(bam_context *context, bam_tensor *const *tensors, int n,
                          bam_tensor **norm) {
  const bam_shape shape = { .ndim = 1, .size = { n } };
  bam_device *device = context->device;
  double bytes = 0;
  bam_tensor *sums = NULL, *total = NULL;
  bam_status status = BAM_OK;
  for (int i = n - 1; i >= 0; i--)
    if (tensors[i] != NULL) {
      device = bam_tensor_device(tensors[i]);
      bytes += bam_profile_bytes(tensors[i]);
    }
  bam_profile_push(context, "norm", false);
  BAM_TRY_OR_DONE(bam_tensor_zeros(context, device, BAM_F64, &shape, &sums));
  for (int i = 0; i < n; i++)
    if (tensors[i] != NULL)
      BAM_TRY_OR_DONE(sum_squares_at(tensors[i], sums, i));
  BAM_TRY_OR_DONE(bam_apply1(&bam_op_sum, sums, NULL, &total));
  BAM_TRY_OR_DONE(bam_apply1(&bam_op_sqrt, total, NULL, norm));
done:
  bam_tensor_release(sums);
  bam_tensor_release(total);
  bam_profile_pop(context, device, bytes);
  return status;
}
