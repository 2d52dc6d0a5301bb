/* Arithmetic on several operands, of every dtype that computes. Integers wrap; bool adds as "or"
   and multiplies as "and". Integer divisors are not zero and integer exponents not negative: the
   ops check. */
#include "walk.h"

#if BAM_FLOATING
#include "vmath.h"

#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define NEGATE(a) (-(a))
#define MAGNITUDE(a) REAL_MATH(fabs)(a)
#define IS_NAN(a) ((a) != (a))
#define IS_NEGATIVE(a) ((a) < 0)
#define NARROW(v) ((real)(v))

/* As Lua divides floats: towards minus infinity, and the remainder has the divisor's sign. */
static inline real floor_quotient(real a, real b) { return REAL_MATH(floor)(a / b); }

static inline real floor_remainder(real a, real b) {
  real m = REAL_MATH(fmod)(a, b);
  return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}

static inline real power(real a, real b) { return REAL_MATH(pow)(a, b); }

#else

#ifdef BAM_TYPE_b8
#define ADD(a, b) ((a) || (b))
#define SUB(a, b) ((a) != (b))
#define MUL(a, b) ((a) && (b))
#else
/* Overflow of unsigned numbers is defined, and their low bits are those of the signed result. */
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

/* The nearest value that the dtype has. */
static inline real narrow(double v) {
  const real lowest = LOWEST_OF(BAM_TYPE), highest = HIGHEST_OF(BAM_TYPE);
  return v <= (double)lowest ? lowest : v >= (double)highest ? highest : (real)v;
}
#define NARROW(v) narrow(v)

/* Only the lowest value divided by -1 overflows: it wraps. */
static inline real floor_quotient(real a, real b) {
  int64_t p = (int64_t)a, q = (int64_t)b;
  if (q == -1)
    return (real)NEGATE(a);
  return (real)(p / q - (p % q != 0 && (p % q < 0) != (q < 0)));
}

static inline real floor_remainder(real a, real b) {
  int64_t q = (int64_t)b, m = q == -1 ? 0 : (int64_t)a % q;
  return (real)(m != 0 && (m < 0) != (q < 0) ? m + q : m);
}

static inline real power(real a, real b) {
  uint64_t result = 1, factor = (uint64_t)a;
  for (uint64_t rest = (uint64_t)b; rest > 0; rest >>= 1, factor *= factor)
    if (rest & 1)
      result *= factor;
  return (real)result;
}

#endif

BINARY(add, ADD(a, b))
BINARY(sub, SUB(a, b))
BINARY(mul, MUL(a, b))
BINARY(floordiv, floor_quotient(a, b))
BINARY(mod, floor_remainder(a, b))
BINARY(maximum, a > b || IS_NAN(a) ? a : b)
BINARY(minimum, a < b || IS_NAN(a) ? a : b)
UNARY(neg, NEGATE(x))
UNARY(abs, MAGNITUDE(x))
UNARY(sign, IS_NAN(x) ? x : (real)((x > 0) - IS_NEGATIVE(x)))
UNARY(relu, IS_NEGATIVE(x) ? (real)0 : x)

UNARY_ROW(square_row, real, real, MUL(x, x))
BINARY_ROW(power_row, real, real, real, power(a, b))

static void pow_row(void *const *p, const int64_t *s, int64_t n, const void *extra) {
  const real *b = p[2];
  if (s[2] == 0 && n > 0 && *b == (real)2)
    square_row(p, s, n, extra);
  else
    power_row(p, s, n, extra);
}

void KERNEL(pow) BAM_BINARY {
  (void)stream;
  WALK(pow_row, NULL, REAL_BYTES, y, (void *)a, (void *)b);
}

typedef struct {
  real low, high;
} bounds;

/* NaN passes; where the bounds cross, the upper one wins. */
static void clamp_row(void *const *p, const int64_t *s, int64_t n, const void *extra) {
  real *y = p[0];
  const real *x = p[1];
  const real low = ((const bounds *)extra)->low, high = ((const bounds *)extra)->high;
  const int64_t sy = s[0], sx = s[1];
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    real v = x[i * sx] < low ? low : x[i * sx];
    y[i * sy] = v > high ? high : v;
  }
}

void KERNEL(clamp)(bam_stream stream, const bam_loop *loop, void *y, const void *x, double low,
                   double high) {
  (void)stream;
  WALK(clamp_row, (&(bounds){ NARROW(low), NARROW(high) }), REAL_BYTES, y, (void *)x);
}

/* y = condition ? a : b, where a and b step by 0 or 1. */
#define CHOOSE(index_a, index_b)                                                                  \
  _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = condition[i] ? a[index_a] : b[index_b]

static void where_row(void *const *p, const int64_t *s, int64_t n, const void *extra) {
  (void)extra;
  real *y = p[0];
  const bool *condition = p[1];
  const real *a = p[2], *b = p[3];
  bool steps = s[0] == 1 && s[1] == 1;
  if (steps && s[2] == 1 && s[3] == 1)
    CHOOSE(i, i);
  else if (steps && s[2] == 1 && s[3] == 0)
    CHOOSE(i, 0);
  else if (steps && s[2] == 0 && s[3] == 1)
    CHOOSE(0, i);
  else
    for (int64_t i = 0; i < n; i++)
      y[i * s[0]] = condition[i * s[1]] ? a[i * s[2]] : b[i * s[3]];
}

void KERNEL(where)(bam_stream stream, const bam_loop *loop, void *y, const bool *condition,
                   const void *a, const void *b) {
  (void)stream;
  WALK(where_row, NULL, BYTES(sizeof(real), sizeof(bool), sizeof(real), sizeof(real)), y,
       (void *)condition, (void *)a, (void *)b);
}

#if BAM_FLOATING

BINARY(div, a / b)

/* The gradient that max(a, b) hands to a; of min(a, b) to a with a and b exchanged. a is the
   incoming one, b and c are compared; ties share. */
TERNARY(extreme_backward, b == c ? a / 2 : b < c ? (real)0 : a)

/* d(b^c)/db, times a. */
static inline real power_slope(real a, real b, real c) {
  return c == 0 ? (real)0 : a * (c * power(b, c - 1));
}
TERNARY_ROW(power_slope_row, real, real, real, real, power_slope(a, b, c))
BINARY_ROW(square_slope_row, real, real, real, a * (2 * b))

static void pow_base_row(void *const *p, const int64_t *s, int64_t n, const void *extra) {
  const real *c = p[3];
  if (s[3] == 0 && n > 0 && *c == (real)2)
    square_slope_row(p, s, n, extra);
  else
    power_slope_row(p, s, n, extra);
}

void KERNEL(pow_base_backward) BAM_TERNARY {
  (void)stream;
  WALK(pow_base_row, NULL, REAL_BYTES, y, (void *)a, (void *)b, (void *)c);
}

/* d(b^x)/dx = c log(b), times a, where c = b^x; 0 where b is 0 and c finite. */
TERNARY(pow_exponent_backward, b == 0 && c <= 1 ? (real)0 : a * c * REAL_MATH(log)(b))

static void clamp_backward_row(void *const *p, const int64_t *s, int64_t n, const void *extra) {
  real *dx = p[0];
  const real *g = p[1], *x = p[2];
  const real low = ((const bounds *)extra)->low, high = ((const bounds *)extra)->high;
  for (int64_t i = 0; i < n; i++) {
    real v = x[i * s[2]];
    dx[i * s[0]] = v >= low && v <= high ? g[i * s[1]] : (real)0;
  }
}

void KERNEL(clamp_backward)(bam_stream stream, const bam_loop *loop, void *dx, const void *g,
                            const void *x, double low, double high) {
  (void)stream;
  WALK(clamp_backward_row, (&(bounds){ NARROW(low), NARROW(high) }), REAL_BYTES, dx, (void *)g,
       (void *)x);
}

#endif
