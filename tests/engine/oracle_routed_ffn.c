/* The definition of the routed FFN experts, and the op held against it. */
#include "oracle_routed_ffn.h"

#include <math.h>
#include <stdlib.h>

/* ---- the definition and its derivative ---- */

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

oracle ffn_oracle(bam_tensor *const in[INPUTS], bam_tensor *dy) {
  const bam_shape *x = &in[X]->shape, *gates = &in[GATES]->shape;
  oracle o = { .s = { .D = x->size[x->ndim - 1],
                      .N = in[DOWN]->shape.size[0],
                      .F = in[DOWN]->shape.size[2],
                      .k = gates->size[gates->ndim - 1],
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

void ffn_free(oracle *o) {
  for (int i = 0; i < INPUTS; i++) {
    free(o->in[i]);
    free(o->grad[i]);
  }
  free(o->dy);
  free(o->y);
}

/* ---- the op beside it ---- */

bam_tensor *ffn_run(bam_tensor *const in[INPUTS]) {
  return run(&bam_op_routed_ffn, in, INPUTS, NULL);
}

/* The shape of y: that of x, as wide as an expert's result. */
static bam_shape result_shape(bam_tensor *const in[INPUTS]) {
  bam_shape shape = in[X]->shape;
  shape.size[shape.ndim - 1] = in[DOWN]->shape.size[1];
  return shape;
}

void ffn_expect_gradients(bam_tensor *const in[INPUTS], const oracle *o, double tolerance) {
  for (int i = 0; i < INPUTS; i++)
    expect_gradient(in[i], o->grad[i], tolerance);
}

void ffn_compare(bam_tensor *const in[INPUTS], double tolerance) {
  bam_tensor *dy = make_random(in[X]->dtype, result_shape(in), -1, 1);
  oracle o = ffn_oracle(in, dy);
  bam_tensor *y = ffn_run(in);
  expect_shape(y, result_shape(in));
  expect_dtype(y, in[X]->dtype);
  expect_values(y, o.y, tolerance);
  if (y->requires_grad)
    EXPECT_OK(bam_autograd_backward(y, dy, false));
  ffn_expect_gradients(in, &o, tolerance * 4);
  RELEASE(dy, y);
  ffn_free(&o);
}

/* `tokens` with one more dimension, for x, gates or experts. */
static bam_shape extended(bam_shape tokens, int64_t size) {
  tokens.size[tokens.ndim++] = size;
  return tokens;
}

void ffn_shaped(bam_dtype dtype, bam_shape tokens, const sizes *s, double low,
                bam_tensor *in[INPUTS]) {
  in[X] = make_leaf(dtype, extended(tokens, s->D), -1, 1);
  in[GATES] = make_leaf(dtype, extended(tokens, s->k), 0.1, 1);
  in[EXPERTS] = make_random(BAM_I64, extended(tokens, s->k), low, (double)s->N);
  in[GATE_UP] = make_leaf(dtype, SHAPE(s->N, 2 * s->F, s->D), -1, 1);
  in[DOWN] = make_leaf(dtype, SHAPE(s->N, s->E, s->F), -1, 1);
}

void ffn_inputs(bam_dtype dtype, const sizes *s, double low, bam_tensor *in[INPUTS]) {
  ffn_shaped(dtype, SHAPE(s->tokens), s, low, in);
}

void ffn_check(bam_dtype dtype, sizes s, double tolerance) {
  bam_tensor *in[INPUTS];
  for (int low = 0; low < 2; low++) {
    ffn_inputs(dtype, &s, low, in);
    ffn_compare(in, tolerance);
    fixture_release(in, INPUTS);
  }
}

void ffn_set_experts(bam_tensor *in[INPUTS], const double *values) {
  bam_tensor *old = in[EXPERTS];
  in[EXPERTS] = make_values(BAM_I64, old->shape, values);
  bam_tensor_release(old);
}
