#include "promote.h"

#include <inttypes.h>

/* One dtype per tier; -1: none yet. */
enum { WITH_DIMENSIONS, WITHOUT, NUMBER, TIERS };

static int tier_of(const bam_tensor *tensor) {
  if (tensor->is_number)
    return NUMBER;
  return tensor->shape.ndim > 0 ? WITH_DIMENSIONS : WITHOUT;
}

static int join(int a, int b) {
  if (a < 0 || b < 0)
    return a < 0 ? b : a;
  return (int)bam_dtype_promote((bam_dtype)a, (bam_dtype)b);
}

/* `higher` decides unless `lower` is of a higher category. */
static int combine(int higher, int lower) {
  if (higher < 0 || lower < 0)
    return higher < 0 ? lower : higher;
  if (bam_dtype_is_float((bam_dtype)higher))
    return higher;
  if (higher == BAM_BOOL || bam_dtype_is_float((bam_dtype)lower))
    return join(higher, lower);
  return higher;
}

bam_status bam_promote_types(bam_call *call, int first, int n, bam_dtype *out) {
  int tier[TIERS] = { -1, -1, -1 };
  for (int i = first; i < first + n; i++) {
    const bam_tensor *x = call->inputs[i];
    if (x == NULL)
      continue;
    if (bam_call_device(call)->kernels[x->dtype] == NULL)
      return bam_call_fail(call,
                           "input %d is %s, which only stores values; compute in f32: x:to \"f32\"",
                           i + 1, bam_dtype_name(x->dtype));
    int k = tier_of(x);
    tier[k] = join(tier[k], k == NUMBER && x->dtype == BAM_F64 ? BAM_F32 : (int)x->dtype);
  }
  *out = (bam_dtype)combine(tier[WITH_DIMENSIONS], combine(tier[WITHOUT], tier[NUMBER]));
  return BAM_OK;
}

bam_status bam_promote_input(bam_call *call, int i, bam_dtype dtype, bam_tensor **out) {
  bam_tensor *x = call->inputs[i];
  if (x->dtype == dtype) {
    *out = x;
    return BAM_OK;
  }
  if (x->is_number)
    BAM_TRY(bam_tensor_check_number(call->op->name, x, dtype));
  return bam_temp_convert(call->scope, x, dtype, out);
}
