/* Picking, adding and assigning by position and by mask; one-hot vectors. */
#include <math.h>
#include <stdlib.h>

#include "../../engine/ops/assign.h"
#include "gradcheck.h"

TestSuite(index, .init = fixture_open, .fini = fixture_close);

static const bam_dtype dtypes[] = { BAM_BOOL, BAM_U8, BAM_I32, BAM_I64, BAM_F32, BAM_F64 };

static bam_attr *with_dim(const bam_op *op, int dim) {
  bam_attr *attrs = make_attrs(op);
  set_integer(op, attrs, "dim", dim);
  return attrs;
}

static bam_tensor *make_positions(bam_shape shape, int64_t n) {
  return make_random(BAM_I64, shape, 1, (double)n);
}

/* Around dimension d of a shape: the sizes before, of and after it. */
static void split_shape(const bam_shape *shape, int d, int64_t *n, int64_t *inner) {
  *n = shape->size[d];
  *inner = 1;
  for (int k = d + 1; k < shape->ndim; k++)
    *inner *= shape->size[k];
}

/* ---- picking ---- */

static void check_index_select(bam_tensor *x, int d, bam_tensor *positions) {
  VALUES_TESTED(&bam_op_index_select);
  bam_attr *attrs = with_dim(&bam_op_index_select, d - x->shape.ndim);
  bam_tensor *y = run(&bam_op_index_select, (bam_tensor *[]){ x, positions }, 2, attrs);
  int64_t n, inner, m = bam_tensor_count(positions);
  split_shape(&x->shape, d, &n, &inner);
  expect_dtype(y, x->dtype);
  EXPECT_EQ(y->shape.size[d], m);
  for (int64_t i = 0; i < bam_tensor_count(y); i++) {
    int64_t from = (i / inner / m * n + integer_at(positions, i / inner % m) - 1) * inner +
                   i % inner;
    EXPECT_EQ(value_at(y, i), value_at(x, from));
  }
  bam_tensor_release(y);
  free(attrs);
}

Test(index, index_select) {
  for (int t = 0; t < 6; t++)
    for (int d = 0; d < 3; d++) {
      bam_tensor *plain = make_random(dtypes[t], SHAPE(3, 4, 5), 0, 100), *x = make_strided(plain);
      bam_tensor *positions = make_positions(SHAPE(7), plain->shape.size[d]);
      bam_tensor *strided = make_strided(positions), *narrow = make_random(BAM_I32, SHAPE(2), 1, 3);
      check_index_select(plain, d, positions);
      check_index_select(x, d, strided);
      check_index_select(x, d, narrow);
      RELEASE(plain, x, positions, strided, narrow);
    }
}

static void check_gather(bam_tensor *x, int d, bam_tensor *positions) {
  VALUES_TESTED(&bam_op_gather);
  bam_attr *attrs = with_dim(&bam_op_gather, d);
  bam_tensor *y = run(&bam_op_gather, (bam_tensor *[]){ x, positions }, 2, attrs);
  int64_t n, m, inner;
  split_shape(&x->shape, d, &n, &inner);
  split_shape(&positions->shape, d, &m, &inner);
  expect_shape(y, positions->shape);
  for (int64_t i = 0; i < bam_tensor_count(y); i++) {
    int64_t from = (i / inner / m * n + integer_at(positions, i) - 1) * inner + i % inner;
    EXPECT_EQ(value_at(y, i), value_at(x, from));
  }
  bam_tensor_release(y);
  free(attrs);
}

Test(index, gather) {
  for (int t = 0; t < 6; t++)
    for (int d = 0; d < 3; d++) {
      bam_tensor *plain = make_random(dtypes[t], SHAPE(3, 4, 5), 0, 100), *x = make_strided(plain);
      bam_shape shape = plain->shape;
      shape.size[d] = 6;
      bam_tensor *positions = make_positions(shape, plain->shape.size[d]);
      bam_tensor *strided = make_strided(positions);
      check_gather(plain, d, positions);
      check_gather(x, d, strided);
      RELEASE(plain, x, positions, strided);
    }
}

/* ---- adding ---- */

/* Both ops against one oracle: whole rows share the position of their row. */
static void check_add(const bam_op *op, bam_tensor *x, int d, bam_tensor *positions,
                      bam_tensor *source) {
  bam_attr *attrs = with_dim(op, d);
  bam_tensor *y = run(op, (bam_tensor *[]){ x, positions, source }, 3, attrs);
  int64_t n, m, inner, count = bam_tensor_count(x);
  split_shape(&x->shape, d, &n, &inner);
  split_shape(&source->shape, d, &m, &inner);
  double *want = malloc((size_t)count * sizeof *want);
  for (int64_t i = 0; i < count; i++)
    want[i] = value_at(x, i);
  for (int64_t i = 0; i < bam_tensor_count(source); i++) {
    int64_t at = integer_at(positions, op == &bam_op_index_add ? i / inner % m : i);
    want[(i / inner / m * n + at - 1) * inner + i % inner] += value_at(source, i);
  }
  expect_dtype(y, x->dtype);
  for (int64_t i = 0; i < count; i++)
    EXPECT_CLOSE(value_at(y, i), x->dtype == BAM_BOOL ? want[i] != 0 : want[i], 1e-5);
  free(want);
  bam_tensor_release(y);
  free(attrs);
}

Test(index, index_add) {
  VALUES_TESTED(&bam_op_index_add);
  for (int t = 0; t < 6; t++)
    for (int d = 0; d < 3; d++) {
      bam_shape shape = SHAPE(3, 4, 5), source_shape = shape;
      source_shape.size[d] = 9;
      bam_tensor *plain = make_random(dtypes[t], shape, 0, 9), *x = make_strided(plain);
      bam_tensor *positions = make_positions(SHAPE(9), shape.size[d]);
      bam_tensor *source = make_random(dtypes[t], source_shape, 0, 9),
                 *strided = make_strided(source);
      check_add(&bam_op_index_add, plain, d, positions, source);
      check_add(&bam_op_index_add, x, d, positions, strided);
      RELEASE(plain, x, positions, source, strided);
    }
}

Test(index, scatter_add) {
  VALUES_TESTED(&bam_op_scatter_add);
  for (int t = 0; t < 6; t++)
    for (int d = 0; d < 3; d++) {
      bam_shape shape = SHAPE(3, 4, 5), source_shape = shape;
      source_shape.size[d] = 9;
      bam_tensor *plain = make_random(dtypes[t], shape, 0, 9), *x = make_strided(plain);
      bam_tensor *positions = make_positions(source_shape, shape.size[d]);
      bam_tensor *source = make_random(dtypes[t], source_shape, 0, 9),
                 *strided = make_strided(source);
      check_add(&bam_op_scatter_add, plain, d, positions, source);
      check_add(&bam_op_scatter_add, x, d, positions, strided);
      RELEASE(plain, x, positions, source, strided);
    }
}

/* Many sources for few places add up in the same order whatever the number of threads. */
Test(index, adding_is_deterministic) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(5, 300), 0, 1),
             *source = make_random(BAM_F32, SHAPE(400, 300), 0, 1);
  bam_tensor *positions = make_random(BAM_I64, SHAPE(400), 1, 5);
  bam_tensor *inputs[] = { x, positions, source };
  bam_tensor *two = run(&bam_op_index_add, inputs, 3, NULL);
  bam_context_set_threads(fixture_context(), 1);
  bam_tensor *one = run(&bam_op_index_add, inputs, 3, NULL);
  expect_equal(one, two, 0);
  RELEASE(x, source, positions, one, two);
}

/* ---- masks ---- */

Test(index, masked_select) {
  VALUES_TESTED(&bam_op_masked_select);
  for (int t = 0; t < 6; t++)
    for (int ndim = 1; ndim <= 3; ndim++) {
      bam_tensor *plain = make_random(dtypes[t], SHAPE(3, 4, 5), 0, 100), *x = make_strided(plain);
      bam_shape shape = { .ndim = ndim, .size = { 3, 4, 5 } };
      bam_tensor *plain_mask = make_random(BAM_BOOL, shape, 0, 1), *mask = make_strided(plain_mask);
      bam_tensor *y = run2(&bam_op_masked_select, x, mask);
      int64_t inner = bam_tensor_count(x) / bam_tensor_count(mask), k = 0;
      EXPECT_EQ(y->shape.ndim, 4 - ndim);
      for (int64_t i = 0; i < bam_tensor_count(x); i++)
        if (integer_at(mask, i / inner))
          EXPECT_EQ(value_at(y, k++), value_at(x, i));
      EXPECT_EQ(k, bam_tensor_count(y));
      RELEASE(plain, x, plain_mask, mask, y);
    }
}

Test(index, empty) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(3, 2), 0, 1),
             *none = make_random(BAM_I64, SHAPE(0), 0, 1);
  bam_tensor *rows = run2(&bam_op_index_select, x, none);
  bam_tensor *mask = make_values(BAM_BOOL, SHAPE(3), VALUES(0, 0, 0));
  bam_tensor *chosen = run2(&bam_op_masked_select, x, mask);
  bam_tensor *no_x = make_random(BAM_F32, SHAPE(0, 2), 0, 1),
             *again = run2(&bam_op_index_select, no_x, none);
  expect_shape(rows, SHAPE(0, 2));
  expect_shape(chosen, SHAPE(0, 2));
  expect_shape(again, SHAPE(0, 2));
  EXPECT_OK(bam_index_assign(x, 0, none, rows));
  EXPECT_OK(bam_masked_assign(x, mask, rows));
  RELEASE(x, none, rows, mask, chosen, no_x, again);
}

Test(index, one_hot) {
  VALUES_TESTED(&bam_op_one_hot);
  bam_tensor *positions = make_values(BAM_I64, SHAPE(2, 2), VALUES(1, 3, 2, 3));
  bam_attr *attrs = make_attrs(&bam_op_one_hot);
  set_integer(&bam_op_one_hot, attrs, "n", 3);
  bam_tensor *y = run(&bam_op_one_hot, &positions, 1, attrs);
  expect_shape(y, SHAPE(2, 2, 3));
  expect_dtype(y, BAM_I64);
  expect_values(y, VALUES(1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1), 0);
  set_integer(&bam_op_one_hot, attrs, "n", 2);
  expect_op_error("position 3 (element 2 of positions) is outside 1 .. 2", &bam_op_one_hot,
                  &positions, 1, attrs);
  set_integer(&bam_op_one_hot, attrs, "n", 0);
  expect_op_error("n is at least 1, not 0", &bam_op_one_hot, &positions, 1, attrs);
  RELEASE(positions, y);
  free(attrs);
}

/* ---- assigning ---- */

Test(index, assign_by_positions) {
  bam_tensor *plain = make_random(BAM_F32, SHAPE(3, 4), 0, 1), *x = make_strided(plain);
  bam_tensor *positions = make_values(BAM_I64, SHAPE(3), VALUES(4, 2, 4));
  bam_tensor *from = make_values(BAM_F64, SHAPE(3, 3), VALUES(1, 2, 3, 4, 5, 6, 7, 8, 9));
  bam_tensor *five = make_integer(5), *one = make_values(BAM_I32, SHAPE(1), VALUES(1));
  EXPECT_OK(bam_index_assign(x, -1, positions, from));
  for (int64_t r = 0; r < 3; r++) {
    EXPECT_EQ(value_at(x, r * 4), value_at(plain, r * 4));
    EXPECT_EQ(value_at(x, r * 4 + 1), value_at(from, r * 3 + 1));
    cr_assert_eq(value_at(x, r * 4 + 3), value_at(from, r * 3 + 2), "the last of several stays");
  }
  EXPECT_OK(bam_index_assign(plain, 0, one, five));
  expect_values(plain,
                VALUES(5, 5, 5, 5, value_at(plain, 4), value_at(plain, 5), value_at(plain, 6),
                       value_at(plain, 7), value_at(plain, 8), value_at(plain, 9),
                       value_at(plain, 10), value_at(plain, 11)),
                0);
  RELEASE(plain, x, positions, from, five, one);
}

/* Source and target may share memory: the source is read before anything is written. */
Test(index, assign_from_itself) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(3), VALUES(1, 2, 3));
  bam_tensor *positions = make_values(BAM_I64, SHAPE(3), VALUES(2, 3, 1));
  EXPECT_OK(bam_index_assign(x, 0, positions, x));
  expect_values(x, VALUES(3, 1, 2), 0);
  RELEASE(x, positions);
}

Test(index, assign_by_mask) {
  bam_tensor *plain = make_values(BAM_I32, SHAPE(2, 3), VALUES(1, 2, 3, 4, 5, 6)),
             *x = make_strided(plain);
  bam_tensor *mask = make_values(BAM_BOOL, SHAPE(2, 3), VALUES(1, 0, 1, 0, 0, 1));
  bam_tensor *from = make_values(BAM_I64, SHAPE(3), VALUES(10, 20, 30)), *zero = make_integer(0);
  bam_tensor *rows = make_values(BAM_BOOL, SHAPE(2), VALUES(0, 1));
  EXPECT_OK(bam_masked_assign(x, mask, from));
  expect_values(x, VALUES(10, 2, 20, 4, 5, 30), 0);
  EXPECT_OK(bam_masked_assign(plain, rows, zero));
  expect_values(plain, VALUES(1, 2, 3, 0, 0, 0), 0);
  RELEASE(plain, x, mask, from, zero, rows);
}

Test(index, failed_assignment_changes_nothing) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(3), VALUES(1, 2, 3)), *from = make_float(9);
  bam_tensor *bad = make_values(BAM_I64, SHAPE(2), VALUES(1, 4)),
             *mask = make_values(BAM_BOOL, SHAPE(2), VALUES(1, 1));
  bam_tensor *four = make_random(BAM_F32, SHAPE(4), 0, 1),
             *good = make_values(BAM_I64, SHAPE(1), VALUES(1));
  bam_tensor *floats = make_random(BAM_F32, SHAPE(3), 0, 1),
             *leaf = make_leaf(BAM_F32, SHAPE(3), 0, 1);
  EXPECT_ERROR(bam_index_assign(x, 0, bad, from),
               "position 4 (element 2 of positions) is outside 1 .. 3");
  EXPECT_ERROR(bam_index_assign(x, 1, good, from), "dimension 2 is out of range");
  EXPECT_ERROR(bam_index_assign(x, 0, good, four), "does not broadcast");
  EXPECT_ERROR(bam_index_assign(leaf, 0, good, from), "cannot be written in place");
  EXPECT_ERROR(bam_masked_assign(x, mask, from), "a mask of shape (2) for a tensor of shape (3)");
  EXPECT_ERROR(bam_masked_assign(x, floats, from), "a mask is bool, not f32");
  expect_values(x, VALUES(1, 2, 3), 0);
  RELEASE(x, from, bad, mask, four, good, floats, leaf);
}

/* ---- refusals ---- */

Test(index, refusals) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(3, 4), 0, 1),
             *source = make_random(BAM_F64, SHAPE(2, 4), 0, 1);
  bam_tensor *zero = make_values(BAM_I64, SHAPE(2), VALUES(1, 0)),
             *floats = make_random(BAM_F32, SHAPE(2), 1, 2);
  bam_tensor *square = make_values(BAM_I64, SHAPE(2, 2), VALUES(1, 1, 1, 1)),
             *good = make_values(BAM_I64, SHAPE(2), VALUES(1, 3));
  bam_tensor *wide = make_random(BAM_F32, SHAPE(3, 4), 0, 1), *number = make_float(1);
  bam_attr *attrs = with_dim(&bam_op_gather, 0);
  expect_op_error("position 0 (element 2 of positions) is outside 1 .. 3", &bam_op_index_select,
                  (bam_tensor *[]){ x, zero }, 2, NULL);
  expect_op_error("positions are integers (i64), not f32", &bam_op_index_select,
                  (bam_tensor *[]){ x, floats }, 2, NULL);
  expect_op_error("positions have 1 dimension here, not 2", &bam_op_index_select,
                  (bam_tensor *[]){ x, square }, 2, NULL);
  expect_op_error("no dimension", &bam_op_index_select, (bam_tensor *[]){ number, good }, 2, NULL);
  expect_op_error("x (3, 4) and positions (2, 2) may differ in dimension 1 only", &bam_op_gather,
                  (bam_tensor *[]){ x, square }, 2, attrs);
  expect_op_error("x is f32 and source f64; write source:to \"f32\"", &bam_op_index_add,
                  (bam_tensor *[]){ x, good, source }, 3, NULL);
  expect_op_error("source has shape (3, 4) where positions ask for (2, 4)", &bam_op_index_add,
                  (bam_tensor *[]){ x, good, wide }, 3, NULL);
  RELEASE(x, source, zero, floats, square, good, wide, number);
  free(attrs);
}

/* ---- gradients ---- */

Test(index, gradients) {
  for (int d = 0; d < 2; d++) {
    bam_shape shape = SHAPE(3, 4), picked = shape;
    picked.size[d] = 5;
    bam_tensor *x = make_leaf(BAM_F64, shape, -1, 1), *source = make_leaf(BAM_F64, picked, -1, 1);
    bam_tensor *rows = make_positions(SHAPE(5), shape.size[d]);
    bam_tensor *each = make_positions(picked, shape.size[d]);
    bam_attr *attrs = with_dim(&bam_op_gather, d); /* all four have the same attributes */
    check_gradient(&bam_op_index_select, (bam_tensor *[]){ x, rows }, 2, attrs);
    check_gradient(&bam_op_gather, (bam_tensor *[]){ x, each }, 2, attrs);
    check_gradient(&bam_op_index_add, (bam_tensor *[]){ x, rows, source }, 3, attrs);
    check_gradient(&bam_op_scatter_add, (bam_tensor *[]){ x, each, source }, 3, attrs);
    RELEASE(x, source, rows, each);
    free(attrs);
  }
}

Test(index, gradient_of_masked_select) {
  bam_tensor *plain = make_random(BAM_F64, SHAPE(3, 4), -1, 1), *x = make_strided(plain);
  bam_tensor *mask = make_random(BAM_BOOL, SHAPE(3, 4), 0, 1),
             *rows = make_values(BAM_BOOL, SHAPE(3), VALUES(1, 0, 1));
  EXPECT_OK(bam_autograd_require(x, true));
  check_gradient(&bam_op_masked_select, (bam_tensor *[]){ x, mask }, 2, NULL);
  check_gradient(&bam_op_masked_select, (bam_tensor *[]){ x, rows }, 2, NULL);
  RELEASE(plain, x, mask, rows);
}
