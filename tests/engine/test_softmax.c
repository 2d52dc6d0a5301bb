/* Softmax, log-softmax and log-sum-exp. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"

TestSuite(softmax, .init = fixture_open, .fini = fixture_close);

/* log(sum(exp)) of the row of x through element i along dimension d. */
static double row_logsumexp(bam_tensor *x, int d, int64_t i) {
  int64_t step = 1, n = x->shape.size[d];
  for (int k = d + 1; k < x->shape.ndim; k++)
    step *= x->shape.size[k];
  int64_t first = i - i / step % n * step;
  double max = -(double)INFINITY, sum = 0;
  for (int64_t j = 0; j < n; j++)
    max = fmax(max, value_at(x, first + j * step));
  for (int64_t j = 0; j < n; j++)
    sum += exp(value_at(x, first + j * step) - max);
  return log(sum) + max;
}

static void check_values(bam_dtype dtype, bam_shape shape, double tolerance) {
  VALUES_TESTED(&bam_op_softmax, &bam_op_log_softmax);
  bam_tensor *plain = make_random(dtype, shape, -20, 20), *strided = make_strided(plain);
  bam_tensor *xs[] = { plain, strided };
  for (int k = 0; k < 2 * shape.ndim; k++) {
    bam_tensor *x = xs[k % 2];
    int d = k / 2;
    bam_attr *attrs = make_attrs(&bam_op_softmax);
    set_integer(&bam_op_softmax, attrs, "dim", d - shape.ndim);
    bam_tensor *y = run(&bam_op_softmax, &x, 1, attrs), *z = run(&bam_op_log_softmax, &x, 1, attrs);
    expect_shape(y, shape);
    for (int64_t i = 0; i < bam_tensor_count(x); i++) {
      double want = value_at(x, i) - row_logsumexp(x, d, i);
      EXPECT_CLOSE(value_at(z, i), want, tolerance);
      EXPECT_COMPARE(fabs(value_at(y, i) - exp(want)), <=, tolerance * exp(want) * 2 + 1e-300);
    }
    RELEASE(y, z);
    free(attrs);
  }
  RELEASE(plain, strided);
}

Test(softmax, values_f32) { check_values(BAM_F32, SHAPE(3, 37, 5), 4e-6); }
Test(softmax, values_f64) { check_values(BAM_F64, SHAPE(2, 3, 19), 1e-13); }
Test(softmax, long_rows) { check_values(BAM_F32, SHAPE(2, 1000), 4e-6); }

Test(softmax, huge_elements) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(3), VALUES(1e38, 1e38, -1e38));
  bam_tensor *y = run1(&bam_op_softmax, x), *l = run1(&bam_op_logsumexp, x);
  expect_values(y, VALUES(0.5, 0.5, 0), 1e-6);
  expect_values(l, VALUES(1e38), 1e-6);
  RELEASE(x, y, l);
}

Test(softmax, infinities) {
  const double inf = (double)INFINITY, nan = (double)NAN;
  bam_tensor *x = make_values(BAM_F32, SHAPE(3, 2), VALUES(-inf, 1, -inf, -inf, inf, 0));
  bam_attr *attrs = make_attrs(&bam_op_logsumexp);
  set_list(&bam_op_logsumexp, attrs, "dim", 1, (int64_t[]){ 1 });
  bam_tensor *y = run1(&bam_op_softmax, x), *l = run(&bam_op_logsumexp, &x, 1, attrs);
  expect_values(y, VALUES(0, 1, nan, nan, nan, 0 * nan), 0);
  expect_values(l, VALUES(1, -inf, inf), 1e-6);
  RELEASE(x, y, l);
  free(attrs);
}

Test(softmax, empty_and_zero_dimensional) {
  bam_tensor *none = make_random(BAM_F32, SHAPE(2, 0), 0, 1),
             *one = make_values(BAM_F32, SCALAR, VALUES(3));
  bam_tensor *a = run1(&bam_op_softmax, none), *b = run1(&bam_op_softmax, one);
  bam_tensor *c = run1(&bam_op_logsumexp, none), *d = run1(&bam_op_log_softmax, one);
  expect_shape(a, SHAPE(2, 0));
  expect_values(b, VALUES(1), 0);
  expect_values(c, VALUES(-(double)INFINITY), 0);
  expect_values(d, VALUES(0), 0);
  RELEASE(none, one, a, b, c, d);
}

Test(softmax, refusals) {
  bam_tensor *x = make_random(BAM_I32, SHAPE(2, 3), 0, 9),
             *y = make_random(BAM_F32, SHAPE(2, 3), 0, 9);
  expect_op_error("write x:to \"f32\"", &bam_op_softmax, &x, 1, NULL);
  expect_op_error("write x:to \"f32\"", &bam_op_logsumexp, &x, 1, NULL);
  bam_attr *attrs = make_attrs(&bam_op_softmax);
  set_integer(&bam_op_softmax, attrs, "dim", 2);
  expect_op_error("dimension 3 is out of range", &bam_op_softmax, &y, 1, attrs);
  RELEASE(x, y);
  free(attrs);
}

Test(softmax, logsumexp_values) {
  VALUES_TESTED(&bam_op_logsumexp);
  bam_tensor *x = make_random(BAM_F64, SHAPE(3, 4, 5), -30, 30);
  bam_attr *attrs = make_attrs(&bam_op_logsumexp);
  set_list(&bam_op_logsumexp, attrs, "dim", 2, (int64_t[]){ 0, 2 });
  set_integer(&bam_op_logsumexp, attrs, "keepdim", 1);
  bam_tensor *y = run(&bam_op_logsumexp, &x, 1, attrs);
  expect_shape(y, SHAPE(1, 4, 1));
  for (int64_t j = 0; j < 4; j++) {
    double sum = 0;
    for (int64_t i = 0; i < 60; i++)
      sum += i / 5 % 4 == j ? exp(value_at(x, i)) : 0;
    EXPECT_CLOSE(value_at(y, j), log(sum), 1e-13);
  }
  RELEASE(x, y);
  free(attrs);
}

Test(softmax, gradients) {
  const bam_op *ops[] = { &bam_op_softmax, &bam_op_log_softmax };
  bam_tensor *plain = make_random(BAM_F64, SHAPE(2, 3, 4), -2, 2), *x = make_strided(plain);
  EXPECT_OK(bam_autograd_require(x, true));
  for (int k = 0; k < 6; k++) {
    bam_attr *attrs = make_attrs(ops[k % 2]);
    set_integer(ops[k % 2], attrs, "dim", k / 2);
    check_gradient(ops[k % 2], &x, 1, attrs);
    free(attrs);
  }
  check_gradient(&bam_op_logsumexp, &x, 1, NULL);
  bam_attr *attrs = make_attrs(&bam_op_logsumexp);
  set_list(&bam_op_logsumexp, attrs, "dim", 1, (int64_t[]){ 1 });
  check_gradient(&bam_op_logsumexp, &x, 1, attrs);
  free(attrs);
  RELEASE(plain, x);
}

/* The gradient sums to 1, however large the elements are. */
Test(softmax, logsumexp_gradient_of_large_numbers) {
  for (double offset = 1; offset < 1e6; offset *= 10) {
    bam_tensor *x = make_leaf(BAM_F32, SHAPE(8), offset - 2, offset + 2);
    bam_tensor *y = run1(&bam_op_logsumexp, x);
    EXPECT_OK(bam_autograd_backward(y, NULL, false));
    double sum = 0;
    for (int64_t j = 0; j < 8; j++)
      sum += value_at(x->grad, j);
    cr_assert(fabs(sum - 1) <= 0x1p-22, "%g at %g", sum - 1, offset);
    RELEASE(x, y);
  }
}

Test(softmax, gradient_of_an_empty_logsumexp_row_is_zero) {
  const double inf = (double)INFINITY;
  bam_tensor *x = make_values(BAM_F32, SHAPE(2), VALUES(-inf, -inf));
  EXPECT_OK(bam_autograd_require(x, true));
  bam_tensor *y = run1(&bam_op_logsumexp, x);
  EXPECT_OK(bam_autograd_backward(y, NULL, false));
  expect_values(x->grad, VALUES(0, 0), 0);
  RELEASE(x, y);
}
