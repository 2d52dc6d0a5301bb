/* Functions of one floating-point number, the same on every device, for the kernels of
   kernels/unary_list.h. They use v_exp, v_log, v_log1p_unit (log(1 + x) for 0 <= x <= 1), v_tanh
   and v_normal_cdf, which the device's vmath.h
   defines before including this file. */
#ifndef BAM_UNARY_FUNCTIONS_H
#define BAM_UNARY_FUNCTIONS_H

#include "real.h"
#include "unary_list.h"

/* 1 / (1 + e^-x), without overflow for large |x|. */
BAM_FUNCTION real v_sigmoid(real x) {
  real e = v_exp(x < 0 ? x : -x);
  return (x < 0 ? e : (real)1) / (1 + e);
}

/* log(1 + e^x). */
BAM_FUNCTION real v_softplus(real x) {
  return (x < 0 ? (real)0 : x) + v_log1p_unit(v_exp(x < 0 ? x : -x));
}

/* x s, where s falls to 0 faster than x grows, so the product is 0 at -infinity instead of NaN. */
BAM_FUNCTION real times_gate(real x, real s) { return s == 0 ? (real)0 : x * s; }

BAM_FUNCTION real silu_slope(real x) {
  real s = v_sigmoid(x);
  return s + times_gate(x, s * (1 - s));
}

BAM_FUNCTION real gelu_value(real x) {
  real density;
  return times_gate(x, v_normal_cdf(x, &density));
}

BAM_FUNCTION real gelu_slope(real x) {
  real density, s = v_normal_cdf(x, &density);
  return s + times_gate(x, density);
}

/* 1/2 (1 + tanh(u)) is sigmoid(2 u), here with 2 u = 2 sqrt(2 / pi) (x + 0.044715 x^3). */
#define GELU_SCALE ((real)1.5957691216057307)
#define GELU_CUBIC ((real)0.044715)

BAM_FUNCTION real gelu_tanh_gate(real x) {
  return v_sigmoid(GELU_SCALE * (x + GELU_CUBIC * x * x * x));
}

BAM_FUNCTION real gelu_tanh_slope(real x) {
  real s = gelu_tanh_gate(x);
  return s + times_gate(x * (GELU_SCALE * (1 + 3 * GELU_CUBIC * x * x)), s * (1 - s));
}

#endif
