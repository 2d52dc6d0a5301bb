/* Layer norm and RMS norm, linear and swiglu: values against double precision, gradients
   against differences. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"

TestSuite(layers, .init = fixture_open, .fini = fixture_close);

/* ---- layer norm ---- */

/* Rows of x in double precision; weight and bias may be NULL. */
static void expect_norm(bam_tensor *y, bam_tensor *x, bam_tensor *weight, bam_tensor *bias,
                        double tolerance) {
  int64_t n = x->shape.size[x->shape.ndim - 1], rows = bam_tensor_count(x) / n;
  for (int64_t i = 0; i < rows; i++) {
    double mean = 0, square = 0;
    for (int64_t j = 0; j < n; j++)
      mean += value_at(x, i * n + j) / (double)n;
    for (int64_t j = 0; j < n; j++)
      square += pow(value_at(x, i * n + j) - mean, 2) / (double)n;
    for (int64_t j = 0; j < n; j++) {
      double want = (value_at(x, i * n + j) - mean) / sqrt(square + 1e-5) * value_at(weight, j);
      want += bias != NULL ? value_at(bias, j) : 0;
      cr_assert(is_close(value_at(y, i * n + j), want, tolerance), "row %lld: %g, not %g",
                (long long)i, value_at(y, i * n + j), want);
    }
  }
}

static void check_norm(bam_dtype dtype, bam_shape shape, double tolerance) {
  VALUES_TESTED(&bam_op_layer_norm, &bam_op_add_layer_norm);
  bam_shape width = SHAPE(shape.size[shape.ndim - 1]);
  bam_tensor *x = make_random(dtype, shape, 3, 5), *other = make_random(dtype, shape, -1, 1);
  bam_tensor *weight = make_random(dtype, width, 0, 2), *bias = make_random(dtype, width, -1, 1);
  bam_tensor *strided = make_strided(x), *two[2], *sum = run2(&bam_op_add, x, other);
  bam_tensor *y = run(&bam_op_layer_norm, (bam_tensor *[]){ x, weight, bias }, 3, NULL);
  bam_tensor *z = run(&bam_op_layer_norm, (bam_tensor *[]){ strided, weight, NULL }, 3, NULL);
  expect_norm(y, x, weight, bias, tolerance);
  expect_norm(z, x, weight, NULL, tolerance);
  EXPECT_OK(fixture_apply(&bam_op_add_layer_norm, (bam_tensor *[]){ strided, other, weight, bias },
                          4, NULL, two));
  expect_norm(two[0], sum, weight, bias, tolerance);
  expect_equal(two[1], sum, 0);
  RELEASE(x, other, weight, bias, strided, two[0], two[1], sum, y, z);
}

Test(layers, norm_values_f32) { check_norm(BAM_F32, SHAPE(3, 5, 37), 2e-5); }
Test(layers, norm_values_f64) { check_norm(BAM_F64, SHAPE(9, 33), 1e-12); }
Test(layers, norm_values_large) { check_norm(BAM_F32, SHAPE(150, 256), 2e-5); }
Test(layers, norm_values_narrow) { check_norm(BAM_F32, SHAPE(4, 1), 2e-5); }

/* Of n equal numbers the result is the bias, whatever the sum of them is rounded to. */
static void check_constant_rows(bam_dtype dtype, int64_t n, double c) {
  bam_tensor *x = make_random(dtype, SHAPE(2, n), c, c), *r = make_random(dtype, SHAPE(2, n), c, c);
  bam_tensor *weight = make_random(dtype, SHAPE(n), 1, 3),
             *bias = make_random(dtype, SHAPE(n), -1, 1);
  bam_tensor *y = run(&bam_op_layer_norm, (bam_tensor *[]){ x, weight, bias }, 3, NULL), *two[2];
  EXPECT_OK(
    fixture_apply(&bam_op_add_layer_norm, (bam_tensor *[]){ x, r, weight, bias }, 4, NULL, two));
  for (int64_t i = 0; i < 2 * n; i++) {
    cr_assert_eq(value_at(y, i), value_at(bias, i % n), "%g of %g", value_at(y, i), c);
    cr_assert_eq(value_at(two[0], i), value_at(bias, i % n), "%g of %g", value_at(two[0], i), c);
  }
  RELEASE(x, r, weight, bias, y, two[0], two[1]);
}

Test(layers, norm_of_constant_rows) {
  const double c[] = { 123.45, -1e6, 1.0 / 3, 3.3e7, 1e-3 };
  for (int i = 0; i < 5; i++) {
    check_constant_rows(BAM_F32, 1024, c[i]);
    check_constant_rows(BAM_F64, 1024, c[i]);
    check_constant_rows(BAM_F32, 37, c[i]);
  }
  check_constant_rows(BAM_F32, 2500, 123.45);
}

/* A row far from 0 compared to its spread: what remains is how f32 rounds the mean, by at most 2^-18,
   over a deviation of 0.29. */
Test(layers, norm_of_nearly_constant_rows) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(3, 1024), 120, 121);
  bam_tensor *weight = make_random(BAM_F32, SHAPE(1024), 1, 1);
  bam_tensor *y = run2(&bam_op_layer_norm, x, weight);
  expect_norm(y, x, weight, NULL, 2e-5);
  RELEASE(x, weight, y);
}

Test(layers, norm_gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 7), -2, 2);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(7), -1, 1);
  bam_tensor *bias = make_leaf(BAM_F64, SHAPE(7), -1, 1);
  check_gradient(&bam_op_layer_norm, (bam_tensor *[]){ x, weight, bias }, 3, NULL);
  check_gradient(&bam_op_layer_norm, (bam_tensor *[]){ x, weight }, 2, NULL);
  RELEASE(x, weight, bias);
}

/* More rows than one group: the groups' shares come together. */
Test(layers, norm_gradient_groups) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(150, 2), -2, 2);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(2), -1, 1);
  check_gradient_within(&bam_op_layer_norm, (bam_tensor *[]){ x, weight }, 2, NULL, 1e-4);
  RELEASE(x, weight);
}

/* Gradients of layer norm by its formula, of as many rows and elements as take a device several parts and each of
   its groups of threads: the gradients of the weights are sums over all rows. */
static void check_norm_gradients(bam_dtype dtype, int64_t rows, int64_t n, double tolerance) {
  bam_tensor *x = make_leaf(dtype, SHAPE(rows, n), -1, 2), *w = make_leaf(dtype, SHAPE(n), 0.5, 2);
  bam_tensor *b = make_leaf(dtype, SHAPE(n), -1, 1), *seed = make_random(dtype, x->shape, -1, 1);
  bam_tensor *y = run(&bam_op_layer_norm, (bam_tensor *[]){ x, w, b }, 3, NULL);
  double *sums = calloc((size_t)(2 * n), sizeof *sums);
  EXPECT_OK(bam_autograd_backward(y, seed, false));
  for (int64_t i = 0; i < rows; i++) {
    double mean = 0, variance = 0, u_mean = 0, uz_mean = 0;
    for (int64_t j = 0; j < n; j++)
      mean += value_at(x, i * n + j) / (double)n;
    for (int64_t j = 0; j < n; j++)
      variance += pow(value_at(x, i * n + j) - mean, 2) / (double)n;
    const double rstd = 1 / sqrt(variance + 1e-5);
    for (int64_t j = 0; j < n; j++) {
      double dy = value_at(seed, i * n + j), z = (value_at(x, i * n + j) - mean) * rstd;
      u_mean += dy * value_at(w, j) / (double)n;
      uz_mean += dy * value_at(w, j) * z / (double)n;
      sums[j] += dy * z;
      sums[n + j] += dy;
    }
    for (int64_t j = 0; j < n; j++) {
      double u = value_at(seed, i * n + j) * value_at(w, j),
             z = (value_at(x, i * n + j) - mean) * rstd;
      EXPECT_CLOSE(value_at(x->grad, i * n + j), rstd * (u - u_mean - z * uz_mean), tolerance);
    }
  }
  expect_values(w->grad, sums, 4 * tolerance);
  expect_values(b->grad, sums + n, 4 * tolerance);
  free(sums);
  RELEASE(x, w, b, seed, y);
}

Test(layers, norm_gradients_of_many_rows) {
  const int64_t widths[] = { 200, 601, 2304, 3001, 4104 };
  for (int i = 0; i < 5; i++)
    check_norm_gradients(BAM_F32, 40, widths[i], 4e-6);
  check_norm_gradients(BAM_F64, 40, 1000, 1e-13);
}

Test(layers, add_norm_gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(3, 5), -2, 2);
  bam_tensor *r = make_leaf(BAM_F64, SHAPE(3, 5), -2, 2);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(5), -1, 1);
  bam_tensor *bias = make_leaf(BAM_F64, SHAPE(5), -1, 1);
  check_gradient(&bam_op_add_layer_norm, (bam_tensor *[]){ x, r, weight, bias }, 4, NULL);
  RELEASE(x, r, weight, bias);
}

/* One of the two results alone. */
Test(layers, add_norm_gradient_of_one) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(3, 5), -2, 2);
  bam_tensor *r = make_leaf(BAM_F64, SHAPE(3, 5), -2, 2);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(5), -1, 1), *alone = NULL, *two[2], *joined;
  for (int k = 0; k < 2; k++) {
    EXPECT_OK(
      fixture_apply(&bam_op_add_layer_norm, (bam_tensor *[]){ x, r, weight }, 3, NULL, two));
    bam_tensor *square = run2(&bam_op_mul, two[k], two[k]), *sum = run1(&bam_op_sum, square);
    EXPECT_OK(bam_autograd_backward(sum, NULL, false));
    expect_equal(x->grad, r->grad, 0);
    RELEASE(two[0], two[1], square, sum);
    alone = bam_tensor_retain(x->grad);
    EXPECT_OK(bam_autograd_set_grad(x, NULL));
    EXPECT_OK(bam_autograd_set_grad(r, NULL));
    joined = run2(&bam_op_add, x, r);
    bam_tensor *y = k == 1 ? bam_tensor_retain(joined)
                           : run(&bam_op_layer_norm, (bam_tensor *[]){ joined, weight }, 2, NULL);
    square = run2(&bam_op_mul, y, y);
    sum = run1(&bam_op_sum, square);
    EXPECT_OK(bam_autograd_backward(sum, NULL, false));
    expect_equal(alone, x->grad, 1e-12);
    EXPECT_OK(bam_autograd_set_grad(x, NULL));
    EXPECT_OK(bam_autograd_set_grad(r, NULL));
    RELEASE(alone, joined, y, square, sum);
  }
  RELEASE(x, r, weight);
}

Test(layers, norm_empty) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(0, 5), -2, 2);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(5), -1, 1);
  bam_tensor *none = make_leaf(BAM_F64, SHAPE(3, 0), -2, 2);
  bam_tensor *w = make_leaf(BAM_F64, SHAPE(0), -1, 1);
  check_gradient(&bam_op_layer_norm, (bam_tensor *[]){ x, weight }, 2, NULL);
  check_gradient(&bam_op_layer_norm, (bam_tensor *[]){ none, w }, 2, NULL);
  RELEASE(x, weight, none, w);
}

Test(layers, norm_errors) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 3), -1, 1);
  bam_tensor *w = make_random(BAM_F32, SHAPE(2), -1, 1);
  bam_tensor *w64 = make_random(BAM_F64, SHAPE(3), -1, 1);
  bam_tensor *i = make_random(BAM_I64, SHAPE(2, 3), 0, 3);
  expect_op_error("`weight` is (2); it must be (3), the last size of x", &bam_op_layer_norm,
                  (bam_tensor *[]){ x, w }, 2, NULL);
  expect_op_error("`x` is f32 and `weight` is f64; convert one: weight:to \"f32\"",
                  &bam_op_layer_norm, (bam_tensor *[]){ x, w64 }, 2, NULL);
  expect_op_error("computes in f32 or f64", &bam_op_layer_norm, (bam_tensor *[]){ i, w64 }, 2,
                  NULL);
  expect_op_error("`residual` is (2); it must be (2, 3), the shape of x", &bam_op_add_layer_norm,
                  (bam_tensor *[]){ x, w, w64 }, 3, NULL);
  RELEASE(x, w, w64, i);
}

/* ---- RMS norm ---- */

static void expect_rms_norm(bam_tensor *y, bam_tensor *x, bam_tensor *weight, double eps,
                            double tolerance) {
  int64_t n = x->shape.size[x->shape.ndim - 1], rows = bam_tensor_count(x) / n;
  for (int64_t i = 0; i < rows; i++) {
    double square = 0;
    for (int64_t j = 0; j < n; j++)
      square += pow(value_at(x, i * n + j), 2) / (double)n;
    for (int64_t j = 0; j < n; j++)
      EXPECT_CLOSE(value_at(y, i * n + j),
                   value_at(x, i * n + j) / sqrt(square + eps) * value_at(weight, j), tolerance);
  }
}

/* Rows far from 0, whose mean must stay in. */
static void check_rms_norm(bam_dtype dtype, bam_shape shape, double eps, double tolerance) {
  VALUES_TESTED(&bam_op_rms_norm, &bam_op_add_rms_norm);
  bam_tensor *x = make_random(dtype, shape, 1, 3), *other = make_random(dtype, shape, -2, 1);
  bam_tensor *weight = make_random(dtype, SHAPE(shape.size[shape.ndim - 1]), -1, 2);
  bam_tensor *strided = make_strided(x), *two[2], *sum = run2(&bam_op_add, x, other);
  bam_attr *attrs = make_attrs(&bam_op_rms_norm);
  set_float(&bam_op_rms_norm, attrs, "eps", eps);
  bam_tensor *y = run(&bam_op_rms_norm, (bam_tensor *[]){ strided, weight }, 2, attrs);
  EXPECT_OK(
    fixture_apply(&bam_op_add_rms_norm, (bam_tensor *[]){ strided, other, weight }, 3, attrs, two));
  expect_rms_norm(y, x, weight, eps, tolerance);
  expect_rms_norm(two[0], sum, weight, eps, tolerance);
  expect_equal(two[1], sum, 0);
  RELEASE(x, other, weight, strided, two[0], two[1], sum, y);
  free(attrs);
}

Test(layers, rms_norm_values) {
  check_rms_norm(BAM_F32, SHAPE(3, 5, 37), 1e-5, 2e-6);
  check_rms_norm(BAM_F64, SHAPE(9, 33), 0.5, 1e-13);
  check_rms_norm(BAM_F32, SHAPE(150, 256), 1e-6, 2e-6);
  check_rms_norm(BAM_F32, SHAPE(4, 1), 1e-5, 2e-6);
  check_rms_norm(BAM_F32, SHAPE(2, 2500), 1e-5, 2e-6);
}

Test(layers, rms_norm_gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 7), -2, 3);
  bam_tensor *r = make_leaf(BAM_F64, SHAPE(2, 3, 7), -2, 2);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(7), -1, 1);
  bam_tensor *many = make_leaf(BAM_F64, SHAPE(150, 2), -2, 2);
  bam_tensor *two = make_leaf(BAM_F64, SHAPE(2), -1, 1);
  check_gradient(&bam_op_rms_norm, (bam_tensor *[]){ x, weight }, 2, NULL);
  check_gradient(&bam_op_add_rms_norm, (bam_tensor *[]){ x, r, weight }, 3, NULL);
  check_gradient_within(&bam_op_rms_norm, (bam_tensor *[]){ many, two }, 2, NULL, 1e-4);
  RELEASE(x, r, weight, many, two);
}

Test(layers, rms_norm_empty) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(0, 5), -2, 2);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(5), -1, 1);
  bam_tensor *none = make_leaf(BAM_F64, SHAPE(3, 0), -2, 2),
             *w = make_leaf(BAM_F64, SHAPE(0), 0, 1);
  check_gradient(&bam_op_rms_norm, (bam_tensor *[]){ x, weight }, 2, NULL);
  check_gradient(&bam_op_rms_norm, (bam_tensor *[]){ none, w }, 2, NULL);
  RELEASE(x, weight, none, w);
}

/* ---- linear ---- */

static void expect_linear(bam_tensor *y, bam_tensor *x, bam_tensor *weight, bam_tensor *bias,
                          double tolerance) {
  int64_t out = weight->shape.size[0], in = weight->shape.size[1], rows = bam_tensor_count(x) / in;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t o = 0; o < out; o++) {
      double want = bias != NULL ? value_at(bias, o) : 0;
      for (int64_t j = 0; j < in; j++)
        want += value_at(x, i * in + j) * value_at(weight, o * in + j);
      EXPECT_CLOSE(value_at(y, i * out + o), want, tolerance);
    }
}

Test(layers, linear_values) {
  VALUES_TESTED(&bam_op_linear);
  bam_tensor *x = make_random(BAM_F32, SHAPE(3, 5, 17), -1, 1);
  bam_tensor *bias = make_random(BAM_F32, SHAPE(9), -1, 1);
  bam_tensor *weight = make_random(BAM_F32, SHAPE(9, 17), -1, 1), *strided = make_strided(x);
  bam_tensor *y = run(&bam_op_linear, (bam_tensor *[]){ x, weight, bias }, 3, NULL);
  bam_tensor *z = run(&bam_op_linear, (bam_tensor *[]){ strided, weight, NULL }, 3, NULL);
  expect_shape(y, SHAPE(3, 5, 9));
  expect_linear(y, x, weight, bias, 1e-5);
  expect_linear(z, x, weight, NULL, 1e-5);
  RELEASE(x, bias, weight, strided, y, z);
}

/* Columns of a wider tensor: rows lie evenly apart and are not copied. */
Test(layers, linear_of_columns) {
  bam_tensor *wide = make_random(BAM_F64, SHAPE(2, 6, 20), -1, 1);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(3, 8), -1, 1);
  bam_shape shape = SHAPE(2, 6, 8);
  bam_tensor *x, *y, *sum;
  EXPECT_OK(bam_tensor_view(wide, &shape, (int64_t[]){ 120, 20, 1 }, 5, &x));
  y = run2(&bam_op_linear, x, weight);
  expect_linear(y, x, weight, NULL, 1e-12);
  sum = run1(&bam_op_sum, y);
  EXPECT_OK(bam_autograd_backward(sum, NULL, false));
  for (int64_t j = 0; j < 8; j++) {
    double want = 0;
    for (int64_t i = 0; i < 12; i++)
      want += value_at(x, i * 8 + j);
    EXPECT_CLOSE(value_at(weight->grad, 8 + j), want, 1e-12);
  }
  RELEASE(wide, weight, x, y, sum);
}

Test(layers, linear_gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 4), -1, 1);
  bam_tensor *bias = make_leaf(BAM_F64, SHAPE(5), -1, 1);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(5, 4), -1, 1);
  check_gradient(&bam_op_linear, (bam_tensor *[]){ x, weight, bias }, 3, NULL);
  check_gradient(&bam_op_linear, (bam_tensor *[]){ x, weight }, 2, NULL);
  RELEASE(x, bias, weight);
}

/* residual + linear, with and without a bias; the residual is left alone. */
static void check_add_linear(bam_dtype dtype, bam_tensor *residual, bam_tensor *bias,
                             double tolerance) {
  VALUES_TESTED(&bam_op_add_linear);
  bam_tensor *x = make_random(dtype, SHAPE(3, 5, 17), -1, 1);
  bam_tensor *weight = make_random(dtype, SHAPE(9, 17), -1, 1);
  bam_tensor *before = run1(&bam_op_clone, residual);
  bam_tensor *y = run(&bam_op_add_linear, (bam_tensor *[]){ x, weight, residual, bias }, 4, NULL);
  bam_tensor *alone = run2(&bam_op_sub, y, residual);
  expect_shape(y, SHAPE(3, 5, 9));
  expect_linear(alone, x, weight, bias, tolerance);
  expect_equal(residual, before, 0);
  RELEASE(x, weight, before, y, alone);
}

Test(layers, add_linear_values) {
  const bam_dtype dtypes[] = { BAM_F32, BAM_F64 };
  for (int i = 0; i < 2; i++) {
    bam_tensor *plain = make_random(dtypes[i], SHAPE(3, 5, 9), -3, 3),
               *strided = make_strided(plain);
    bam_tensor *bias = make_random(dtypes[i], SHAPE(9), -1, 1);
    const double tolerance = i == 0 ? 1e-5 : 1e-13;
    check_add_linear(dtypes[i], plain, NULL, tolerance);
    check_add_linear(dtypes[i], strided, NULL, tolerance);
    check_add_linear(dtypes[i], plain, bias, tolerance);
    RELEASE(plain, strided, bias);
  }
}

Test(layers, add_linear_gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 4), -1, 1);
  bam_tensor *bias = make_leaf(BAM_F64, SHAPE(4), -1, 1);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(4, 4), -1, 1);
  bam_tensor *residual = make_leaf(BAM_F64, SHAPE(2, 3, 4), -1, 1);
  check_gradient(&bam_op_add_linear, (bam_tensor *[]){ x, weight, residual, bias }, 4, NULL);
  check_gradient(&bam_op_add_linear, (bam_tensor *[]){ x, weight, residual }, 3, NULL);
  check_gradient(&bam_op_add_linear, (bam_tensor *[]){ x, weight, x }, 3, NULL);
  RELEASE(x, bias, weight, residual);
}

/* Without anything to sum over, the result is the residual. */
Test(layers, add_linear_empty) {
  bam_tensor *thin = make_leaf(BAM_F64, SHAPE(3, 0), -1, 1),
             *w = make_leaf(BAM_F64, SHAPE(5, 0), -1, 1);
  bam_tensor *residual = make_leaf(BAM_F64, SHAPE(3, 5), -1, 1);
  bam_tensor *y = run(&bam_op_add_linear, (bam_tensor *[]){ thin, w, residual }, 3, NULL);
  expect_equal(y, residual, 0);
  RELEASE(thin, w, residual, y);
}

Test(layers, add_linear_errors) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 3), -1, 1),
             *w = make_random(BAM_F32, SHAPE(4, 3), -1, 1);
  bam_tensor *row = make_random(BAM_F32, SHAPE(4), -1, 1),
             *wide = make_random(BAM_F64, SHAPE(2, 4), -1, 1);
  expect_op_error("`residual` is (4); it must be (2, 4), the shape of the result",
                  &bam_op_add_linear, (bam_tensor *[]){ x, w, row }, 3, NULL);
  expect_op_error("f64", &bam_op_add_linear, (bam_tensor *[]){ x, w, wide }, 3, NULL);
  RELEASE(x, w, row, wide);
}

Test(layers, linear_empty) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(0, 4), -1, 1);
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(5, 4), -1, 1);
  bam_tensor *thin = make_leaf(BAM_F64, SHAPE(3, 0), -1, 1);
  bam_tensor *w = make_leaf(BAM_F64, SHAPE(5, 0), -1, 1);
  check_gradient(&bam_op_linear, (bam_tensor *[]){ x, weight }, 2, NULL);
  check_gradient(&bam_op_linear, (bam_tensor *[]){ thin, w }, 2, NULL);
  RELEASE(x, weight, thin, w);
}

Test(layers, linear_errors) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 3), -1, 1);
  bam_tensor *w = make_random(BAM_F32, SHAPE(3, 4), -1, 1);
  bam_tensor *good = make_random(BAM_F32, SHAPE(4, 3), -1, 1);
  bam_tensor *bias = make_random(BAM_F32, SHAPE(3), -1, 1);
  expect_op_error("x is (2, 3) and weight (3, 4): their last sizes differ; transpose the weight?",
                  &bam_op_linear, (bam_tensor *[]){ x, w }, 2, NULL);
  expect_op_error("`bias` is (3); it must be (4), one per row of weight", &bam_op_linear,
                  (bam_tensor *[]){ x, good, bias }, 3, NULL);
  RELEASE(x, w, good, bias);
}

/* ---- swiglu ---- */

static void check_swiglu(bam_dtype dtype, double tolerance) {
  VALUES_TESTED(&bam_op_swiglu);
  bam_tensor *plain = make_random(dtype, SHAPE(3, 5, 34), -30, 30), *strided = make_strided(plain);
  bam_tensor *y = run1(&bam_op_swiglu, plain), *z = run1(&bam_op_swiglu, strided);
  expect_shape(y, SHAPE(3, 5, 17));
  for (int64_t i = 0; i < bam_tensor_count(y); i++) {
    double gate = value_at(plain, i / 17 * 34 + i % 17);
    double up = value_at(plain, i / 17 * 34 + 17 + i % 17);
    EXPECT_CLOSE(value_at(y, i), gate / (1 + exp(-gate)) * up, tolerance);
  }
  expect_equal(z, y, 0);
  RELEASE(plain, strided, y, z);
}

Test(layers, swiglu_values) {
  check_swiglu(BAM_F32, 2e-6);
  check_swiglu(BAM_F64, 1e-13);
}

Test(layers, swiglu_gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 10), -4, 4);
  bam_tensor *none = make_leaf(BAM_F64, SHAPE(2, 0), -1, 1);
  check_gradient(&bam_op_swiglu, &x, 1, NULL);
  check_gradient(&bam_op_swiglu, &none, 1, NULL);
  RELEASE(x, none);
}

Test(layers, swiglu_errors) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 5), -1, 1);
  expect_op_error("its last size must be even: gate, then up", &bam_op_swiglu, &x, 1, NULL);
  RELEASE(x);
}
