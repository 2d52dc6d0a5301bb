/* The definition of routing, and the op held against it. */
#include "oracle_route.h"

#include <math.h>
#include <stdlib.h>

/* ---- the definition ---- */

static double log_sum(const oracle *o, int64_t t) {
  double max = -(double)INFINITY, sum = 0;
  for (int64_t i = 0; i < o->n; i++)
    max = fmax(max, o->logits[t * o->n + i]);
  for (int64_t i = 0; i < o->n; i++)
    sum += exp(o->logits[t * o->n + i] - max);
  return max + log(sum);
}

static bool is_chosen(const oracle *o, int64_t t, int64_t rank, int64_t expert) {
  for (int64_t j = 0; j < rank; j++)
    if (o->experts[t * o->with.k + j] == expert)
      return true;
  return false;
}

/* The k largest, the first of equal ones first. */
static void choose(oracle *o, int64_t t) {
  const double *p = o->p + t * o->n;
  for (int64_t j = 0; j < o->with.k; j++) {
    int64_t best = -1;
    for (int64_t i = 0; i < o->n; i++)
      if (!is_chosen(o, t, j, i) && (best < 0 || p[i] > p[best]))
        best = i;
    o->experts[t * o->with.k + j] = best;
  }
}

/* Where the gate of token t's j-th expert stands. */
static int64_t gate_place(const oracle *o, int64_t t, int64_t j) {
  return t * o->width + (o->with.dense ? o->experts[t * o->with.k + j] : j);
}

/* What the gates of token t are divided by. */
static double divisor(const oracle *o, int64_t t) {
  double sum = 0;
  for (int64_t j = 0; j < o->with.k; j++)
    sum += o->p[t * o->n + o->experts[t * o->with.k + j]];
  return o->with.renormalise ? sum : 1;
}

static bool counts(const oracle *o, int64_t t) { return o->with.mask == NULL || o->with.mask[t]; }

/* How many of the tokens [from, to) count. */
static int64_t count_tokens(const oracle *o, int64_t from, int64_t to) {
  int64_t count = 0;
  for (int64_t t = from; t < to; t++)
    count += counts(o, t);
  return count;
}

static void route_token(oracle *o, int64_t t) {
  double lse = log_sum(o, t);
  for (int64_t i = 0; i < o->n; i++)
    o->p[t * o->n + i] = exp(o->logits[t * o->n + i] - lse);
  choose(o, t);
  for (int64_t j = 0; j < o->with.k; j++)
    o->gates[gate_place(o, t, j)] = o->p[t * o->n + o->experts[t * o->with.k + j]] / divisor(o, t);
  if (counts(o, t))
    o->losses[1] += lse * lse / (double)o->counted;
}

/* Of the tokens [from, to) that count, the share of assignments that go to `expert`, and its mean
   p; 0 when there are none. */
static double share_of(const oracle *o, int64_t from, int64_t to, int64_t expert) {
  int64_t count = 0, tokens = count_tokens(o, from, to);
  for (int64_t t = from; t < to; t++)
    count += counts(o, t) && is_chosen(o, t, o->with.k, expert);
  return tokens > 0 ? (double)count / (double)(tokens * o->with.k) : 0;
}

static double mean_of(const oracle *o, int64_t from, int64_t to, int64_t expert) {
  double sum = 0;
  for (int64_t t = from; t < to; t++)
    sum += counts(o, t) ? o->p[t * o->n + expert] : 0;
  return sum > 0 ? sum / (double)count_tokens(o, from, to) : 0;
}

static int64_t group_size(const oracle *o) { return o->with.aux > 0 ? o->with.aux : o->tokens; }

/* The mean over groups, weighted by the tokens that count. */
static void balance(oracle *o) {
  int64_t m = group_size(o);
  for (int64_t from = 0; from < o->tokens; from += m)
    for (int64_t i = 0; i < o->n; i++) {
      double share = o->shares[from / m * o->n + i] = share_of(o, from, from + m, i);
      double loss = (double)o->n * share * mean_of(o, from, from + m, i);
      if (o->counted > 0)
        o->losses[0] += loss * (double)count_tokens(o, from, from + m) / (double)o->counted;
    }
}

static void count_statistics(oracle *o) {
  for (int64_t i = 0; i < o->n && o->tokens > 0; i++) {
    o->statistics[i] = share_of(o, 0, o->tokens, i);
    o->statistics[o->n + i] = mean_of(o, 0, o->tokens, i);
    for (int64_t t = 0; t < o->tokens; t++) {
      double p = o->p[t * o->n + i];
      if (counts(o, t))
        o->statistics[2 * o->n + i] -= p > 0 ? p * log(p) / (double)o->counted : 0;
    }
  }
}

oracle route_oracle(bam_tensor *logits, options with) {
  oracle o = { .n = logits->shape.size[logits->shape.ndim - 1], .with = with };
  o.tokens = bam_tensor_count(logits) / o.n;
  o.width = with.dense ? o.n : with.k;
  o.counted = count_tokens(&o, 0, o.tokens);
  o.logits = values_of(logits);
  o.p = zeros(o.tokens * o.n);
  o.gates = zeros(o.tokens * o.width);
  o.shares = zeros(o.tokens * o.n);
  o.statistics = zeros(3 * o.n);
  o.dlogits = zeros(o.tokens * o.n);
  o.experts = calloc((size_t)(o.tokens * with.k) + 1, sizeof(int64_t));
  for (int64_t t = 0; t < o.tokens; t++)
    route_token(&o, t);
  balance(&o);
  count_statistics(&o);
  return o;
}

void route_free(oracle *o) {
  double *all[] = { o->logits, o->p, o->gates, o->shares, o->statistics, o->dlogits };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    free(all[i]);
  free(o->experts);
}

/* ---- its derivative ---- */

/* With respect to p of token t: the shares of the load balance loss are constants. */
static void differentiate_p(const oracle *o, int64_t t, const double *dgates, double dbalance,
                            double *dp) {
  const double *shares = o->shares + t / group_size(o) * o->n;
  double sum = divisor(o, t), mean = 0;
  for (int64_t j = 0; j < o->with.k && o->with.renormalise; j++)
    mean += dgates[gate_place(o, t, j)] * o->gates[gate_place(o, t, j)];
  for (int64_t j = 0; j < o->with.k; j++)
    dp[o->experts[t * o->with.k + j]] += (dgates[gate_place(o, t, j)] - mean) / sum;
  for (int64_t i = 0; i < o->n; i++)
    dp[i] += counts(o, t) ? dbalance * (double)o->n * shares[i] / (double)o->counted : 0;
}

void route_differentiate(oracle *o, const double *dgates, const double *dlosses) {
  for (int64_t t = 0; t < o->tokens; t++) {
    double *dp = zeros(o->n), *p = o->p + t * o->n, mean = 0;
    double dz = counts(o, t) ? dlosses[1] * 2 * log_sum(o, t) / (double)o->counted : 0;
    differentiate_p(o, t, dgates, dlosses[0], dp);
    for (int64_t i = 0; i < o->n; i++)
      mean += dp[i] * p[i];
    for (int64_t i = 0; i < o->n; i++)
      o->dlogits[t * o->n + i] = p[i] * (dp[i] - mean + dz);
    free(dp);
  }
}

/* ---- the op beside it ---- */

bam_attr *route_attrs(options with) {
  bam_attr *attrs = make_attrs(&bam_op_route);
  set_integer(&bam_op_route, attrs, "k", with.k);
  if (with.renormalise)
    set_integer(&bam_op_route, attrs, "renormalise", 1);
  if (with.dense)
    set_integer(&bam_op_route, attrs, "dense", 1);
  if (with.aux != 0)
    set_integer(&bam_op_route, attrs, "aux_tokens", with.aux);
  return attrs;
}

bam_tensor *route_mask(bam_tensor *logits, options with) {
  bam_shape shape = logits->shape;
  shape.ndim--;
  return with.mask != NULL ? make_tensor(BAM_BOOL, shape, with.mask) : NULL;
}

void route_run(bam_tensor *logits, options with, bam_tensor **out) {
  bam_attr *attrs = route_attrs(with);
  bam_tensor *inputs[] = { logits, route_mask(logits, with) };
  EXPECT_OK(fixture_apply(&bam_op_route, inputs, 2, attrs, out));
  bam_tensor_release(inputs[1]);
  free(attrs);
}

static void expect_form(bam_tensor *logits, const oracle *o, bam_tensor *const *out) {
  bam_shape shape = logits->shape;
  shape.size[shape.ndim - 1] = o->width;
  expect_shape(out[GATES], shape);
  shape.size[shape.ndim - 1] = o->with.k;
  expect_shape(out[EXPERTS], shape);
  expect_shape(out[LOSSES], SHAPE(2));
  expect_shape(out[STATISTICS], SHAPE(3, o->n));
  for (int i = 0; i < 4; i++)
    expect_dtype(out[i], i == EXPERTS ? BAM_I64 : logits->dtype);
  cr_assert(!out[STATISTICS]->requires_grad && !out[EXPERTS]->requires_grad);
  EXPECT_EQ(out[GATES]->requires_grad, logits->requires_grad);
  EXPECT_EQ(out[LOSSES]->requires_grad, logits->requires_grad);
}

static void expect_results(const oracle *o, bam_tensor *const *out, double tolerance) {
  for (int64_t i = 0; i < o->tokens * o->with.k; i++)
    cr_assert(integer_at(out[EXPERTS], i) == o->experts[i] + 1, "choice %lld is %lld, not %lld",
              (long long)i, (long long)integer_at(out[EXPERTS], i), (long long)o->experts[i] + 1);
  expect_values(out[GATES], o->gates, tolerance);
  expect_values(out[LOSSES], o->losses, tolerance);
  expect_values(out[STATISTICS], o->statistics, tolerance);
  for (int64_t i = 0; i < o->tokens * o->width && o->with.dense; i++)
    cr_assert(o->gates[i] != 0 || value_at(out[GATES], i) == 0);
}

void route_backward(bam_tensor *const *out, bam_tensor *const seeds[4]) {
  bam_tensor *total = NULL;
  for (int i = 0; i < 4; i++) {
    if (seeds[i] == NULL)
      continue;
    bam_tensor *product = run2(&bam_op_mul, out[i], seeds[i]), *sum = run1(&bam_op_sum, product);
    bam_tensor *old = total;
    total = old == NULL ? bam_tensor_retain(sum) : run2(&bam_op_add, old, sum);
    RELEASE(product, sum, old);
  }
  EXPECT_OK(bam_autograd_backward(total, NULL, false));
  bam_tensor_release(total);
}

/* The gradient that arrives through some of the outputs. Losses are means: their seeds grow with
   the number of tokens, so that no share of the gradient is too small to be seen. */
static void compare_gradient(bam_tensor *logits, oracle *o, bam_tensor *const *out, int through,
                             double tolerance) {
  double most = 1.5 * (double)o->tokens;
  bam_tensor *dgates = make_random(logits->dtype, out[GATES]->shape, -1, 1);
  bam_tensor *dlosses = make_random(logits->dtype, SHAPE(2), most / 2, most);
  if (!(through & THROUGH_GATES))
    EXPECT_OK(bam_tensor_fill(dgates, 0));
  if (!(through & THROUGH_LOSSES))
    EXPECT_OK(bam_tensor_fill(dlosses, 0));
  double *a = values_of(dgates), *b = values_of(dlosses);
  route_differentiate(o, a, b);
  route_backward(out, (bam_tensor *[]){ through & THROUGH_GATES ? dgates : NULL, NULL,
                                        through & THROUGH_LOSSES ? dlosses : NULL, NULL });
  if (bam_tensor_count(logits) > 0) {
    expect_shape(logits->grad, logits->shape);
    expect_values(logits->grad, o->dlogits, tolerance);
  }
  EXPECT_OK(bam_autograd_set_grad(logits, NULL));
  RELEASE(dgates, dlosses);
  free(a);
  free(b);
}

void route_compare(bam_tensor *logits, options with, int through, double tolerance) {
  oracle o = route_oracle(logits, with);
  bam_tensor *out[4];
  route_run(logits, with, out);
  expect_form(logits, &o, out);
  expect_results(&o, out, tolerance);
  if (logits->requires_grad)
    compare_gradient(logits, &o, out, through, tolerance * 4);
  fixture_release(out, 4);
  route_free(&o);
}

void route_check(bam_dtype dtype, bam_shape shape, options with, double tolerance) {
  bam_tensor *logits = make_leaf(dtype, shape, -3, 3);
  route_compare(logits, with, THROUGH_ALL, tolerance);
  bam_tensor_release(logits);
}

void route_check_forms(bam_dtype dtype, bam_shape shape, int64_t k, int64_t aux, double tolerance) {
  for (int form = 0; form < 4; form++)
    route_check(dtype, shape, (options){ k, aux, form & 1, form & 2, NULL }, tolerance);
}
