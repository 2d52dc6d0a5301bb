/* Elementwise ops: values against a plain double-precision oracle over layouts and sizes,
   gradients, dtype promotion, integers, and errors. */
#include <math.h>
#include <stdint.h>

#include "gradcheck.h"

TestSuite(elementwise, .init = fixture_open, .fini = fixture_close);

/* ---- the oracle ---- */

static double o_sub(double a, double b) { return a - b; }
static double o_add(double a, double b) { return a + b; }
static double o_mul(double a, double b) { return a * b; }
static double o_div(double a, double b) { return a / b; }
static double o_floordiv(double a, double b) { return floor(a / b); }
static double o_mod(double a, double b) { return a - b * floor(a / b); }
static double o_eq(double a, double b) { return a == b; }
static double o_ne(double a, double b) { return a != b; }
static double o_lt(double a, double b) { return a < b; }
static double o_le(double a, double b) { return a <= b; }
static double o_gt(double a, double b) { return a > b; }
static double o_ge(double a, double b) { return a >= b; }

typedef struct {
  const bam_op *op;
  double (*f)(double, double);
  double low, high; /* of both inputs */
  bool differentiable;
} binary_case;

static const binary_case binaries[] = {
  { &bam_op_add, o_add, -3, 3, true },          { &bam_op_sub, o_sub, -3, 3, true },
  { &bam_op_mul, o_mul, -3, 3, true },          { &bam_op_div, o_div, 0.5, 3, true },
  { &bam_op_floordiv, o_floordiv, 1, 9, true }, { &bam_op_mod, o_mod, 1, 9, true },
  { &bam_op_pow, pow, 0.5, 3, true },           { &bam_op_maximum, fmax, -3, 3, true },
  { &bam_op_minimum, fmin, -3, 3, true },       { &bam_op_eq, o_eq, -3, 3, false },
  { &bam_op_ne, o_ne, -3, 3, false },           { &bam_op_lt, o_lt, -3, 3, false },
  { &bam_op_le, o_le, -3, 3, false },           { &bam_op_gt, o_gt, -3, 3, false },
  { &bam_op_ge, o_ge, -3, 3, false },
};

static double o_neg(double x) { return -x; }
static double o_rsqrt(double x) { return 1 / sqrt(x); }
static double o_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double o_softplus(double x) { return log1p(exp(x)); }
static double o_silu(double x) { return x / (1 + exp(-x)); }
static double o_gelu(double x) { return x * 0.5 * erfc(-x / sqrt(2)); }
static double o_relu(double x) { return x > 0 ? x : 0; }
static double o_sign(double x) { return (x > 0) - (x < 0); }
static double o_isnan(double x) { return isnan(x) != 0; }
static double o_isinf(double x) { return isinf(x) != 0; }
static double o_isfinite(double x) { return isfinite(x) != 0; }

typedef struct {
  const bam_op *op;
  double (*f)(double);
  double low, high;
  bool differentiable;
} unary_case;

static const unary_case unaries[] = {
  { &bam_op_neg, o_neg, -3, 3, true },
  { &bam_op_exp, exp, -3, 3, true },
  { &bam_op_log, log, 0.3, 3, true },
  { &bam_op_sqrt, sqrt, 0.3, 3, true },
  { &bam_op_rsqrt, o_rsqrt, 0.3, 3, true },
  { &bam_op_sin, sin, -3, 3, true },
  { &bam_op_cos, cos, -3, 3, true },
  { &bam_op_tanh, tanh, -3, 3, true },
  { &bam_op_sigmoid, o_sigmoid, -5, 5, true },
  { &bam_op_softplus, o_softplus, -5, 5, true },
  { &bam_op_silu, o_silu, -5, 5, true },
  { &bam_op_gelu, o_gelu, -5, 5, true },
  { &bam_op_relu, o_relu, -3, 3, true },
  { &bam_op_abs, fabs, -3, 3, true },
  { &bam_op_sign, o_sign, -3, 3, true },
  { &bam_op_floor, floor, -3, 3, true },
  { &bam_op_ceil, ceil, -3, 3, true },
  { &bam_op_round, rint, -3, 3, true },
  { &bam_op_isnan, o_isnan, -3, 3, false },
  { &bam_op_isinf, o_isinf, -3, 3, false },
  { &bam_op_isfinite, o_isfinite, -3, 3, false },
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* Element `index` of `out`, as the coordinate that broadcasting gives it in `x`. */
static double broadcast_at(bam_tensor *x, const bam_shape *out, int64_t index) {
  int64_t place = 0, step = 1;
  for (int d = out->ndim - 1; d >= 0; d--) {
    int own = d - (out->ndim - x->shape.ndim);
    int64_t i = index % out->size[d];
    index /= out->size[d];
    if (own >= 0) {
      place += (x->shape.size[own] == 1 ? 0 : i) * step;
      step *= x->shape.size[own];
    }
  }
  return value_at(x, place);
}

static double tolerance_of(bam_dtype dtype) { return dtype == BAM_F64 ? 1e-13 : 2e-6; }

/* Equal elements now and then, for the comparisons. */
static void check_binary(const binary_case *c, bam_tensor *a, bam_tensor *b) {
  bam_tensor *y = run2(c->op, a, b);
  bam_shape shape;
  EXPECT_OK(bam_shape_broadcast(fixture_context(), "test", &a->shape, &b->shape, &shape));
  expect_shape(y, shape);
  expect_dtype(y, c->differentiable ? a->dtype : BAM_BOOL);
  for (int64_t i = 0; i < bam_tensor_count(y); i++) {
    double want = c->f(broadcast_at(a, &shape, i), broadcast_at(b, &shape, i));
    cr_assert(is_close(value_at(y, i), want, tolerance_of(a->dtype)),
              "%s: element %lld is %.9g, not %.9g", c->op->name, (long long)i, value_at(y, i),
              want);
  }
  bam_tensor_release(y);
}

static void check_binary_shapes(const binary_case *c, bam_dtype dtype, bam_shape sa, bam_shape sb) {
  bam_tensor *a = make_random(dtype, sa, c->low, c->high);
  bam_tensor *b = make_random(dtype, sb, c->low, c->high);
  bam_tensor *strided_a = make_strided(a), *strided_b = make_strided(b);
  check_binary(c, a, b);
  check_binary(c, strided_a, b);
  check_binary(c, a, strided_b);
  RELEASE(a, b, strided_a, strided_b);
}

Test(elementwise, binary_values) {
  VALUES_TESTED(&bam_op_add, &bam_op_sub, &bam_op_mul, &bam_op_div, &bam_op_floordiv, &bam_op_mod,
                &bam_op_pow, &bam_op_maximum, &bam_op_minimum, &bam_op_eq, &bam_op_ne, &bam_op_lt,
                &bam_op_le, &bam_op_gt, &bam_op_ge);
  for (size_t i = 0; i < COUNT(binaries); i++)
    for (int f64 = 0; f64 < 2; f64++) {
      const binary_case *c = &binaries[i];
      bam_dtype dtype = f64 ? BAM_F64 : BAM_F32;
      check_binary_shapes(c, dtype, SCALAR, SCALAR);
      check_binary_shapes(c, dtype, SHAPE(67), SHAPE(67));
      check_binary_shapes(c, dtype, SHAPE(3, 5), SCALAR);
      check_binary_shapes(c, dtype, SCALAR, SHAPE(35));
      check_binary_shapes(c, dtype, SHAPE(3, 1, 7), SHAPE(5, 1));
      check_binary_shapes(c, dtype, SHAPE(2, 3, 19), SHAPE(19));
      check_binary_shapes(c, dtype, SHAPE(0, 3), SHAPE(3));
    }
}

static void check_unary(const unary_case *c, bam_tensor *x) {
  bam_tensor *y = run1(c->op, x);
  expect_shape(y, x->shape);
  expect_dtype(y, c->differentiable ? x->dtype : BAM_BOOL);
  for (int64_t i = 0; i < bam_tensor_count(y); i++)
    cr_assert(is_close(value_at(y, i), c->f(value_at(x, i)), tolerance_of(x->dtype)),
              "%s(%.9g) is %.9g, not %.9g", c->op->name, value_at(x, i), value_at(y, i),
              c->f(value_at(x, i)));
  bam_tensor_release(y);
}

Test(elementwise, unary_values) {
  VALUES_TESTED(&bam_op_neg, &bam_op_exp, &bam_op_log, &bam_op_sqrt, &bam_op_rsqrt, &bam_op_sin,
                &bam_op_cos, &bam_op_tanh, &bam_op_sigmoid, &bam_op_softplus, &bam_op_silu,
                &bam_op_gelu, &bam_op_relu, &bam_op_abs, &bam_op_sign, &bam_op_floor, &bam_op_ceil,
                &bam_op_round, &bam_op_isnan, &bam_op_isinf, &bam_op_isfinite);
  for (size_t i = 0; i < COUNT(unaries); i++)
    for (int f64 = 0; f64 < 2; f64++)
      for (int64_t n = 0; n < 130; n += 43) {
        bam_tensor *x = make_random(f64 ? BAM_F64 : BAM_F32, SHAPE(3, n), unaries[i].low,
                                    unaries[i].high);
        bam_tensor *strided = make_strided(x);
        check_unary(&unaries[i], x);
        check_unary(&unaries[i], strided);
        RELEASE(x, strided);
      }
}

/* Enough elements for several threads: flat, in rows, and a long row among few. */
Test(elementwise, large) {
  bam_shape shapes[] = { SHAPE(70001), SHAPE(301, 301), SHAPE(2, 40003) };
  for (size_t i = 0; i < COUNT(shapes); i++) {
    bam_shape row = SHAPE(shapes[i].size[shapes[i].ndim - 1]);
    bam_tensor *a = make_random(BAM_F32, shapes[i], -3, 3), *b = make_random(BAM_F32, row, -3, 3);
    bam_tensor *y = run2(&bam_op_add, a, b);
    for (int64_t e = 0; e < bam_tensor_count(y); e++)
      EXPECT_EQ(value_at(y, e), (float)(value_at(a, e) + value_at(b, e % row.size[0])));
    RELEASE(a, b, y);
  }
}

/* ---- gradients ---- */

Test(elementwise, binary_gradients) {
  for (size_t i = 0; i < COUNT(binaries); i++) {
    const binary_case *c = &binaries[i];
    if (!c->differentiable)
      continue;
    bam_tensor *a = make_leaf(BAM_F64, SHAPE(2, 3, 1), c->low, c->high);
    bam_tensor *b = make_leaf(BAM_F64, SHAPE(1, 4), c->low, c->high);
    bam_tensor *plain = make_random(BAM_F64, SHAPE(2, 3, 4), c->low, c->high);
    bam_tensor *strided = make_strided(plain), *two = make_float(2);
    EXPECT_OK(bam_autograd_require(strided, true));
    check_gradient(c->op, (bam_tensor *[]){ a, b }, 2, NULL);
    check_gradient(c->op, (bam_tensor *[]){ strided, b }, 2, NULL);
    check_gradient(c->op, (bam_tensor *[]){ plain, a }, 2, NULL);
    check_gradient(c->op, (bam_tensor *[]){ a, two }, 2, NULL);
    check_gradient(c->op, (bam_tensor *[]){ two, a }, 2, NULL);
    check_gradient(c->op, (bam_tensor *[]){ a, a }, 2, NULL);
    RELEASE(a, b, plain, strided, two);
  }
}

Test(elementwise, unary_gradients) {
  for (size_t i = 0; i < COUNT(unaries); i++) {
    const unary_case *c = &unaries[i];
    if (!c->differentiable)
      continue;
    bam_tensor *x = make_leaf(BAM_F64, SHAPE(3, 7), c->low, c->high), *strided = make_strided(x);
    EXPECT_OK(bam_autograd_require(strided, true));
    check_gradient(c->op, &x, 1, NULL);
    check_gradient(c->op, &strided, 1, NULL);
    RELEASE(x, strided);
  }
}

/* The f32 gradient kernels against the f64 ones, which central differences have checked. */
Test(elementwise, single_precision_gradients) {
  for (size_t i = 0; i < COUNT(unaries); i++) {
    const unary_case *c = &unaries[i];
    if (!c->differentiable)
      continue;
    bam_tensor *x = make_leaf(BAM_F32, SHAPE(67), c->low, c->high), *wide;
    EXPECT_OK(bam_tensor_convert(x, BAM_F64, &wide));
    EXPECT_OK(bam_autograd_require(wide, true));
    bam_tensor *y = run1(c->op, x), *wide_y = run1(c->op, wide);
    bam_tensor *seed = make_random(BAM_F32, SHAPE(67), -1, 1), *wide_seed;
    EXPECT_OK(bam_tensor_convert(seed, BAM_F64, &wide_seed));
    EXPECT_OK(bam_autograd_backward(y, seed, false));
    EXPECT_OK(bam_autograd_backward(wide_y, wide_seed, false));
    for (int64_t e = 0; e < 67; e++)
      cr_assert(is_close(value_at(x->grad, e), value_at(wide->grad, e), 4e-6),
                "%s: %g, not %g at %g", c->op->name, value_at(x->grad, e), value_at(wide->grad, e),
                value_at(x, e));
    RELEASE(x, wide, y, wide_y, seed, wide_seed);
  }
}

Test(elementwise, gradients_at_special_places) {
  bam_tensor *a = make_values(BAM_F64, SHAPE(4), VALUES(0, 0, 2, -2));
  bam_tensor *b = make_values(BAM_F64, SHAPE(4), VALUES(0, 2, 0, 3));
  EXPECT_OK(bam_autograd_require(a, true));
  bam_tensor *y = run2(&bam_op_pow, a, b);
  bam_tensor *ones = make_values(BAM_F64, SHAPE(4), VALUES(1, 1, 1, 1));
  EXPECT_OK(bam_autograd_backward(y, ones, false));
  expect_values(a->grad, VALUES(0, 0, 0, 12), 1e-12);
  bam_tensor *equal = make_leaf(BAM_F64, SHAPE(1), 1, 2),
             *same = run2(&bam_op_maximum, equal, equal);
  EXPECT_OK(bam_autograd_backward(same, NULL, false));
  expect_values(equal->grad, VALUES(1), 1e-12);
  RELEASE(a, b, y, ones, equal, same);
}

/* ---- promotion and integers ---- */

static void check_promotion(bam_tensor *a, bam_tensor *b, bam_dtype want) {
  bam_tensor *y = run2(&bam_op_add, a, b), *z = run2(&bam_op_add, b, a);
  expect_dtype(y, want);
  expect_equal(y, z, 0);
  RELEASE(a, b, y, z);
}

static bam_tensor *vector(bam_dtype dtype) { return make_values(dtype, SHAPE(2), VALUES(1, 0)); }
static bam_tensor *scalar(bam_dtype dtype) { return make_values(dtype, SCALAR, VALUES(1)); }

Test(elementwise, promotion) {
  check_promotion(vector(BAM_I32), vector(BAM_F32), BAM_F32);
  check_promotion(vector(BAM_F32), vector(BAM_F64), BAM_F64);
  check_promotion(vector(BAM_U8), vector(BAM_I32), BAM_I32);
  check_promotion(vector(BAM_BOOL), vector(BAM_U8), BAM_U8);
  check_promotion(vector(BAM_BOOL), vector(BAM_BOOL), BAM_BOOL);
  check_promotion(vector(BAM_F32), scalar(BAM_F64), BAM_F32);
  check_promotion(vector(BAM_I32), scalar(BAM_I64), BAM_I32);
  check_promotion(vector(BAM_I64), scalar(BAM_F64), BAM_F64);
  check_promotion(vector(BAM_BOOL), scalar(BAM_I32), BAM_I32);
  check_promotion(vector(BAM_F32), make_float(0.5), BAM_F32);
  check_promotion(vector(BAM_F64), make_float(0.5), BAM_F64);
  check_promotion(vector(BAM_I64), make_float(0.5), BAM_F32);
  check_promotion(scalar(BAM_I32), make_integer(7), BAM_I32);
  check_promotion(vector(BAM_U8), make_integer(200), BAM_U8);
  check_promotion(vector(BAM_BOOL), make_integer(7), BAM_I64);
  check_promotion(make_integer(2), make_integer(3), BAM_I64);
  check_promotion(make_float(2), make_integer(3), BAM_F32);
}

Test(elementwise, integer_functions_give_f32) {
  bam_tensor *x = make_values(BAM_I32, SHAPE(2), VALUES(1, 4)), *two = make_integer(2);
  bam_tensor *root = run1(&bam_op_sqrt, x), *quotient = run2(&bam_op_div, x, two);
  expect_dtype(root, BAM_F32);
  expect_values(root, VALUES(1, 2), 1e-6);
  expect_dtype(quotient, BAM_F32);
  expect_values(quotient, VALUES(0.5, 2), 0);
  RELEASE(x, two, root, quotient);
}

static void check_integers(const bam_op *op, int64_t a, int64_t b, int64_t want) {
  bam_tensor *x = make_tensor(BAM_I64, SHAPE(1), &a), *y = make_tensor(BAM_I64, SHAPE(1), &b);
  bam_tensor *z = run2(op, x, y);
  expect_dtype(z, BAM_I64);
  cr_assert_eq(integer_at(z, 0), want, "%s(%lld, %lld) is %lld", op->name, (long long)a,
               (long long)b, (long long)integer_at(z, 0));
  RELEASE(x, y, z);
}

Test(elementwise, integer_arithmetic) {
  check_integers(&bam_op_floordiv, 7, 2, 3);
  check_integers(&bam_op_floordiv, -7, 2, -4);
  check_integers(&bam_op_floordiv, 7, -2, -4);
  check_integers(&bam_op_floordiv, -7, -2, 3);
  check_integers(&bam_op_floordiv, INT64_MIN, -1, INT64_MIN);
  check_integers(&bam_op_mod, 7, -2, -1);
  check_integers(&bam_op_mod, -7, 2, 1);
  check_integers(&bam_op_mod, INT64_MIN, -1, 0);
  check_integers(&bam_op_add, INT64_MAX, 1, INT64_MIN);
  check_integers(&bam_op_sub, INT64_MIN, 1, INT64_MAX);
  check_integers(&bam_op_mul, (int64_t)1 << 62, 6, INT64_MIN);
  check_integers(&bam_op_pow, -3, 5, -243);
  check_integers(&bam_op_pow, 7, 2, 49);
  check_integers(&bam_op_pow, 0, 0, 1);
  check_integers(&bam_op_maximum, ((int64_t)1 << 53) + 1, (int64_t)1 << 53, ((int64_t)1 << 53) + 1);
}

Test(elementwise, small_integers_wrap) {
  bam_tensor *a = make_values(BAM_U8, SHAPE(2), VALUES(250, 3));
  bam_tensor *b = make_values(BAM_U8, SHAPE(2), VALUES(10, 5));
  bam_tensor *sum = run2(&bam_op_add, a, b), *difference = run2(&bam_op_sub, b, a);
  bam_tensor *minus = run1(&bam_op_neg, a), *whole = run1(&bam_op_round, a);
  expect_values(sum, VALUES(4, 8), 0);
  expect_values(difference, VALUES(16, 2), 0);
  expect_values(minus, VALUES(6, 253), 0);
  expect_equal(whole, a, 0);
  RELEASE(a, b, sum, difference, minus, whole);
}

Test(elementwise, integer_unaries) {
  bam_tensor *x = make_values(BAM_I32, SHAPE(4), VALUES(-5, 0, 7, INT32_MIN));
  bam_tensor *magnitude = run1(&bam_op_abs, x), *sign = run1(&bam_op_sign, x),
             *relu = run1(&bam_op_relu, x);
  expect_values(magnitude, VALUES(5, 0, 7, INT32_MIN), 0);
  expect_values(sign, VALUES(-1, 0, 1, -1), 0);
  expect_values(relu, VALUES(0, 0, 7, 0), 0);
  bam_tensor *finite = run1(&bam_op_isfinite, x), *nan = run1(&bam_op_isnan, x);
  expect_values(finite, VALUES(1, 1, 1, 1), 0);
  expect_values(nan, VALUES(0, 0, 0, 0), 0);
  RELEASE(x, magnitude, sign, relu, finite, nan);
}

Test(elementwise, bools) {
  VALUES_TESTED(&bam_op_logical_and, &bam_op_logical_or, &bam_op_logical_xor, &bam_op_logical_not);
  bam_tensor *a = make_values(BAM_BOOL, SHAPE(4), VALUES(0, 0, 1, 1));
  bam_tensor *b = make_values(BAM_BOOL, SHAPE(4), VALUES(0, 1, 0, 1));
  static const bam_op *const ops[] = { &bam_op_add, &bam_op_mul, &bam_op_logical_and,
                                       &bam_op_logical_or, &bam_op_logical_xor };
  static const double want[][4] = { { 0, 1, 1, 1 },
                                    { 0, 0, 0, 1 },
                                    { 0, 0, 0, 1 },
                                    { 0, 1, 1, 1 },
                                    { 0, 1, 1, 0 } };
  for (size_t i = 0; i < COUNT(ops); i++) {
    bam_tensor *y = run2(ops[i], a, b);
    expect_dtype(y, BAM_BOOL);
    expect_values(y, want[i], 0);
    bam_tensor_release(y);
  }
  bam_tensor *not = run1(&bam_op_logical_not, a);
  expect_values(not, VALUES(1, 1, 0, 0), 0);
  RELEASE(a, b, not );
}

/* ---- floats as Lua and PyTorch have them ---- */

Test(elementwise, floats_divide_as_in_lua) {
  bam_tensor *a = make_values(BAM_F32, SHAPE(7), VALUES(5.5, -5.5, 5.5, -5.5, 1, -1, 0));
  bam_tensor *b = make_values(BAM_F32, SHAPE(7), VALUES(2, 2, -2, -2, 0, INFINITY, 0));
  bam_tensor *quotient = run2(&bam_op_floordiv, a, b), *rest = run2(&bam_op_mod, a, b);
  expect_values(quotient, VALUES(2, -3, -3, 2, INFINITY, 0, NAN), 0);
  expect_values(rest, VALUES(1.5, 0.5, -0.5, -1.5, NAN, INFINITY, NAN), 0);
  RELEASE(a, b, quotient, rest);
}

Test(elementwise, nan_propagates) {
  bam_tensor *a = make_values(BAM_F32, SHAPE(3), VALUES(NAN, 1, 2));
  bam_tensor *b = make_values(BAM_F32, SHAPE(3), VALUES(0, NAN, 3));
  bam_tensor *larger = run2(&bam_op_maximum, a, b), *smaller = run2(&bam_op_minimum, a, b);
  bam_tensor *relu = run1(&bam_op_relu, a), *sign = run1(&bam_op_sign, a),
             *nan = run1(&bam_op_isnan, a);
  expect_values(larger, VALUES(NAN, NAN, 3), 0);
  expect_values(smaller, VALUES(NAN, NAN, 2), 0);
  expect_values(relu, VALUES(NAN, 1, 2), 0);
  expect_values(sign, VALUES(NAN, 1, 1), 0);
  expect_values(nan, VALUES(1, 0, 0), 0);
  RELEASE(a, b, larger, smaller, relu, sign, nan);
}

/* ---- errors ---- */

Test(elementwise, errors) {
  bam_tensor *i = make_values(BAM_I64, SHAPE(2), VALUES(1, 0)),
             *half = make_values(BAM_F16, SHAPE(2), VALUES(1, 2));
  bam_tensor *minus = make_values(BAM_I64, SHAPE(2), VALUES(1, -1)), *b = vector(BAM_BOOL);
  bam_tensor *u = vector(BAM_U8), *big = make_integer(300),
             *three = make_random(BAM_F32, SHAPE(3), 0, 1);
#define REFUSES(words, op, ...) \
  expect_op_error(words, &bam_op_##op, (bam_tensor *[]){ __VA_ARGS__ }, 2, NULL)
  REFUSES("divisor is zero", floordiv, i, i);
  REFUSES("divisor is zero", mod, u, u);
  REFUSES("exponent is negative", pow, i, minus);
  REFUSES("x:to \"f32\"", add, half, i);
  REFUSES("logical_xor", sub, b, b);
  REFUSES("not defined for bool", floordiv, b, b);
  REFUSES("300 does not fit u8", add, u, big);
  REFUSES("(2) and (3) do not broadcast", mul, i, three);
  REFUSES("x:to \"bool\"", logical_and, b, i);
  expect_op_error("logical_not", &bam_op_neg, &b, 1, NULL);
  expect_op_error("x:to \"f32\"", &bam_op_exp, &half, 1, NULL);
  RELEASE(i, half, minus, b, u, big, three);
}

/* No derivative is asked of a comparison: it is a constant. */
Test(elementwise, comparisons_are_constants) {
  bam_tensor *x = make_leaf(BAM_F32, SHAPE(3), -1, 1), *zero = make_integer(0);
  bam_tensor *y = run2(&bam_op_gt, x, zero);
  cr_assert(!y->requires_grad);
  RELEASE(x, zero, y);
}
