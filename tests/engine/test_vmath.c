/* The f32 functions over their whole range, against double precision, in units of the last place;
   special values; the same bits from every instruction set. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

TestSuite(vmath, .init = fixture_open, .fini = fixture_close);

#define SAMPLES 200003 /* bit patterns, evenly spaced over all floats */

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static bam_tensor *all_floats(void) {
  bam_shape shape = SHAPE(SAMPLES);
  bam_tensor *x;
  EXPECT_OK(bam_tensor_new(fixture_context(), &fixture_context()->cpu, BAM_F32, &shape, &x));
  float *data = bam_tensor_data(x);
  for (uint32_t i = 0; i < SAMPLES; i++)
    data[i] = float_of(i * (UINT32_MAX / SAMPLES));
  return x;
}

/* Distance in units of the last place of `want`, which are those of the subnormals near 0. */
static double ulps(float got, double want) {
  if (isnan(want))
    return isnan(got) ? 0 : INFINITY;
  if (isinf((float)want))
    return got == (float)want || fabs(want) < 3.4028236e38 ? 0 : INFINITY;
  int exponent;
  frexp(want, &exponent);
  return fabs(got - want) / ldexp(1, exponent - 24 < -149 ? -149 : exponent - 24);
}

/* The largest error of `op` over floats within [low, high]. */
static double worst(const bam_op *op, double (*f)(double), double low, double high) {
  bam_tensor *x = all_floats(), *y = run1(op, x);
  const float *px = bam_tensor_data(x), *py = bam_tensor_data(y);
  double most = 0;
  for (int i = 0; i < SAMPLES; i++) {
    double error = ulps(py[i], f(px[i]));
    if (((px[i] >= low && px[i] <= high) || isnan(px[i])) && !(error <= most))
      most = error;
  }
  RELEASE(x, y);
  return most;
}

static double o_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double o_softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static double o_silu(double x) { return x == -INFINITY ? 0 : x / (1 + exp(-x)); }
static double o_gelu(double x) { return x == -INFINITY ? 0 : x * 0.5 * erfc(-x / sqrt(2)); }
static double o_rsqrt(double x) { return 1 / sqrt(x); }

#define EXPECT_ULPS(op, f, low, high, limit)                       \
  do {                                                             \
    double error = worst(&bam_op_##op, f, low, high);              \
    cr_log_info("%s: %.2f ulp", #op, error);                       \
    cr_expect(error <= (limit), "%s is %.2f ulp off", #op, error); \
  } while (0)

Test(vmath, accuracy) {
  EXPECT_ULPS(exp, exp, -INFINITY, INFINITY, 1.5);
  EXPECT_ULPS(log, log, -INFINITY, INFINITY, 1.5);
  EXPECT_ULPS(tanh, tanh, -INFINITY, INFINITY, 2);
  EXPECT_ULPS(sigmoid, o_sigmoid, -INFINITY, INFINITY, 3);
  EXPECT_ULPS(softplus, o_softplus, -INFINITY, INFINITY, 3);
  EXPECT_ULPS(silu, o_silu, -87, INFINITY, 4); /* below, its sigmoid is subnormal */
  EXPECT_ULPS(sqrt, sqrt, -INFINITY, INFINITY, 0.5001);
  EXPECT_ULPS(rsqrt, o_rsqrt, -INFINITY, INFINITY, 1.5);
}

/* In the tail the squared argument of the exponential is rounded: x^2 / 2 units are lost there. */
Test(vmath, gelu_accuracy) {
  EXPECT_ULPS(gelu, o_gelu, -1, INFINITY, 8);
  EXPECT_ULPS(gelu, o_gelu, -5, INFINITY, 20);
}

static void check_special(const bam_op *op, const double *want) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(6), VALUES(-INFINITY, INFINITY, NAN, 0, -0.0, 1e-40));
  for (int wide = 0; wide < 2; wide++) {
    bam_tensor *input;
    EXPECT_OK(bam_tensor_convert(x, wide ? BAM_F64 : BAM_F32, &input));
    bam_tensor *y = run1(op, input);
    for (int i = 0; i < 6; i++)
      cr_expect(is_close(value_at(y, i), want[i], 1e-6), "%s(%g) is %g, not %g", op->name,
                value_at(x, i), value_at(y, i), want[i]);
    RELEASE(input, y);
  }
  bam_tensor_release(x);
}

Test(vmath, special_values) {
  check_special(&bam_op_exp, VALUES(0, INFINITY, NAN, 1, 1, 1));
  check_special(&bam_op_log, VALUES(NAN, INFINITY, NAN, -INFINITY, -INFINITY, -92.103403));
  check_special(&bam_op_tanh, VALUES(-1, 1, NAN, 0, 0, 1e-40));
  check_special(&bam_op_sigmoid, VALUES(0, 1, NAN, 0.5, 0.5, 0.5));
  check_special(&bam_op_softplus, VALUES(0, INFINITY, NAN, M_LN2, M_LN2, M_LN2));
  check_special(&bam_op_silu, VALUES(0, INFINITY, NAN, 0, 0, 5e-41));
  check_special(&bam_op_gelu, VALUES(0, INFINITY, NAN, 0, 0, 5e-41));
}

/* The gradient of each gate is 0 far left and 1 far right, never NaN. */
Test(vmath, gradients_at_infinity) {
  static const bam_op *const gates[] = { &bam_op_silu, &bam_op_gelu, &bam_op_softplus };
  for (int i = 0; i < 3; i++)
    for (int wide = 0; wide < 2; wide++) {
      bam_tensor *x = make_values(wide ? BAM_F64 : BAM_F32, SHAPE(4),
                                  VALUES(-INFINITY, -1e30, 1e30, INFINITY));
      bam_tensor *ones = make_values(x->dtype, SHAPE(4), VALUES(1, 1, 1, 1));
      EXPECT_OK(bam_autograd_require(x, true));
      bam_tensor *y = run1(gates[i], x);
      EXPECT_OK(bam_autograd_backward(y, ones, false));
      expect_values(x->grad, VALUES(0, 0, 1, 1), 1e-6);
      RELEASE(x, ones, y);
    }
}

/* Where libm's erf is the formula, the approximation by tanh is near it but not equal. */
Test(vmath, gelu_approximate) {
  bam_attr *attrs = make_attrs(&bam_op_gelu);
  set_integer(&bam_op_gelu, attrs, "approximate", true);
  bam_tensor *x = make_random(BAM_F32, SHAPE(101), -6, 6), *y = run(&bam_op_gelu, &x, 1, attrs);
  for (int i = 0; i < 101; i++) {
    double v = value_at(x, i);
    double want = 0.5 * v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    cr_expect(is_close(value_at(y, i), want, 2e-6), "gelu(%g) is %g, not %g", v, value_at(y, i),
              want);
  }
  free(attrs);
  RELEASE(x, y);
}

/* Bits of exp, log, tanh, sigmoid, gelu over all floats with the kernels of one instruction set. */
static void compute_with(const char *isa, float *out) {
  static const bam_op *const ops[] = { &bam_op_exp, &bam_op_log, &bam_op_tanh, &bam_op_sigmoid,
                                       &bam_op_gelu };
  fixture_close();
  setenv("BAMLUA_ISA", isa, 1);
  fixture_open();
  bam_tensor *x = all_floats();
  for (int i = 0; i < 5; i++) {
    bam_tensor *y = run1(ops[i], x);
    memcpy(out + (size_t)i * SAMPLES, bam_tensor_data(y), SAMPLES * sizeof(float));
    bam_tensor_release(y);
  }
  bam_tensor_release(x);
}

Test(vmath, instruction_sets_agree) {
  size_t n = 5 * (size_t)SAMPLES;
  float *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);
  compute_with("baseline", want);
  static const char *const isas[] = { "avx2", "avx512" };
  for (int i = 0; i < 2; i++) {
    compute_with(isas[i], got);
    for (size_t e = 0; e < n; e++)
      cr_assert(got[e] == want[e] || (isnan(got[e]) && isnan(want[e])),
                "%s: result %zu is %a, not %a", isas[i], e, (double)got[e], (double)want[e]);
  }
  free(want);
  free(got);
}
