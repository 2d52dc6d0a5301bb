/* Arithmetic on several operands, of every dtype that computes, as kernels/scalar.h defines it. */
#include "../scalar.h"
#include "walk.h"

BAM_ARITHMETIC(UNARY, BINARY)

UNARY_ROW(square_row, real, MUL(x, x))
BINARY_ROW(power_row, real, power(a, b))

static void pow_row(void *const *p, const int64_t *s, int64_t n, const void *extra) {
  const element *b = p[2];
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
  const element *x_ = p[1];
  const real low = ((const bounds *)extra)->low, high = ((const bounds *)extra)->high;
  const int64_t sy = s[0], sx = s[1];
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const real x = x_[i * sx], v = x < low ? low : x;
    y[i * sy] = v > high ? high : v;
  }
}

void KERNEL(clamp)(bam_stream stream, const bam_loop *loop, void *y, const void *x, double low,
                   double high) {
  (void)stream;
  WALK(clamp_row, (&(bounds){ NARROW(low), NARROW(high) }), REAL_BYTES, y, (void *)x);
}

/* y = condition ? a : b, where a and b step by 0 or 1. */
#define CHOOSE(index_a, index_b) \
  _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = condition[i] ? a[index_a] : b[index_b]

static void where_row(void *const *p, const int64_t *s, int64_t n, const void *extra) {
  (void)extra;
  real *y = p[0];
  const uint8_t *condition = p[1];
  const element *a = p[2], *b = p[3];
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

void KERNEL(where)(bam_stream stream, const bam_loop *loop, void *y, const uint8_t *condition,
                   const void *a, const void *b) {
  (void)stream;
  WALK(where_row, NULL, BYTES(sizeof(real), sizeof(uint8_t), sizeof(real), sizeof(real)), y,
       (void *)condition, (void *)a, (void *)b);
}

#if BAM_FLOATING

BAM_ARITHMETIC_REAL(BINARY, TERNARY)

TERNARY_ROW(power_slope_row, real, power_slope(a, b, c))
BINARY_ROW(square_slope_row, real, a *(2 * b))

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
