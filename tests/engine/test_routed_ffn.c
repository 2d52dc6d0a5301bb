/* The routed FFN experts against their definition in double precision, token by token and expert by
   expert; gradients against the definition's derivative and against differences. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"
#include "oracle_routed_ffn.h"

TestSuite(routed_ffn, .init = fixture_open, .fini = fixture_close);

/* ---- values and gradients ---- */

/* Two experts of one hidden value; the second token goes nowhere. */
Test(routed_ffn, by_hand) {
  bam_tensor *in[INPUTS] = { make_values(BAM_F64, SHAPE(3, 1), VALUES(1, 1, 2)),
                             make_values(BAM_F64, SHAPE(3, 2), VALUES(0.5, 0.25, 9, 9, 2, 3)),
                             make_values(BAM_I64, SHAPE(3, 2), VALUES(1, 2, 0, 0, 2, 0)),
                             make_values(BAM_F64, SHAPE(2, 2, 1), VALUES(1, 10, 3, -1)),
                             make_values(BAM_F64, SHAPE(2, 1, 1), VALUES(4, 5)) };
  bam_tensor *y = ffn_run(in);
  double first = 4 * sigmoid(1) * 10, second = 5 * 3 * sigmoid(3) * -1;
  expect_values(y, VALUES(0.5 * first + 0.25 * second, 0, 2 * 5 * 6 * sigmoid(6) * -2), 1e-13);
  bam_tensor_release(y);
  fixture_release(in, INPUTS);
}

/* Odd sizes; few and many tokens, experts and choices. */
Test(routed_ffn, values_f32) {
  const int64_t tokens[] = { 1, 2, 7, 16, 37, 130 }, choices[] = { 1, 2, 5 };
  for (int i = 0; i < 6; i++)
    for (int c = 0; c < 3; c++) {
      int64_t t = tokens[i], k = choices[c];
      ffn_check(BAM_F32, (sizes){ .tokens = t, .D = 7, .N = 5, .F = 9, .k = k, .E = 3 }, 2e-5);
      ffn_check(BAM_F32, (sizes){ .tokens = t, .D = 33, .N = 2, .F = 17, .k = k, .E = 19 }, 2e-5);
    }
}

Test(routed_ffn, values_f64) {
  VALUES_TESTED(&bam_op_routed_ffn);
  ffn_check(BAM_F64, (sizes){ .tokens = 41, .D = 6, .N = 3, .F = 5, .k = 2, .E = 7 }, 1e-12);
  ffn_check(BAM_F64, (sizes){ .tokens = 23, .D = 1, .N = 4, .F = 1, .k = 4, .E = 1 }, 1e-12);
  ffn_check(BAM_F64, (sizes){ .tokens = 29, .D = 8, .N = 1, .F = 4, .k = 1, .E = 8 }, 1e-12);
}

/* More experts than tokens. */
Test(routed_ffn, values_of_many_experts) {
  ffn_check(BAM_F32, (sizes){ .tokens = 9, .D = 5, .N = 70, .F = 3, .k = 2, .E = 4 }, 2e-5);
}

/* As large as a model's layer, where work is shared out and products are blocked. */
Test(routed_ffn, gradient_f32) {
  ffn_check(BAM_F32, (sizes){ .tokens = 260, .D = 32, .N = 3, .F = 40, .k = 1, .E = 32 }, 2e-5);
  ffn_check(BAM_F32, (sizes){ .tokens = 1003, .D = 24, .N = 4, .F = 20, .k = 2, .E = 24 }, 2e-5);
}

/* Any number of dimensions before the last; a token alone has none. */
Test(routed_ffn, shapes) {
  const bam_shape tokens[] = { SCALAR, SHAPE(1), SHAPE(2, 3), SHAPE(3, 1, 4), SHAPE(2, 2, 1, 3) };
  sizes s = { .D = 5, .N = 3, .F = 4, .k = 2, .E = 6 };
  bam_tensor *in[INPUTS];
  for (int i = 0; i < 5; i++) {
    ffn_shaped(BAM_F64, tokens[i], &s, 1, in);
    ffn_compare(in, 1e-12);
    fixture_release(in, INPUTS);
  }
}

/* An expert without a token, first, in the middle or last, gets zeros, not nothing. */
Test(routed_ffn, idle_experts) {
  const double choices[][6] = { { 2, 3, 3, 2, 2, 4 }, { 1, 4, 1, 4, 2, 2 }, { 1, 1, 1, 1, 1, 1 },
                                { 4, 4, 4, 4, 4, 4 }, { 0, 0, 0, 0, 0, 0 }, { 0, 0, 3, 0, 0, 0 } };
  sizes s = { .tokens = 6, .D = 3, .N = 4, .F = 2, .k = 1, .E = 3 };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F64, &s, 1, in);
  for (int i = 0; i < 6; i++) {
    ffn_set_experts(in, choices[i]);
    ffn_compare(in, 1e-12);
  }
  fixture_release(in, INPUTS);
}

/* What an expert without a token weighs does not matter, nor does the gate of no expert. */
Test(routed_ffn, idle_numbers_do_not_matter) {
  sizes s = { .tokens = 3, .D = 3, .N = 3, .F = 2, .k = 2, .E = 3 };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F64, &s, 1, in);
  ffn_set_experts(in, VALUES(1, 0, 0, 0, 3, 1));
  for (int64_t i = 0; i < 12; i++) /* expert 2 */
    set_value(in[GATE_UP], 12 + i, (double)NAN);
  for (int64_t i = 0; i < 6; i++)
    set_value(in[DOWN], 6 + i, (double)NAN);
  for (int64_t i = 1; i < 4; i++)
    set_value(in[GATES], i, (double)NAN);
  ffn_compare(in, 1e-12);
  fixture_release(in, INPUTS);
}

/* One token's list names an expert twice, or only that one. */
Test(routed_ffn, repeated_experts) {
  sizes s = { .tokens = 4, .D = 3, .N = 2, .F = 3, .k = 3, .E = 2 };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F64, &s, 1, in);
  ffn_set_experts(in, VALUES(2, 1, 2, 1, 1, 1, 0, 2, 2, 2, 2, 0));
  ffn_compare(in, 1e-12);
  check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
  fixture_release(in, INPUTS);
}

/* Positions of another integer type; nothing contiguous, the gradient that arrives included. */
Test(routed_ffn, strided) {
  sizes s = { .D = 6, .N = 3, .F = 5, .k = 2, .E = 4 };
  bam_tensor *plain[INPUTS], *in[INPUTS], *old;
  ffn_shaped(BAM_F32, SHAPE(3, 7), &s, 0, plain);
  old = plain[EXPERTS];
  EXPECT_OK(bam_tensor_convert(old, BAM_I32, &plain[EXPERTS]));
  ffn_compare(plain, 2e-5);
  for (int i = 0; i < INPUTS; i++) {
    in[i] = make_strided(plain[i]);
    if (i != EXPERTS)
      EXPECT_OK(bam_autograd_require(in[i], true));
  }
  ffn_compare(in, 2e-5);
  bam_tensor *y = ffn_run(in), *dy = make_random(BAM_F32, y->shape, -1, 1);
  oracle o = ffn_oracle(in, dy);
  backward_reversed(y, dy);
  ffn_expect_gradients(in, &o, 8e-5);
  ffn_free(&o);
  RELEASE(y, dy, old);
  fixture_release(plain, INPUTS);
  fixture_release(in, INPUTS);
}

/* Columns of a wider tensor: rows of x lie evenly apart. */
Test(routed_ffn, columns) {
  sizes s = { .tokens = 11, .D = 5, .N = 2, .F = 3, .k = 1, .E = 4 };
  bam_tensor *in[INPUTS], *wide = make_random(BAM_F64, SHAPE(11, 13), -1, 1);
  bam_shape shape = SHAPE(11, 5);
  ffn_inputs(BAM_F64, &s, 1, in);
  bam_tensor_release(in[X]);
  EXPECT_OK(bam_tensor_view(wide, &shape, wide->stride, 6, &in[X]));
  EXPECT_OK(bam_autograd_require(in[X], true));
  ffn_compare(in, 1e-12);
  fixture_release(in, INPUTS);
  bam_tensor_release(wide);
}

/* ---- gradients by differences ---- */

static void check_differences(sizes s, double low) {
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F64, &s, low, in);
  check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
  fixture_release(in, INPUTS);
}

Test(routed_ffn, gradient) {
  sizes s = { .tokens = 5, .D = 3, .N = 2, .F = 2, .k = 1, .E = 2 };
  for (s.k = 1; s.k <= 2; s.k++) {
    check_differences(s, 0);
    check_differences(s, 1);
  }
}

Test(routed_ffn, gradient_of_one_expert) {
  check_differences((sizes){ .tokens = 4, .D = 3, .N = 1, .F = 3, .k = 1, .E = 3 }, 1);
}

Test(routed_ffn, gradient_of_many_experts) {
  check_differences((sizes){ .tokens = 3, .D = 2, .N = 5, .F = 2, .k = 5, .E = 3 }, 0);
  check_differences((sizes){ .tokens = 3, .D = 2, .N = 5, .F = 2, .k = 1, .E = 3 }, 1);
}

Test(routed_ffn, gradient_of_one_token) {
  check_differences((sizes){ .tokens = 1, .D = 3, .N = 3, .F = 2, .k = 2, .E = 3 }, 1);
}

/* A gate of 0 has a gradient like any other; its expert's weights get none from the token. */
Test(routed_ffn, gradient_of_closed_gates) {
  sizes s = { .tokens = 6, .D = 3, .N = 3, .F = 2, .k = 2, .E = 3 };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F64, &s, 0, in);
  for (int64_t i = 0; i < 12; i += 3)
    set_value(in[GATES], i, 0);
  ffn_compare(in, 1e-12);
  check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
  EXPECT_OK(bam_tensor_fill(in[GATES], 0));
  ffn_compare(in, 1e-12);
  check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
  fixture_release(in, INPUTS);
}

/* ---- who wants a gradient ---- */

/* Every choice of leaves; none of them means no recording. */
Test(routed_ffn, gradient_of_some) {
  sizes s = { .tokens = 9, .D = 4, .N = 3, .F = 3, .k = 2, .E = 5 };
  const int leaves[] = { X, GATES, GATE_UP, DOWN };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F64, &s, 0, in);
  for (int some = 0; some < 16; some++) {
    for (int i = 0; i < 4; i++)
      EXPECT_OK(bam_autograd_require(in[leaves[i]], some >> i & 1));
    ffn_compare(in, 1e-12);
  }
  fixture_release(in, INPUTS);
}

/* Gradients are added to what is there, zeros of an idle expert included, and backward leaves what
   it may need again. */
Test(routed_ffn, accumulates) {
  sizes s = { .tokens = 5, .D = 4, .N = 3, .F = 3, .k = 1, .E = 2 };
  bam_tensor *in[INPUTS], *first[INPUTS] = { NULL };
  ffn_inputs(BAM_F64, &s, 1, in);
  ffn_set_experts(in, VALUES(1, 3, 3, 1, 0));
  bam_tensor *y = ffn_run(in), *seed = make_random(BAM_F64, y->shape, -1, 1);
  for (int time = 1; time <= 3; time++) {
    EXPECT_OK(bam_autograd_backward(y, seed, time < 3));
    for (int i = 0; i < INPUTS; i++) {
      if (time == 1 && i != EXPERTS)
        first[i] = run1(&bam_op_clone, in[i]->grad);
      for (int64_t e = 0; i != EXPERTS && e < bam_tensor_count(in[i]); e++)
        EXPECT_CLOSE(value_at(in[i]->grad, e), time * value_at(first[i], e), 1e-13);
    }
  }
  RELEASE(y, seed);
  fixture_release(first, INPUTS);
  fixture_release(in, INPUTS);
}

/* Another list of experts the second time: an expert that is idle then keeps what it got. */
Test(routed_ffn, accumulates_over_lists) {
  sizes s = { .tokens = 4, .D = 3, .N = 3, .F = 2, .k = 1, .E = 2 };
  const double lists[][4] = { { 1, 2, 2, 1 }, { 3, 3, 0, 3 } };
  bam_tensor *in[INPUTS], *dy = make_random(BAM_F64, SHAPE(4, 2), -1, 1);
  double *sum[INPUTS];
  ffn_inputs(BAM_F64, &s, 1, in);
  for (int i = 0; i < INPUTS; i++)
    sum[i] = zeros(bam_tensor_count(in[i]));
  for (int list = 0; list < 2; list++) {
    ffn_set_experts(in, lists[list]);
    oracle o = ffn_oracle(in, dy);
    for (int i = 0; i < INPUTS; i++)
      add_scaled(sum[i], o.grad[i], 1, bam_tensor_count(in[i]));
    bam_tensor *y = ffn_run(in);
    EXPECT_OK(bam_autograd_backward(y, dy, false));
    bam_tensor_release(y);
    ffn_free(&o);
  }
  for (int i = 0; i < INPUTS; i++) {
    if (i != EXPERTS)
      expect_values(in[i]->grad, sum[i], 1e-12);
    free(sum[i]);
  }
  bam_tensor_release(dy);
  fixture_release(in, INPUTS);
}

/* Nothing is recorded: the same values. */
Test(routed_ffn, values_without_recording) {
  sizes s = { .tokens = 60, .D = 8, .N = 3, .F = 8, .k = 2, .E = 8 };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F32, &s, 0, in);
  bam_tensor *y = ffn_run(in);
  fixture_context()->no_grad = true;
  bam_tensor *z = ffn_run(in);
  fixture_context()->no_grad = false;
  cr_assert(y->requires_grad && !z->requires_grad);
  expect_equal(z, y, 1e-6);
  RELEASE(y, z);
  fixture_release(in, INPUTS);
}

/* ---- special cases ---- */

/* The number of threads does not matter, nor does running again. */
Test(routed_ffn, deterministic) {
  sizes s = { .tokens = 700, .D = 48, .N = 5, .F = 64, .k = 2, .E = 40 };
  bam_tensor *in[INPUTS], *y[3], *grad[3][INPUTS] = { { NULL } };
  ffn_inputs(BAM_F32, &s, 0, in);
  bam_tensor *seed = make_random(BAM_F32, SHAPE(s.tokens, s.E), -1, 1);
  for (int k = 0; k < 3; k++) {
    bam_context_set_threads(fixture_context(), k == 0 ? 1 : 3);
    y[k] = ffn_run(in);
    EXPECT_OK(bam_autograd_backward(y[k], seed, false));
    for (int i = 0; i < INPUTS; i++)
      if (i != EXPERTS) {
        grad[k][i] = bam_tensor_retain(in[i]->grad);
        EXPECT_OK(bam_autograd_set_grad(in[i], NULL));
      }
  }
  expect_equal(y[1], y[0], 0);
  expect_equal(y[2], y[1], 0);
  for (int i = 0; i < INPUTS; i++)
    if (i != EXPERTS) {
      expect_equal(grad[1][i], grad[0][i], 0);
      expect_equal(grad[2][i], grad[1][i], 0);
    }
  for (int k = 0; k < 3; k++)
    fixture_release(grad[k], INPUTS);
  RELEASE(y[0], y[1], y[2], seed);
  fixture_release(in, INPUTS);
}

/* Does row t of y (or of a gradient) hold a NaN? */
static bool has_nan(bam_tensor *y, int64_t t) {
  int64_t width = y->shape.size[1];
  for (int64_t i = t * width; i < (t + 1) * width; i++)
    if (isnan(value_at(y, i)))
      return true;
  return false;
}

/* A NaN in a token's x or gate stays in the token, of y and of x's gradient; a token that goes
   nowhere has none. */
Test(routed_ffn, nan) {
  sizes s = { .tokens = 8, .D = 3, .N = 2, .F = 4, .k = 1, .E = 3 };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F32, &s, 1, in);
  ffn_set_experts(in, VALUES(1, 2, 1, 0, 2, 1, 2, 0));
  set_value(in[X], 2 * 3 + 1, (double)NAN);
  set_value(in[X], 3 * 3, (double)NAN);
  set_value(in[GATES], 4, (double)NAN);
  bam_tensor *y = ffn_run(in), *sum = run1(&bam_op_sum, y);
  EXPECT_OK(bam_autograd_backward(sum, NULL, false));
  for (int64_t t = 0; t < 8; t++) {
    cr_assert_eq(has_nan(y, t), t == 2 || t == 4, "token %lld", (long long)t);
    cr_assert_eq(has_nan(in[X]->grad, t), t == 2 || t == 4, "token %lld", (long long)t);
    cr_assert_eq(has_nan(in[GATES]->grad, t), t == 2, "token %lld", (long long)t);
  }
  RELEASE(y, sum);
  fixture_release(in, INPUTS);
}

/* silu of large numbers neither overflows nor gives NaN. */
Test(routed_ffn, extremes) {
  sizes s = { .tokens = 6, .D = 2, .N = 2, .F = 3, .k = 1, .E = 2 };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F32, &s, 1, in);
  for (int64_t i = 0; i < 12; i++)
    set_value(in[X], i, 1000 * value_at(in[X], i));
  ffn_compare(in, 2e-4);
  fixture_release(in, INPUTS);
}

/* No tokens: a result without elements, and zeros as the gradient of the weights. */
Test(routed_ffn, empty) {
  const bam_shape shapes[] = { SHAPE(0), SHAPE(2, 0), SHAPE(0, 3) };
  sizes s = { .D = 3, .N = 2, .F = 2, .k = 2, .E = 3 };
  bam_tensor *in[INPUTS];
  for (int i = 0; i < 3; i++) {
    ffn_shaped(BAM_F64, shapes[i], &s, 1, in);
    ffn_compare(in, 0);
    check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
    fixture_release(in, INPUTS);
  }
}

/* Nothing to read, to hide, to give, to choose or to choose from, for tokens that are there. */
Test(routed_ffn, empty_width) {
  ffn_check(BAM_F32, (sizes){ .tokens = 5, .D = 0, .N = 2, .F = 3, .k = 2, .E = 4 }, 0);
  ffn_check(BAM_F32, (sizes){ .tokens = 5, .D = 3, .N = 2, .F = 0, .k = 2, .E = 4 }, 0);
  ffn_check(BAM_F32, (sizes){ .tokens = 5, .D = 3, .N = 2, .F = 3, .k = 2, .E = 0 }, 0);
  ffn_check(BAM_F32, (sizes){ .tokens = 5, .D = 3, .N = 2, .F = 3, .k = 0, .E = 4 }, 0);
}

/* A leaf given twice gets both gradients: x that is also the gates. */
Test(routed_ffn, gradient_of_the_same_leaf) {
  sizes s = { .tokens = 5, .D = 2, .N = 3, .F = 2, .k = 2, .E = 3 };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F64, &s, 0, in);
  bam_tensor_release(in[GATES]);
  in[GATES] = bam_tensor_retain(in[X]);
  check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
  fixture_release(in, INPUTS);
}

/* The input `i` of a call that is right but for it. */
static void expect_failure(const char *words, int i, bam_tensor *wrong) {
  sizes s = { .tokens = 4, .D = 3, .N = 3, .F = 2, .k = 2, .E = 5 };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F32, &s, 1, in);
  ffn_compare(in, 2e-5);
  bam_tensor_release(in[i]);
  in[i] = wrong;
  expect_op_error(words, &bam_op_routed_ffn, in, INPUTS, NULL);
  fixture_release(in, INPUTS);
}

static bam_tensor *real(bam_shape shape) { return make_random(BAM_F32, shape, -1, 1); }

Test(routed_ffn, errors_of_positions) {
  bam_tensor *over = make_values(BAM_I64, SHAPE(4, 2), VALUES(1, 2, 3, 0, 4, 1, 2, 3));
  bam_tensor *under = make_values(BAM_I32, SHAPE(4, 2), VALUES(1, 2, 3, 0, 1, 1, 2, -1));
  expect_failure("expert 4", EXPERTS, bam_tensor_retain(over));
  expect_failure("outside 0 .. 3", EXPERTS, over);
  expect_failure("expert -1", EXPERTS, under);
  expect_failure("experts", EXPERTS, make_random(BAM_F32, SHAPE(4, 2), 1, 3));
}

Test(routed_ffn, errors_of_shapes) {
  expect_failure("", X, real(SCALAR));
  expect_failure("", X, real(SHAPE(4, 4)));
  expect_failure("", X, real(SHAPE(5, 3)));
  expect_failure("gates", GATES, real(SHAPE(8)));
  expect_failure("", GATES, real(SHAPE(4, 1)));
  expect_failure("", GATES, real(SHAPE(3, 2)));
  expect_failure("experts", EXPERTS, make_random(BAM_I64, SHAPE(4, 3), 1, 3));
  expect_failure("experts", EXPERTS, make_random(BAM_I64, SHAPE(8), 1, 3));
  expect_failure("gate_up", GATE_UP, real(SHAPE(3, 5, 3)));
  expect_failure("gate_up", GATE_UP, real(SHAPE(3, 4, 2)));
  expect_failure("gate_up", GATE_UP, real(SHAPE(12, 3)));
  expect_failure("down", DOWN, real(SHAPE(2, 5, 2)));
  expect_failure("down", DOWN, real(SHAPE(3, 5, 3)));
  expect_failure("down", DOWN, real(SHAPE(15, 2)));
}

Test(routed_ffn, errors_of_dtypes) {
  expect_failure("convert one", GATES, make_random(BAM_F64, SHAPE(4, 2), 0, 1));
  expect_failure("convert one", GATE_UP, make_random(BAM_F64, SHAPE(3, 4, 3), -1, 1));
  expect_failure("convert one", DOWN, make_random(BAM_F64, SHAPE(3, 5, 2), -1, 1));
  expect_failure("", X, make_random(BAM_I64, SHAPE(4, 3), 0, 2));
  expect_failure("", GATES, make_random(BAM_I64, SHAPE(4, 2), 0, 2));
  expect_failure("", DOWN, make_random(BAM_BF16, SHAPE(3, 5, 2), 0, 2));
}
