/* Functions of one floating-point number, the same on every device, and the list of those that are
   kernels, each followed by its backward. They are made of v_exp, v_log, v_log1p_unit (log(1 + x)
   for 0 <= x <= 1), v_tanh and v_normal_cdf, which a device's own vmath.h defines before it
   includes this file. */
#ifndef BAM_UNARY_FUNCTIONS_H
#define BAM_UNARY_FUNCTIONS_H

#include "real.h"

/* 1 / (1 + e^-x), without overflow on either side. */
BAM_FUNCTION real v_sigmoid(real x) {
  real e = v_exp(x < 0 ? x : -x);
  return (x < 0 ? e : (real)1) / (1 + e);
}

/* log(1 + e^x). */
BAM_FUNCTION real v_softplus(real x) {
  return (x < 0 ? (real)0 : x) + v_log1p_unit(v_exp(x < 0 ? x : -x));
}

/* x s where s falls to 0 faster than x grows: 0, not NaN, at -infinity. */
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

/* UNARY expressions are in x. Backward is dx from the incoming gradient a and b, which is the
   function's input x or, where that saves work, its output y. */
#define BAM_UNARY_FUNCTIONS(UNARY, BINARY)                                                        \
  UNARY(exp, v_exp(x))                                                                            \
  BINARY(exp_backward, a * b) /* y */                                                             \
  UNARY(log, v_log(x))                                                                            \
  BINARY(log_backward, a / b) /* x */                                                             \
  UNARY(sqrt, REAL_MATH(sqrt)(x))                                                                 \
  BINARY(sqrt_backward, a / (2 * b)) /* y */                                                      \
  UNARY(rsqrt, 1 / REAL_MATH(sqrt)(x))                                                            \
  BINARY(rsqrt_backward, a * (real)-0.5 * b * b * b) /* y */                                      \
  UNARY(sin, REAL_MATH(sin)(x))                                                                   \
  BINARY(sin_backward, a * REAL_MATH(cos)(b)) /* x */                                             \
  UNARY(cos, REAL_MATH(cos)(x))                                                                   \
  BINARY(cos_backward, -a * REAL_MATH(sin)(b)) /* x */                                            \
  UNARY(tanh, v_tanh(x))                                                                          \
  BINARY(tanh_backward, a * (1 - b) * (1 + b)) /* y */                                            \
  UNARY(sigmoid, v_sigmoid(x))                                                                    \
  BINARY(sigmoid_backward, a * b * (1 - b)) /* y */                                               \
  UNARY(softplus, v_softplus(x))                                                                  \
  BINARY(softplus_backward, a * v_sigmoid(b)) /* x */                                             \
  BINARY(abs_backward, b > 0 ? a : b < 0 ? -a : a * b) /* x: 0 at 0, NaN at NaN */                \
  BINARY(relu_backward, b > 0 ? a : (real)0) /* y */                                              \
  UNARY(floor, REAL_MATH(floor)(x))                                                               \
  UNARY(ceil, REAL_MATH(ceil)(x))                                                                 \
  UNARY(round, REAL_MATH(rint)(x)) /* halves to even */                                           \
  UNARY(silu, times_gate(x, v_sigmoid(x)))                                                        \
  BINARY(silu_backward, a * silu_slope(b)) /* x */                                                \
  UNARY(gelu, gelu_value(x))                                                                      \
  BINARY(gelu_backward, a * gelu_slope(b)) /* x */                                                \
  UNARY(gelu_tanh, times_gate(x, gelu_tanh_gate(x)))                                              \
  BINARY(gelu_tanh_backward, a * gelu_tanh_slope(b)) /* x */

#endif
