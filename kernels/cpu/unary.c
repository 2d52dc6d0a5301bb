/* Functions of one floating-point operand, each followed by its backward: dx from the incoming
   gradient a and b, which is the function's input x or, where that saves work, its output y. */
#include "vmath.h"
#include "walk.h"

UNARY(exp, v_exp(x))
BINARY(exp_backward, a * b) /* y */
UNARY(log, v_log(x))
BINARY(log_backward, a / b) /* x */
UNARY(sqrt, REAL_MATH(sqrt)(x))
BINARY(sqrt_backward, a / (2 * b)) /* y */
UNARY(rsqrt, 1 / REAL_MATH(sqrt)(x))
BINARY(rsqrt_backward, a * (real)-0.5 * b * b * b) /* y */
UNARY(sin, REAL_MATH(sin)(x))
BINARY(sin_backward, a * REAL_MATH(cos)(b)) /* x */
UNARY(cos, REAL_MATH(cos)(x))
BINARY(cos_backward, -a * REAL_MATH(sin)(b)) /* x */
UNARY(tanh, v_tanh(x))
BINARY(tanh_backward, a * (1 - b) * (1 + b)) /* y */
UNARY(sigmoid, v_sigmoid(x))
BINARY(sigmoid_backward, a * b * (1 - b)) /* y */
UNARY(softplus, v_softplus(x))
BINARY(softplus_backward, a * v_sigmoid(b)) /* x */
BINARY(abs_backward, b > 0 ? a : b < 0 ? -a : a * b) /* x: 0 at 0, NaN at NaN */
BINARY(relu_backward, b > 0 ? a : (real)0) /* y */

UNARY(floor, REAL_MATH(floor)(x))
UNARY(ceil, REAL_MATH(ceil)(x))
UNARY(round, REAL_MATH(rint)(x)) /* halves to even */

/* x s where s falls to 0 faster than x grows: 0, not NaN, at -infinity. */
static inline real times_gate(real x, real s) { return s == 0 ? (real)0 : x * s; }

UNARY(silu, times_gate(x, v_sigmoid(x)))

static inline real silu_slope(real x) {
  real s = v_sigmoid(x);
  return s + times_gate(x, s * (1 - s));
}
BINARY(silu_backward, a * silu_slope(b)) /* x */

static inline real gelu_value(real x) {
  real density;
  return times_gate(x, v_normal_cdf(x, &density));
}
UNARY(gelu, gelu_value(x))

static inline real gelu_slope(real x) {
  real density, s = v_normal_cdf(x, &density);
  return s + times_gate(x, density);
}
BINARY(gelu_backward, a * gelu_slope(b)) /* x */

/* 1/2 (1 + tanh(u)) is sigmoid(2 u), here with 2 u = 2 sqrt(2 / pi) (x + 0.044715 x^3). */
#define GELU_SCALE ((real)1.5957691216057307)
#define GELU_CUBIC ((real)0.044715)

UNARY(gelu_tanh, times_gate(x, v_sigmoid(GELU_SCALE * (x + GELU_CUBIC * x * x * x))))

static inline real gelu_tanh_slope(real x) {
  real s = v_sigmoid(GELU_SCALE * (x + GELU_CUBIC * x * x * x));
  return s + times_gate(x * (GELU_SCALE * (1 + 3 * GELU_CUBIC * x * x)), s * (1 - s));
}
BINARY(gelu_tanh_backward, a * gelu_tanh_slope(b)) /* x */
