/* Scalar arithmetic for all computing dtypes, the same on every device. Integers wrap around; for bool,
   addition is "or" and multiplication is "and". The ops ensure that integer divisors are not zero and
   integer exponents are not negative. The lists at the end define the arithmetic and comparison kernels;
   each device expands them. */
#ifndef BAM_SCALAR_H
#define BAM_SCALAR_H

#include <math.h>

#include "real.h"

#if BAM_FLOATING
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define NEGATE(a) (-(a))
#define MAGNITUDE(a) REAL_MATH(fabs)(a)
#define IS_NAN(a) ((a) != (a))
#define IS_NEGATIVE(a) ((a) < 0)
#define NARROW(v) ((real)(v))

/* As in Lua: the quotient is rounded toward minus infinity; the remainder has the divisor's sign. */
BAM_FUNCTION real floor_quotient(real a, real b) { return REAL_MATH(floor)(a / b); }

BAM_FUNCTION real floor_remainder(real a, real b) {
  real m = REAL_MATH(fmod)(a, b);
  return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}

BAM_FUNCTION real power(real a, real b) { return REAL_MATH(pow)(a, b); }

/* d(b^c)/db, times a. */
BAM_FUNCTION real power_slope(real a, real b, real c) {
  return c == 0 ? (real)0 : a * (c * power(b, c - 1));
}

#else

#ifdef BAM_TYPE_b8
#define ADD(a, b) ((a) || (b))
#define SUB(a, b) ((a) != (b))
#define MUL(a, b) ((a) && (b))
#else
/* Signed overflow is undefined, so compute in unsigned numbers, whose low bits are the same. */
#define ADD(a, b) ((uint64_t)(a) + (uint64_t)(b))
#define SUB(a, b) ((uint64_t)(a) - (uint64_t)(b))
#define MUL(a, b) ((uint64_t)(a) * (uint64_t)(b))
#endif
#define NEGATE(a) (0 - (uint64_t)(a))
#define MAGNITUDE(a) (IS_NEGATIVE(a) ? NEGATE(a) : (uint64_t)(a))
#define IS_NAN(a) false
#define IS_NEGATIVE(a) ((a) < (real)1 && (a) != 0) /* without a warning for unsigned types */

#define LOWEST_b8 0
#define LOWEST_u8 0
#define LOWEST_i32 INT32_MIN
#define LOWEST_i64 INT64_MIN
#define HIGHEST_b8 1
#define HIGHEST_u8 UINT8_MAX
#define HIGHEST_i32 INT32_MAX
#define HIGHEST_i64 INT64_MAX
#define LOWEST_OF_(type) LOWEST_##type
#define LOWEST_OF(type) LOWEST_OF_(type)
#define HIGHEST_OF_(type) HIGHEST_##type
#define HIGHEST_OF(type) HIGHEST_OF_(type)

/* Saturate to the range of the dtype. */
BAM_FUNCTION real narrow(double v) {
  const real lowest = LOWEST_OF(BAM_TYPE), highest = HIGHEST_OF(BAM_TYPE);
  return v <= (double)lowest ? lowest : v >= (double)highest ? highest : (real)v;
}
#define NARROW(v) narrow(v)

/* The only overflow, the lowest value divided by -1, wraps around. */
BAM_FUNCTION real floor_quotient(real a, real b) {
  int64_t p = (int64_t)a, q = (int64_t)b;
  if (q == -1)
    return (real)NEGATE(a);
  return (real)(p / q - (p % q != 0 && (p % q < 0) != (q < 0)));
}

BAM_FUNCTION real floor_remainder(real a, real b) {
  int64_t q = (int64_t)b, m = q == -1 ? 0 : (int64_t)a % q;
  return (real)(m != 0 && (m < 0) != (q < 0) ? m + q : m);
}

BAM_FUNCTION real power(real a, real b) {
  uint64_t result = 1, factor = (uint64_t)a;
  for (uint64_t rest = (uint64_t)b; rest > 0; rest >>= 1, factor *= factor)
    if (rest & 1)
      result *= factor;
  return (real)result;
}

#endif

/* UNARY expressions are in x, BINARY ones in a and b. */
#define BAM_ARITHMETIC(UNARY, BINARY)                           \
  BINARY(add, ADD(a, b))                                        \
  BINARY(sub, SUB(a, b))                                        \
  BINARY(mul, MUL(a, b))                                        \
  BINARY(floordiv, floor_quotient(a, b))                        \
  BINARY(mod, floor_remainder(a, b))                            \
  BINARY(maximum, a > b || IS_NAN(a) ? a : b)                   \
  BINARY(minimum, a < b || IS_NAN(a) ? a : b)                   \
  UNARY(neg, NEGATE(x))                                         \
  UNARY(abs, MAGNITUDE(x))                                      \
  UNARY(sign, IS_NAN(x) ? x : (real)((x > 0) - IS_NEGATIVE(x))) \
  UNARY(relu, IS_NEGATIVE(x) ? (real)0 : x)

/* For floating point. extreme_backward: the share of the incoming gradient a that max(b, c) passes
   to b, or, with b and c exchanged, min(b, c); ties share equally.
   pow_exponent_backward: a d(b^x)/dx = a c log(b), where c = b^x;
   0 if b is 0 and c is finite. */
#define BAM_ARITHMETIC_REAL(BINARY, TERNARY)                      \
  BINARY(div, a / b)                                              \
  TERNARY(extreme_backward, b == c ? a / 2 : b < c ? (real)0 : a) \
  TERNARY(pow_exponent_backward, b == 0 && c <= 1 ? (real)0 : a * c * REAL_MATH(log)(b))

/* Comparisons of a and b, and predicates of x. The results are bool. */
#define BAM_COMPARISONS(COMPARISON, TEST) \
  COMPARISON(eq, a == b)                  \
  COMPARISON(ne, a != b)                  \
  COMPARISON(lt, a < b)                   \
  COMPARISON(le, a <= b)                  \
  COMPARISON(gt, a > b)                   \
  COMPARISON(ge, a >= b)                  \
  TEST(is_zero, x == 0)                   \
  TEST(is_nan, x != x)                    \
  TEST(is_infinite, x - x != 0 && x == x) \
  TEST(is_finite, x - x == 0)

#endif
