/* Norms of other orders, of zeros and of extreme numbers, with their gradients. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

TestSuite(norm, .init = fixture_open, .fini = fixture_close);

Test(norm, gradients_of_other_orders) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(3, 4), -2, 2);
  for (int i = 0; i < 2; i++) {
    bam_attr *attrs = make_attrs(&bam_op_norm);
    set_float(&bam_op_norm, attrs, "p", i ? 1 : (double)INFINITY);
    set_list(&bam_op_norm, attrs, "dim", 1, (int64_t[]){ 0 });
    check_gradient(&bam_op_norm, &x, 1, attrs);
    free(attrs);
  }
  bam_tensor_release(x);
}

Test(norm, gradient_of_a_zero_norm_is_zero) {
  bam_tensor *x = make_values(BAM_F64, SHAPE(3), VALUES(0, 0, 0));
  EXPECT_OK(bam_autograd_require(x, true));
  bam_tensor *y = run1(&bam_op_norm, x);
  EXPECT_OK(bam_autograd_backward(y, NULL, false));
  expect_values(x->grad, VALUES(0, 0, 0), 0);
  RELEASE(x, y);
}

/* The norm of (3 s, 4 s, 0) and its gradient, where squares or 1 / norm are out of range. */
static void check_extreme_norm(bam_dtype dtype, double s, double seed, double tolerance) {
  bam_tensor *x = make_values(dtype, SHAPE(3), VALUES(3 * s, 4 * s, 0));
  const double a = value_at(x, 0), b = value_at(x, 1);
  const double root = hypot(a, b), u = a / root * seed, v = b / root * seed;
  bam_tensor *dy = make_values(dtype, SCALAR, VALUES(seed));
  EXPECT_OK(bam_autograd_require(x, true));
  bam_tensor *y = run1(&bam_op_norm, x);
  EXPECT_OK(bam_autograd_backward(y, dy, false));
  const double got[] = { value_at(y, 0), value_at(x->grad, 0), value_at(x->grad, 1) };
  cr_assert(fabs(got[0] - root) <= tolerance * root + 0x1p-149 * (dtype == BAM_F32), "%g: %g", s,
            got[0]);
  cr_assert(fabs(got[1] - u) <= tolerance * u && fabs(got[2] - v) <= tolerance * v, "%g: %g %g", s,
            got[1], got[2]);
  EXPECT_EQ(value_at(x->grad, 2), 0);
  RELEASE(x, dy, y);
}

Test(norm, norms_of_extreme_numbers) {
  const double wide[] = { 1e300, 1e155, 1e154, 1, 1e-150, 1e-160, 1e-200, 1e-310, 0x1p-1074 };
  for (size_t i = 0; i < COUNT(wide); i++)
    check_extreme_norm(BAM_F64, wide[i], 1, 1e-15);
  const double single[] = { 5e37, 1e19, 1, 1e-30, 1e-38, 1e-39, 0x1p-149 };
  for (size_t i = 0; i < COUNT(single); i++)
    check_extreme_norm(BAM_F32, single[i], 1, 0x1p-22);
  check_extreme_norm(BAM_F32, 1e-20, 1e30, 0x1p-22); /* dy / norm overflows */
  check_extreme_norm(BAM_F32, 1e20, 1e-30, 0x1p-22);
}

/* Numbers of all sizes together: the small ones are not lost before they do not matter. */
Test(norm, norms_of_mixed_numbers) {
  const double x[][3] = { { 0x1p500, 0x1p500, 0x1p-500 },
                          { 0x1p481, 0x1p479, 0x1p479 },
                          { 0x1p-481, 0x1p-479, 0x1p-479 },
                          { 0x1p-700, 1, 0x1p700 } };
  for (size_t i = 0; i < COUNT(x); i++) {
    bam_tensor *t = make_values(BAM_F64, SHAPE(3), x[i]), *y = run1(&bam_op_norm, t);
    double want = hypot(hypot(x[i][2], x[i][1]), x[i][0]);
    EXPECT_COMPARE(fabs(value_at(y, 0) - want), <=, 1e-15 * want);
    RELEASE(t, y);
  }
}
