/* Checks before the fused updates, and the global norm. */
#include "optim.h"

#include <inttypes.h>
#include <math.h>

/* ---- checks ---- */

static bam_status check_range(bam_context *context, const char *what, const char *name,
                              double value,
                              double low, double high) {
  if (value >= low && value <= high)
    return BAM_OK;
  return bam_fail(context, BAM_ERROR_ARGUMENT, "%s: %s is %g; it must be in %g .. %g", what, name,
                  value, low, high);
}

/* A number such as a learning rate: finite, and not negative. */
static bam_status check_rate(bam_context *context, const char *what, const char *name,
                             double value) {
  if (value >= 0 && isfinite(value))
    return BAM_OK;
  return bam_fail(context, BAM_ERROR_ARGUMENT, "%s: %s is %g; it must be finite and at least 0",
                  what,
                  name, value);
}

static bam_status check_step(bam_context *context, const char *what, int64_t step, double clip) {
  if (step < 1)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "%s: step is %" PRId64 "; steps count from 1",
                    what,
                    step);
  return isfinite(clip) ? BAM_OK
                        : bam_fail(context, BAM_ERROR_ARGUMENT, "%s: clip_scale is %g", what, clip);
}

/* `other`, called `name`, can be walked together with `param`. */
static bam_status check_buffer(const char *what, const bam_tensor *param, const char *name,
                               const bam_tensor *other) {
  char a[BAM_SHAPE_TEXT], b[BAM_SHAPE_TEXT];
  if (!bam_tensor_is_contiguous(other))
    return bam_fail(param->context, BAM_ERROR_ARGUMENT, "%s: %s is not contiguous", what, name);
  if (other->dtype != param->dtype || !bam_shape_equal(&other->shape, &param->shape))
    return bam_fail(param->context, BAM_ERROR_ARGUMENT,
                    "%s: %s is %s %s, but the parameters are %s %s", what, name,
                    bam_dtype_name(other->dtype), bam_shape_text(&other->shape, a),
                    bam_dtype_name(param->dtype), bam_shape_text(&param->shape, b));
  if (bam_tensor_device(other) != bam_tensor_device(param))
    return bam_fail(param->context, BAM_ERROR_ARGUMENT, "%s: %s is on %s, but the parameters on %s",
                    what, name, bam_tensor_device(other)->name, bam_tensor_device(param)->name);
  return BAM_OK;
}

static bam_status check_param(const char *what, const bam_tensor *param) {
  if (param->dtype != BAM_F32 && param->dtype != BAM_F64)
    return bam_fail(param->context, BAM_ERROR_ARGUMENT, "%s: parameters must be f32 or f64, not %s",
                    what, bam_dtype_name(param->dtype));
  return check_buffer(what, param, "the parameter slice", param);
}

/* ---- updates ---- */

bam_status bam_optim_adamw(bam_tensor *param, bam_tensor *grad, bam_tensor *m, bam_tensor *v,
                           const bam_adamw *settings) {
  bam_context *context = param->context;
  const char *what = "adamw";
  bam_status status = BAM_OK;
  BAM_TRY(check_param(what, param));
  BAM_TRY(check_buffer(what, param, "the gradient", grad));
  BAM_TRY(check_buffer(what, param, "the first moment", m));
  BAM_TRY(check_buffer(what, param, "the second moment", v));
  BAM_TRY(check_rate(context, what, "lr", settings->lr));
  BAM_TRY(check_rate(context, what, "eps", settings->eps));
  BAM_TRY(check_rate(context, what, "weight_decay", settings->weight_decay));
  BAM_TRY(check_range(context, what, "beta1", settings->beta1, 0, nextafter(1, 0)));
  BAM_TRY(check_range(context, what, "beta2", settings->beta2, 0, nextafter(1, 0)));
  BAM_TRY(check_step(context, what, settings->step, settings->clip_scale));
  bam_device *device = bam_tensor_device(param);
  device->kernels[param->dtype]->adamw(device->stream, bam_tensor_data(param),
                                       bam_tensor_data(grad),
                                       bam_tensor_data(m), bam_tensor_data(v),
                                       bam_tensor_count(param), settings);
  bam_tensor_changed(param);
  bam_tensor_changed(m);
  bam_tensor_changed(v);
  status = bam_device_check(context, device);
done:
  return status;
}

bam_status bam_optim_sgd(bam_tensor *param, bam_tensor *grad, bam_tensor *buffer,
                         const bam_sgd *settings) {
  bam_context *context = param->context;
  const char *what = "sgd";
  bam_status status = BAM_OK;
  BAM_TRY(check_param(what, param));
  BAM_TRY(check_buffer(what, param, "the gradient", grad));
  if (buffer != NULL)
    BAM_TRY(check_buffer(what, param, "the momentum buffer", buffer));
  else if (settings->momentum != 0)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "sgd: momentum needs a momentum buffer");
  BAM_TRY(check_rate(context, what, "lr", settings->lr));
  BAM_TRY(check_rate(context, what, "momentum", settings->momentum));
  BAM_TRY(check_rate(context, what, "weight_decay", settings->weight_decay));
  BAM_TRY(check_step(context, what, settings->step, settings->clip_scale));
  bam_device *device = bam_tensor_device(param);
  device->kernels[param->dtype]->sgd(device->stream, bam_tensor_data(param), bam_tensor_data(grad),
                                     buffer != NULL ? bam_tensor_data(buffer) : NULL,
                                     bam_tensor_count(param), settings);
  bam_tensor_changed(param);
  if (buffer != NULL)
    bam_tensor_changed(buffer);
  status = bam_device_check(context, device);
done:
  return status;
}

/* ---- the norm ---- */

static bam_status add_squares(bam_tensor *tensor, double *sum) {
  bam_device *device = bam_tensor_device(tensor);
  bam_tensor *x = NULL, *parts = NULL, *total = NULL;
  int64_t count = bam_tensor_count(tensor), unused;
  bam_shape chunks = { .ndim = 1, .size = { (count + BAM_SUM_CHUNK - 1) / BAM_SUM_CHUNK } };
  double squares;
  bam_status status = BAM_OK;
  BAM_TRY(bam_tensor_contiguous(tensor, &x));
  BAM_TRY(check_param("norm", x));
  BAM_TRY(bam_tensor_new(tensor->context, device, BAM_F64, &chunks, &parts));
  BAM_TRY(bam_tensor_new(tensor->context, device, BAM_F64, &(bam_shape){ .ndim = 0 }, &total));
  device->kernels[x->dtype]->sum_of_squares(device->stream, bam_tensor_data(parts),
                                            bam_tensor_data(x), count);
  device->kernels[BAM_F64]->sum(device->stream, bam_tensor_data(total), bam_tensor_data(parts), 1,
                                chunks.size[0], 1);
  BAM_TRY(bam_tensor_get(total, 0, &squares, &unused));
  *sum += squares;
done:
  bam_tensor_release(x);
  bam_tensor_release(parts);
  bam_tensor_release(total);
  return status;
}

bam_status bam_optim_norm(bam_tensor *const *tensors, int n, double *norm) {
  double sum = 0;
  for (int i = 0; i < n; i++) {
    bam_status status = tensors[i] != NULL ? add_squares(tensors[i], &sum) : BAM_OK;
    if (status != BAM_OK)
      return status;
  }
  *norm = sqrt(sum);
  return BAM_OK;
}
