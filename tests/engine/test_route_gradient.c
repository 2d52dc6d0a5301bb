/* Gradients of routing against differences and against its definition's derivative. */
#include <stdlib.h>

#include "gradcheck.h"
#include "oracle_route.h"

TestSuite(route_gradient, .init = fixture_open, .fini = fixture_close);

/* ---- gradients ---- */

/* Logits of a token lie at least 0.4 apart, in any order: differences do not change a choice. */
static bam_tensor *make_gapped(bam_dtype dtype, bam_shape shape) {
  int64_t n = shape.size[shape.ndim - 1];
  bam_tensor *key = make_random(BAM_F64, shape, 0, 1), *x;
  double *values = values_of(key);
  for (int64_t i = 0; i < bam_tensor_count(key); i++) {
    int64_t rank = 0;
    for (int64_t j = i - i % n; j < i - i % n + n; j++)
      rank += value_at(key, j) < value_at(key, i);
    values[i] = 0.4 * (double)rank + 0.3 * value_at(key, i) - 1;
  }
  x = make_values(dtype, shape, values);
  EXPECT_OK(bam_autograd_require(x, true));
  bam_tensor_release(key);
  free(values);
  return x;
}

static void check_masked_differences(bam_shape shape, int64_t k, int64_t aux, const bool *mask) {
  bam_tensor *logits = make_gapped(BAM_F64, shape);
  for (int form = 0; form < 4; form++) {
    options with = { k, aux, form & 1, form & 2, mask };
    bam_attr *attrs = route_attrs(with);
    bam_tensor *inputs[] = { logits, route_mask(logits, with) };
    check_gradient(&bam_op_route, inputs, 2, attrs);
    bam_tensor_release(inputs[1]);
    free(attrs);
  }
  bam_tensor_release(logits);
}

static void check_differences(bam_shape shape, int64_t k, int64_t aux) {
  check_masked_differences(shape, k, aux, NULL);
}

Test(route_gradient, gradient_masked) {
  const bool mask[] = { 1, 0, 1, 0, 0, 0, 1, 1 };
  check_masked_differences(SHAPE(8, 5), 2, 0, mask);
  check_masked_differences(SHAPE(2, 4, 5), 1, 2, mask);
  check_masked_differences(SHAPE(4, 2, 3), 3, 1, mask);
  check_masked_differences(SHAPE(3, 4), 2, 3, mask + 3);
}

Test(route_gradient, gradient) {
  check_differences(SHAPE(6, 5), 1, 0);
  check_differences(SHAPE(2, 3, 5), 2, 3);
  check_differences(SHAPE(4, 5), 5, 2);
  check_differences(SHAPE(6, 2), 1, 1);
  check_differences(SHAPE(6, 2), 2, 0);
}

Test(route_gradient, gradient_of_one_expert) { check_differences(SHAPE(3, 1), 1, 0); }

Test(route_gradient, gradient_of_one_token) {
  check_differences(SHAPE(5), 2, 0);
  check_differences(SHAPE(1, 5), 3, 1);
}

/* No token chooses the last two: they still have a share of every softmax. */
Test(route_gradient, gradient_of_idle_experts) {
  bam_tensor *logits = make_values(BAM_F64, SHAPE(3, 4),
                                   VALUES(1, 2, 0, -1, 3, 1, -2, 0, 1, 4, 0, -1));
  EXPECT_OK(bam_autograd_require(logits, true));
  for (int64_t k = 1; k <= 2; k++) {
    bam_attr *attrs = route_attrs((options){ .k = k });
    check_gradient(&bam_op_route, &logits, 1, attrs);
    free(attrs);
  }
  bam_tensor_release(logits);
}

/* A gradient may arrive at one output only. */
Test(route_gradient, gradient_through_one_output) {
  bam_tensor *logits = make_gapped(BAM_F64, SHAPE(8, 5));
  for (int through = THROUGH_GATES; through <= THROUGH_LOSSES; through++)
    for (int form = 0; form < 4; form++)
      route_compare(logits, (options){ 2, 4, form & 1, form & 2, NULL }, through, 1e-12);
  bam_tensor_release(logits);
}

/* Without the other loss, as a seed alone. */
Test(route_gradient, gradient_of_one_loss) {
  bam_tensor *logits = make_gapped(BAM_F64, SHAPE(8, 5)), *out[4];
  for (int which = 0; which < 2; which++) {
    double seed[] = { which == 0, which == 1 }, *none = zeros(8 * 2);
    oracle o = route_oracle(logits, (options){ .k = 2, .aux = 2 });
    route_differentiate(&o, none, seed);
    bam_tensor *dlosses = make_values(BAM_F64, SHAPE(2), seed);
    route_run(logits, (options){ .k = 2, .aux = 2 }, out);
    EXPECT_OK(bam_autograd_backward(out[LOSSES], dlosses, false));
    expect_values(logits->grad, o.dlogits, 1e-13);
    EXPECT_OK(bam_autograd_set_grad(logits, NULL));
    fixture_release(out, 4);
    bam_tensor_release(dlosses);
    route_free(&o);
    free(none);
  }
  bam_tensor_release(logits);
}

/* One of N gates divided by itself is 1: no gradient arrives through it. */
Test(route_gradient, gradient_of_a_constant_gate) {
  bam_tensor *logits = make_leaf(BAM_F64, SHAPE(7, 5), -3, 3), *out[4];
  double *none = zeros(35), *ones = malloc(7 * sizeof *ones);
  for (int i = 0; i < 7; i++)
    ones[i] = 1;
  route_run(logits, (options){ .k = 1, .renormalise = true }, out);
  bam_tensor *sum = run1(&bam_op_sum, out[GATES]);
  EXPECT_OK(bam_autograd_backward(sum, NULL, false));
  expect_values(out[GATES], ones, 1e-15);
  expect_values(logits->grad, none, 1e-15);
  fixture_release(out, 4);
  RELEASE(logits, sum);
  free(none);
  free(ones);
}

Test(route_gradient, gradient_f32) {
  bam_tensor *logits = make_gapped(BAM_F32, SHAPE(2, 130, 8));
  for (int form = 0; form < 4; form++)
    route_compare(logits, (options){ 2, 65, form & 1, form & 2, NULL }, THROUGH_ALL, 2e-5);
  bam_tensor_release(logits);
}

/* Gradients are added to what is there, and backward leaves what it may need again. */
Test(route_gradient, accumulates) {
  bam_tensor *logits = make_leaf(BAM_F64, SHAPE(6, 5), -3, 3), *out[4], *first = NULL;
  route_run(logits, (options){ .k = 2, .renormalise = true, .aux = 3 }, out);
  bam_tensor *gates = run1(&bam_op_sum, out[GATES]), *losses = run1(&bam_op_sum, out[LOSSES]);
  bam_tensor *square = run2(&bam_op_mul, losses, losses);
  bam_tensor *sum = run2(&bam_op_add, gates, square);
  for (int time = 1; time <= 3; time++) {
    EXPECT_OK(bam_autograd_backward(sum, NULL, time < 3));
    if (time == 1)
      first = run1(&bam_op_clone, logits->grad);
    for (int64_t i = 0; i < 30; i++)
      EXPECT_CLOSE(value_at(logits->grad, i), time * value_at(first, i), 1e-13);
  }
  fixture_release(out, 4);
  RELEASE(logits, first, gates, losses, square, sum);
}
