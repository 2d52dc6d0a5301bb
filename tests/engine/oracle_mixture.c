/* The definition of the mixture of attention experts, and the op held against it. */
#include "oracle_mixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the layout, as the op's description has it ---- */

/* The query head that is head r of expert n's group at key/value head g. */
static int64_t query_of(const sizes *s, int64_t g, int64_t n, int64_t r) {
  return (g * s->N + n) * (s->H / s->G) + r;
}

/* The key head, from 0, that expert n uses at g; the value head has the same number. */
static int64_t key_of(const oracle *o, int64_t g, int64_t n) {
  return o->KV == o->s.G ? g : g * o->s.N + n;
}

/* Where head `head` of the product of token (b, t) stands: queries, then keys, then values. */
static int64_t head_at(const oracle *o, int64_t b, int64_t t, int64_t head) {
  return ((b * o->s.T + t) * o->total + head) * o->s.K;
}

static int64_t z_at(const oracle *o, int64_t b, int64_t t, int64_t query) {
  return ((b * o->s.T + t) * o->s.N * o->s.H + query) * o->s.K;
}

/* ---- the definition ---- */

static void rotate(const oracle *o, double *head, double position) {
  for (int64_t i = 0; 2 * i < o->rotated && o->base != 0; i++) {
    double angle = position * pow(o->base, -2.0 * (double)i / (double)o->rotated) / o->factor;
    double even = head[2 * i], odd = head[2 * i + 1];
    head[2 * i] = even * cos(angle) - odd * sin(angle);
    head[2 * i + 1] = odd * cos(angle) + even * sin(angle);
  }
}

static double position_of(const oracle *o, int64_t b, int64_t t) {
  return o->in[POSITIONS][b * o->s.T + t];
}

static void project(oracle *o, int64_t b, int64_t t) {
  int64_t D = o->s.D, K = o->s.K;
  const double *x = o->in[X] + (b * o->s.T + t) * D;
  for (int64_t head = 0; head < o->total; head++) {
    double *to = o->heads + head_at(o, b, t, head);
    for (int64_t i = 0; i < K; i++)
      to[i] = dot(o->in[QKV] + (head * K + i) * D, x, D) + o->in[QKV_BIAS][head * K + i];
    if (head < o->total - o->KV)
      rotate(o, to, position_of(o, b, t));
  }
}

/* The weights of query head `query` at (b, t) over the tokens 0 .. t. */
static double *weigh(const oracle *o, int64_t b, int64_t t, int64_t query, int64_t key) {
  const double *documents = o->in[DOCUMENTS] + b * o->s.T, *q = o->heads + head_at(o, b, t, query);
  double *p = zeros(t + 1), max = -(double)INFINITY, sum = 0;
  for (int64_t j = 0; j <= t; j++) {
    const double *k = o->heads + head_at(o, b, j, o->s.N * o->s.H + key);
    bool seen = documents[j] == documents[t] && t - j < o->window;
    p[j] = seen ? o->scale * dot(q, k, o->s.K) : -(double)INFINITY;
    max = fmax(max, p[j]);
  }
  for (int64_t j = 0; j <= t; j++)
    sum += p[j] = exp(p[j] - max);
  for (int64_t j = 0; j <= t; j++)
    p[j] /= sum;
  return p;
}

static void attend(oracle *o, int64_t b, int64_t t, int64_t query, int64_t key) {
  double *p = weigh(o, b, t, query, key);
  for (int64_t j = 0; j <= t; j++)
    add_scaled(o->z + z_at(o, b, t, query),
               o->heads + head_at(o, b, j, o->s.N * o->s.H + o->KV + key), p[j], o->s.K);
  free(p);
}

/* y of one token gets its share of the biases; on the way back, so do they and gates. */
static void bias(oracle *o, int64_t token, bool back) {
  for (int64_t i = 0; i < o->s.N * o->s.E; i++) {
    int64_t n = token * o->s.N + i / o->s.E, e = token * o->s.E + i % o->s.E;
    double dy = back ? o->dy[e] : 0;
    o->y[e] += back ? 0 : o->in[GATES][n] * o->in[OUT_BIAS][i];
    o->grad[GATES][n] += dy * o->in[OUT_BIAS][i];
    o->grad[OUT_BIAS][i] += dy * o->in[GATES][n];
  }
}

/* y of one token gets its share of one head; on the way back, so do out, gates and z. */
static void mix(oracle *o, int64_t b, int64_t t, int64_t n, int64_t query, bool back) {
  int64_t token = b * o->s.T + t, K = o->s.K, at = z_at(o, b, t, query);
  double gate = o->in[GATES][token * o->s.N + n], *z = o->z + at;
  for (int64_t e = 0; e < o->s.E; e++) {
    int64_t column = (e * o->s.N * o->s.H + query) * K;
    const double *out = o->in[OUT] + column;
    double dy = back ? o->dy[token * o->s.E + e] : 0;
    o->y[token * o->s.E + e] += back ? 0 : gate * dot(out, z, K);
    o->grad[GATES][token * o->s.N + n] += dy * dot(out, z, K);
    add_scaled(o->grad[OUT] + column, z, dy * gate, K);
    add_scaled(o->dz + at, out, dy * gate, K);
  }
}

/* ---- its derivative ---- */

static void attend_back(oracle *o, int64_t b, int64_t t, int64_t query, int64_t key) {
  int64_t K = o->s.K, at = head_at(o, b, t, query);
  const double *dz = o->dz + z_at(o, b, t, query);
  double *p = weigh(o, b, t, query, key), delta = dot(dz, o->z + z_at(o, b, t, query), K);
  for (int64_t j = 0; j <= t; j++) {
    int64_t k = head_at(o, b, j, o->s.N * o->s.H + key), v = k + o->KV * K;
    double ds = p[j] * (dot(dz, o->heads + v, K) - delta) * o->scale;
    add_scaled(o->dheads + at, o->heads + k, ds, K);
    add_scaled(o->dheads + k, o->heads + at, ds, K);
    add_scaled(o->dheads + v, dz, p[j], K);
  }
  free(p);
}

/* The way back through rotation and product. */
static void project_back(oracle *o, int64_t b, int64_t t) {
  int64_t D = o->s.D, K = o->s.K, token = b * o->s.T + t;
  for (int64_t head = 0; head < o->total; head++) {
    double *d = o->dheads + head_at(o, b, t, head);
    if (head < o->total - o->KV)
      rotate(o, d, -position_of(o, b, t));
    for (int64_t i = 0; i < K; i++) {
      o->grad[QKV_BIAS][head * K + i] += d[i];
      add_scaled(o->grad[QKV] + (head * K + i) * D, o->in[X] + token * D, d[i], D);
      add_scaled(o->grad[X] + token * D, o->in[QKV] + (head * K + i) * D, d[i], D);
    }
  }
}

/* Every head of every expert at (b, t): forward, or back. */
static void each_head(oracle *o, int64_t b, int64_t t, bool back) {
  for (int64_t g = 0; g < o->s.G; g++)
    for (int64_t n = 0; n < o->s.N; n++)
      for (int64_t r = 0; r < o->s.H / o->s.G; r++) {
        int64_t query = query_of(&o->s, g, n, r);
        if (!back)
          attend(o, b, t, query, key_of(o, g, n));
        mix(o, b, t, n, query, back);
        if (back)
          attend_back(o, b, t, query, key_of(o, g, n));
      }
}

static void run_oracle(oracle *o) {
  for (int back = 0; back < 2; back++)
    for (int64_t b = 0; b < o->s.B; b++) {
      for (int64_t t = 0; t < o->s.T && !back; t++)
        project(o, b, t);
      for (int64_t t = 0; t < o->s.T; t++)
        each_head(o, b, t, back);
      for (int64_t t = 0; t < o->s.T; t++)
        bias(o, b * o->s.T + t, back);
      for (int64_t t = 0; t < o->s.T && back; t++)
        project_back(o, b, t);
    }
}

/* ---- making and freeing it ---- */

static double attr_of(const bam_attr *attrs, const char *name, double otherwise) {
  const bam_op *op = &bam_op_mixture_of_attention;
  for (int i = 0; i < bam_op_attr_count(op); i++)
    if (strcmp(op->attrs[i].name, name) == 0 && attrs[i].given)
      return op->attrs[i].kind == BAM_ATTR_INT ? (double)attrs[i].i : attrs[i].f;
  return otherwise;
}

/* From the shapes alone, as the op has to. */
static sizes sizes_of(bam_tensor *const in[INPUTS], const bam_attr *attrs) {
  sizes s = { .B = in[X]->shape.size[0],
              .T = in[X]->shape.size[1],
              .D = in[X]->shape.size[2],
              .N = in[GATES] != NULL ? in[GATES]->shape.size[2] : 1,
              .H = (int64_t)attr_of(attrs, "heads", 0),
              .G = (int64_t)attr_of(attrs, "kv_heads", 0),
              .E = in[OUT]->shape.size[0] };
  s.K = in[OUT]->shape.size[1] / (s.N * s.H);
  return s;
}

/* What stands for an input that is left out: gates of 1, one document, positions from 0, biases of 0. */
static double *stand_in(const sizes *s, bam_tensor *const in[INPUTS], int i) {
  if (i == QKV_BIAS || i == OUT_BIAS)
    return zeros(i == QKV_BIAS ? in[QKV]->shape.size[0] : s->N * s->E);
  double *values = zeros(s->B * s->T);
  for (int64_t t = 0; t < s->B * s->T; t++)
    values[t] = i == GATES ? 1 : i == POSITIONS ? (double)(t % s->T) : 0;
  return values;
}

/* Positions that all sequences share, for each of them. */
static double *spread(const sizes *s, double *shared) {
  double *values = zeros(s->B * s->T);
  for (int64_t t = 0; t < s->B * s->T; t++)
    values[t] = shared[t % s->T];
  free(shared);
  return values;
}

oracle mixture_oracle(bam_tensor *const in[INPUTS], bam_tensor *dy, const bam_attr *attrs) {
  oracle o = { .s = sizes_of(in, attrs), .dy = values_of(dy) };
  int64_t tokens = o.s.B * o.s.T, queries = o.s.N * o.s.H;
  o.total = in[QKV]->shape.size[0] / o.s.K;
  o.KV = (o.total - queries) / 2;
  o.base = attr_of(attrs, "rope_base", 10000);
  o.factor = attr_of(attrs, "rope_factor", 1);
  o.rotated = (int64_t)attr_of(attrs, "rope_width", (double)o.s.K);
  o.window = (int64_t)attr_of(attrs, "window", (double)o.s.T);
  o.scale = attr_of(attrs, "scale", 1 / sqrt((double)o.s.K));
  for (int i = 0; i < INPUTS; i++)
    o.in[i] = in[i] != NULL ? values_of(in[i]) : stand_in(&o.s, in, i);
  if (in[POSITIONS] != NULL && in[POSITIONS]->shape.ndim == 1)
    o.in[POSITIONS] = spread(&o.s, o.in[POSITIONS]);
  o.heads = zeros(tokens * o.total * o.s.K);
  o.dheads = zeros(tokens * o.total * o.s.K);
  o.z = zeros(tokens * queries * o.s.K);
  o.dz = zeros(tokens * queries * o.s.K);
  o.y = zeros(tokens * o.s.E);
  for (int i = 0; i < INPUTS; i++)
    o.grad[i] = in[i] != NULL ? zeros(bam_tensor_count(in[i])) : stand_in(&o.s, in, i);
  run_oracle(&o);
  return o;
}

void mixture_free(oracle *o) {
  double *all[] = { o->dy, o->heads, o->z, o->y, o->dheads, o->dz };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    free(all[i]);
  for (int i = 0; i < INPUTS; i++)
    free(o->in[i]);
  for (int i = 0; i < INPUTS; i++)
    free(o->grad[i]);
}

/* ---- the op beside it ---- */

bam_attr *mixture_attrs(int64_t heads, int64_t kv_heads) {
  bam_attr *attrs = make_attrs(&bam_op_mixture_of_attention);
  set_integer(&bam_op_mixture_of_attention, attrs, "heads", heads);
  set_integer(&bam_op_mixture_of_attention, attrs, "kv_heads", kv_heads);
  return attrs;
}

bam_tensor *mixture_run(bam_tensor *const in[INPUTS], const bam_attr *attrs) {
  return run(&bam_op_mixture_of_attention, in, INPUTS, attrs);
}

void mixture_expect_gradients(bam_tensor *const in[INPUTS], const oracle *o, double tolerance) {
  for (int i = 0; i < INPUTS; i++)
    if (in[i] != NULL && i != DOCUMENTS && i != POSITIONS)
      expect_gradient(in[i], o->grad[i], tolerance);
}

void mixture_compare(bam_tensor *const in[INPUTS], const bam_attr *attrs, double tolerance) {
  bam_shape shape = SHAPE(in[X]->shape.size[0], in[X]->shape.size[1], in[OUT]->shape.size[0]);
  bam_tensor *dy = make_random(in[X]->dtype, shape, -1, 1);
  oracle o = mixture_oracle(in, dy, attrs);
  bam_tensor *y = mixture_run(in, attrs);
  expect_shape(y, shape);
  expect_dtype(y, in[X]->dtype);
  expect_values(y, o.y, tolerance);
  if (y->requires_grad)
    EXPECT_OK(bam_autograd_backward(y, dy, false));
  mixture_expect_gradients(in, &o, tolerance * 4);
  RELEASE(dy, y);
  mixture_free(&o);
}

bam_tensor *mixture_sparse_gates(bam_dtype dtype, bam_shape shape) {
  bam_tensor *dense = make_random(dtype, shape, 0.2, 1), *gates;
  int64_t N = shape.size[2];
  double *values = values_of(dense);
  for (int64_t i = 0; i < bam_tensor_count(dense); i++)
    values[i] *= i % N == i / N % (N > 1 ? N - 1 : 1);
  gates = make_values(dtype, shape, values);
  EXPECT_OK(bam_autograd_require(gates, true));
  bam_tensor_release(dense);
  free(values);
  return gates;
}

void mixture_inputs(bam_dtype dtype, const sizes *s, bam_tensor *in[INPUTS]) {
  int64_t KV = s->own ? s->N * s->G : s->G;
  in[X] = make_leaf(dtype, SHAPE(s->B, s->T, s->D), -1, 1);
  in[QKV] = make_leaf(dtype, SHAPE((s->N * s->H + 2 * KV) * s->K, s->D), -0.7, 0.7);
  in[OUT] = make_leaf(dtype, SHAPE(s->E, s->N * s->H * s->K), -0.5, 0.5);
  in[GATES] = make_leaf(dtype, SHAPE(s->B, s->T, s->N), 0.1, 1);
  in[DOCUMENTS] = in[POSITIONS] = in[QKV_BIAS] = in[OUT_BIAS] = NULL;
}

void mixture_biased_inputs(bam_dtype dtype, const sizes *s, bam_tensor *in[INPUTS]) {
  mixture_inputs(dtype, s, in);
  in[QKV_BIAS] = make_leaf(dtype, SHAPE(in[QKV]->shape.size[0]), -1, 1);
  in[OUT_BIAS] = make_leaf(dtype, SHAPE(s->N, s->E), -1, 1);
}

void mixture_check(bam_dtype dtype, sizes s, double tolerance) {
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  for (int own = 0; own < 2; own++) {
    s.own = own;
    mixture_inputs(dtype, &s, in);
    mixture_compare(in, attrs, tolerance);
    bam_tensor_release(in[GATES]);
    in[GATES] = mixture_sparse_gates(dtype, SHAPE(s.B, s.T, s.N));
    mixture_compare(in, attrs, tolerance);
    fixture_release(in, INPUTS);
  }
  free(attrs);
}
