/* Joining, padding, turning round, rotating, and triangles: each result element is looked up in the
   input. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"

TestSuite(join, .init = fixture_open, .fini = fixture_close);

static void split_index(const bam_shape *shape, int64_t i, int64_t *at) {
  for (int d = shape->ndim - 1; d >= 0; d--) {
    at[d] = i % shape->size[d];
    i /= shape->size[d];
  }
}

static double value_where(bam_tensor *x, const int64_t *at) {
  int64_t i = 0;
  for (int d = 0; d < x->shape.ndim; d++)
    i = i * x->shape.size[d] + at[d];
  return value_at(x, i);
}

static bam_attr *with_dim(const bam_op *op, int dim) {
  bam_attr *attrs = make_attrs(op);
  set_integer(op, attrs, "dim", dim);
  return attrs;
}

/* ---- concat and stack ---- */

Test(join, concat) {
  VALUES_TESTED(&bam_op_concat);
  for (int d = 0; d < 3; d++) {
    bam_shape shapes[3] = { SHAPE(2, 3, 4), SHAPE(2, 3, 4), SHAPE(2, 3, 4) };
    bam_tensor *xs[3];
    int64_t at[BAM_MAX_DIMS];
    shapes[1].size[d] = 0;
    shapes[2].size[d] = 5;
    for (int k = 0; k < 3; k++)
      xs[k] = make_random(BAM_F32, shapes[k], 0, 1);
    bam_tensor *strided = make_strided(xs[2]);
    bam_attr *attrs = with_dim(&bam_op_concat, d);
    bam_tensor *y = run(&bam_op_concat, (bam_tensor *[]){ xs[0], xs[1], strided }, 3, attrs);
    EXPECT_EQ(y->shape.size[d], shapes[0].size[d] + 5);
    for (int64_t i = 0; i < bam_tensor_count(y); i++) {
      split_index(&y->shape, i, at);
      bool first = at[d] < shapes[0].size[d];
      at[d] -= first ? 0 : shapes[0].size[d];
      EXPECT_EQ(value_at(y, i), value_where(first ? xs[0] : xs[2], at));
    }
    fixture_release(xs, 3);
    RELEASE(strided, y);
    free(attrs);
  }
}

Test(join, stack) {
  VALUES_TESTED(&bam_op_stack);
  for (int d = -3; d < 3; d++) {
    bam_tensor *a = make_random(BAM_I32, SHAPE(2, 3), 0, 9),
               *b = make_random(BAM_I32, SHAPE(2, 3), 0, 9);
    bam_attr *attrs = with_dim(&bam_op_stack, d);
    bam_tensor *y = run(&bam_op_stack, (bam_tensor *[]){ a, b }, 2, attrs);
    int dim = d < 0 ? d + 3 : d;
    int64_t at[BAM_MAX_DIMS];
    EXPECT_EQ(y->shape.size[dim], 2);
    for (int64_t i = 0; i < 12; i++) {
      split_index(&y->shape, i, at);
      bam_tensor *from = at[dim] ? b : a;
      for (int k = dim; k < 2; k++)
        at[k] = at[k + 1];
      EXPECT_EQ(value_at(y, i), value_where(from, at));
    }
    RELEASE(a, b, y);
    free(attrs);
  }
}

Test(join, dtypes_promote) {
  bam_tensor *a = make_values(BAM_BOOL, SHAPE(1), VALUES(1)),
             *b = make_values(BAM_I32, SHAPE(1), VALUES(7));
  bam_tensor *c = make_values(BAM_F32, SHAPE(1), VALUES(0.5));
  bam_tensor *y = run(&bam_op_concat, (bam_tensor *[]){ a, b, c }, 3, NULL);
  bam_tensor *z = run(&bam_op_stack, (bam_tensor *[]){ a, b }, 2, NULL);
  expect_dtype(y, BAM_F32);
  expect_values(y, VALUES(1, 7, 0.5), 0);
  expect_dtype(z, BAM_I32);
  RELEASE(a, b, c, y, z);
}

Test(join, refusals) {
  bam_tensor *a = make_random(BAM_F32, SHAPE(2, 3), 0, 1),
             *b = make_random(BAM_F32, SHAPE(2, 4), 0, 1);
  bam_tensor *s = make_float(1);
  expect_op_error("tensor 1 is (2, 3) and tensor 2 is (2, 4)", &bam_op_concat,
                  (bam_tensor *[]){ a, b }, 2, NULL);
  expect_op_error("stack takes equal shapes; use concat?", &bam_op_stack, (bam_tensor *[]){ a, b },
                  2, NULL);
  expect_op_error("0-dimensional", &bam_op_concat, (bam_tensor *[]){ s, s }, 2, NULL);
  RELEASE(a, b, s);
}

Test(join, gradients) {
  bam_tensor *a = make_leaf(BAM_F64, SHAPE(2, 3), -1, 1),
             *b = make_leaf(BAM_F64, SHAPE(2, 3), -1, 1);
  for (int d = 0; d < 2; d++) {
    bam_attr *attrs = with_dim(&bam_op_concat, d);
    check_gradient(&bam_op_concat, (bam_tensor *[]){ a, b }, 2, attrs);
    check_gradient(&bam_op_stack, (bam_tensor *[]){ a, b }, 2, attrs);
    free(attrs);
  }
  RELEASE(a, b);
}

Test(join, gradient_of_a_repeated_input) {
  bam_tensor *x = make_leaf(BAM_F32, SHAPE(2), 0, 1),
             *seed = make_values(BAM_F32, SHAPE(4), VALUES(1, 2, 30, 40));
  bam_tensor *y = run(&bam_op_concat, (bam_tensor *[]){ x, x }, 2, NULL);
  EXPECT_OK(bam_autograd_backward(y, seed, false));
  expect_values(x->grad, VALUES(31, 42), 0);
  RELEASE(x, seed, y);
}

/* ---- pad, flip, roll ---- */

Test(join, pad) {
  VALUES_TESTED(&bam_op_pad);
  const int64_t before[] = { 1, 0, 2 }, after[] = { 0, 3, 1 };
  bam_tensor *plain = make_random(BAM_F32, SHAPE(2, 1, 3), 0, 1), *x = make_strided(plain);
  bam_attr *attrs = make_attrs(&bam_op_pad);
  set_list(&bam_op_pad, attrs, "before", 3, before);
  set_list(&bam_op_pad, attrs, "after", 3, after);
  set_float(&bam_op_pad, attrs, "value", -7);
  bam_tensor *y = run(&bam_op_pad, &x, 1, attrs);
  expect_shape(y, SHAPE(3, 4, 6));
  for (int64_t i = 0; i < bam_tensor_count(y); i++) {
    int64_t at[BAM_MAX_DIMS];
    bool inside = true;
    split_index(&y->shape, i, at);
    for (int d = 0; d < 3; d++) {
      at[d] -= before[d];
      inside = inside && at[d] >= 0 && at[d] < x->shape.size[d];
    }
    EXPECT_EQ(value_at(y, i), inside ? value_where(x, at) : -7);
  }
  EXPECT_OK(bam_autograd_require(plain, true));
  bam_tensor *leaf = make_leaf(BAM_F64, SHAPE(2, 1, 3), 0, 1);
  check_gradient(&bam_op_pad, &leaf, 1, attrs);
  set_list(&bam_op_pad, attrs, "after", 2, after);
  expect_op_error("`after` has 2 entries for 3 dimensions", &bam_op_pad, &x, 1, attrs);
  set_list(&bam_op_pad, attrs, "after", 3, (int64_t[]){ 0, -1, 0 });
  expect_op_error("`after` for dimension 2 is negative: -1", &bam_op_pad, &x, 1, attrs);
  RELEASE(plain, x, y, leaf);
  free(attrs);
}

Test(join, flip) {
  VALUES_TESTED(&bam_op_flip);
  bam_tensor *plain = make_leaf(BAM_F64, SHAPE(2, 3, 4), 0, 1), *x = make_strided(plain);
  EXPECT_OK(bam_autograd_require(x, true));
  for (unsigned dims = 0; dims < 8; dims++) {
    bam_attr *attrs = make_attrs(&bam_op_flip);
    int64_t list[3], at[BAM_MAX_DIMS];
    int n = 0;
    for (int d = 0; d < 3; d++)
      if (dims >> d & 1)
        list[n++] = d;
    if (dims < 7)
      set_list(&bam_op_flip, attrs, "dim", n, list);
    bam_tensor *y = run(&bam_op_flip, &x, 1, attrs);
    for (int64_t i = 0; i < 24; i++) {
      split_index(&y->shape, i, at);
      for (int d = 0; d < 3; d++)
        at[d] = dims >> d & 1 ? x->shape.size[d] - 1 - at[d] : at[d];
      EXPECT_EQ(value_at(y, i), value_where(x, at));
    }
    check_gradient(&bam_op_flip, &x, 1, attrs);
    bam_tensor_release(y);
    free(attrs);
  }
  RELEASE(plain, x);
}

Test(join, roll) {
  VALUES_TESTED(&bam_op_roll);
  const int64_t shifts[] = { 0, 1, -1, 3, 7, -8, INT64_MAX, INT64_MIN };
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 4), 0, 1);
  for (int s = 0; s < 8; s++)
    for (int d = 0; d < 3; d++) {
      bam_attr *attrs = with_dim(&bam_op_roll, d);
      int64_t n = x->shape.size[d], at[BAM_MAX_DIMS];
      set_integer(&bam_op_roll, attrs, "shift", shifts[s]);
      bam_tensor *y = run(&bam_op_roll, &x, 1, attrs);
      for (int64_t i = 0; i < 24; i++) {
        split_index(&y->shape, i, at);
        at[d] = ((at[d] - shifts[s] % n) % n + n) % n;
        EXPECT_EQ(value_at(y, i), value_where(x, at));
      }
      check_gradient(&bam_op_roll, &x, 1, attrs);
      bam_tensor_release(y);
      free(attrs);
    }
  bam_tensor_release(x);
}

/* ---- triangles ---- */

Test(join, triangles) {
  VALUES_TESTED(&bam_op_tril, &bam_op_triu);
  const int64_t diagonals[] = { 0, 1, -1, 3, -4, INT64_MAX, INT64_MIN };
  bam_tensor *plain = make_leaf(BAM_F64, SHAPE(2, 3, 5), 1, 2), *x = make_strided(plain);
  EXPECT_OK(bam_autograd_require(x, true));
  for (int k = 0; k < 14; k++) {
    const bam_op *op = k % 2 ? &bam_op_triu : &bam_op_tril;
    int64_t diagonal = diagonals[k / 2];
    bam_attr *attrs = make_attrs(op);
    set_integer(op, attrs, "diagonal", diagonal);
    bam_tensor *y = run(op, &x, 1, attrs);
    for (int64_t i = 0; i < 30; i++) {
      int64_t beyond = i % 5 - i / 5 % 3; /* how far above the main diagonal */
      bool kept = k % 2 ? beyond >= diagonal : beyond <= diagonal;
      EXPECT_EQ(value_at(y, i), kept ? value_at(x, i) : 0);
    }
    check_gradient(op, &x, 1, attrs);
    bam_tensor_release(y);
    free(attrs);
  }
  RELEASE(plain, x);
}

Test(join, empty) {
  bam_tensor *none = make_random(BAM_F32, SHAPE(0, 3), 0, 1);
  const bam_op *ops[] = { &bam_op_tril, &bam_op_flip, &bam_op_roll, &bam_op_pad, &bam_op_concat };
  for (int i = 0; i < 5; i++) {
    bam_tensor *y = run1(ops[i], none);
    expect_shape(y, SHAPE(0, 3));
    bam_tensor_release(y);
  }
  bam_tensor *pile = run1(&bam_op_stack, none), *one = make_random(BAM_F32, SHAPE(3), 0, 1);
  expect_shape(pile, SHAPE(1, 0, 3));
  expect_op_error("needs at least 2 dimensions, not 1", &bam_op_tril, &one, 1, NULL);
  RELEASE(none, pile, one);
}
