/* The routed FFN experts against their definition in double precision, token by token and expert by
   expert; gradients against the definition's derivative and against differences. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"
#include "oracle.h"

TestSuite(routed_ffn, .init = fixture_open, .fini = fixture_close);

enum { X, GATES, EXPERTS, GATE_UP, DOWN, INPUTS };

/* The names of the op's description; E is the width of the result. */
typedef struct {
  int64_t tokens, D, N, F, k, E;
} sizes;

/* All arrays are row-major; grad are the gradients of sum(dy * y). */
typedef struct {
  sizes s;
  double *in[INPUTS], *dy, *y, *grad[INPUTS];
} oracle;

/* ---- the definition and its derivative ---- */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* The hidden values of expert e for a token, and the gradients of x and gate_up from theirs. */
static void hide(oracle *o, int64_t t, int64_t e, double *hidden, const double *dhidden) {
  int64_t D = o->s.D;
  const double *x = o->in[X] + t * D;
  for (int64_t f = 0; f < o->s.F; f++) {
    int64_t gate = (e * 2 * o->s.F + f) * D, up = gate + o->s.F * D;
    double g = dot(o->in[GATE_UP] + gate, x, D), u = dot(o->in[GATE_UP] + up, x, D);
    hidden[f] = g * sigmoid(g) * u;
    if (dhidden == NULL)
      continue;
    double dg = dhidden[f] * u * sigmoid(g) * (1 + g * (1 - sigmoid(g)));
    double du = dhidden[f] * g * sigmoid(g);
    add_scaled(o->grad[GATE_UP] + gate, x, dg, D);
    add_scaled(o->grad[GATE_UP] + up, x, du, D);
    add_scaled(o->grad[X] + t * D, o->in[GATE_UP] + gate, dg, D);
    add_scaled(o->grad[X] + t * D, o->in[GATE_UP] + up, du, D);
  }
}

/* The j-th expert of token t. */
static void apply_expert(oracle *o, int64_t t, int64_t j) {
  int64_t F = o->s.F, e = (int64_t)o->in[EXPERTS][t * o->s.k + j] - 1;
  double gate = o->in[GATES][t * o->s.k + j], *hidden = zeros(F), *dhidden = zeros(F);
  hide(o, t, e, hidden, NULL);
  for (int64_t i = 0; i < o->s.E; i++) {
    int64_t row = (e * o->s.E + i) * F;
    double y = dot(o->in[DOWN] + row, hidden, F), dy = o->dy[t * o->s.E + i];
    o->y[t * o->s.E + i] += gate * y;
    o->grad[GATES][t * o->s.k + j] += dy * y;
    add_scaled(o->grad[DOWN] + row, hidden, dy * gate, F);
    add_scaled(dhidden, o->in[DOWN] + row, dy * gate, F);
  }
  hide(o, t, e, hidden, dhidden);
  free(hidden);
  free(dhidden);
}

static oracle make_oracle(bam_tensor *const in[INPUTS], bam_tensor *dy) {
  const bam_shape *x = &in[X]->shape, *gates = &in[GATES]->shape;
  oracle o = { .s = { .D = x->size[x->ndim - 1], .N = in[DOWN]->shape.size[0],
                      .F = in[DOWN]->shape.size[2], .k = gates->size[gates->ndim - 1],
                      .E = in[DOWN]->shape.size[1] },
               .dy = values_of(dy) };
  o.s.tokens = bam_tensor_count(dy) / (o.s.E > 0 ? o.s.E : 1);
  for (int i = 0; i < INPUTS; i++) {
    o.in[i] = values_of(in[i]);
    o.grad[i] = zeros(bam_tensor_count(in[i]));
  }
  o.y = zeros(o.s.tokens * o.s.E);
  for (int64_t t = 0; t < o.s.tokens; t++)
    for (int64_t j = 0; j < o.s.k; j++)
      if (o.in[EXPERTS][t * o.s.k + j] != 0)
        apply_expert(&o, t, j);
  return o;
}

static void free_oracle(oracle *o) {
  for (int i = 0; i < INPUTS; i++) {
    free(o->in[i]);
    free(o->grad[i]);
  }
  free(o->dy);
  free(o->y);
}

/* ---- the op beside it ---- */

static bam_tensor *run_ffn(bam_tensor *const in[INPUTS]) {
  return run(&bam_op_routed_ffn, in, INPUTS, NULL);
}

/* The shape of y: that of x, as wide as an expert's result. */
static bam_shape result_shape(bam_tensor *const in[INPUTS]) {
  bam_shape shape = in[X]->shape;
  shape.size[shape.ndim - 1] = in[DOWN]->shape.size[1];
  return shape;
}

/* Leaves get the oracle's gradient, others none; gradients are cleared. */
static void expect_gradients(bam_tensor *const in[INPUTS], const oracle *o, double tolerance) {
  for (int i = 0; i < INPUTS; i++) {
    if (!in[i]->requires_grad) {
      cr_assert(in[i]->grad == NULL);
      continue;
    }
    if (in[i]->grad == NULL && bam_tensor_count(in[i]) == 0)
      continue;
    expect_shape(in[i]->grad, in[i]->shape);
    expect_dtype(in[i]->grad, in[i]->dtype);
    expect_values(in[i]->grad, o->grad[i], tolerance);
    EXPECT_OK(bam_autograd_set_grad(in[i], NULL));
  }
}

static void compare(bam_tensor *const in[INPUTS], double tolerance) {
  bam_tensor *dy = make_random(in[X]->dtype, result_shape(in), -1, 1);
  oracle o = make_oracle(in, dy);
  bam_tensor *y = run_ffn(in);
  expect_shape(y, result_shape(in));
  expect_dtype(y, in[X]->dtype);
  expect_values(y, o.y, tolerance);
  if (y->requires_grad)
    EXPECT_OK(bam_autograd_backward(y, dy, false));
  expect_gradients(in, &o, tolerance * 4);
  RELEASE(dy, y);
  free_oracle(&o);
}

/* `tokens` with one more dimension, for x, gates or experts. */
static bam_shape extended(bam_shape tokens, int64_t size) {
  tokens.size[tokens.ndim++] = size;
  return tokens;
}

/* Floats as leaves; experts are `low` .. N. */
static void make_shaped(bam_dtype dtype, bam_shape tokens, const sizes *s, double low,
                        bam_tensor *in[INPUTS]) {
  in[X] = make_leaf(dtype, extended(tokens, s->D), -1, 1);
  in[GATES] = make_leaf(dtype, extended(tokens, s->k), 0.1, 1);
  in[EXPERTS] = make_random(BAM_I64, extended(tokens, s->k), low, (double)s->N);
  in[GATE_UP] = make_leaf(dtype, SHAPE(s->N, 2 * s->F, s->D), -1, 1);
  in[DOWN] = make_leaf(dtype, SHAPE(s->N, s->E, s->F), -1, 1);
}

static void make_inputs(bam_dtype dtype, const sizes *s, double low, bam_tensor *in[INPUTS]) {
  make_shaped(dtype, SHAPE(s->tokens), s, low, in);
}

/* With expert 0 (none) among the others, and without. */
static void check(bam_dtype dtype, sizes s, double tolerance) {
  bam_tensor *in[INPUTS];
  for (int low = 0; low < 2; low++) {
    make_inputs(dtype, &s, low, in);
    compare(in, tolerance);
    fixture_release(in, INPUTS);
  }
}

/* The same call with other experts; values as many as there are. */
static void set_experts(bam_tensor *in[INPUTS], const double *values) {
  bam_tensor *old = in[EXPERTS];
  in[EXPERTS] = make_values(BAM_I64, old->shape, values);
  bam_tensor_release(old);
}

/* ---- values and gradients ---- */

/* Two experts of one hidden value; the second token goes nowhere. */
Test(routed_ffn, by_hand) {
  bam_tensor *in[INPUTS] = { make_values(BAM_F64, SHAPE(3, 1), VALUES(1, 1, 2)),
                             make_values(BAM_F64, SHAPE(3, 2), VALUES(0.5, 0.25, 9, 9, 2, 3)),
                             make_values(BAM_I64, SHAPE(3, 2), VALUES(1, 2, 0, 0, 2, 0)),
                             make_values(BAM_F64, SHAPE(2, 2, 1), VALUES(1, 10, 3, -1)),
                             make_values(BAM_F64, SHAPE(2, 1, 1), VALUES(4, 5)) };
  bam_tensor *y = run_ffn(in);
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
      check(BAM_F32, (sizes){ .tokens = t, .D = 7, .N = 5, .F = 9, .k = k, .E = 3 }, 2e-5);
      check(BAM_F32, (sizes){ .tokens = t, .D = 33, .N = 2, .F = 17, .k = k, .E = 19 }, 2e-5);
    }
}

Test(routed_ffn, values_f64) {
  check(BAM_F64, (sizes){ .tokens = 41, .D = 6, .N = 3, .F = 5, .k = 2, .E = 7 }, 1e-12);
  check(BAM_F64, (sizes){ .tokens = 23, .D = 1, .N = 4, .F = 1, .k = 4, .E = 1 }, 1e-12);
  check(BAM_F64, (sizes){ .tokens = 29, .D = 8, .N = 1, .F = 4, .k = 1, .E = 8 }, 1e-12);
}

/* More experts than tokens. */
Test(routed_ffn, values_of_many_experts) {
  check(BAM_F32, (sizes){ .tokens = 9, .D = 5, .N = 70, .F = 3, .k = 2, .E = 4 }, 2e-5);
}

/* As large as a model's layer, where work is shared out and products are blocked. */
Test(routed_ffn, gradient_f32) {
  check(BAM_F32, (sizes){ .tokens = 260, .D = 32, .N = 3, .F = 40, .k = 1, .E = 32 }, 2e-5);
  check(BAM_F32, (sizes){ .tokens = 1003, .D = 24, .N = 4, .F = 20, .k = 2, .E = 24 }, 2e-5);
}

/* Any number of dimensions before the last; a token alone has none. */
Test(routed_ffn, shapes) {
  const bam_shape tokens[] = { SCALAR, SHAPE(1), SHAPE(2, 3), SHAPE(3, 1, 4), SHAPE(2, 2, 1, 3) };
  sizes s = { .D = 5, .N = 3, .F = 4, .k = 2, .E = 6 };
  bam_tensor *in[INPUTS];
  for (int i = 0; i < 5; i++) {
    make_shaped(BAM_F64, tokens[i], &s, 1, in);
    compare(in, 1e-12);
    fixture_release(in, INPUTS);
  }
}

/* An expert without a token, first, in the middle or last, gets zeros, not nothing. */
Test(routed_ffn, idle_experts) {
  const double choices[][6] = { { 2, 3, 3, 2, 2, 4 }, { 1, 4, 1, 4, 2, 2 }, { 1, 1, 1, 1, 1, 1 },
                                { 4, 4, 4, 4, 4, 4 }, { 0, 0, 0, 0, 0, 0 }, { 0, 0, 3, 0, 0, 0 } };
  sizes s = { .tokens = 6, .D = 3, .N = 4, .F = 2, .k = 1, .E = 3 };
  bam_tensor *in[INPUTS];
  make_inputs(BAM_F64, &s, 1, in);
  for (int i = 0; i < 6; i++) {
    set_experts(in, choices[i]);
    compare(in, 1e-12);
  }
  fixture_release(in, INPUTS);
}

/* What an expert without a token weighs does not matter, nor does the gate of no expert. */
Test(routed_ffn, idle_numbers_do_not_matter) {
  sizes s = { .tokens = 3, .D = 3, .N = 3, .F = 2, .k = 2, .E = 3 };
  bam_tensor *in[INPUTS];
  make_inputs(BAM_F64, &s, 1, in);
  set_experts(in, VALUES(1, 0, 0, 0, 3, 1));
  for (int64_t i = 0; i < 12; i++) /* expert 2 */
    set_value(in[GATE_UP], 12 + i, (double)NAN);
  for (int64_t i = 0; i < 6; i++)
    set_value(in[DOWN], 6 + i, (double)NAN);
  for (int64_t i = 1; i < 4; i++)
    set_value(in[GATES], i, (double)NAN);
  compare(in, 1e-12);
  fixture_release(in, INPUTS);
}

/* One token's list names an expert twice, or only that one. */
Test(routed_ffn, repeated_experts) {
  sizes s = { .tokens = 4, .D = 3, .N = 2, .F = 3, .k = 3, .E = 2 };
  bam_tensor *in[INPUTS];
  make_inputs(BAM_F64, &s, 1, in);
  set_experts(in, VALUES(2, 1, 2, 1, 1, 1, 0, 2, 2, 2, 2, 0));
  compare(in, 1e-12);
  check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
  fixture_release(in, INPUTS);
}

/* The gradient of y arrives as a view with its dimensions the other way round. */
static void backward_reversed(bam_tensor *y, bam_tensor *dy) {
  bam_attr *attrs = make_attrs(&bam_op_permute);
  set_list(&bam_op_permute, attrs, "dims", 3, (int64_t[]){ 2, 1, 0 });
  bam_tensor *z = run(&bam_op_permute, &y, 1, attrs), *seed = run(&bam_op_permute, &dy, 1, attrs);
  EXPECT_OK(bam_autograd_backward(z, seed, false));
  RELEASE(z, seed);
  free(attrs);
}

/* Positions of another integer type; nothing contiguous, the gradient that arrives included. */
Test(routed_ffn, strided) {
  sizes s = { .D = 6, .N = 3, .F = 5, .k = 2, .E = 4 };
  bam_tensor *plain[INPUTS], *in[INPUTS], *old;
  make_shaped(BAM_F32, SHAPE(3, 7), &s, 0, plain);
  old = plain[EXPERTS];
  EXPECT_OK(bam_tensor_convert(old, BAM_I32, &plain[EXPERTS]));
  compare(plain, 2e-5);
  for (int i = 0; i < INPUTS; i++) {
    in[i] = make_strided(plain[i]);
    if (i != EXPERTS)
      EXPECT_OK(bam_autograd_require(in[i], true));
  }
  compare(in, 2e-5);
  bam_tensor *y = run_ffn(in), *dy = make_random(BAM_F32, y->shape, -1, 1);
  oracle o = make_oracle(in, dy);
  backward_reversed(y, dy);
  expect_gradients(in, &o, 8e-5);
  free_oracle(&o);
  RELEASE(y, dy, old);
  fixture_release(plain, INPUTS);
  fixture_release(in, INPUTS);
}

/* Columns of a wider tensor: rows of x lie evenly apart. */
Test(routed_ffn, columns) {
  sizes s = { .tokens = 11, .D = 5, .N = 2, .F = 3, .k = 1, .E = 4 };
  bam_tensor *in[INPUTS], *wide = make_random(BAM_F64, SHAPE(11, 13), -1, 1);
  bam_shape shape = SHAPE(11, 5);
  make_inputs(BAM_F64, &s, 1, in);
  bam_tensor_release(in[X]);
  EXPECT_OK(bam_tensor_view(wide, &shape, wide->stride, 6, &in[X]));
  EXPECT_OK(bam_autograd_require(in[X], true));
  compare(in, 1e-12);
  fixture_release(in, INPUTS);
  bam_tensor_release(wide);
}

/* ---- gradients by differences ---- */

static void check_differences(sizes s, double low) {
  bam_tensor *in[INPUTS];
  make_inputs(BAM_F64, &s, low, in);
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
  make_inputs(BAM_F64, &s, 0, in);
  for (int64_t i = 0; i < 12; i += 3)
    set_value(in[GATES], i, 0);
  compare(in, 1e-12);
  check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
  EXPECT_OK(bam_tensor_fill(in[GATES], 0));
  compare(in, 1e-12);
  check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
  fixture_release(in, INPUTS);
}

/* ---- who wants a gradient ---- */

/* Every choice of leaves; none of them means no recording. */
Test(routed_ffn, gradient_of_some) {
  sizes s = { .tokens = 9, .D = 4, .N = 3, .F = 3, .k = 2, .E = 5 };
  const int leaves[] = { X, GATES, GATE_UP, DOWN };
  bam_tensor *in[INPUTS];
  make_inputs(BAM_F64, &s, 0, in);
  for (int some = 0; some < 16; some++) {
    for (int i = 0; i < 4; i++)
      EXPECT_OK(bam_autograd_require(in[leaves[i]], some >> i & 1));
    compare(in, 1e-12);
  }
  fixture_release(in, INPUTS);
}

/* Gradients are added to what is there, zeros of an idle expert included, and backward leaves what
   it may need again. */
Test(routed_ffn, accumulates) {
  sizes s = { .tokens = 5, .D = 4, .N = 3, .F = 3, .k = 1, .E = 2 };
  bam_tensor *in[INPUTS], *first[INPUTS] = { NULL };
  make_inputs(BAM_F64, &s, 1, in);
  set_experts(in, VALUES(1, 3, 3, 1, 0));
  bam_tensor *y = run_ffn(in), *seed = make_random(BAM_F64, y->shape, -1, 1);
  for (int time = 1; time <= 3; time++) {
    EXPECT_OK(bam_autograd_backward(y, seed, time < 3));
    for (int i = 0; i < INPUTS; i++) {
      if (time == 1 && i != EXPERTS)
        first[i] = run1(&bam_op_clone, in[i]->grad);
      for (int64_t e = 0; i != EXPERTS && e < bam_tensor_count(in[i]); e++)
        cr_assert(is_close(value_at(in[i]->grad, e), time * value_at(first[i], e), 1e-13));
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
  make_inputs(BAM_F64, &s, 1, in);
  for (int i = 0; i < INPUTS; i++)
    sum[i] = zeros(bam_tensor_count(in[i]));
  for (int list = 0; list < 2; list++) {
    set_experts(in, lists[list]);
    oracle o = make_oracle(in, dy);
    for (int i = 0; i < INPUTS; i++)
      add_scaled(sum[i], o.grad[i], 1, bam_tensor_count(in[i]));
    bam_tensor *y = run_ffn(in);
    EXPECT_OK(bam_autograd_backward(y, dy, false));
    bam_tensor_release(y);
    free_oracle(&o);
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
  make_inputs(BAM_F32, &s, 0, in);
  bam_tensor *y = run_ffn(in);
  fixture_context()->no_grad = true;
  bam_tensor *z = run_ffn(in);
  fixture_context()->no_grad = false;
  cr_assert(y->requires_grad && !z->requires_grad);
  expect_equal(z, y, 1e-6);
  RELEASE(y, z);
  fixture_release(in, INPUTS);
}

/* ---- special cases ---- */

/* The number of threads does not matter, but for how products of 250 terms round; run again, not
   even that. */
Test(routed_ffn, deterministic) {
  sizes s = { .tokens = 700, .D = 48, .N = 5, .F = 64, .k = 2, .E = 40 };
  bam_tensor *in[INPUTS], *y[3], *grad[3][INPUTS] = { { NULL } };
  make_inputs(BAM_F32, &s, 0, in);
  bam_tensor *seed = make_random(BAM_F32, SHAPE(s.tokens, s.E), -1, 1);
  for (int k = 0; k < 3; k++) {
    bam_context_set_threads(fixture_context(), k == 0 ? 1 : 3);
    y[k] = run_ffn(in);
    EXPECT_OK(bam_autograd_backward(y[k], seed, false));
    for (int i = 0; i < INPUTS; i++)
      if (i != EXPERTS) {
        grad[k][i] = bam_tensor_retain(in[i]->grad);
        EXPECT_OK(bam_autograd_set_grad(in[i], NULL));
      }
  }
  expect_equal(y[1], y[0], 5e-5);
  expect_equal(y[2], y[1], 0);
  for (int i = 0; i < INPUTS; i++)
    if (i != EXPERTS) {
      expect_equal(grad[1][i], grad[0][i], 5e-5);
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
  make_inputs(BAM_F32, &s, 1, in);
  set_experts(in, VALUES(1, 2, 1, 0, 2, 1, 2, 0));
  set_value(in[X], 2 * 3 + 1, (double)NAN);
  set_value(in[X], 3 * 3, (double)NAN);
  set_value(in[GATES], 4, (double)NAN);
  bam_tensor *y = run_ffn(in), *sum = run1(&bam_op_sum, y);
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
  make_inputs(BAM_F32, &s, 1, in);
  for (int64_t i = 0; i < 12; i++)
    set_value(in[X], i, 1000 * value_at(in[X], i));
  compare(in, 2e-4);
  fixture_release(in, INPUTS);
}

/* No tokens: a result without elements, and zeros as the gradient of the weights. */
Test(routed_ffn, empty) {
  const bam_shape shapes[] = { SHAPE(0), SHAPE(2, 0), SHAPE(0, 3) };
  sizes s = { .D = 3, .N = 2, .F = 2, .k = 2, .E = 3 };
  bam_tensor *in[INPUTS];
  for (int i = 0; i < 3; i++) {
    make_shaped(BAM_F64, shapes[i], &s, 1, in);
    compare(in, 0);
    check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
    fixture_release(in, INPUTS);
  }
}

/* Nothing to read, to hide, to give, to choose or to choose from, for tokens that are there. */
Test(routed_ffn, empty_width) {
  check(BAM_F32, (sizes){ .tokens = 5, .D = 0, .N = 2, .F = 3, .k = 2, .E = 4 }, 0);
  check(BAM_F32, (sizes){ .tokens = 5, .D = 3, .N = 2, .F = 0, .k = 2, .E = 4 }, 0);
  check(BAM_F32, (sizes){ .tokens = 5, .D = 3, .N = 2, .F = 3, .k = 2, .E = 0 }, 0);
  check(BAM_F32, (sizes){ .tokens = 5, .D = 3, .N = 2, .F = 3, .k = 0, .E = 4 }, 0);
}

/* A leaf given twice gets both gradients: x that is also the gates. */
Test(routed_ffn, gradient_of_the_same_leaf) {
  sizes s = { .tokens = 5, .D = 2, .N = 3, .F = 2, .k = 2, .E = 3 };
  bam_tensor *in[INPUTS];
  make_inputs(BAM_F64, &s, 0, in);
  bam_tensor_release(in[GATES]);
  in[GATES] = bam_tensor_retain(in[X]);
  check_gradient(&bam_op_routed_ffn, in, INPUTS, NULL);
  fixture_release(in, INPUTS);
}

/* The input `i` of a call that is right but for it. */
static void expect_failure(const char *words, int i, bam_tensor *wrong) {
  sizes s = { .tokens = 4, .D = 3, .N = 3, .F = 2, .k = 2, .E = 5 };
  bam_tensor *in[INPUTS];
  make_inputs(BAM_F32, &s, 1, in);
  compare(in, 2e-5);
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
