/* The kernels that are a function of one floating-point number, each followed by its backward:
   BAM_UNARY_FUNCTIONS(X, UNARY, BINARY) says UNARY(X, name, value) with a value in terms of x, and
   BINARY(X, name_backward, value) with dx in terms of a, the incoming gradient, and b, which is the
   function's input x or, where that saves work, its output y. The list of all kernels (list.h) and
   the kernels of every device are made of it; X is for the former. */
#ifndef BAM_UNARY_LIST_H
#define BAM_UNARY_LIST_H

#define BAM_UNARY_FUNCTIONS(X, UNARY, BINARY)                                         \
  UNARY(X, exp, v_exp(x))                                                             \
  BINARY(X, exp_backward, a *b) /* y */                                               \
  UNARY(X, log, v_log(x))                                                             \
  BINARY(X, log_backward, a / b) /* x */                                              \
  UNARY(X, sqrt, REAL_MATH(sqrt)(x))                                                  \
  BINARY(X, sqrt_backward, a / (2 * b)) /* y */                                       \
  UNARY(X, rsqrt, 1 / REAL_MATH(sqrt)(x))                                             \
  BINARY(X, rsqrt_backward, a *(real)-0.5 * b * b * b) /* y */                        \
  UNARY(X, sin, REAL_MATH(sin)(x))                                                    \
  BINARY(X, sin_backward, a *REAL_MATH(cos)(b)) /* x */                               \
  UNARY(X, cos, REAL_MATH(cos)(x))                                                    \
  BINARY(X, cos_backward, -a *REAL_MATH(sin)(b)) /* x */                              \
  UNARY(X, tanh, v_tanh(x))                                                           \
  BINARY(X, tanh_backward, a *(1 - b) * (1 + b)) /* y */                              \
  UNARY(X, sigmoid, v_sigmoid(x))                                                     \
  BINARY(X, sigmoid_backward, a *b *(1 - b)) /* y */                                  \
  UNARY(X, softplus, v_softplus(x))                                                   \
  BINARY(X, softplus_backward, a *v_sigmoid(b))           /* x */                     \
  BINARY(X, abs_backward, b > 0 ? a : b < 0 ? -a : a * b) /* x: 0 at 0, NaN at NaN */ \
  BINARY(X, relu_backward, b > 0 ? a : (real)0)           /* y */                     \
  UNARY(X, floor, REAL_MATH(floor)(x))                                                \
  UNARY(X, ceil, REAL_MATH(ceil)(x))                                                  \
  UNARY(X, round, REAL_MATH(rint)(x)) /* halves to even */                            \
  UNARY(X, silu, times_gate(x, v_sigmoid(x)))                                         \
  BINARY(X, silu_backward, a *silu_slope(b)) /* x */                                  \
  UNARY(X, gelu, gelu_value(x))                                                       \
  BINARY(X, gelu_backward, a *gelu_slope(b)) /* x */                                  \
  UNARY(X, gelu_tanh, times_gate(x, gelu_tanh_gate(x)))                               \
  BINARY(X, gelu_tanh_backward, a *gelu_tanh_slope(b)) /* x */

#endif
