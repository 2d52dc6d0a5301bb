/* Cross-entropy, and the head with its loss in chunks. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"

TestSuite(loss, .init = fixture_open, .fini = fixture_close);

/* The sum of -log softmax(row)[target] over the targets other than `ignore`, and how many there
   are. */
static double loss_of(bam_tensor *logits, bam_tensor *targets, int64_t ignore, int64_t *valid) {
  int64_t n = logits->shape.size[logits->shape.ndim - 1];
  double loss = 0;
  *valid = 0;
  for (int64_t i = 0; i < bam_tensor_count(targets); i++) {
    double max = -(double)INFINITY, sum = 0;
    if (integer_at(targets, i) == ignore)
      continue;
    for (int64_t j = 0; j < n; j++)
      max = fmax(max, value_at(logits, i * n + j));
    for (int64_t j = 0; j < n; j++)
      sum += exp(value_at(logits, i * n + j) - max);
    loss += log(sum) + max - value_at(logits, i * n + integer_at(targets, i));
    ++*valid;
  }
  return loss;
}

static bam_tensor *cross_entropy(bam_tensor *logits, bam_tensor *targets, int64_t ignore,
                                 bool sum) {
  bam_attr *attrs = make_attrs(&bam_op_cross_entropy);
  set_integer(&bam_op_cross_entropy, attrs, "ignore_index", ignore);
  set_integer(&bam_op_cross_entropy, attrs, "sum", sum);
  bam_tensor *loss = run(&bam_op_cross_entropy, (bam_tensor *[]){ logits, targets }, 2, attrs);
  free(attrs);
  return loss;
}

static void check_values(bam_dtype dtype, double tolerance) {
  VALUES_TESTED(&bam_op_cross_entropy);
  bam_tensor *plain = make_random(dtype, SHAPE(3, 7, 41), -20, 20), *strided = make_strided(plain);
  bam_tensor *targets = make_random(BAM_I64, SHAPE(3, 7), 0, 40);
  int64_t valid, ignore = integer_at(targets, 4);
  double want = loss_of(plain, targets, ignore, &valid);
  bam_tensor *mean = cross_entropy(plain, targets, ignore, false);
  bam_tensor *sum = cross_entropy(strided, targets, ignore, true);
  EXPECT_COMPARE(valid, <, 21);
  expect_shape(mean, SCALAR);
  expect_values(mean, VALUES(want / (double)valid), tolerance);
  expect_values(sum, VALUES(want), tolerance);
  RELEASE(plain, strided, targets, mean, sum);
}

Test(loss, values_f32) { check_values(BAM_F32, 1e-6); }
Test(loss, values_f64) { check_values(BAM_F64, 1e-14); }

/* Long rows, and logits whose exponentials overflow. */
Test(loss, extremes) {
  bam_tensor *logits = make_random(BAM_F32, SHAPE(2, 5000), 1e4, 1e4 + 3);
  bam_tensor *targets = make_values(BAM_I32, SHAPE(2), VALUES(3, 4999)), *loss;
  int64_t valid;
  double want = loss_of(logits, targets, -1, &valid) / 2;
  loss = cross_entropy(logits, targets, -100, false);
  expect_values(loss, VALUES(want), 1e-6);
  RELEASE(logits, targets, loss);
}

Test(loss, gradient) {
  bam_tensor *logits = make_leaf(BAM_F64, SHAPE(2, 3, 5), -3, 3);
  bam_tensor *targets = make_values(BAM_I64, SHAPE(2, 3), VALUES(0, 4, -100, 2, 2, 1));
  bam_attr *attrs = make_attrs(&bam_op_cross_entropy);
  check_gradient(&bam_op_cross_entropy, (bam_tensor *[]){ logits, targets }, 2, attrs);
  set_integer(&bam_op_cross_entropy, attrs, "sum", 1);
  check_gradient(&bam_op_cross_entropy, (bam_tensor *[]){ logits, targets }, 2, attrs);
  RELEASE(logits, targets);
  free(attrs);
}

Test(loss, nothing_counts) {
  bam_tensor *logits = make_leaf(BAM_F64, SHAPE(3, 5), -3, 3);
  bam_tensor *none = make_leaf(BAM_F64, SHAPE(0, 5), -3, 3);
  bam_tensor *ignored = make_values(BAM_I64, SHAPE(3), VALUES(-100, -100, -100));
  bam_tensor *empty = make_random(BAM_I64, SHAPE(0), 0, 1);
  check_gradient(&bam_op_cross_entropy, (bam_tensor *[]){ logits, ignored }, 2, NULL);
  check_gradient(&bam_op_cross_entropy, (bam_tensor *[]){ none, empty }, 2, NULL);
  bam_tensor *loss = cross_entropy(logits, ignored, -100, false);
  expect_values(loss, VALUES(0), 0);
  RELEASE(logits, none, ignored, empty, loss);
}

Test(loss, errors) {
  bam_tensor *logits = make_random(BAM_F32, SHAPE(2, 5), -3, 3);
  bam_tensor *targets = make_values(BAM_I64, SHAPE(2), VALUES(1, 5));
  bam_tensor *three = make_random(BAM_I64, SHAPE(3), 0, 1);
  expect_op_error("token id 5 (element 2 of `targets`) is outside 0 .. 4", &bam_op_cross_entropy,
                  (bam_tensor *[]){ logits, targets }, 2, NULL);
  expect_op_error("`targets` is (3); it must be (2), one id per row of logits",
                  &bam_op_cross_entropy, (bam_tensor *[]){ logits, three }, 2, NULL);
  RELEASE(logits, targets, three);
}

/* ---- the head in chunks ---- */

typedef struct {
  bam_tensor *x, *weight, *targets;
} problem;

static problem make_problem(bam_dtype dtype) {
  problem p = { make_leaf(dtype, SHAPE(2, 7, 6), -2, 2), make_leaf(dtype, SHAPE(23, 6), -2, 2),
                make_random(BAM_I64, SHAPE(2, 7), 0, 22) };
  set_value(p.targets, 5, -100);
  return p;
}

static void release_problem(problem p) { RELEASE(p.x, p.weight, p.targets); }

static bam_tensor *run_head(problem p, int64_t chunk, double scale) {
  const bam_op *op = &bam_op_linear_cross_entropy;
  bam_attr *attrs = make_attrs(op);
  set_integer(op, attrs, "chunk", chunk);
  if (scale != 0)
    set_float(op, attrs, "scale", scale);
  attrs[2].given = scale != 0;
  bam_tensor *loss = run(op, (bam_tensor *[]){ p.x, p.weight, p.targets }, 3, attrs);
  free(attrs);
  return loss;
}

/* The same through logits; gradients go to the leaves. */
static bam_tensor *run_plain(problem p) {
  bam_tensor *logits = run2(&bam_op_linear, p.x, p.weight);
  bam_tensor *loss = run2(&bam_op_cross_entropy, logits, p.targets);
  EXPECT_OK(bam_autograd_backward(loss, NULL, false));
  bam_tensor_release(logits);
  return loss;
}

static void clear(problem p) {
  EXPECT_OK(bam_autograd_set_grad(p.x, NULL));
  EXPECT_OK(bam_autograd_set_grad(p.weight, NULL));
}

static void check_head(bam_dtype dtype, double scale, double tolerance) {
  VALUES_TESTED(&bam_op_linear_cross_entropy);
  const int64_t chunks[] = { 0, 1, 3, 7, 14, 100 };
  problem p = make_problem(dtype);
  bam_tensor *want = run_plain(p);
  bam_tensor *dx = bam_tensor_retain(p.x->grad), *dw = bam_tensor_retain(p.weight->grad);
  for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
    clear(p);
    bam_tensor *loss = run_head(p, chunks[i], scale);
    expect_equal(loss, want, tolerance);
    EXPECT_OK(bam_autograd_backward(loss, NULL, false));
    expect_equal(p.x->grad, dx, tolerance);
    expect_equal(p.weight->grad, dw, tolerance);
    bam_tensor_release(loss);
  }
  RELEASE(want, dx, dw);
  release_problem(p);
}

Test(loss, head_f32) { check_head(BAM_F32, 0, 2e-6); }
Test(loss, head_f64) { check_head(BAM_F64, 0, 1e-13); }
Test(loss, head_scaled_f32) { check_head(BAM_F32, 1.0 / 13, 2e-6); }
Test(loss, head_scaled_f64) { check_head(BAM_F64, 1.0 / 13, 1e-13); }

Test(loss, head_gradient) {
  problem p = make_problem(BAM_F64);
  bam_attr *attrs = make_attrs(&bam_op_linear_cross_entropy);
  set_integer(&bam_op_linear_cross_entropy, attrs, "chunk", 4);
  check_gradient(&bam_op_linear_cross_entropy, (bam_tensor *[]){ p.x, p.weight, p.targets }, 3,
                 attrs);
  release_problem(p);
  free(attrs);
}

/* A micro-batch adds to the weight's gradient buffer in forward already, and not again in backward.
   */
Test(loss, head_accumulates) {
  problem p = make_problem(BAM_F64);
  bam_tensor *plain = run_plain(p), *twice = run2(&bam_op_add, p.weight->grad, p.weight->grad);
  bam_tensor *loss = run_head(p, 5, 1.0 / 13);
  expect_equal(p.weight->grad, twice, 1e-13);
  EXPECT_OK(bam_autograd_backward(loss, NULL, false));
  expect_equal(p.weight->grad, twice, 1e-13);
  RELEASE(plain, twice, loss);
  release_problem(p);
}

/* Only one of the two wants a gradient; nothing is recorded. */
Test(loss, head_parts) {
  problem p = make_problem(BAM_F64);
  bam_tensor *plain = run_plain(p), *dw = bam_tensor_retain(p.weight->grad);
  for (int k = 0; k < 2; k++) {
    clear(p);
    EXPECT_OK(bam_autograd_require(p.x, false));
    bam_tensor *loss = run_head(p, 5, k == 0 ? 0 : 1.0 / 13);
    EXPECT_OK(bam_autograd_backward(loss, NULL, false));
    expect_equal(p.weight->grad, dw, 1e-13);
    bam_tensor_release(loss);
  }
  fixture_context()->no_grad = true;
  bam_tensor *loss = run_head(p, 5, 1.0 / 13);
  fixture_context()->no_grad = false;
  expect_equal(loss, plain, 1e-13);
  expect_equal(p.weight->grad, dw, 1e-13);
  RELEASE(plain, dw, loss);
  release_problem(p);
}

/* The largest sum of a row of x->grad, [rows, n], in magnitude. */
static double largest_row_sum(bam_tensor *x) {
  int64_t n = x->shape.size[1];
  double largest = 0;
  for (int64_t i = 0; i < x->shape.size[0]; i++) {
    double sum = 0;
    for (int64_t j = 0; j < n; j++)
      sum += value_at(x->grad, i * n + j);
    largest = fmax(largest, fabs(sum));
  }
  return largest;
}

/* softmax - one_hot sums to 0 in every row, however large the logits are: eight terms of at most 1,
   each rounded a few times. */
Test(loss, gradient_of_large_logits) {
  for (double offset = 1; offset < 1e6; offset *= 10) {
    bam_tensor *x = make_leaf(BAM_F32, SHAPE(9, 8), offset - 2, offset + 2);
    bam_tensor *targets = make_random(BAM_I64, SHAPE(9), 0, 7);
    bam_tensor *loss = cross_entropy(x, targets, -100, true);
    EXPECT_OK(bam_autograd_backward(loss, NULL, false));
    cr_assert(largest_row_sum(x) <= 0x1p-22, "%g at %g", largest_row_sum(x), offset);
    RELEASE(x, targets, loss);
  }
}

/* The same through the head: with the identity as its weight, dx is the gradient of the logits. */
Test(loss, head_gradient_of_large_logits) {
  for (int k = 0; k < 2; k++) {
    bam_tensor *weight = make_random(BAM_F32, SHAPE(8, 8), 0, 0);
    for (int64_t j = 0; j < 8; j++)
      set_value(weight, 9 * j, 1);
    problem p = { make_leaf(BAM_F32, SHAPE(9, 8), 1e4 - 2, 1e4 + 2), weight,
                  make_random(BAM_I64, SHAPE(9), 0, 7) };
    bam_tensor *loss = run_head(p, 0, k == 0 ? 0 : 1.0 / 9);
    EXPECT_OK(bam_autograd_backward(loss, NULL, false));
    cr_assert(largest_row_sum(p.x) <= 0x1p-22 / 9, "%g", largest_row_sum(p.x));
    bam_tensor_release(loss);
    release_problem(p);
  }
}

Test(loss, head_empty) {
  problem p = { make_leaf(BAM_F64, SHAPE(0, 6), -2, 2), make_leaf(BAM_F64, SHAPE(23, 6), -2, 2),
                make_random(BAM_I64, SHAPE(0), 0, 22) };
  check_gradient(&bam_op_linear_cross_entropy, (bam_tensor *[]){ p.x, p.weight, p.targets }, 3,
                 NULL);
  bam_tensor *loss = run_head(p, 0, 0.5);
  expect_values(loss, VALUES(0), 0);
  EXPECT_OK(bam_autograd_backward(loss, NULL, false));
  bam_tensor_release(loss);
  release_problem(p);
}

Test(loss, head_errors) {
  problem p = make_problem(BAM_F32);
  bam_tensor *loss = run_head(p, 0, 0.5), *seed = make_float(2), *seed32;
  EXPECT_OK(bam_tensor_convert(seed, BAM_F32, &seed32));
  EXPECT_ERROR(bam_autograd_backward(loss, seed32, false), "put that into `scale`");
  expect_op_error("their last sizes differ", &bam_op_linear_cross_entropy,
                  (bam_tensor *[]){ p.weight, p.targets, p.targets }, 3, NULL);
  expect_op_error("`targets` is (23, 6); it must be (2, 7), one id per row of x",
                  &bam_op_linear_cross_entropy, (bam_tensor *[]){ p.x, p.weight, p.weight }, 3,
                  NULL);
  RELEASE(loss, seed, seed32);
  release_problem(p);
}
