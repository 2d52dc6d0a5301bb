/* Sorting and topk: order, ties, NaN, positions. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"

TestSuite(sort, .init = fixture_open, .fini = fixture_close);

/* The row of x through element `i` along dimension d begins where, and steps how. */
static int64_t row_start(bam_tensor *x, int d, int64_t i, int64_t *step) {
  *step = 1;
  for (int k = d + 1; k < x->shape.ndim; k++)
    *step *= x->shape.size[k];
  return i - i / *step % x->shape.size[d] * *step;
}

static bool is_less(double a, double b) { return a < b || (isnan(b) && !isnan(a)); }

/* Where in the sorted row does element j of the row belong? Ties go by position. */
static int64_t rank_of(bam_tensor *x, int64_t first, int64_t step, int64_t n, int64_t j,
                       bool descending) {
  double v = value_at(x, first + j * step);
  int64_t rank = 0;
  for (int64_t i = 0; i < n; i++) {
    double u = value_at(x, first + i * step);
    bool ahead = descending ? is_less(v, u) : is_less(u, v);
    bool equal = !is_less(u, v) && !is_less(v, u);
    rank += ahead || (equal && i < j);
  }
  return rank;
}

static bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* outputs hold the first k of each row along d. */
static void check_order(bam_tensor *x, int d, int64_t k, bool descending,
                        bam_tensor *const *outputs) {
  bam_shape shape = x->shape;
  int64_t n = shape.size[d];
  shape.size[d] = k;
  expect_shape(outputs[0], shape);
  expect_shape(outputs[1], shape);
  expect_dtype(outputs[0], x->dtype);
  expect_dtype(outputs[1], BAM_I64);
  for (int64_t i = 0; i < bam_tensor_count(x); i++) {
    int64_t step, first = row_start(x, d, i, &step), j = (i - first) / step;
    int64_t rank = rank_of(x, first, step, n, j, descending);
    int64_t to = i / (step * n) * (step * k) + rank * step + i % step;
    if (rank >= k)
      continue;
    cr_assert(same(value_at(outputs[0], to), value_at(x, i)));
    EXPECT_EQ(integer_at(outputs[1], to), j + 1);
  }
}

static void check_sort(bam_tensor *x, int d) {
  VALUES_TESTED(&bam_op_sort);
  for (int descending = 0; descending < 2; descending++) {
    bam_tensor *outputs[2];
    bam_attr *attrs = make_attrs(&bam_op_sort);
    set_integer(&bam_op_sort, attrs, "dim", d);
    set_integer(&bam_op_sort, attrs, "descending", descending);
    EXPECT_OK(fixture_apply(&bam_op_sort, &x, 1, attrs, outputs));
    check_order(x, d, x->shape.size[d], descending, outputs);
    fixture_release(outputs, 2);
    free(attrs);
  }
}

static void check_topk(bam_tensor *x, int d, int64_t k) {
  VALUES_TESTED(&bam_op_topk);
  for (int largest = 0; largest < 2; largest++) {
    bam_tensor *outputs[2];
    bam_attr *attrs = make_attrs(&bam_op_topk);
    set_integer(&bam_op_topk, attrs, "k", k);
    set_integer(&bam_op_topk, attrs, "dim", d - x->shape.ndim);
    set_integer(&bam_op_topk, attrs, "largest", largest);
    EXPECT_OK(fixture_apply(&bam_op_topk, &x, 1, attrs, outputs));
    check_order(x, d, k, largest, outputs);
    fixture_release(outputs, 2);
    free(attrs);
  }
}

Test(sort, every_dtype_and_dim) {
  const bam_dtype dtypes[] = { BAM_BOOL, BAM_U8, BAM_I32, BAM_I64, BAM_F32, BAM_F64 };
  for (int t = 0; t < 6; t++) {
    bam_tensor *plain = make_random(dtypes[t], SHAPE(3, 21, 5), 0, 9), *x = make_strided(plain);
    for (int d = 0; d < 3; d++) {
      check_sort(plain, d);
      check_sort(x, d);
      check_topk(x, d, 2);
      check_topk(plain, d, plain->shape.size[d]);
    }
    RELEASE(plain, x);
  }
}

Test(sort, lengths) {
  const int64_t lengths[] = { 1, 2, 15, 16, 17, 31, 33, 64, 100, 257 };
  for (int i = 0; i < 10; i++) {
    bam_tensor *x = make_random(BAM_I32, SHAPE(2, lengths[i]), 0, 20);
    check_sort(x, 1);
    check_topk(x, 1, (lengths[i] + 1) / 2);
    bam_tensor_release(x);
  }
}

Test(sort, nan_is_largest) {
  const double nan = (double)NAN, inf = (double)INFINITY;
  bam_tensor *x = make_values(BAM_F32, SHAPE(7), VALUES(nan, inf, -inf, 0, nan, -0.0, 1));
  check_sort(x, 0);
  for (int64_t k = 1; k <= 7; k++)
    check_topk(x, 0, k);
  bam_tensor_release(x);
}

Test(sort, empty_and_zero_dimensional) {
  bam_tensor *none = make_random(BAM_F32, SHAPE(2, 0), 0, 1),
             *one = make_values(BAM_F32, SCALAR, VALUES(3));
  bam_tensor *a[2], *b[2], *c[2];
  bam_attr *attrs = make_attrs(&bam_op_topk);
  EXPECT_OK(fixture_apply(&bam_op_sort, &none, 1, NULL, a));
  EXPECT_OK(fixture_apply(&bam_op_sort, &one, 1, NULL, b));
  set_integer(&bam_op_topk, attrs, "k", 0);
  EXPECT_OK(fixture_apply(&bam_op_topk, &none, 1, attrs, c));
  expect_shape(a[0], SHAPE(2, 0));
  expect_values(b[1], VALUES(1), 0);
  expect_shape(c[1], SHAPE(2, 0));
  fixture_release(a, 2);
  fixture_release(b, 2);
  fixture_release(c, 2);
  RELEASE(none, one);
  free(attrs);
}

Test(sort, refusals) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 3), 0, 1);
  bam_attr *attrs = make_attrs(&bam_op_topk);
  set_integer(&bam_op_topk, attrs, "k", 4);
  expect_op_error("k is 4, but dimension 2 has 3 elements", &bam_op_topk, &x, 1, attrs);
  set_integer(&bam_op_topk, attrs, "k", -1);
  expect_op_error("k is -1", &bam_op_topk, &x, 1, attrs);
  bam_tensor_release(x);
  free(attrs);
}

Test(sort, gradients) {
  bam_tensor *plain = make_random(BAM_F64, SHAPE(3, 4, 2), -1, 1), *x = make_strided(plain);
  EXPECT_OK(bam_autograd_require(x, true));
  for (int d = 0; d < 3; d++) {
    bam_attr *attrs = make_attrs(&bam_op_sort), *top = make_attrs(&bam_op_topk);
    set_integer(&bam_op_sort, attrs, "dim", d);
    set_integer(&bam_op_topk, top, "dim", d);
    set_integer(&bam_op_topk, top, "k", 2);
    check_gradient(&bam_op_sort, &x, 1, attrs);
    check_gradient(&bam_op_topk, &x, 1, top);
    free(attrs);
    free(top);
  }
  RELEASE(plain, x);
}
