/* Reductions and running sums against folds in double precision. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"

TestSuite(reduce, .init = fixture_open, .fini = fixture_close);

/* ---- the oracle: collect what falls on each result element, in order, and fold it ---- */

typedef double fold(const double *v, int n);

static double fold_sum(const double *v, int n) {
  double sum = 0;
  for (int i = 0; i < n; i++)
    sum += v[i];
  return sum;
}

static double fold_mean(const double *v, int n) { return fold_sum(v, n) / n; }

static double fold_prod(const double *v, int n) {
  double product = 1;
  for (int i = 0; i < n; i++)
    product *= v[i];
  return product;
}

static double fold_argmax(const double *v, int n) {
  int at = 0;
  for (int i = 1; i < n; i++)
    if (v[i] > v[at] || (isnan(v[i]) && !isnan(v[at])))
      at = i;
  return at + 1;
}

static double fold_argmin(const double *v, int n) {
  int at = 0;
  for (int i = 1; i < n; i++)
    if (v[i] < v[at] || (isnan(v[i]) && !isnan(v[at])))
      at = i;
  return at + 1;
}

static double fold_max(const double *v, int n) { return v[(int)fold_argmax(v, n) - 1]; }
static double fold_min(const double *v, int n) { return v[(int)fold_argmin(v, n) - 1]; }

static double fold_var(const double *v, int n) {
  double mean = fold_mean(v, n), sum = 0;
  for (int i = 0; i < n; i++)
    sum += (v[i] - mean) * (v[i] - mean);
  return sum / (n - 1);
}

static double fold_norm(const double *v, int n) {
  double sum = 0;
  for (int i = 0; i < n; i++)
    sum += v[i] * v[i];
  return sqrt(sum);
}

static double fold_norm1(const double *v, int n) {
  double sum = 0;
  for (int i = 0; i < n; i++)
    sum += fabs(v[i]);
  return sum;
}

static double fold_norm_inf(const double *v, int n) {
  double max = 0;
  for (int i = 0; i < n; i++)
    max = fmax(max, fabs(v[i]));
  return max;
}

static double fold_any(const double *v, int n) {
  for (int i = 0; i < n; i++)
    if (v[i] != 0)
      return 1;
  return 0;
}

static double fold_all(const double *v, int n) {
  for (int i = 0; i < n; i++)
    if (v[i] == 0)
      return 0;
  return 1;
}

/* The row-major index of element i of `shape` in the result, where bit d of `dims` reduces
   dimension d. */
static int64_t result_index(const bam_shape *shape, unsigned dims, int64_t i) {
  int64_t index = 0, step = 1;
  for (int d = shape->ndim - 1; d >= 0; d--) {
    int64_t at = i % shape->size[d];
    i /= shape->size[d];
    if (!(dims >> d & 1)) {
      index += at * step;
      step *= shape->size[d];
    }
  }
  return index;
}

static void check_values(const bam_op *op, bam_tensor *x, unsigned dims, fold *want,
                         const bam_attr *attrs, double tolerance) {
  bam_tensor *y = run(op, &x, 1, attrs);
  int64_t count = bam_tensor_count(x);
  double *held = malloc((size_t)(count + 1) * sizeof *held);
  for (int64_t k = 0; k < bam_tensor_count(y); k++) {
    int n = 0;
    for (int64_t i = 0; i < count; i++)
      if (result_index(&x->shape, dims, i) == k)
        held[n++] = value_at(x, i);
    double expected = want(held, n);
    cr_assert(is_close(value_at(y, k), expected, tolerance),
              "%s over %x: element %d is %.9g, not %.9g", op->name, dims, (int)k, value_at(y, k),
              expected);
  }
  free(held);
  bam_tensor_release(y);
}

static void set_dims(const bam_op *op, bam_attr *attrs, unsigned dims, int ndim) {
  int64_t list[BAM_MAX_DIMS];
  int n = 0;
  for (int d = 0; d < ndim; d++)
    if (dims >> d & 1) {
      list[n] = n % 2 ? d - ndim : d; /* negative ones too */
      n++;
    }
  set_list(op, attrs, "dim", n, list);
}

/* Every set of dimensions of a tensor with three, contiguous and not, with keepdim and without. */
static void check_all_dims(const bam_op *op, fold *want, bam_tensor *x, double tolerance) {
  bam_tensor *strided = make_strided(x);
  bool keep = false;
  for (unsigned dims = 1; dims < 8; dims++, keep = !keep) {
    bam_attr *attrs = make_attrs(op);
    set_dims(op, attrs, dims, 3);
    set_integer(op, attrs, "keepdim", keep);
    check_values(op, x, dims, want, attrs, tolerance);
    check_values(op, strided, dims, want, attrs, tolerance);
    free(attrs);
  }
  check_values(op, x, 7, want, NULL, tolerance);
  bam_tensor_release(strided);
}

/* Kernels sum in double: a bf16 is off by the rounding of the result alone. */
static double tolerance_of(bam_dtype dtype, double of_f32) {
  const bool real = bam_dtype_is_float(dtype);
  return dtype == BAM_BF16 ? BF16_ROUNDING : dtype == BAM_F32 ? of_f32 : real ? 1e-12 : 0;
}

static void check_dtypes(const bam_op *op, fold *want, bool integers) {
  for (bam_dtype dtype = BAM_BOOL; dtype < BAM_DTYPES; dtype++) {
    if (!device_computes(dtype) || (!bam_dtype_is_float(dtype) && !integers))
      continue;
    bool real = bam_dtype_is_float(dtype), sign = real || dtype == BAM_I32 || dtype == BAM_I64;
    bam_tensor *x = make_random(dtype, SHAPE(3, 5, 7), sign ? -3 : 0, dtype == BAM_BOOL ? 1 : 3);
    check_all_dims(op, want, x, tolerance_of(dtype, 2e-6));
    bam_tensor_release(x);
  }
}

Test(reduce, sum) {
  VALUES_TESTED(&bam_op_sum);
  check_dtypes(&bam_op_sum, fold_sum, true);
}
Test(reduce, mean) {
  VALUES_TESTED(&bam_op_mean);
  check_dtypes(&bam_op_mean, fold_mean, false);
}
Test(reduce, max) {
  VALUES_TESTED(&bam_op_max);
  check_dtypes(&bam_op_max, fold_max, true);
}
Test(reduce, min) {
  VALUES_TESTED(&bam_op_min);
  check_dtypes(&bam_op_min, fold_min, true);
}
Test(reduce, any) {
  VALUES_TESTED(&bam_op_any);
  check_dtypes(&bam_op_any, fold_any, true);
}
Test(reduce, all) {
  VALUES_TESTED(&bam_op_all);
  check_dtypes(&bam_op_all, fold_all, true);
}
Test(reduce, var) {
  VALUES_TESTED(&bam_op_var);
  check_dtypes(&bam_op_var, fold_var, false);
}
Test(reduce, norm) {
  VALUES_TESTED(&bam_op_norm);
  check_dtypes(&bam_op_norm, fold_norm, false);
}

Test(reduce, prod) {
  VALUES_TESTED(&bam_op_prod);
  check_dtypes(&bam_op_prod, fold_prod, false);
  bam_tensor *x = make_random(BAM_I64, SHAPE(2, 3, 4), -2, 3);
  check_all_dims(&bam_op_prod, fold_prod, x, 0);
  bam_tensor_release(x);
}

Test(reduce, other_norms) {
  const double p[] = { 1, (double)INFINITY };
  fold *want[] = { fold_norm1, fold_norm_inf };
  bam_tensor *x = make_random(BAM_F64, SHAPE(3, 2, 5), -2, 2);
  for (int i = 0; i < 2; i++) {
    bam_attr *attrs = make_attrs(&bam_op_norm);
    set_float(&bam_op_norm, attrs, "p", p[i]);
    check_values(&bam_op_norm, x, 7, want[i], attrs, 1e-12);
    set_list(&bam_op_norm, attrs, "dim", 2, (int64_t[]){ 0, 2 });
    check_values(&bam_op_norm, x, 5, want[i], attrs, 1e-12);
    free(attrs);
  }
  bam_attr *attrs = make_attrs(&bam_op_norm);
  set_float(&bam_op_norm, attrs, "p", 3);
  expect_op_error("p is 1, 2 or math.huge, not 3", &bam_op_norm, &x, 1, attrs);
  free(attrs);
  bam_tensor_release(x);
}

Test(reduce, positions_along_each_dim) {
  VALUES_TESTED(&bam_op_argmax, &bam_op_argmin);
  const bam_op *ops[] = { &bam_op_argmax, &bam_op_argmin };
  fold *want[] = { fold_argmax, fold_argmin };
  bam_tensor *x = make_random(BAM_I32, SHAPE(4, 5, 600), 0,
                              9); /* many equals; rows of several blocks */
  for (int i = 0; i < 2; i++) {
    check_values(ops[i], x, 7, want[i], NULL, 0);
    for (int d = 0; d < 3; d++) {
      bam_attr *attrs = make_attrs(ops[i]);
      set_integer(ops[i], attrs, "dim", d - 3);
      check_values(ops[i], x, 1u << d, want[i], attrs, 0);
      free(attrs);
    }
  }
  bam_tensor *y = run1(&bam_op_argmax, x);
  expect_dtype(y, BAM_I64);
  RELEASE(x, y);
}

Test(reduce, nan_beats_everything) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(4), VALUES(1, (double)INFINITY, (double)NAN, 2));
  bam_tensor *max = run1(&bam_op_max, x), *min = run1(&bam_op_min, x);
  bam_tensor *at = run1(&bam_op_argmin, x);
  expect_values(max, VALUES((double)NAN), 0);
  expect_values(min, VALUES((double)NAN), 0);
  expect_values(at, VALUES(3), 0);
  RELEASE(x, max, min, at);
}

/* ---- shapes and dtypes ---- */

Test(reduce, result_shapes) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 3, 4), 0, 1);
  bam_attr *attrs = make_attrs(&bam_op_sum);
  set_list(&bam_op_sum, attrs, "dim", 2, (int64_t[]){ -1, 0 });
  bam_tensor *dropped = run(&bam_op_sum, &x, 1, attrs);
  expect_shape(dropped, SHAPE(3));
  set_integer(&bam_op_sum, attrs, "keepdim", 1);
  bam_tensor *kept = run(&bam_op_sum, &x, 1, attrs);
  expect_shape(kept, SHAPE(1, 3, 1));
  bam_tensor *all = run1(&bam_op_sum, x);
  expect_shape(all, SCALAR);
  bam_tensor *again = run1(&bam_op_sum, all);
  expect_equal(again, all, 0);
  RELEASE(x, dropped, kept, all, again);
  free(attrs);
}

Test(reduce, integers_add_up_in_i64) {
  bam_tensor *x = make_values(BAM_U8, SHAPE(3), VALUES(200, 200, 200));
  bam_tensor *b = make_values(BAM_BOOL, SHAPE(3), VALUES(1, 0, 1));
  bam_tensor *sum = run1(&bam_op_sum, x), *count = run1(&bam_op_sum, b);
  bam_tensor *product = run1(&bam_op_prod, x);
  expect_dtype(sum, BAM_I64);
  expect_dtype(count, BAM_I64);
  expect_values(sum, VALUES(600), 0);
  expect_values(count, VALUES(2), 0);
  expect_values(product, VALUES(8000000), 0);
  RELEASE(x, b, sum, count, product);
}

/* Long rows are split into pieces; the sum must be right and the same for any number of threads. */
Test(reduce, long_rows) {
  int64_t n = 200003;
  bam_tensor *x = make_random(BAM_F32, SHAPE(n), 0, 1);
  double want = 0;
  for (int64_t i = 0; i < n; i++)
    want += value_at(x, i);
  bam_tensor *two = run1(&bam_op_sum, x);
  expect_values(two, &want, 1e-7);
  bam_context_set_threads(fixture_context(), 1);
  bam_tensor *one = run1(&bam_op_sum, x);
  expect_equal(one, two, 0);
  RELEASE(x, one, two);
}

Test(reduce, wide_columns) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 70, 300), -1, 1);
  bam_attr *attrs = make_attrs(&bam_op_sum);
  set_list(&bam_op_sum, attrs, "dim", 1, (int64_t[]){ 1 });
  check_values(&bam_op_sum, x, 2, fold_sum, attrs, 2e-6);
  free(attrs);
  bam_tensor_release(x);
}

Test(reduce, empty) {
  bam_tensor *none = make_random(BAM_F32, SHAPE(3, 0), 0, 1);
  bam_tensor *sum = run1(&bam_op_sum, none), *product = run1(&bam_op_prod, none);
  bam_tensor *mean = run1(&bam_op_mean, none), *var = run1(&bam_op_var, none);
  bam_tensor *any = run1(&bam_op_any, none), *all = run1(&bam_op_all, none);
  expect_values(sum, VALUES(0), 0);
  expect_values(product, VALUES(1), 0);
  expect_values(mean, VALUES((double)NAN), 0);
  expect_values(var, VALUES((double)NAN), 0);
  expect_values(any, VALUES(0), 0);
  expect_values(all, VALUES(1), 0);
  expect_op_error("no elements along the dimensions to reduce", &bam_op_max, &none, 1, NULL);
  expect_op_error("no elements along the dimensions to reduce", &bam_op_argmin, &none, 1, NULL);
  RELEASE(none, sum, product, mean, var, any, all);
}

Test(reduce, empty_beside_the_reduced_dimension) {
  bam_tensor *none = make_random(BAM_F32, SHAPE(0, 3), 0, 1);
  const bam_op *ops[] = { &bam_op_sum, &bam_op_max, &bam_op_norm, &bam_op_all };
  for (int i = 0; i < 4; i++) {
    bam_attr *attrs = make_attrs(ops[i]);
    set_list(ops[i], attrs, "dim", 1, (int64_t[]){ 1 });
    bam_tensor *y = run(ops[i], &none, 1, attrs);
    expect_shape(y, SHAPE(0));
    bam_tensor_release(y);
    free(attrs);
  }
  bam_tensor_release(none);
}

Test(reduce, refusals) {
  bam_tensor *x = make_random(BAM_I64, SHAPE(2, 3), 0, 9);
  expect_op_error("write x:to \"f32\"", &bam_op_mean, &x, 1, NULL);
  expect_op_error("write x:to \"f32\"", &bam_op_var, &x, 1, NULL);
  expect_op_error("write x:to \"f32\"", &bam_op_norm, &x, 1, NULL);
  bam_attr *attrs = make_attrs(&bam_op_sum);
  set_list(&bam_op_sum, attrs, "dim", 1, (int64_t[]){ 2 });
  expect_op_error("dimension 3 is out of range 1 to 2", &bam_op_sum, &x, 1, attrs);
  set_list(&bam_op_sum, attrs, "dim", 2, (int64_t[]){ 1, -1 });
  expect_op_error("dimension 2 is named twice", &bam_op_sum, &x, 1, attrs);
  set_list(&bam_op_sum, attrs, "dim", 0, NULL);
  expect_op_error("an empty list names no dimension", &bam_op_sum, &x, 1, attrs);
  free(attrs);
  bam_tensor_release(x);
}

/* ---- running sums ---- */

Test(reduce, cumsum) {
  VALUES_TESTED(&bam_op_cumsum);
  for (bam_dtype dtype = BAM_BOOL; dtype < BAM_DTYPES; dtype++) {
    if (!device_computes(dtype))
      continue;
    bam_tensor *plain = make_random(dtype, SHAPE(3, 5, 150), 0, dtype == BAM_BOOL ? 1 : 3);
    bam_tensor *x = make_strided(plain);
    for (int d = 0; d < 3; d++) {
      int64_t step = d == 0 ? 750 : d == 1 ? 150 : 1, n = x->shape.size[d];
      bam_attr *attrs = make_attrs(&bam_op_cumsum);
      set_integer(&bam_op_cumsum, attrs, "dim", d);
      bam_tensor *y = run(&bam_op_cumsum, &x, 1, attrs);
      expect_dtype(y, bam_dtype_is_float(dtype) ? dtype : BAM_I64);
      for (int64_t i = 0; i < bam_tensor_count(x); i++) {
        double want = value_at(x, i) + (i / step % n > 0 ? value_at(y, i - step) : 0);
        EXPECT_CLOSE(value_at(y, i), want, 2 * tolerance_of(dtype, 5e-6) + 1e-12);
      }
      bam_tensor_release(y);
      free(attrs);
    }
    RELEASE(plain, x);
  }
}

/* ---- gradients ---- */

static void check_gradients(const bam_op *op, bam_tensor *x) {
  check_gradient(op, &x, 1, NULL);
  for (unsigned dims = 1; dims < 8; dims++) {
    bam_attr *attrs = make_attrs(op);
    set_dims(op, attrs, dims, 3);
    set_integer(op, attrs, "keepdim", dims & 1);
    check_gradient(op, &x, 1, attrs);
    free(attrs);
  }
}

Test(reduce, gradients) {
  const bam_op *ops[] = { &bam_op_sum,  &bam_op_mean, &bam_op_max, &bam_op_min,
                          &bam_op_prod, &bam_op_var,  &bam_op_norm };
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
    bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 3, 2), 0.5, 2);
    check_gradients(ops[i], x);
    bam_tensor_release(x);
  }
}

Test(reduce, gradients_of_strided) {
  bam_tensor *plain = make_random(BAM_F64, SHAPE(2, 3, 2), -2, 2), *x = make_strided(plain);
  EXPECT_OK(bam_autograd_require(x, true));
  check_gradients(&bam_op_max, x);
  check_gradients(&bam_op_norm, x);
  RELEASE(plain, x);
}

Test(reduce, gradient_of_a_product_with_zeros) {
  for (int zeros = 0; zeros < 3; zeros++) {
    bam_tensor *x = make_values(BAM_F64, SHAPE(4),
                                VALUES(zeros > 0 ? 0 : 3, 2, zeros > 1 ? 0 : 5, -4));
    EXPECT_OK(bam_autograd_require(x, true));
    check_gradient(&bam_op_prod, &x, 1, NULL);
    bam_tensor_release(x);
  }
}

Test(reduce, gradient_goes_to_the_first_extreme) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(5), VALUES(1, 4, 4, 1, 4));
  EXPECT_OK(bam_autograd_require(x, true));
  bam_tensor *max = run1(&bam_op_max, x), *min = run1(&bam_op_min, x);
  EXPECT_OK(bam_autograd_backward(max, NULL, false));
  EXPECT_OK(bam_autograd_backward(min, NULL, false));
  expect_values(x->grad, VALUES(1, 1, 0, 0, 0), 0);
  RELEASE(x, max, min);
}

Test(reduce, gradient_of_cumsum) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 4, 3), -2, 2);
  for (int d = 0; d < 3; d++) {
    bam_attr *attrs = make_attrs(&bam_op_cumsum);
    set_integer(&bam_op_cumsum, attrs, "dim", d);
    check_gradient(&bam_op_cumsum, &x, 1, attrs);
    free(attrs);
  }
  bam_tensor_release(x);
}
