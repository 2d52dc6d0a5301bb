/* Rotary positions: values against double precision, gradients against differences. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"

TestSuite(rope, .init = fixture_open, .fini = fixture_close);

static void check_rope(bam_dtype dtype, bam_tensor *positions, bool strided, double tolerance) {
  VALUES_TESTED(&bam_op_rope);
  bam_tensor *plain = make_random(dtype, SHAPE(2, 7, 3, 38), -1, 1);
  bam_tensor *x = strided ? make_strided(plain) : bam_tensor_retain(plain);
  bam_tensor *y = run(&bam_op_rope, (bam_tensor *[]){ x, positions }, 2, NULL);
  for (int64_t i = 0; i < bam_tensor_count(x); i++) {
    int64_t token = i / (3 * 38), pair = i % 38 / 2;
    double position = positions == NULL            ? (double)(token % 7)
                      : positions->shape.ndim == 1 ? (double)integer_at(positions, token % 7)
                                                   : (double)integer_at(positions, token);
    double angle = position * pow(10000, -2.0 * (double)pair / 38);
    double even = value_at(x, i - i % 2), odd = value_at(x, i - i % 2 + 1);
    double want = i % 2 == 0 ? even * cos(angle) - odd * sin(angle)
                             : odd * cos(angle) + even * sin(angle);
    cr_assert(fabs(value_at(y, i) - want) <= tolerance, "element %lld: %g, not %g", (long long)i,
              value_at(y, i), want);
  }
  RELEASE(plain, x, y);
}

Test(rope, values) {
  bam_tensor *shared = make_random(BAM_I64, SHAPE(7), -100, 200000);
  bam_tensor *own = make_random(BAM_I32, SHAPE(2, 7), 0, 5000);
  bam_tensor *sets[] = { NULL, shared, own };
  for (int i = 0; i < 6; i++) {
    check_rope(BAM_F32, sets[i / 2], i % 2, 4e-7);
    check_rope(BAM_F64, sets[i / 2], i % 2, 1e-13);
  }
  RELEASE(shared, own);
}

/* The frequencies of 19 pairs: one by one, as Llama 3 defines them by wavelengths. */
static void check_scaled_rope(bam_dtype dtype, double context, double tolerance) {
  bam_tensor *x = make_random(dtype, SHAPE(1, 7, 1, 38), -1, 1);
  bam_attr *attrs = make_attrs(&bam_op_rope);
  set_float(&bam_op_rope, attrs, "base", 500);
  set_float(&bam_op_rope, attrs, "rope_factor", 8);
  set_float(&bam_op_rope, attrs, "rope_low", 1);
  set_float(&bam_op_rope, attrs, "rope_high", 4);
  set_float(&bam_op_rope, attrs, "rope_context", context);
  bam_tensor *y = run(&bam_op_rope, &x, 1, attrs);
  int kinds[3] = { 0 };
  for (int64_t i = 0; i < 7 * 19; i++) {
    double frequency = pow(500, -2.0 * (double)(i % 19) / 38), length = 2 * M_PI / frequency;
    double slow = frequency / 8, share = (context / length - 1) / (4 - 1);
    int kind = context == 0 || length > context / 1 ? 0 : length < context / 4 ? 1 : 2;
    double scaled = kind == 0   ? slow
                    : kind == 1 ? frequency
                                : (1 - share) * slow + share * frequency;
    double angle = (double)(i / 19) * scaled, even = value_at(x, 2 * i),
           odd = value_at(x, 2 * i + 1);
    EXPECT_CLOSE(value_at(y, 2 * i), even * cos(angle) - odd * sin(angle), tolerance);
    EXPECT_CLOSE(value_at(y, 2 * i + 1), odd * cos(angle) + even * sin(angle), tolerance);
    kinds[kind]++;
  }
  cr_assert(context == 0 || (kinds[0] > 0 && kinds[1] > 0 && kinds[2] > 0));
  RELEASE(x, y);
  free(attrs);
}

Test(rope, scaled_values) {
  check_scaled_rope(BAM_F32, 0, 1e-6);
  check_scaled_rope(BAM_F64, 0, 1e-13);
  check_scaled_rope(BAM_F32, 200, 1e-6);
  check_scaled_rope(BAM_F64, 200, 1e-13);
}

Test(rope, scaled_gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 2, 6), -1, 1);
  bam_attr *attrs = make_attrs(&bam_op_rope);
  set_float(&bam_op_rope, attrs, "rope_factor", 3);
  check_gradient(&bam_op_rope, &x, 1, attrs);
  RELEASE(x);
  free(attrs);
}

static void expect_scaling_error(const char *part, bam_tensor *x, const char *name, double value) {
  bam_attr *attrs = make_attrs(&bam_op_rope);
  set_float(&bam_op_rope, attrs, "rope_context", 100);
  set_float(&bam_op_rope, attrs, "rope_low", 1);
  set_float(&bam_op_rope, attrs, "rope_high", 4);
  set_float(&bam_op_rope, attrs, name, value);
  expect_op_error(part, &bam_op_rope, &x, 1, attrs);
  free(attrs);
}

Test(rope, scaled_errors) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 3, 2, 4), -1, 1);
  expect_scaling_error("rope_factor is 0", x, "rope_factor", 0);
  expect_scaling_error("rope_context -1", x, "rope_context", -1);
  expect_scaling_error("rope_low is 4 and rope_high 4", x, "rope_low", 4);
  expect_scaling_error("rope_low is 0", x, "rope_low", 0);
  RELEASE(x);
}

Test(rope, gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 2, 6), -1, 1);
  bam_tensor *positions = make_random(BAM_I64, SHAPE(2, 3), 0, 100);
  check_gradient(&bam_op_rope, (bam_tensor *[]){ x, positions }, 2, NULL);
  check_gradient(&bam_op_rope, (bam_tensor *[]){ x }, 1, NULL);
  RELEASE(x, positions);
}

Test(rope, empty) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 0, 2, 6), -1, 1);
  check_gradient(&bam_op_rope, (bam_tensor *[]){ x }, 1, NULL);
  RELEASE(x);
}

Test(rope, errors) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 3, 2, 5), -1, 1);
  bam_tensor *y = make_random(BAM_F32, SHAPE(2, 3, 2, 4), -1, 1);
  bam_tensor *p = make_random(BAM_I64, SHAPE(4), 0, 9);
  bam_tensor *real = make_random(BAM_F32, SHAPE(3), 0, 9);
  expect_op_error("heads of 5 cannot be rotated in pairs", &bam_op_rope, &x, 1, NULL);
  expect_op_error("positions are (4); for x (2, 3, 2, 4) they must be [T] or [B, T]", &bam_op_rope,
                  (bam_tensor *[]){ y, p }, 2, NULL);
  expect_op_error("positions are integers", &bam_op_rope, (bam_tensor *[]){ y, real }, 2, NULL);
  bam_tensor *mask = run1(&bam_op_isnan, y);
  expect_op_error("computes in f32 or f64", &bam_op_rope, &mask, 1, NULL);
  RELEASE(x, y, p, real, mask);
}

/* ---- YaRN ---- */

/* The frequency of pair i of 19, as its authors define it: a ramp over pairs between those that turn 32 times and
   once within the context. */
static double yarn_frequency(double base, double factor, double context, int64_t i) {
  double bounds[2], turns[2] = { 32, 1 };
  for (int k = 0; k < 2; k++)
    bounds[k] = 38 * log(context / (turns[k] * 2 * M_PI)) / (2 * log(base));
  double first = fmax(floor(bounds[0]), 0), last = fmin(ceil(bounds[1]), 37);
  double ramp = fmin(fmax(((double)i - first) / (last - first), 0), 1);
  double frequency = pow(base, -2.0 * (double)i / 38);
  return frequency / factor * ramp + frequency * (1 - ramp);
}

static bam_attr *yarn_attrs(double context) {
  bam_attr *attrs = make_attrs(&bam_op_rope);
  set_float(&bam_op_rope, attrs, "base", 500);
  set_float(&bam_op_rope, attrs, "rope_factor", 4);
  set_float(&bam_op_rope, attrs, "rope_low", 1);
  set_float(&bam_op_rope, attrs, "rope_high", 32);
  set_float(&bam_op_rope, attrs, "rope_context", context);
  set_integer(&bam_op_rope, attrs, "rope_yarn", 1);
  return attrs;
}

static void check_yarn(bam_dtype dtype, double context, double tolerance) {
  bam_tensor *x = make_random(dtype, SHAPE(1, 7, 1, 38), -1, 1);
  bam_attr *attrs = yarn_attrs(context);
  bam_tensor *y = run(&bam_op_rope, &x, 1, attrs);
  int slowed = 0, kept = 0;
  for (int64_t i = 0; i < 7 * 19; i++) {
    double frequency = yarn_frequency(500, 4, context, i % 19),
           plain = pow(500, -(double)(i % 19) / 19);
    double angle = (double)(i / 19) * frequency, even = value_at(x, 2 * i),
           odd = value_at(x, 2 * i + 1);
    EXPECT_CLOSE(value_at(y, 2 * i), even * cos(angle) - odd * sin(angle), tolerance);
    EXPECT_CLOSE(value_at(y, 2 * i + 1), odd * cos(angle) + even * sin(angle), tolerance);
    slowed += frequency < plain * 0.9;
    kept += frequency == plain;
  }
  cr_assert(slowed > 0 && kept > 0);
  RELEASE(x, y);
  free(attrs);
}

Test(rope, yarn_values) {
  check_yarn(BAM_F32, 400, 1e-6);
  check_yarn(BAM_F64, 400, 1e-13);
  check_yarn(BAM_F64, 40, 1e-13); /* the first pair is slowed down as well */
}

Test(rope, yarn_gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 2, 6), -1, 1);
  bam_attr *attrs = yarn_attrs(400);
  check_gradient(&bam_op_rope, &x, 1, attrs);
  set_float(&bam_op_rope, attrs, "base", 1);
  expect_op_error("rope_yarn takes a base above 1 and a rope_context, not 1 and 400", &bam_op_rope,
                  &x, 1, attrs);
  RELEASE(x);
  free(attrs);
}

/* ---- a part of each head ---- */

/* The first elements as heads of that width, the others as they were. */
static void check_partial(bam_dtype dtype, int64_t width, bool strided) {
  bam_tensor *plain = make_random(dtype, SHAPE(2, 7, 3, 10), -1, 1),
             *x = strided ? make_strided(plain) : bam_tensor_retain(plain);
  bam_tensor *narrow = make_random(dtype, SHAPE(2, 7, 3, width), -1, 1);
  bam_attr *attrs = make_attrs(&bam_op_rope);
  set_integer(&bam_op_rope, attrs, "rope_width", width);
  for (int64_t i = 0; i < bam_tensor_count(narrow); i++)
    set_value(narrow, i, value_at(x, i / width * 10 + i % width));
  bam_tensor *y = run(&bam_op_rope, &x, 1, attrs), *z = run1(&bam_op_rope, narrow);
  for (int64_t i = 0; i < bam_tensor_count(y); i++)
    EXPECT_EQ(value_at(y, i),
              i % 10 < width ? value_at(z, i / 10 * width + i % 10) : value_at(x, i));
  RELEASE(plain, x, narrow, y, z);
  free(attrs);
}

Test(rope, partial_values) {
  for (int64_t width = 2; width <= 10; width += 4)
    for (int strided = 0; strided < 2; strided++) {
      check_partial(BAM_F32, width, strided);
      check_partial(BAM_F64, width, strided);
    }
}

Test(rope, partial_gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 2, 7), -1, 1);
  bam_attr *attrs = make_attrs(&bam_op_rope);
  set_integer(&bam_op_rope, attrs, "rope_width", 4);
  check_gradient(&bam_op_rope, &x, 1, attrs);
  set_integer(&bam_op_rope, attrs, "rope_width", 8);
  expect_op_error("rope_width is 8; of heads of 7 it takes", &bam_op_rope, &x, 1, attrs);
  set_integer(&bam_op_rope, attrs, "rope_width", 3);
  expect_op_error("heads of 3 cannot be rotated in pairs", &bam_op_rope, &x, 1, attrs);
  RELEASE(x);
  free(attrs);
}

/* ---- tables ---- */

static bam_attr *table_attrs(int64_t width, bam_dtype dtype) {
  bam_attr *attrs = make_attrs(&bam_op_rope_table);
  set_integer(&bam_op_rope_table, attrs, "width", width);
  set_integer(&bam_op_rope_table, attrs, "dtype", dtype);
  return attrs;
}

static void check_table(bam_dtype dtype, bam_tensor *positions, double tolerance) {
  bam_attr *attrs = table_attrs(38, dtype);
  bam_tensor *table = run(&bam_op_rope_table, &positions, 1, attrs);
  expect_dtype(table, dtype);
  for (int64_t i = 0; i < bam_tensor_count(table) / 2; i++) {
    double angle = (double)integer_at(positions, i / 19) * pow(10000, -(double)(i % 19) / 19);
    EXPECT_CLOSE(value_at(table, 2 * i), cos(angle), tolerance);
    EXPECT_CLOSE(value_at(table, 2 * i + 1), sin(angle), tolerance);
  }
  bam_tensor_release(table);
  free(attrs);
}

Test(rope, table_values) {
  VALUES_TESTED(&bam_op_rope_table);
  bam_tensor *shared = make_random(BAM_I64, SHAPE(7), -100, 200000);
  bam_tensor *own = make_random(BAM_I32, SHAPE(2, 7), 0, 5000);
  check_table(BAM_F32, shared, 2e-7);
  check_table(BAM_F64, shared, 1e-11);
  check_table(BAM_F32, own, 2e-7);
  check_table(BAM_F64, own, 1e-13);
  RELEASE(shared, own);
}

/* With the positions or with their table, results and gradients have the same bits. */
static void check_same(bam_dtype dtype, bam_shape positions, int64_t width) {
  bam_tensor *x = make_leaf(dtype, SHAPE(2, 5, 3, 16), -1, 1),
             *y = make_leaf(dtype, x->shape, -1, 1);
  bam_tensor *p = make_random(BAM_I64, positions, 0, 3000);
  bam_attr *rope = make_attrs(&bam_op_rope),
           *attrs = table_attrs(16, dtype == BAM_F64 ? BAM_F64 : BAM_F32);
  set_float(&bam_op_rope, rope, "rope_factor", 3);
  set_integer(&bam_op_rope, rope, "rope_width", width);
  set_float(&bam_op_rope_table, attrs, "rope_factor", 3);
  set_integer(&bam_op_rope_table, attrs, "rope_width", width);
  bam_tensor *table = run(&bam_op_rope_table, &p, 1, attrs);
  bam_tensor *seed = make_random(dtype, x->shape, -1, 1);
  EXPECT_OK(bam_tensor_copy(y, x));
  bam_tensor *a = run(&bam_op_rope, (bam_tensor *[]){ x, p }, 2, rope);
  bam_tensor *b = run(&bam_op_rope, (bam_tensor *[]){ y, table }, 2, rope);
  EXPECT_OK(bam_autograd_backward(a, seed, false));
  EXPECT_OK(bam_autograd_backward(b, seed, false));
  expect_equal(a, b, 0);
  expect_equal(x->grad, y->grad, 0);
  RELEASE(x, y, p, table, seed, a, b);
  free(rope);
  free(attrs);
}

Test(rope, table_same_bits) {
  static const bam_dtype dtypes[] = { BAM_F32, BAM_F64, BAM_BF16 };
  for (int d = 0; d < 3; d++)
    for (int64_t width = 16; width > 0 && device_computes(dtypes[d]); width -= 6) {
      check_same(dtypes[d], SHAPE(5), width);
      check_same(dtypes[d], SHAPE(2, 5), width);
    }
}

static void expect_table_error(const char *part, bam_tensor *x, bam_tensor *positions,
                               bam_attr *attrs) {
  bam_tensor *table = run(&bam_op_rope_table, &positions, 1, attrs);
  expect_op_error(part, &bam_op_rope, (bam_tensor *[]){ x, table }, 2, NULL);
  bam_tensor_release(table);
}

Test(rope, table_errors) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 3, 2, 4), -1, 1);
  bam_tensor *p = make_random(BAM_I64, SHAPE(3), 0, 9),
             *four = make_random(BAM_I64, SHAPE(4), 0, 9);
  bam_attr *attrs = table_attrs(4, BAM_F32);
  expect_table_error("a rope_table (4, 2, 2); for x (2, 3, 2, 4)", x, four, attrs);
  bam_tensor *table = run(&bam_op_rope_table, &p, 1, attrs);
  EXPECT_OK(bam_tensor_fill(table, 1)); /* no longer a table */
  expect_op_error("positions are (3, 2, 2)", &bam_op_rope, (bam_tensor *[]){ x, table }, 2, NULL);
  set_float(&bam_op_rope_table, attrs, "base", 500);
  expect_table_error("a rope_table of other frequencies", x, p, attrs);
  set_float(&bam_op_rope_table, attrs, "base", 10000);
  set_integer(&bam_op_rope_table, attrs, "dtype", BAM_F64);
  expect_table_error("a rope_table of f64; make it with dtype = \"f32\"", x, p, attrs);
  set_integer(&bam_op_rope_table, attrs, "dtype", BAM_BF16);
  expect_op_error("a table of bf16", &bam_op_rope_table, &p, 1, attrs);
  set_integer(&bam_op_rope_table, attrs, "width", 0);
  set_integer(&bam_op_rope_table, attrs, "dtype", BAM_F32);
  expect_op_error("a width of 0", &bam_op_rope_table, &p, 1, attrs);
  set_integer(&bam_op_rope_table, attrs, "width", 4);
  expect_op_error("positions are (2, 3, 2, 4)", &bam_op_rope_table, &x, 1, attrs);
  RELEASE(x, p, four, table);
  free(attrs);
}
