/* The soft mixture of attention experts against its definition in double precision. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"
#include "oracle_mixture.h"

TestSuite(mixture_of_attention, .init = fixture_open, .fini = fixture_close);

/* ---- values and gradients ---- */

/* One token attends to itself alone: y = out * (gates * values). */
Test(mixture_of_attention, by_hand) {
  bam_tensor *in[INPUTS] = { make_values(BAM_F64, SHAPE(1, 1, 1), VALUES(2)),
                             make_values(BAM_F64, SHAPE(8, 1), VALUES(1, 2, 3, 4, 5, 6, 7, 8)),
                             make_values(BAM_F64, SHAPE(1, 4), VALUES(1, 10, 100, 1000)),
                             make_values(BAM_F64, SHAPE(1, 1, 2), VALUES(0.5, 0.25)) };
  bam_attr *attrs = mixture_attrs(1, 1);
  bam_tensor *y = mixture_run(in, attrs);
  expect_values(y, VALUES(0.5 * (14 + 160) + 0.25 * (1400 + 16000)), 1e-13);
  bam_tensor_release(y);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* Each expert its own values: rows of values come in the order of experts within a head. */
Test(mixture_of_attention, by_hand_own) {
  double qkv[12] = { 0 };
  for (int i = 8; i < 12; i++)
    qkv[i] = i - 7; /* values: 1 and 2 of the first KV head, 3 and 4 of the second */
  bam_tensor *in[INPUTS] = { make_values(BAM_F64, SHAPE(1, 1, 1), VALUES(1)),
                             make_values(BAM_F64, SHAPE(12, 1), qkv),
                             make_values(BAM_F64, SHAPE(1, 4), VALUES(1, 10, 100, 1000)),
                             make_values(BAM_F64, SHAPE(1, 1, 2), VALUES(0.5, 0.25)) };
  bam_attr *attrs = mixture_attrs(2, 2);
  set_float(&bam_op_mixture_of_attention, attrs, "rope_base", 0);
  bam_tensor *y = mixture_run(in, attrs);
  expect_values(y, VALUES(0.5 * (1 + 300) + 0.25 * (20 + 4000)), 1e-13);
  bam_tensor_release(y);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* Around the edges of tiles and vectors. */
Test(mixture_of_attention, values_f32) {
  const int64_t times[] = { 1, 2, 13, 31, 64, 97 };
  sizes few = { .B = 2, .D = 7, .N = 3, .H = 4, .G = 2, .K = 6, .E = 5 };
  sizes wide = { .B = 1, .D = 33, .N = 2, .H = 3, .G = 1, .K = 8, .E = 17 };
  for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
    few.T = wide.T = times[i];
    mixture_check(BAM_F32, few, 2e-5);
    mixture_check(BAM_F32, wide, 2e-5);
  }
}

Test(mixture_of_attention, values_f64) {
  VALUES_TESTED(&bam_op_mixture_of_attention);
  const sizes all[] = { { .B = 2, .T = 19, .D = 9, .N = 3, .H = 6, .G = 3, .K = 4, .E = 7 },
                        { .B = 3, .T = 5, .D = 1, .N = 5, .H = 2, .G = 2, .K = 2, .E = 1 },
                        { .B = 1, .T = 40, .D = 8, .N = 1, .H = 4, .G = 1, .K = 18, .E = 8 } };
  for (int i = 0; i < 3; i++)
    mixture_check(BAM_F64, all[i], 1e-12);
}

Test(mixture_of_attention, values_long) {
  sizes s = { .B = 1, .T = 401, .D = 8, .N = 2, .H = 2, .G = 1, .K = 16, .E = 8 };
  mixture_check(BAM_F32, s, 2e-5);
}

/* As large as a model's layer, where work is shared out and products are blocked. */
Test(mixture_of_attention, gradient_f32) {
  sizes s = { .B = 2, .T = 130, .D = 32, .N = 3, .H = 4, .G = 2, .K = 8, .E = 32 };
  mixture_check(BAM_F32, s, 2e-5);
}

/* One expert whose gate is 1 need not be told so; another number of gates means other shapes. */
Test(mixture_of_attention, gates_left_out) {
  sizes s = { .B = 2, .T = 11, .D = 5, .N = 1, .H = 4, .G = 2, .K = 4, .E = 6 };
  bam_tensor *in[INPUTS], *gates;
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F64, &s, in);
  gates = in[GATES];
  in[GATES] = NULL;
  mixture_compare(in, attrs, 1e-12);
  bam_tensor *y = run(&bam_op_mixture_of_attention, in, 3, attrs);
  EXPECT_OK(bam_tensor_fill(gates, 1));
  in[GATES] = gates;
  bam_tensor *z = mixture_run(in, attrs);
  expect_equal(y, z, 1e-13);
  RELEASE(y, z);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* Runs, ids that come again after others, and documents of one token. */
Test(mixture_of_attention, documents) {
  sizes s = { .B = 2, .T = 110, .D = 6, .N = 2, .H = 2, .G = 1, .K = 4, .E = 6, .own = true };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F32, &s, in);
  int64_t ids[220];
  for (int64_t i = 0; i < 220; i++)
    ids[i] = i % 110 < 3 ? 7 : i % 110 < 101 ? 1LL << 40 : -4;
  bam_tensor *runs = make_tensor(BAM_I64, SHAPE(2, 110), ids);
  bam_tensor *mixed = make_random(BAM_I32, SHAPE(2, 110), 0, 2);
  bam_tensor *many = make_random(BAM_I64, SHAPE(2, 110), 0, 90);
  bam_tensor *all[] = { runs, mixed, make_strided(mixed), many };
  for (int i = 0; i < 4; i++) {
    in[DOCUMENTS] = all[i];
    mixture_compare(in, attrs, 2e-5);
  }
  in[DOCUMENTS] = NULL;
  fixture_release(in, INPUTS);
  fixture_release(all, 4);
  free(attrs);
}

/* With a table of the positions in their place, the result has the same bits. */
static void expect_same_by_table(bam_tensor **in, const bam_attr *attrs, bam_tensor *positions) {
  bam_attr *of_table = make_attrs(&bam_op_rope_table);
  set_integer(&bam_op_rope_table, of_table, "width", 6);
  set_integer(&bam_op_rope_table, of_table, "dtype", BAM_F64);
  bam_tensor *table = run(&bam_op_rope_table, &positions, 1, of_table);
  in[POSITIONS] = positions;
  bam_tensor *want = run(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  in[POSITIONS] = table;
  bam_tensor *got = run(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  expect_equal(got, want, 0);
  RELEASE(table, want, got);
  free(of_table);
}

/* Shared by all sequences, or each its own; with and without documents. */
Test(mixture_of_attention, positions) {
  sizes s = { .B = 2, .T = 13, .D = 6, .N = 2, .H = 4, .G = 2, .K = 6, .E = 6 };
  bam_tensor *in[INPUTS], *documents = make_random(BAM_I64, SHAPE(2, 13), 0, 1);
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F64, &s, in);
  bam_tensor *own = make_random(BAM_I64, SHAPE(2, 13), -100, 5000);
  bam_tensor *all[] = { own, make_random(BAM_I32, SHAPE(13), 0, 300),
                        make_random(BAM_I64, SHAPE(13), 0, 9), make_strided(own) };
  for (int i = 0; i < 8; i++) {
    in[POSITIONS] = all[i % 4];
    in[DOCUMENTS] = i < 4 ? NULL : documents;
    mixture_compare(in, attrs, 1e-12);
  }
  expect_same_by_table(in, attrs, own);
  in[DOCUMENTS] = in[POSITIONS] = NULL;
  fixture_release(in, INPUTS);
  fixture_release(all, 4);
  bam_tensor_release(documents);
  free(attrs);
}

/* A residual is added to the result, also where there are biases, and its gradient is that of the result. */
static void check_residual(bool gates, bool bias) {
  sizes s = { .B = 2, .T = 9, .D = 5, .N = gates ? 2 : 1, .H = 4, .G = 2, .K = 4, .E = 3 };
  bam_tensor *in[INPUTS + 1], *seed = make_random(BAM_F64, SHAPE(2, 9, 3), -1, 1);
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F64, &s, in);
  if (!gates) {
    RELEASE(in[GATES]);
    in[GATES] = NULL;
  }
  if (bias)
    in[OUT_BIAS] = make_leaf(BAM_F64, SHAPE(s.N, 3), -1, 1);
  bam_tensor *residual = make_leaf(BAM_F64, SHAPE(2, 9, 3), -1, 1);
  bam_tensor *plain = mixture_run(in, attrs), *want = run2(&bam_op_add, plain, residual);
  in[INPUTS] = residual; /* the last, which the oracle does not have */
  bam_tensor *got = run(&bam_op_mixture_of_attention, in, INPUTS + 1, attrs);
  expect_equal(got, want, 1e-13);
  EXPECT_OK(bam_autograd_backward(got, seed, false));
  expect_equal(residual->grad, seed, 0);
  fixture_release(in, INPUTS);
  RELEASE(residual, seed, plain, want, got);
  free(attrs);
}

Test(mixture_of_attention, residual) {
  for (int i = 0; i < 4; i++)
    check_residual(i % 2, i / 2);
}

/* Another base, no rotation (then K may be odd), and another scale, 0 included. */
Test(mixture_of_attention, base_and_scale) {
  const double bases[] = { 100, 0, 0, 0, 500000 }, scales[] = { 0.3, 2, 0.7, 0, 1 };
  const int64_t widths[] = { 4, 4, 3, 1, 2 };
  for (int i = 0; i < 5; i++) {
    sizes s = { .B = 2, .T = 9, .D = 5, .N = 2, .H = 4, .G = 2, .K = widths[i], .E = 3 };
    bam_tensor *in[INPUTS];
    bam_attr *attrs = mixture_attrs(s.H, s.G);
    set_float(&bam_op_mixture_of_attention, attrs, "rope_base", bases[i]);
    mixture_inputs(BAM_F64, &s, in);
    mixture_compare(in, attrs, 1e-12);
    set_float(&bam_op_mixture_of_attention, attrs, "scale", scales[i]);
    mixture_compare(in, attrs, 1e-12);
    fixture_release(in, INPUTS);
    free(attrs);
  }
}

/* Nothing contiguous: x, weights, gates, ids, and the gradient that arrives. */
Test(mixture_of_attention, strided) {
  sizes s = { .B = 2, .T = 21, .D = 6, .N = 3, .H = 2, .G = 1, .K = 4, .E = 5, .own = true };
  bam_tensor *plain[INPUTS], *in[INPUTS] = { NULL };
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_biased_inputs(BAM_F32, &s, plain);
  plain[DOCUMENTS] = make_random(BAM_I64, SHAPE(2, 21), 0, 1);
  plain[POSITIONS] = make_random(BAM_I64, SHAPE(21), 0, 50);
  for (int i = 0; i < INPUTS; i++) {
    in[i] = make_strided(plain[i]);
    if (i != DOCUMENTS && i != POSITIONS)
      EXPECT_OK(bam_autograd_require(in[i], true));
  }
  mixture_compare(in, attrs, 2e-5);
  bam_tensor *y = mixture_run(in, attrs), *dy = make_random(BAM_F32, y->shape, -1, 1);
  oracle o = mixture_oracle(in, dy, attrs);
  backward_reversed(y, dy);
  mixture_expect_gradients(in, &o, 8e-5);
  mixture_free(&o);
  RELEASE(y, dy);
  fixture_release(plain, INPUTS);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* Windows and scaled frequencies: against the oracle, and gradients by differences. */
static void check_windowed(bam_dtype dtype, sizes s, int64_t window, double tolerance) {
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  set_integer(&bam_op_mixture_of_attention, attrs, "window", window);
  set_float(&bam_op_mixture_of_attention, attrs, "rope_factor", 2.5);
  mixture_inputs(dtype, &s, in);
  in[DOCUMENTS] = make_random(BAM_I64, SHAPE(s.B, s.T), 0, 1);
  in[POSITIONS] = NULL;
  mixture_compare(in, attrs, tolerance);
  if (s.T < 6)
    check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

Test(mixture_of_attention, windows) {
  sizes s = { .B = 2, .T = 5, .D = 3, .N = 2, .H = 4, .G = 2, .K = 2, .E = 3, .own = true };
  check_windowed(BAM_F64, s, 2, 1e-12);
  s.own = false;
  check_windowed(BAM_F64, s, 3, 1e-12);
  s.T = 40;
  check_windowed(BAM_F32, s, 7, 2e-5);
  check_windowed(BAM_F64, s, 100, 1e-12);
}

/* Only the first elements of heads rotate. */
static void check_partial_rotation(bam_dtype dtype, sizes s, double tolerance) {
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  set_integer(&bam_op_mixture_of_attention, attrs, "rope_width", 4);
  mixture_inputs(dtype, &s, in);
  mixture_compare(in, attrs, tolerance);
  if (s.T < 3)
    check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  set_integer(&bam_op_mixture_of_attention, attrs, "rope_width", 8);
  expect_op_error("rope_width is 8; of heads of", &bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

Test(mixture_of_attention, partial_rotation) {
  sizes s = { .B = 1, .T = 2, .D = 1, .N = 1, .H = 1, .G = 1, .K = 5, .E = 1 };
  check_partial_rotation(BAM_F64, s, 1e-12);
  s = (sizes){ .B = 2, .T = 21, .D = 3, .N = 2, .H = 4, .G = 2, .K = 7, .E = 3 };
  check_partial_rotation(BAM_F32, s, 2e-5);
}

/* Biases, with gates and without, alone and together, with every choice of leaves among them. */
static void check_biased(bam_dtype dtype, sizes s, bool gated, double tolerance) {
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_biased_inputs(dtype, &s, in);
  if (!gated) {
    bam_tensor_release(in[GATES]);
    in[GATES] = NULL;
  }
  for (int some = s.T < 3 ? 0 : 7; some < 8; some++) {
    EXPECT_OK(bam_autograd_require(in[QKV_BIAS], some & 1));
    EXPECT_OK(bam_autograd_require(in[OUT_BIAS], some >> 1 & 1));
    EXPECT_OK(bam_autograd_require(in[X], some >> 2 & 1));
    mixture_compare(in, attrs, tolerance);
  }
  if (s.T < 3)
    check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  bam_tensor_release(in[s.own ? QKV_BIAS : OUT_BIAS]);
  in[s.own ? QKV_BIAS : OUT_BIAS] = NULL;
  mixture_compare(in, attrs, tolerance);
  fixture_release(in, INPUTS);
  free(attrs);
}

Test(mixture_of_attention, biases) {
  sizes tiny = { .B = 1, .T = 2, .D = 1, .N = 2, .H = 1, .G = 1, .K = 2, .E = 1, .own = true };
  sizes s = { .B = 2, .T = 7, .D = 3, .N = 3, .H = 4, .G = 2, .K = 4, .E = 3 }, one = s;
  one.N = 1;
  check_biased(BAM_F64, tiny, true, 1e-12);
  check_biased(BAM_F64, one, false, 1e-12);
  check_biased(BAM_F64, s, true, 1e-12);
  s.T = one.T = 21;
  check_biased(BAM_F32, s, true, 2e-5);
  check_biased(BAM_F32, one, false, 2e-5);
}

Test(mixture_of_attention, biases_of_other_shapes) {
  sizes s = { .B = 1, .T = 2, .D = 3, .N = 2, .H = 2, .G = 1, .K = 2, .E = 3 };
  bam_tensor *in[INPUTS], *bias = make_random(BAM_F64, SHAPE(5), -1, 1), *old;
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_biased_inputs(BAM_F64, &s, in);
  old = in[QKV_BIAS];
  in[QKV_BIAS] = bias;
  expect_op_error("`qkv_bias` is (5); it must be (12), one per row of qkv",
                  &bam_op_mixture_of_attention, in, INPUTS, attrs);
  in[QKV_BIAS] = old;
  old = in[OUT_BIAS];
  in[OUT_BIAS] = bias;
  expect_op_error("`out_bias` is (5); it must be (2, 3), one row per expert",
                  &bam_op_mixture_of_attention, in, INPUTS, attrs);
  in[OUT_BIAS] = old;
  bam_tensor_release(bias);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* ---- without recording ---- */

/* Nothing is recorded: the same values. */
Test(mixture_of_attention, values_without_recording) {
  sizes s = { .B = 2, .T = 40, .D = 8, .N = 3, .H = 4, .G = 2, .K = 8, .E = 8 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F32, &s, in);
  bam_tensor *y = mixture_run(in, attrs);
  fixture_context()->no_grad = true;
  bam_tensor *z = mixture_run(in, attrs);
  fixture_context()->no_grad = false;
  cr_assert(y->requires_grad && !z->requires_grad);
  expect_equal(z, y, 1e-6);
  RELEASE(y, z);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* ---- special cases ---- */

/* The number of threads does not matter, nor does running again. */
Test(mixture_of_attention, deterministic) {
  sizes s = { .B = 2, .T = 200, .D = 48, .N = 3, .H = 4, .G = 2, .K = 16, .E = 40, .own = true };
  bam_tensor *in[INPUTS], *y[3], *grad[3][4];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F32, &s, in);
  bam_tensor *seed = make_random(BAM_F32, SHAPE(s.B, s.T, s.E), -1, 1);
  for (int k = 0; k < 3; k++) {
    bam_context_set_threads(fixture_context(), k == 0 ? 1 : 3);
    y[k] = mixture_run(in, attrs);
    EXPECT_OK(bam_autograd_backward(y[k], seed, false));
    for (int i = 0; i < 4; i++) {
      grad[k][i] = bam_tensor_retain(in[i]->grad);
      EXPECT_OK(bam_autograd_set_grad(in[i], NULL));
    }
  }
  expect_equal(y[1], y[0], 0);
  expect_equal(y[2], y[1], 0);
  for (int i = 0; i < 4; i++) {
    expect_equal(grad[1][i], grad[0][i], 0);
    expect_equal(grad[2][i], grad[1][i], 0);
  }
  for (int k = 0; k < 3; k++)
    fixture_release(grad[k], 4);
  RELEASE(y[0], y[1], y[2], seed);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* `x` with a NaN in place of element i. */
static bam_tensor *damage(bam_tensor *x, int64_t i) {
  double *values = values_of(x);
  values[i] = (double)NAN;
  bam_tensor *damaged = make_values(x->dtype, x->shape, values);
  free(values);
  return damaged;
}

/* With input i damaged at token `bad`, only tokens of [bad, to) may show it, and `bad` must. */
static void expect_contained(bam_tensor *in[INPUTS], const bam_attr *attrs, int i, int64_t bad,
                             int64_t to) {
  bam_tensor *good = in[i], *want = mixture_run(in, attrs);
  int64_t E = want->shape.size[2];
  in[i] = damage(good, bad * good->shape.size[2] + 1);
  bam_tensor *got = mixture_run(in, attrs);
  for (int64_t e = 0; e < bam_tensor_count(want); e++) {
    if (e / E == bad)
      cr_assert(isnan(value_at(got, e)), "the NaN of a token has vanished from its result");
    if (e / E < bad || e / E >= to)
      cr_assert(is_close(value_at(got, e), value_at(want, e), 1e-6), "token %lld is %g, not %g",
                (long long)(e / E), value_at(got, e), value_at(want, e));
  }
  RELEASE(in[i], want, got);
  in[i] = good;
}

/* In the gates it stays in the token. In x it reaches its sequence (a weight of 0 times NaN is
   NaN), but no other. */
Test(mixture_of_attention, nan) {
  sizes s = { .B = 3, .T = 30, .D = 6, .N = 2, .H = 2, .G = 1, .K = 4, .E = 5 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F32, &s, in);
  expect_contained(in, attrs, GATES, 40, 41);
  expect_contained(in, attrs, X, 30, 60);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* Nothing in x or nothing in y, of tokens that are there. */
Test(mixture_of_attention, empty_width) {
  sizes narrow = { .B = 2, .T = 5, .D = 0, .N = 2, .H = 2, .G = 1, .K = 2, .E = 3 };
  sizes nothing = { .B = 2, .T = 5, .D = 3, .N = 2, .H = 2, .G = 1, .K = 2, .E = 0 };
  mixture_check(BAM_F32, narrow, 0);
  mixture_check(BAM_F32, nothing, 0);
}
