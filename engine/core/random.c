#include "random.h"
#include "devices.h"

#include <inttypes.h>
#include <math.h>

#include "capture.h"

bam_random_state bam_random_get_state(const bam_context *context) {
  return (bam_random_state){ context->seed, context->random_counter };
}

void bam_random_set_state(bam_context *context, bam_random_state state) {
  context->seed = state.seed;
  context->random_counter = state.counter;
}

/* The tensor to draw into: `tensor` itself if it is contiguous and of this dtype, else a new tensor
   of its shape. */
static bam_status begin(bam_tensor *tensor, bam_dtype dtype, bam_tensor **draw) {
  BAM_TRY(
    bam_capture_refuse(tensor->context, "random numbers, which would be the same ones each time"));
  if (tensor->dtype == dtype && bam_tensor_is_contiguous(tensor)) {
    *draw = bam_tensor_retain(tensor);
    return BAM_OK;
  }
  return bam_tensor_new(tensor->context, bam_tensor_device(tensor), dtype, &tensor->shape, draw);
}

/* Copy the draws into `tensor`, advance the counter, and release `draw`. */
static bam_status finish(bam_tensor *tensor, bam_tensor *draw, int64_t per_block) {
  bam_status status = BAM_OK;
  int64_t count = bam_tensor_count(tensor);
  if (draw == tensor) {
    bam_tensor_changed(tensor);
    status = bam_device_check(tensor->context, bam_tensor_device(tensor));
  } else {
    status = bam_tensor_copy(tensor, draw);
  }
  if (status == BAM_OK)
    tensor->context->random_counter += (uint64_t)((count + per_block - 1) / per_block);
  bam_tensor_release(draw);
  return status;
}

static const bam_kernels *kernels_of(const bam_tensor *tensor, bam_dtype dtype) {
  return bam_tensor_device(tensor)->kernels[dtype];
}

/* Draw uniform numbers in [a, b), or normal ones with mean `a` and standard deviation `b`. */
static bam_status draw_real(bam_tensor *tensor, double a, double b, bool normal) {
  bam_context *context = tensor->context;
  bam_tensor *draw;
  bam_dtype dtype = tensor->dtype == BAM_F64 ? BAM_F64 : BAM_F32;
  BAM_TRY(begin(tensor, dtype, &draw));
  const bam_kernels *kernels = kernels_of(tensor, dtype);
  (normal ? kernels->random_normal : kernels->random_uniform)(
    bam_tensor_device(tensor)->stream, bam_tensor_data(draw), bam_tensor_count(draw), context->seed,
    context->random_counter, a, b);
  return finish(tensor, draw, dtype == BAM_F64 ? 2 : 4);
}

static bam_status check_real(bam_tensor *tensor, const char *what) {
  if (bam_dtype_is_float(tensor->dtype))
    return BAM_OK;
  return bam_fail(tensor->context, BAM_ERROR_ARGUMENT, "%s: needs a float dtype, got %s", what,
                  bam_dtype_name(tensor->dtype));
}

bam_status bam_random_uniform(bam_tensor *tensor, double low, double high) {
  bam_status status = check_real(tensor, "uniform");
  if (status == BAM_OK && !(low <= high && isfinite(high - low)))
    return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                    "uniform: the bounds %g and %g are not an ascending finite interval", low,
                    high);
  return status == BAM_OK ? draw_real(tensor, low, high, false) : status;
}

bam_status bam_random_normal(bam_tensor *tensor, double mean, double deviation) {
  bam_status status = check_real(tensor, "normal");
  if (status == BAM_OK && !(isfinite(mean) && deviation >= 0 && isfinite(deviation)))
    return bam_fail(tensor->context, BAM_ERROR_ARGUMENT,
                    "normal: mean %g and deviation %g must be finite, the latter not negative",
                    mean, deviation);
  return status == BAM_OK ? draw_real(tensor, mean, deviation, true) : status;
}

/* The range of consecutive integers that a dtype represents exactly. */
static void range_of(bam_dtype dtype, int64_t *low, int64_t *high) {
  static const int64_t largest[BAM_DTYPES] = {
    [BAM_BOOL] = 1,      [BAM_U8] = UINT8_MAX, [BAM_I32] = INT32_MAX, [BAM_I64] = INT64_MAX,
    [BAM_F16] = 1 << 11, [BAM_BF16] = 1 << 8,  [BAM_F32] = 1 << 24,   [BAM_F64] = (int64_t)1 << 53,
  };
  *high = largest[dtype];
  *low = dtype == BAM_BOOL || dtype == BAM_U8 ? 0 : bam_dtype_is_float(dtype) ? -*high : -*high - 1;
}

bam_status bam_random_integers(bam_tensor *tensor, int64_t low, int64_t high) {
  bam_context *context = tensor->context;
  int64_t lowest, highest;
  bam_tensor *draw;
  range_of(tensor->dtype, &lowest, &highest);
  if (low > high)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "%" PRId64 " to %" PRId64 " is empty; the first bound is the smaller", low,
                    high);
  if (low < lowest || high > highest)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "%" PRId64 " to %" PRId64 " does not fit %s", low,
                    high, bam_dtype_name(tensor->dtype));
  BAM_TRY(begin(tensor, BAM_I64, &draw));
  kernels_of(tensor, BAM_F64)
    ->random_integers(bam_tensor_device(tensor)->stream, bam_tensor_data(draw),
                      bam_tensor_count(draw), context->seed, context->random_counter, low, high);
  return finish(tensor, draw, 2);
}

bam_status bam_random_bernoulli(bam_tensor *tensor, double probability) {
  bam_context *context = tensor->context;
  bam_tensor *draw;
  if (!(probability >= 0 && probability <= 1))
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "bernoulli: the probability %g is not between 0 and 1", probability);
  BAM_TRY(begin(tensor, BAM_BOOL, &draw));
  kernels_of(tensor, BAM_F32)
    ->random_booleans(bam_tensor_device(tensor)->stream, bam_tensor_data(draw),
                      bam_tensor_count(draw), context->seed, context->random_counter, probability);
  return finish(tensor, draw, 4);
}

/* Fisher-Yates shuffle: the i-th draw, 64 random bits, chooses among the i positions still open. */
static void shuffle(int64_t *positions, const uint64_t *bits, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    positions[i] = i + 1;
  for (int64_t i = n - 1; i > 0; i--) {
    int64_t j = (int64_t)(((unsigned __int128)bits[i] * (uint64_t)(i + 1)) >> 64);
    int64_t swapped = positions[i];
    positions[i] = positions[j];
    positions[j] = swapped;
  }
}

bam_status bam_random_permutation(bam_tensor *tensor) {
  bam_context *context = tensor->context;
  bam_status status = BAM_OK;
  bam_tensor *bits = NULL, *positions = NULL;
  if (tensor->shape.ndim != 1 || (tensor->dtype != BAM_I64 && tensor->dtype != BAM_I32))
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "permutation: needs a 1-dimensional i32 or i64 tensor");
  if (tensor->dtype == BAM_I32 && tensor->shape.size[0] > INT32_MAX)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "permutation: the positions do not fit i32; use i64");
  BAM_TRY_OR_DONE(bam_tensor_new(context, &context->cpu, BAM_I64, &tensor->shape, &positions));
  BAM_TRY_OR_DONE(bam_tensor_new(context, &context->cpu, BAM_I64, &tensor->shape, &bits));
  BAM_TRY_OR_DONE(bam_random_integers(bits, INT64_MIN, INT64_MAX));
  shuffle(bam_tensor_data(positions), bam_tensor_data(bits), tensor->shape.size[0]);
  BAM_TRY_OR_DONE(bam_tensor_copy(tensor, positions));
done:
  bam_tensor_release(bits);
  bam_tensor_release(positions);
  return status;
}
