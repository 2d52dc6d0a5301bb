/* FP8 in double precision, from the definition of its formats and by search: a number's code is the one whose value is
   nearest, of two that are equally near the even one. What kernels/fp8.h says with bits is compared with this. */
#ifndef BAM_TEST_FP8_MODEL_H
#define BAM_TEST_FP8_MODEL_H

#include <math.h>

#include "../../kernels/fp8.h"

/* The value of a code without its sign; NaN and infinities included. */
static inline double fp8_model_magnitude(int code, bam_fp8_format format) {
  const int fraction = format == BAM_E4M3 ? 3 : 2, bias = format == BAM_E4M3 ? 7 : 15;
  const int exponent = code >> fraction, digits = code & ((1 << fraction) - 1);
  if (format == BAM_E4M3 && code == 0x7f)
    return NAN;
  if (format == BAM_E5M2 && exponent == 31)
    return digits == 0 ? INFINITY : NAN;
  if (exponent == 0)
    return ldexp(digits, 1 - bias - fraction);
  return ldexp((1 << fraction) + digits, exponent - bias - fraction);
}

static inline double fp8_model_largest(bam_fp8_format format) {
  return format == BAM_E4M3 ? 448 : 57344;
}

static inline double fp8_model_value(int code, bam_fp8_format format) {
  const double magnitude = fp8_model_magnitude(code & 0x7f, format);
  return code & 0x80 ? -magnitude : magnitude;
}

static inline int fp8_model_code(double x, bam_fp8_format format) {
  const double magnitude = fmin(fabs(x), fp8_model_largest(format));
  int low = 0, high = format == BAM_E4M3 ? 0x7e : 0x7b;
  if (!isfinite(x))
    return BAM_FP8_NAN;
  while (high - low > 1) { /* the value of low is <= magnitude */
    const int middle = (low + high) / 2;
    *(fp8_model_magnitude(middle, format) <= magnitude ? &low : &high) = middle;
  }
  const double below = magnitude - fp8_model_magnitude(low, format),
               above = fp8_model_magnitude(high, format) - magnitude;
  const int code = below < above || (below == above && low % 2 == 0) ? low : high;
  return signbit(x) ? code | 0x80 : code;
}

/* The largest power of two, at most 2^126, that keeps amax within the format. */
static inline double fp8_model_scale(double amax, bam_fp8_format format) {
  double scale = ldexp(1, BAM_FP8_EXPONENT);
  if (amax == 0 || !isfinite(amax))
    return 1;
  while (amax * scale > fp8_model_largest(format))
    scale /= 2;
  return scale;
}

/* x after it was scaled, rounded and scaled back. */
static inline double fp8_model_round(double x, double scale, bam_fp8_format format) {
  return fp8_model_value(fp8_model_code(x * scale, format), format) / scale;
}

#endif
