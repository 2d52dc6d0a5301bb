/* GeGLU, alone and in routed FFN experts: values against double precision, gradients against differences. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"
#include "oracle.h"

TestSuite(geglu, .init = fixture_open, .fini = fixture_close);

static double gelu(double x, bool approximate) {
  if (approximate)
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  return 0.5 * x * erfc(-x / sqrt(2));
}

static bam_attr *geglu_attrs(bool approximate) {
  bam_attr *attrs = make_attrs(&bam_op_geglu);
  set_integer(&bam_op_geglu, attrs, "approximate", approximate);
  return attrs;
}

static void check_geglu(bam_dtype dtype, int64_t hidden, bool approximate, double tolerance) {
  VALUES_TESTED(&bam_op_geglu);
  bam_tensor *plain = make_random(dtype, SHAPE(3, 2, 2 * hidden), -9, 9),
             *strided = make_strided(plain);
  bam_attr *attrs = geglu_attrs(approximate);
  bam_tensor *y = run(&bam_op_geglu, &plain, 1, attrs), *z = run(&bam_op_geglu, &strided, 1, attrs);
  expect_shape(y, SHAPE(3, 2, hidden));
  for (int64_t i = 0; i < bam_tensor_count(y); i++) {
    double gate = value_at(plain, i / hidden * 2 * hidden + i % hidden);
    double up = value_at(plain, i / hidden * 2 * hidden + hidden + i % hidden);
    EXPECT_CLOSE(value_at(y, i), gelu(gate, approximate) * up, tolerance);
  }
  expect_equal(z, y, 0);
  RELEASE(plain, strided, y, z);
  free(attrs);
}

Test(geglu, values) {
  for (int approximate = 0; approximate < 2; approximate++) {
    check_geglu(BAM_F32, 17, approximate, 2e-6);
    check_geglu(BAM_F64, 17, approximate, 1e-13);
    check_geglu(BAM_F32, 1100, approximate, 2e-6); /* longer than a warp's row */
  }
}

Test(geglu, gradient) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(2, 2, 6), -4, 4);
  bam_tensor *none = make_leaf(BAM_F64, SHAPE(2, 0), -1, 1);
  for (int approximate = 0; approximate < 2; approximate++) {
    bam_attr *attrs = geglu_attrs(approximate);
    check_gradient(&bam_op_geglu, &x, 1, attrs);
    check_gradient(&bam_op_geglu, &none, 1, attrs);
    free(attrs);
  }
  RELEASE(x, none);
}

/* Large gates: the activation is exactly x or 0, and no gradient is NaN. */
Test(geglu, ends) {
  const double gates[] = { 1e30, 40, -40, -1e30 }, slopes[] = { 1, 1, 0, 0 };
  for (int i = 0; i < 4; i++)
    for (int approximate = 0; approximate < 2; approximate++) {
      bam_tensor *x = make_values(BAM_F32, SHAPE(1, 2), VALUES(gates[i], 3));
      bam_attr *attrs = geglu_attrs(approximate);
      EXPECT_OK(bam_autograd_require(x, true));
      bam_tensor *y = run(&bam_op_geglu, &x, 1, attrs),
                 *dy = make_values(BAM_F32, SHAPE(1, 1), VALUES(1));
      EXPECT_CLOSE(value_at(y, 0), (double)(float)gates[i] * slopes[i] * 3, 1e-6);
      EXPECT_OK(bam_autograd_backward(y, dy, false));
      EXPECT_CLOSE(value_at(x->grad, 0), 3 * slopes[i], 1e-6);
      EXPECT_CLOSE(value_at(x->grad, 1), (double)(float)gates[i] * slopes[i], 1e-6);
      RELEASE(x, y, dy);
      free(attrs);
    }
}

Test(geglu, errors) {
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 5), -1, 1);
  expect_op_error("its last size must be even: gate, then up", &bam_op_geglu, &x, 1, NULL);
  RELEASE(x);
}

/* ---- routed experts ---- */

enum { X, GATES, EXPERTS, GATE_UP, DOWN, INPUTS };

/* The names of the op's description; K choices per token, E wide. */
typedef struct {
  int64_t tokens, D, N, F, K, E;
} sizes;

static void routed_inputs(bam_dtype dtype, const sizes *s, bam_tensor *in[INPUTS]) {
  in[X] = make_leaf(dtype, SHAPE(s->tokens, s->D), -2, 2);
  in[GATES] = make_leaf(dtype, SHAPE(s->tokens, s->K), 0.1, 1);
  in[EXPERTS] = make_random(BAM_I64, SHAPE(s->tokens, s->K), 0, (double)s->N);
  in[GATE_UP] = make_leaf(dtype, SHAPE(s->N, 2 * s->F, s->D), -1, 1);
  in[DOWN] = make_leaf(dtype, SHAPE(s->N, s->E, s->F), -1, 1);
}

static bam_attr *routed_attrs(bool approximate) {
  bam_attr *attrs = make_attrs(&bam_op_routed_ffn);
  set_integer(&bam_op_routed_ffn, attrs, "gelu", 1);
  set_integer(&bam_op_routed_ffn, attrs, "approximate", approximate);
  return attrs;
}

/* The result of one token, in double precision. */
static void apply_token(double *const in[INPUTS], const sizes *s, int64_t t, bool approximate,
                        double *y) {
  for (int64_t j = 0; j < s->K; j++) {
    int64_t e = (int64_t)in[EXPERTS][t * s->K + j] - 1;
    for (int64_t f = 0; f < s->F && e >= 0; f++) {
      const double *gate = in[GATE_UP] + (e * 2 * s->F + f) * s->D, *x = in[X] + t * s->D;
      double hidden = gelu(dot(gate, x, s->D), approximate) * dot(gate + s->F * s->D, x, s->D);
      for (int64_t i = 0; i < s->E; i++)
        y[i] += in[GATES][t * s->K + j] * in[DOWN][(e * s->E + i) * s->F + f] * hidden;
    }
  }
}

static void check_routed(bam_dtype dtype, bool approximate, double tolerance) {
  const sizes s = { .tokens = 21, .D = 6, .N = 3, .F = 19, .K = 2, .E = 7 };
  bam_tensor *in[INPUTS];
  double *values[INPUTS], *want = zeros(s.tokens * s.E);
  bam_attr *attrs = routed_attrs(approximate);
  routed_inputs(dtype, &s, in);
  for (int i = 0; i < INPUTS; i++)
    values[i] = values_of(in[i]);
  for (int64_t t = 0; t < s.tokens; t++)
    apply_token(values, &s, t, approximate, want + t * s.E);
  bam_tensor *y = run(&bam_op_routed_ffn, in, INPUTS, attrs);
  expect_values(y, want, tolerance);
  for (int i = 0; i < INPUTS; i++)
    free(values[i]);
  free(want);
  free(attrs);
  RELEASE(y);
  fixture_release(in, INPUTS);
}

Test(geglu, routed_values) {
  for (int approximate = 0; approximate < 2; approximate++) {
    check_routed(BAM_F32, approximate, 2e-5);
    check_routed(BAM_F64, approximate, 1e-12);
  }
}

Test(geglu, routed_gradient) {
  const sizes s = { .tokens = 3, .D = 2, .N = 2, .F = 2, .K = 1, .E = 1 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = routed_attrs(false);
  routed_inputs(BAM_F64, &s, in);
  check_gradient(&bam_op_routed_ffn, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* The gradients of f32 are those of f64. */
Test(geglu, routed_gradient_f32) {
  const sizes s = { .tokens = 21, .D = 6, .N = 3, .F = 19, .K = 2, .E = 7 };
  bam_tensor *in[INPUTS], *exact[INPUTS];
  bam_attr *attrs = routed_attrs(true);
  routed_inputs(BAM_F32, &s, in);
  for (int i = 0; i < INPUTS; i++) {
    EXPECT_OK(bam_tensor_convert(in[i], i == EXPERTS ? BAM_I64 : BAM_F64, &exact[i]));
    if (i != EXPERTS)
      EXPECT_OK(bam_autograd_require(exact[i], true));
  }
  bam_tensor *dy = make_random(BAM_F32, SHAPE(s.tokens, s.E), -1, 1), *dz;
  EXPECT_OK(bam_tensor_convert(dy, BAM_F64, &dz));
  bam_tensor *y = run(&bam_op_routed_ffn, in, INPUTS, attrs),
             *z = run(&bam_op_routed_ffn, exact, INPUTS, attrs);
  EXPECT_OK(bam_autograd_backward(y, dy, false));
  EXPECT_OK(bam_autograd_backward(z, dz, false));
  for (int i = 0; i < INPUTS; i++)
    for (int64_t e = 0; i != EXPERTS && e < bam_tensor_count(in[i]); e++)
      EXPECT_CLOSE(value_at(in[i]->grad, e), value_at(exact[i]->grad, e), 2e-4);
  RELEASE(dy, dz, y, z);
  fixture_release(in, INPUTS);
  fixture_release(exact, INPUTS);
  free(attrs);
}
