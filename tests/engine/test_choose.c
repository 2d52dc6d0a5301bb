/* where, masked_fill, clamp and dropout. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"

TestSuite(choose, .init = fixture_open, .fini = fixture_close);

static bam_tensor *run3(const bam_op *op, bam_tensor *a, bam_tensor *b, bam_tensor *c) {
  return run(op, (bam_tensor *[]){ a, b, c }, 3, NULL);
}

/* condition (3, 1, 7), a (5, 1), b (5, 7), and everything strided. */
Test(choose, where_broadcasts) {
  VALUES_TESTED(&bam_op_where);
  bam_tensor *condition = make_random(BAM_BOOL, SHAPE(3, 1, 7), 0, 1);
  bam_tensor *a = make_random(BAM_F32, SHAPE(5, 1), -1, 1),
             *b = make_random(BAM_F32, SHAPE(5, 7), -1, 1);
  bam_tensor *strided = make_strided(b), *y = run3(&bam_op_where, condition, a, b);
  bam_tensor *z = run3(&bam_op_where, condition, a, strided);
  expect_shape(y, SHAPE(3, 5, 7));
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 5; j++)
      for (int k = 0; k < 7; k++)
        EXPECT_EQ(value_at(y, (i * 5 + j) * 7 + k),
                  value_at(condition, i * 7 + k) != 0 ? value_at(a, j) : value_at(b, j * 7 + k));
  expect_equal(z, y, 0);
  RELEASE(condition, a, b, strided, y, z);
}

Test(choose, where_flat_and_scalar) {
  bam_tensor *condition = make_random(BAM_BOOL, SHAPE(67), 0, 1),
             *x = make_random(BAM_F32, SHAPE(67), -1, 1);
  bam_tensor *other = make_random(BAM_F32, SHAPE(67), -1, 1), *half = make_float(0.5);
  bam_tensor *both = run3(&bam_op_where, condition, x, other);
  bam_tensor *left = run3(&bam_op_where, condition, x, half),
             *right = run3(&bam_op_where, condition, half, x);
  for (int i = 0; i < 67; i++) {
    bool holds = value_at(condition, i) != 0;
    EXPECT_EQ(value_at(both, i), value_at(holds ? x : other, i));
    EXPECT_EQ(value_at(left, i), holds ? value_at(x, i) : 0.5);
    EXPECT_EQ(value_at(right, i), holds ? 0.5 : value_at(x, i));
  }
  RELEASE(condition, x, other, half, both, left, right);
}

Test(choose, where_dtypes_and_empty) {
  bam_tensor *condition = make_values(BAM_BOOL, SHAPE(2), VALUES(1, 0));
  bam_tensor *i = make_values(BAM_I64, SHAPE(2), VALUES(3, 4)), *half = make_float(0.5);
  bam_tensor *y = run3(&bam_op_where, condition, i, half),
             *z = run3(&bam_op_where, condition, i, i);
  expect_dtype(y, BAM_F32);
  expect_values(y, VALUES(3, 0.5), 0);
  expect_equal(z, i, 0);
  bam_tensor *none = make_random(BAM_BOOL, SHAPE(0, 2), 0, 1),
             *empty = run3(&bam_op_where, none, i, half);
  expect_shape(empty, SHAPE(0, 2));
  expect_op_error("x:to \"bool\"", &bam_op_where, (bam_tensor *[]){ i, i, i }, 3, NULL);
  RELEASE(condition, i, half, y, z, none, empty);
}

Test(choose, where_gradients) {
  bam_tensor *condition = make_random(BAM_BOOL, SHAPE(3, 1, 4), 0, 1);
  bam_tensor *a = make_leaf(BAM_F64, SHAPE(2, 1), -1, 1), *b = make_leaf(BAM_F64, SHAPE(4), -1, 1);
  check_gradient(&bam_op_where, (bam_tensor *[]){ condition, a, b }, 3, NULL);
  RELEASE(condition, a, b);
}

Test(choose, masked_fill) {
  VALUES_TESTED(&bam_op_masked_fill);
  bam_tensor *x = make_values(BAM_F32, SHAPE(2, 2), VALUES(1, 2, 3, 4));
  bam_tensor *mask = make_values(BAM_BOOL, SHAPE(2), VALUES(1, 0)), *minus = make_float(-INFINITY);
  bam_tensor *y = run3(&bam_op_masked_fill, x, mask, minus);
  expect_dtype(y, BAM_F32);
  expect_values(y, VALUES(-INFINITY, 2, -INFINITY, 4), 0);
  bam_tensor *i = make_values(BAM_I32, SHAPE(2), VALUES(1, 2)), *seven = make_integer(7);
  bam_tensor *z = run3(&bam_op_masked_fill, i, mask, seven);
  expect_dtype(z, BAM_I32);
  expect_values(z, VALUES(7, 2), 0);
#define REFUSES(words, ...) \
  expect_op_error(words, &bam_op_masked_fill, (bam_tensor *[]){ __VA_ARGS__ }, 3, NULL)
  REFUSES("f64 value does not go into i32", i, mask, minus);
  REFUSES("does not go into bool", mask, mask, seven);
  REFUSES("use where", x, mask, x);
  REFUSES("the mask is i32", x, i, seven);
  RELEASE(x, mask, minus, y, i, seven, z);
}

Test(choose, masked_fill_gradients) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(3, 1), -1, 1),
             *value = make_leaf(BAM_F64, SCALAR, -1, 1);
  bam_tensor *mask = make_random(BAM_BOOL, SHAPE(3, 4), 0, 1);
  check_gradient(&bam_op_masked_fill, (bam_tensor *[]){ x, mask, value }, 3, NULL);
  RELEASE(x, mask, value);
}

/* ---- clamp ---- */

static bam_tensor *clamp(bam_tensor *x, double low, double high) {
  bam_attr *attrs = make_attrs(&bam_op_clamp);
  if (low > -INFINITY)
    set_float(&bam_op_clamp, attrs, "min", low);
  if (high < INFINITY)
    set_float(&bam_op_clamp, attrs, "max", high);
  bam_tensor *y = run(&bam_op_clamp, &x, 1, attrs);
  free(attrs);
  return y;
}

Test(choose, clamp_values) {
  VALUES_TESTED(&bam_op_clamp);
  bam_tensor *x = make_values(BAM_F32, SHAPE(5), VALUES(-3, -0.5, NAN, 0.5, INFINITY)),
             *strided = make_strided(x);
  bam_tensor *both = clamp(x, -1, 1), *low = clamp(x, 0, INFINITY),
             *high = clamp(strided, -INFINITY, 0);
  bam_tensor *crossed = clamp(x, 2, 1);
  expect_values(both, VALUES(-1, -0.5, NAN, 0.5, 1), 0);
  expect_values(low, VALUES(0, 0, NAN, 0.5, INFINITY), 0);
  expect_values(high, VALUES(-3, -0.5, NAN, 0, 0), 0);
  expect_values(crossed, VALUES(1, 1, NAN, 1, 1), 0);
  RELEASE(x, strided, both, low, high, crossed);
}

Test(choose, clamp_integers) {
  bam_tensor *x = make_values(BAM_U8, SHAPE(3), VALUES(0, 100, 255));
  bam_tensor *whole = clamp(x, -5, 120), *half = clamp(x, 0.5, INFINITY),
             *wide = clamp(x, -1e300, 1e300), *top = clamp(x, 255, INFINITY);
  expect_dtype(whole, BAM_U8);
  expect_values(whole, VALUES(0, 100, 120), 0);
  expect_dtype(half, BAM_F32);
  expect_values(half, VALUES(0.5, 100, 255), 0);
  expect_values(wide, VALUES(0, 100, 255), 0);
  expect_values(top, VALUES(255, 255, 255), 0);
  expect_op_error("give min, max or both", &bam_op_clamp, &x, 1, NULL);
  bam_attr *attrs = make_attrs(&bam_op_clamp);
  set_float(&bam_op_clamp, attrs, "min", 256);
  expect_op_error("the bounds 256 and inf exclude every u8", &bam_op_clamp, &x, 1, attrs);
  free(attrs);
  RELEASE(x, whole, half, wide, top);
}

Test(choose, clamp_gradients) {
  bam_attr *attrs = make_attrs(&bam_op_clamp);
  set_float(&bam_op_clamp, attrs, "min", -0.5);
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(3, 5), -1, 1), *strided = make_strided(x);
  EXPECT_OK(bam_autograd_require(strided, true));
  check_gradient(&bam_op_clamp, &x, 1, attrs);
  set_float(&bam_op_clamp, attrs, "max", 0.5);
  check_gradient(&bam_op_clamp, &strided, 1, attrs);
  set_float(&bam_op_clamp, attrs, "max", NAN);
  expect_op_error("NaN", &bam_op_clamp, &x, 1, attrs);
  free(attrs);
  RELEASE(x, strided);
}

/* ---- dropout ---- */

/* The attributes p and training, in the order of the descriptor. */
#define DROPOUT(probability, train) \
  ((bam_attr[]){ { .given = true, .f = (probability) }, { .given = true, .i = (train) } })

Test(choose, dropout_values) {
  VALUES_TESTED(&bam_op_dropout);
  bam_tensor *x = make_random(BAM_F32, SHAPE(100, 101), 1, 2), *strided = make_strided(x);
  bam_tensor *y = run(&bam_op_dropout, &strided, 1, DROPOUT(0.25, true));
  int zeros = 0;
  for (int64_t i = 0; i < 10100; i++) {
    double value = value_at(y, i);
    zeros += value == 0;
    cr_assert(value == 0 || is_close(value, value_at(x, i) / 0.75, 1e-6));
  }
  cr_assert(abs(zeros - 2525) < 250, "%d of 10100 are 0", zeros);
  bam_tensor *same = run(&bam_op_dropout, &x, 1, DROPOUT(0.25, false));
  bam_tensor *kept = run(&bam_op_dropout, &x, 1, DROPOUT(0, true));
  bam_tensor *nothing = run(&bam_op_dropout, &x, 1, DROPOUT(1, true));
  expect_equal(same, x, 0);
  expect_equal(kept, x, 0);
  for (int64_t i = 0; i < 10100; i += 97)
    EXPECT_EQ(value_at(nothing, i), 0);
  RELEASE(x, strided, y, same, kept, nothing);
}

Test(choose, dropout_gradients) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(3, 7), -1, 1),
             *empty = make_leaf(BAM_F64, SHAPE(0, 7), -1, 1);
  check_gradient(&bam_op_dropout, &x, 1, DROPOUT(0.5, true));
  check_gradient(&bam_op_dropout, &x, 1, DROPOUT(0.5, false));
  check_gradient(&bam_op_dropout, &empty, 1, DROPOUT(0.5, true));
  bam_tensor *whole = make_random(BAM_I64, SHAPE(3), 0, 9);
  expect_op_error("between 0 and 1, not 1.5", &bam_op_dropout, &x, 1, DROPOUT(1.5, true));
  expect_op_error("x:to \"f32\"", &bam_op_dropout, &whole, 1, DROPOUT(0.5, true));
  RELEASE(x, empty, whole);
}
