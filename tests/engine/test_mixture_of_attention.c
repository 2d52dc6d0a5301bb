/* The soft mixture of attention experts against its definition in double precision, expert by
   expert and head by head; gradients against the definition's derivative and against
   differences. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gradcheck.h"
#include "oracle.h"

TestSuite(mixture_of_attention, .init = fixture_open, .fini = fixture_close);

enum { X, QKV, OUT, GATES, DOCUMENTS, POSITIONS, INPUTS };

/* What a test needs of all sizes: those of the inputs, and whether each expert has its own key and
   value heads. E is the width of the result. */
typedef struct {
  int64_t B, T, D, N, H, G, K, E;
  bool own;
} sizes;

/* All arrays are row-major. heads: the three parts of x * qkv, rotated, [B, T, N*H + 2*KV, K];
   z: the results of the query heads, [B, T, N*H, K]; the d's are gradients of sum(dy * y). */
typedef struct {
  sizes s;
  int64_t KV, total; /* total: N*H + 2*KV */
  double base, scale;
  double *in[INPUTS], *dy, *heads, *z, *y, *dheads, *dz, *grad[4];
} oracle;

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
  for (int64_t i = 0; 2 * i < o->s.K && o->base != 0; i++) {
    double angle = position * pow(o->base, -2.0 * (double)i / (double)o->s.K);
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
      to[i] = dot(o->in[QKV] + (head * K + i) * D, x, D);
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
    p[j] = documents[j] == documents[t] ? o->scale * dot(q, k, o->s.K) : -(double)INFINITY;
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
  sizes s = { .B = in[X]->shape.size[0], .T = in[X]->shape.size[1], .D = in[X]->shape.size[2],
              .N = in[GATES] != NULL ? in[GATES]->shape.size[2] : 1,
              .H = (int64_t)attr_of(attrs, "heads", 0),
              .G = (int64_t)attr_of(attrs, "kv_heads", 0), .E = in[OUT]->shape.size[0] };
  s.K = in[OUT]->shape.size[1] / (s.N * s.H);
  return s;
}

/* What stands for an input that is left out: gates of 1, one document, positions from 0. */
static double *stand_in(const sizes *s, int i) {
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

static oracle make_oracle(bam_tensor *const in[INPUTS], bam_tensor *dy, const bam_attr *attrs) {
  oracle o = { .s = sizes_of(in, attrs), .dy = values_of(dy) };
  int64_t tokens = o.s.B * o.s.T, queries = o.s.N * o.s.H;
  o.total = in[QKV]->shape.size[0] / o.s.K;
  o.KV = (o.total - queries) / 2;
  o.base = attr_of(attrs, "rope_base", 10000);
  o.scale = attr_of(attrs, "scale", 1 / sqrt((double)o.s.K));
  for (int i = 0; i < INPUTS; i++)
    o.in[i] = in[i] != NULL ? values_of(in[i]) : stand_in(&o.s, i);
  if (in[POSITIONS] != NULL && in[POSITIONS]->shape.ndim == 1)
    o.in[POSITIONS] = spread(&o.s, o.in[POSITIONS]);
  o.heads = zeros(tokens * o.total * o.s.K);
  o.dheads = zeros(tokens * o.total * o.s.K);
  o.z = zeros(tokens * queries * o.s.K);
  o.dz = zeros(tokens * queries * o.s.K);
  o.y = zeros(tokens * o.s.E);
  for (int i = 0; i < 4; i++)
    o.grad[i] = zeros(in[i] != NULL ? bam_tensor_count(in[i]) : tokens);
  run_oracle(&o);
  return o;
}

static void free_oracle(oracle *o) {
  double *all[] = { o->dy, o->heads, o->z, o->y, o->dheads, o->dz };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    free(all[i]);
  for (int i = 0; i < INPUTS; i++)
    free(o->in[i]);
  for (int i = 0; i < 4; i++)
    free(o->grad[i]);
}

/* ---- the op beside it ---- */

static bam_attr *attrs_of(int64_t heads, int64_t kv_heads) {
  bam_attr *attrs = make_attrs(&bam_op_mixture_of_attention);
  set_integer(&bam_op_mixture_of_attention, attrs, "heads", heads);
  set_integer(&bam_op_mixture_of_attention, attrs, "kv_heads", kv_heads);
  return attrs;
}

static bam_tensor *run_mixture(bam_tensor *const in[INPUTS], const bam_attr *attrs) {
  return run(&bam_op_mixture_of_attention, in, INPUTS, attrs);
}

/* Leaves get the oracle's gradient, others none; gradients are cleared. */
static void expect_gradients(bam_tensor *const in[INPUTS], const oracle *o, double tolerance) {
  for (int i = 0; i < 4; i++) {
    if (in[i] == NULL || !in[i]->requires_grad) {
      cr_assert(in[i] == NULL || in[i]->grad == NULL);
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

static void compare(bam_tensor *const in[INPUTS], const bam_attr *attrs, double tolerance) {
  bam_shape shape = SHAPE(in[X]->shape.size[0], in[X]->shape.size[1], in[OUT]->shape.size[0]);
  bam_tensor *dy = make_random(in[X]->dtype, shape, -1, 1);
  oracle o = make_oracle(in, dy, attrs);
  bam_tensor *y = run_mixture(in, attrs);
  expect_shape(y, shape);
  expect_dtype(y, in[X]->dtype);
  expect_values(y, o.y, tolerance);
  if (y->requires_grad)
    EXPECT_OK(bam_autograd_backward(y, dy, false));
  expect_gradients(in, &o, tolerance * 4);
  RELEASE(dy, y);
  free_oracle(&o);
}

/* Gates of top-1 routing: exactly 0 but for one expert, which is never the last. */
static bam_tensor *make_sparse_gates(bam_dtype dtype, bam_shape shape) {
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

/* x, qkv, out and gates as leaves. */
static void make_inputs(bam_dtype dtype, const sizes *s, bam_tensor *in[INPUTS]) {
  int64_t KV = s->own ? s->N * s->G : s->G;
  in[X] = make_leaf(dtype, SHAPE(s->B, s->T, s->D), -1, 1);
  in[QKV] = make_leaf(dtype, SHAPE((s->N * s->H + 2 * KV) * s->K, s->D), -0.7, 0.7);
  in[OUT] = make_leaf(dtype, SHAPE(s->E, s->N * s->H * s->K), -0.5, 0.5);
  in[GATES] = make_leaf(dtype, SHAPE(s->B, s->T, s->N), 0.1, 1);
  in[DOCUMENTS] = in[POSITIONS] = NULL;
}

static void check(bam_dtype dtype, sizes s, double tolerance) {
  bam_tensor *in[INPUTS];
  bam_attr *attrs = attrs_of(s.H, s.G);
  for (int own = 0; own < 2; own++) {
    s.own = own;
    make_inputs(dtype, &s, in);
    compare(in, attrs, tolerance);
    bam_tensor_release(in[GATES]);
    in[GATES] = make_sparse_gates(dtype, SHAPE(s.B, s.T, s.N));
    compare(in, attrs, tolerance);
    fixture_release(in, INPUTS);
  }
  free(attrs);
}

/* ---- values and gradients ---- */

/* One token attends to itself alone: y = out * (gates * values). */
Test(mixture_of_attention, by_hand) {
  bam_tensor *in[INPUTS] = { make_values(BAM_F64, SHAPE(1, 1, 1), VALUES(2)),
                             make_values(BAM_F64, SHAPE(8, 1), VALUES(1, 2, 3, 4, 5, 6, 7, 8)),
                             make_values(BAM_F64, SHAPE(1, 4), VALUES(1, 10, 100, 1000)),
                             make_values(BAM_F64, SHAPE(1, 1, 2), VALUES(0.5, 0.25)) };
  bam_attr *attrs = attrs_of(1, 1);
  bam_tensor *y = run_mixture(in, attrs);
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
  bam_attr *attrs = attrs_of(2, 2);
  set_float(&bam_op_mixture_of_attention, attrs, "rope_base", 0);
  bam_tensor *y = run_mixture(in, attrs);
  expect_values(y, VALUES(0.5 * (1 + 300) + 0.25 * (20 + 4000)), 1e-13);
  bam_tensor_release(y);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* Around the edges of tiles and vectors. */
Test(mixture_of_attention, values_f32) {
  const int64_t times[] = { 1, 2, 13, 31, 64, 97 };
  for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
    int64_t t = times[i];
    check(BAM_F32, (sizes){ .B = 2, .T = t, .D = 7, .N = 3, .H = 4, .G = 2, .K = 6, .E = 5 }, 2e-5);
    check(BAM_F32, (sizes){ .B = 1, .T = t, .D = 33, .N = 2, .H = 3, .G = 1, .K = 8, .E = 17 },
          2e-5);
  }
}

Test(mixture_of_attention, values_f64) {
  check(BAM_F64, (sizes){ .B = 2, .T = 19, .D = 9, .N = 3, .H = 6, .G = 3, .K = 4, .E = 7 }, 1e-12);
  check(BAM_F64, (sizes){ .B = 3, .T = 5, .D = 1, .N = 5, .H = 2, .G = 2, .K = 2, .E = 1 }, 1e-12);
  check(BAM_F64, (sizes){ .B = 1, .T = 40, .D = 8, .N = 1, .H = 4, .G = 1, .K = 18, .E = 8 },
        1e-12);
}

Test(mixture_of_attention, values_long) {
  check(BAM_F32, (sizes){ .B = 1, .T = 401, .D = 8, .N = 2, .H = 2, .G = 1, .K = 16, .E = 8 },
        2e-5);
}

/* As large as a model's layer, where work is shared out and products are blocked. */
Test(mixture_of_attention, gradient_f32) {
  check(BAM_F32, (sizes){ .B = 2, .T = 130, .D = 32, .N = 3, .H = 4, .G = 2, .K = 8, .E = 32 },
        2e-5);
}

/* One expert whose gate is 1 need not be told so; another number of gates means other shapes. */
Test(mixture_of_attention, gates_left_out) {
  sizes s = { .B = 2, .T = 11, .D = 5, .N = 1, .H = 4, .G = 2, .K = 4, .E = 6 };
  bam_tensor *in[INPUTS], *gates;
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F64, &s, in);
  gates = in[GATES];
  in[GATES] = NULL;
  compare(in, attrs, 1e-12);
  bam_tensor *y = run(&bam_op_mixture_of_attention, in, 3, attrs);
  EXPECT_OK(bam_tensor_fill(gates, 1));
  in[GATES] = gates;
  bam_tensor *z = run_mixture(in, attrs);
  expect_equal(y, z, 1e-13);
  RELEASE(y, z);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* Runs, ids that come again after others, and documents of one token. */
Test(mixture_of_attention, documents) {
  sizes s = { .B = 2, .T = 110, .D = 6, .N = 2, .H = 2, .G = 1, .K = 4, .E = 6, .own = true };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F32, &s, in);
  int64_t ids[220];
  for (int64_t i = 0; i < 220; i++)
    ids[i] = i % 110 < 3 ? 7 : i % 110 < 101 ? 1LL << 40 : -4;
  bam_tensor *runs = make_tensor(BAM_I64, SHAPE(2, 110), ids);
  bam_tensor *mixed = make_random(BAM_I32, SHAPE(2, 110), 0, 2);
  bam_tensor *many = make_random(BAM_I64, SHAPE(2, 110), 0, 90);
  bam_tensor *all[] = { runs, mixed, make_strided(mixed), many };
  for (int i = 0; i < 4; i++) {
    in[DOCUMENTS] = all[i];
    compare(in, attrs, 2e-5);
  }
  in[DOCUMENTS] = NULL;
  fixture_release(in, INPUTS);
  fixture_release(all, 4);
  free(attrs);
}

/* Shared by all sequences, or each its own; with and without documents. */
Test(mixture_of_attention, positions) {
  sizes s = { .B = 2, .T = 13, .D = 6, .N = 2, .H = 4, .G = 2, .K = 6, .E = 6 };
  bam_tensor *in[INPUTS], *documents = make_random(BAM_I64, SHAPE(2, 13), 0, 1);
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F64, &s, in);
  bam_tensor *own = make_random(BAM_I64, SHAPE(2, 13), -100, 5000);
  bam_tensor *all[] = { own, make_random(BAM_I32, SHAPE(13), 0, 300),
                        make_random(BAM_I64, SHAPE(13), 0, 9), make_strided(own) };
  for (int i = 0; i < 8; i++) {
    in[POSITIONS] = all[i % 4];
    in[DOCUMENTS] = i < 4 ? NULL : documents;
    compare(in, attrs, 1e-12);
  }
  in[DOCUMENTS] = in[POSITIONS] = NULL;
  fixture_release(in, INPUTS);
  fixture_release(all, 4);
  bam_tensor_release(documents);
  free(attrs);
}

/* Another base, no rotation (then K may be odd), and another scale, 0 included. */
Test(mixture_of_attention, base_and_scale) {
  const double bases[] = { 100, 0, 0, 0, 500000 }, scales[] = { 0.3, 2, 0.7, 0, 1 };
  const int64_t widths[] = { 4, 4, 3, 1, 2 };
  for (int i = 0; i < 5; i++) {
    sizes s = { .B = 2, .T = 9, .D = 5, .N = 2, .H = 4, .G = 2, .K = widths[i], .E = 3 };
    bam_tensor *in[INPUTS];
    bam_attr *attrs = attrs_of(s.H, s.G);
    set_float(&bam_op_mixture_of_attention, attrs, "rope_base", bases[i]);
    make_inputs(BAM_F64, &s, in);
    compare(in, attrs, 1e-12);
    set_float(&bam_op_mixture_of_attention, attrs, "scale", scales[i]);
    compare(in, attrs, 1e-12);
    fixture_release(in, INPUTS);
    free(attrs);
  }
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

/* Nothing contiguous: x, weights, gates, ids, and the gradient that arrives. */
Test(mixture_of_attention, strided) {
  sizes s = { .B = 2, .T = 21, .D = 6, .N = 3, .H = 2, .G = 1, .K = 4, .E = 5, .own = true };
  bam_tensor *plain[INPUTS], *in[INPUTS] = { NULL };
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F32, &s, plain);
  plain[DOCUMENTS] = make_random(BAM_I64, SHAPE(2, 21), 0, 1);
  plain[POSITIONS] = make_random(BAM_I64, SHAPE(21), 0, 50);
  for (int i = 0; i < INPUTS; i++) {
    in[i] = make_strided(plain[i]);
    if (i < 4)
      EXPECT_OK(bam_autograd_require(in[i], true));
  }
  compare(in, attrs, 2e-5);
  bam_tensor *y = run_mixture(in, attrs), *dy = make_random(BAM_F32, y->shape, -1, 1);
  oracle o = make_oracle(in, dy, attrs);
  backward_reversed(y, dy);
  expect_gradients(in, &o, 8e-5);
  free_oracle(&o);
  RELEASE(y, dy);
  fixture_release(plain, INPUTS);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* ---- gradients by differences ---- */

static void check_differences(sizes s, bool sparse, bool documents, bool positions) {
  bam_tensor *in[INPUTS];
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F64, &s, in);
  if (sparse) {
    bam_tensor_release(in[GATES]);
    in[GATES] = make_sparse_gates(BAM_F64, SHAPE(s.B, s.T, s.N));
  }
  in[DOCUMENTS] = documents ? make_random(BAM_I64, SHAPE(s.B, s.T), 0, 1) : NULL;
  in[POSITIONS] = positions ? make_random(BAM_I64, SHAPE(s.B, s.T), 0, 50) : NULL;
  check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* Shared and own keys and values, both with groups of two query heads. */
Test(mixture_of_attention, gradient) {
  sizes s = { .B = 2, .T = 4, .D = 3, .N = 2, .H = 4, .G = 2, .K = 2, .E = 3 };
  check_differences(s, false, false, false);
  check_differences(s, true, true, true);
  s.own = true;
  check_differences(s, false, true, false);
  check_differences(s, true, false, true);
}

Test(mixture_of_attention, gradient_of_one_expert) {
  sizes s = { .B = 1, .T = 4, .D = 3, .N = 1, .H = 2, .G = 1, .K = 4, .E = 2 };
  check_differences(s, false, false, false);
}

Test(mixture_of_attention, gradient_of_many_experts) {
  sizes s = { .B = 1, .T = 3, .D = 2, .N = 5, .H = 2, .G = 1, .K = 2, .E = 2, .own = true };
  check_differences(s, false, false, false);
  s.own = false;
  check_differences(s, true, false, false);
}

Test(mixture_of_attention, gradient_of_one_token) {
  sizes s = { .B = 1, .T = 1, .D = 3, .N = 2, .H = 2, .G = 2, .K = 2, .E = 2 };
  check_differences(s, true, false, false);
}

Test(mixture_of_attention, gradient_with_gates_left_out) {
  sizes s = { .B = 2, .T = 3, .D = 3, .N = 1, .H = 2, .G = 1, .K = 2, .E = 2 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F64, &s, in);
  bam_tensor_release(in[GATES]);
  in[GATES] = NULL;
  check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  check_gradient(&bam_op_mixture_of_attention, in, 3, attrs);
  set_float(&bam_op_mixture_of_attention, attrs, "rope_base", 0);
  set_float(&bam_op_mixture_of_attention, attrs, "scale", 0.4);
  check_gradient(&bam_op_mixture_of_attention, in, 3, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* An expert that no token's gate lets through: its gates still have a gradient, its weights get
   zeros. */
Test(mixture_of_attention, gradient_of_closed_gates) {
  sizes s = { .B = 2, .T = 5, .D = 4, .N = 3, .H = 2, .G = 1, .K = 2, .E = 3, .own = true };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F64, &s, in);
  EXPECT_OK(bam_tensor_fill(in[GATES], 0));
  compare(in, attrs, 1e-12);
  check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* ---- who wants a gradient ---- */

/* Every choice of leaves among x, qkv, out and gates; none of them means no recording. */
Test(mixture_of_attention, gradient_of_some) {
  sizes s = { .B = 2, .T = 6, .D = 4, .N = 2, .H = 4, .G = 2, .K = 4, .E = 3 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = attrs_of(s.H, s.G);
  for (int own = 0; own < 2; own++) {
    s.own = own;
    make_inputs(BAM_F64, &s, in);
    for (int some = 0; some < 16; some++) {
      for (int i = 0; i < 4; i++)
        EXPECT_OK(bam_autograd_require(in[i], some >> i & 1));
      compare(in, attrs, 1e-12);
    }
    fixture_release(in, INPUTS);
  }
  free(attrs);
}

/* Gradients are added to what is there, and backward leaves what it may need again. */
Test(mixture_of_attention, accumulates) {
  sizes s = { .B = 2, .T = 9, .D = 4, .N = 3, .H = 2, .G = 1, .K = 4, .E = 3 };
  bam_tensor *in[INPUTS], *first[4];
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F64, &s, in);
  bam_tensor *y = run_mixture(in, attrs), *seed = make_random(BAM_F64, y->shape, -1, 1);
  for (int time = 1; time <= 3; time++) {
    EXPECT_OK(bam_autograd_backward(y, seed, time < 3));
    for (int i = 0; i < 4; i++) {
      if (time == 1)
        first[i] = run1(&bam_op_clone, in[i]->grad);
      for (int64_t e = 0; e < bam_tensor_count(in[i]); e++)
        cr_assert(is_close(value_at(in[i]->grad, e), time * value_at(first[i], e), 1e-13));
    }
  }
  RELEASE(y, seed);
  fixture_release(first, 4);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* Nothing is recorded: the same values. */
Test(mixture_of_attention, values_without_recording) {
  sizes s = { .B = 2, .T = 40, .D = 8, .N = 3, .H = 4, .G = 2, .K = 8, .E = 8 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F32, &s, in);
  bam_tensor *y = run_mixture(in, attrs);
  fixture_context()->no_grad = true;
  bam_tensor *z = run_mixture(in, attrs);
  fixture_context()->no_grad = false;
  cr_assert(y->requires_grad && !z->requires_grad);
  expect_equal(z, y, 1e-6);
  RELEASE(y, z);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* ---- special cases ---- */

/* The number of threads does not matter, but for how products of 400 terms round; run again, not
   even that. */
Test(mixture_of_attention, deterministic) {
  sizes s = { .B = 2, .T = 200, .D = 48, .N = 3, .H = 4, .G = 2, .K = 16, .E = 40, .own = true };
  bam_tensor *in[INPUTS], *y[3], *grad[3][4];
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F32, &s, in);
  bam_tensor *seed = make_random(BAM_F32, SHAPE(s.B, s.T, s.E), -1, 1);
  for (int k = 0; k < 3; k++) {
    bam_context_set_threads(fixture_context(), k == 0 ? 1 : 3);
    y[k] = run_mixture(in, attrs);
    EXPECT_OK(bam_autograd_backward(y[k], seed, false));
    for (int i = 0; i < 4; i++) {
      grad[k][i] = bam_tensor_retain(in[i]->grad);
      EXPECT_OK(bam_autograd_set_grad(in[i], NULL));
    }
  }
  expect_equal(y[1], y[0], 5e-5);
  expect_equal(y[2], y[1], 0);
  for (int i = 0; i < 4; i++) {
    expect_equal(grad[1][i], grad[0][i], 5e-5);
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
  bam_tensor *good = in[i], *want = run_mixture(in, attrs);
  int64_t E = want->shape.size[2];
  in[i] = damage(good, bad * good->shape.size[2] + 1);
  bam_tensor *got = run_mixture(in, attrs);
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
  bam_attr *attrs = attrs_of(s.H, s.G);
  make_inputs(BAM_F32, &s, in);
  expect_contained(in, attrs, GATES, 40, 41);
  expect_contained(in, attrs, X, 30, 60);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* A leaf given twice gets both gradients: x that is also the gates, qkv that is also out. */
Test(mixture_of_attention, gradient_of_the_same_leaf) {
  sizes s = { .B = 2, .T = 3, .D = 2, .N = 2, .H = 1, .G = 1, .K = 2, .E = 3 };
  sizes square = { .B = 2, .T = 3, .D = 2, .N = 1, .H = 1, .G = 1, .K = 2, .E = 6 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = attrs_of(1, 1);
  make_inputs(BAM_F64, &s, in);
  bam_tensor_release(in[GATES]);
  in[GATES] = bam_tensor_retain(in[X]);
  check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  make_inputs(BAM_F64, &square, in);
  bam_tensor_release(in[OUT]);
  in[OUT] = bam_tensor_retain(in[QKV]);
  check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* No tokens: a result without elements, and zeros as the gradient of the weights. */
Test(mixture_of_attention, empty) {
  const sizes all[] = { { .B = 0, .T = 5, .D = 3, .N = 2, .H = 2, .G = 1, .K = 2, .E = 3 },
                        { .B = 2, .T = 0, .D = 3, .N = 2, .H = 2, .G = 2, .K = 2, .E = 3 } };
  for (int i = 0; i < 2; i++) {
    check(BAM_F64, all[i], 0);
    check(BAM_F32, all[i], 0);
    check_differences(all[i], false, true, true);
  }
}

/* Nothing in x or nothing in y, of tokens that are there. */
Test(mixture_of_attention, empty_width) {
  check(BAM_F32, (sizes){ .B = 2, .T = 5, .D = 0, .N = 2, .H = 2, .G = 1, .K = 2, .E = 3 }, 0);
  check(BAM_F32, (sizes){ .B = 2, .T = 5, .D = 3, .N = 2, .H = 2, .G = 1, .K = 2, .E = 0 }, 0);
}

/* The input `i` of a call that is right but for it. */
static void expect_failure(const char *words, int i, bam_tensor *wrong, int64_t heads,
                           int64_t kv_heads) {
  sizes s = { .B = 2, .T = 5, .D = 3, .N = 2, .H = 4, .G = 2, .K = 2, .E = 6 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = attrs_of(heads, kv_heads);
  make_inputs(BAM_F32, &s, in);
  bam_tensor_release(in[i]);
  in[i] = wrong;
  expect_op_error(words, &bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* A call of these shapes is right: the others fail for what is wrong in them. */
Test(mixture_of_attention, shapes_that_are_right) {
  sizes s = { .B = 2, .T = 5, .D = 3, .N = 2, .H = 4, .G = 2, .K = 2, .E = 6 };
  check(BAM_F32, s, 2e-5);
}

static bam_tensor *real(bam_shape shape) { return make_random(BAM_F32, shape, -1, 1); }
static bam_tensor *ids(bam_shape shape) { return make_random(BAM_I64, shape, 0, 1); }

Test(mixture_of_attention, errors_of_shapes) {
  expect_failure("", X, real(SHAPE(5, 3)), 4, 2);
  expect_failure("", X, real(SCALAR), 4, 2);
  expect_failure("qkv", X, real(SHAPE(2, 5, 4)), 4, 2);
  expect_failure("qkv", QKV, real(SHAPE(24, 4)), 4, 2);
  expect_failure("qkv", QKV, real(SHAPE(26, 3)), 4, 2);
  expect_failure("qkv", QKV, real(SHAPE(72)), 4, 2);
  expect_failure("qkv", QKV, real(SHAPE(16, 3)), 4, 2);
  expect_failure("out", OUT, real(SHAPE(6, 15)), 4, 2);
  expect_failure("out", OUT, real(SHAPE(16)), 4, 2);
  expect_failure("gates", GATES, real(SHAPE(2, 4, 2)), 4, 2);
  expect_failure("gates", GATES, real(SHAPE(10, 2)), 4, 2);
  expect_failure("gates", GATES, real(SHAPE(2, 5, 0)), 4, 2);
  expect_failure("documents", DOCUMENTS, ids(SHAPE(5)), 4, 2);
  expect_failure("documents", DOCUMENTS, ids(SHAPE(2, 4)), 4, 2);
  expect_failure("positions", POSITIONS, ids(SHAPE(4)), 4, 2);
  expect_failure("positions", POSITIONS, ids(SHAPE(5, 2)), 4, 2);
}

Test(mixture_of_attention, errors_of_heads) {
  expect_failure("heads", DOCUMENTS, NULL, 4, 3);
  expect_failure("heads", DOCUMENTS, NULL, 0, 2);
  expect_failure("heads", DOCUMENTS, NULL, 4, 0);
  expect_failure("heads", DOCUMENTS, NULL, -4, 2);
  expect_failure("heads", DOCUMENTS, NULL, 4, -2);
  expect_failure("out", DOCUMENTS, NULL, 12, 2);
}

/* Heads of odd width cannot be rotated, nor can any by a negative base. */
Test(mixture_of_attention, errors_of_rotation) {
  for (int64_t K = 2; K <= 3; K++) {
    sizes s = { .B = 2, .T = 5, .D = 3, .N = 2, .H = 4, .G = 2, .K = K, .E = 6 };
    bam_tensor *in[INPUTS];
    bam_attr *attrs = attrs_of(s.H, s.G);
    make_inputs(BAM_F32, &s, in);
    if (K == 2)
      set_float(&bam_op_mixture_of_attention, attrs, "rope_base", -1);
    expect_op_error(K == 2 ? "base" : "", &bam_op_mixture_of_attention, in, INPUTS, attrs);
    fixture_release(in, INPUTS);
    free(attrs);
  }
}

Test(mixture_of_attention, errors_of_dtypes) {
  expect_failure("convert one", QKV, make_random(BAM_F64, SHAPE(24, 3), -1, 1), 4, 2);
  expect_failure("convert one", OUT, make_random(BAM_F64, SHAPE(6, 16), -1, 1), 4, 2);
  expect_failure("convert one", GATES, make_random(BAM_F64, SHAPE(2, 5, 2), -1, 1), 4, 2);
  expect_failure("", X, ids(SHAPE(2, 5, 3)), 4, 2);
  expect_failure("", GATES, ids(SHAPE(2, 5, 2)), 4, 2);
  expect_failure("documents", DOCUMENTS, real(SHAPE(2, 5)), 4, 2);
  expect_failure("positions", POSITIONS, real(SHAPE(5)), 4, 2);
}
