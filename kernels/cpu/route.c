/* The router: softmax, the k largest, the auxiliary losses and the statistics in one pass over the
   logits (BAM §4.2). Sums are taken in double precision over parts of BAM_ROUTE_PART tokens and
   then over the parts in order, so the bits do not depend on the number of threads. */
#include "cpu.h"
#include "vmath.h"

/* What a part adds up over the tokens that count: how often each expert was chosen, the sum of p,
   the sum of -p ln p; then the sum of lse² and the number of these tokens. */
enum { CHOSEN, MEAN, ENTROPY, SUMS };

static int64_t parts_of(const bam_route *r) {
  return (r->group + BAM_ROUTE_PART - 1) / BAM_ROUTE_PART;
}

static int64_t sums_of(const bam_route *r) { return SUMS * r->experts + 2; }

/* The logarithm of a sum of exponentials, in two parts: large logits cost no digits. */
typedef struct log_sum {
  real max;
  double rest;
} log_sum;

/* p = softmax(x) */
static log_sum softmax_row(real *p, const real *x, int64_t n) {
  real max = x[0];
  double sum = 0;
  for (int64_t i = 1; i < n; i++)
    max = x[i] > max ? x[i] : max;
  for (int64_t i = 0; i < n; i++) {
    p[i] = v_exp(x[i] - max);
    sum += (double)p[i];
  }
  for (int64_t i = 0; i < n; i++)
    p[i] = (real)((double)p[i] / sum);
  return (log_sum){ max, log(sum) };
}

static bool is_chosen(const int64_t *chosen, int64_t n, int64_t position) {
  for (int64_t j = 0; j < n; j++)
    if (chosen[j] == position)
      return true;
  return false;
}

/* The positions (from 1) of the k largest, the first of equals; valid even when p is NaN. */
static void choose(int64_t *chosen, const real *p, const bam_route *r) {
  for (int64_t j = 0; j < r->k; j++) {
    int64_t best = 0;
    for (int64_t i = 1; i <= r->experts; i++)
      if (!is_chosen(chosen, j, i) && (best == 0 || p[i - 1] > p[best - 1]))
        best = i;
    chosen[j] = best;
  }
}

/* What the chosen p are divided by to become gates. */
static double divisor(const real *p, const int64_t *chosen, const bam_route *r) {
  double sum = 0;
  for (int64_t j = 0; r->renormalise && j < r->k; j++)
    sum += (double)p[chosen[j] - 1];
  return r->renormalise ? sum : 1;
}

static void write_gates(real *gates, const real *p, const int64_t *chosen, const bam_route *r) {
  double by = divisor(p, chosen, r);
  for (int64_t i = 0; r->dense && i < r->experts; i++)
    gates[i] = 0;
  for (int64_t j = 0; j < r->k; j++)
    gates[r->dense ? chosen[j] - 1 : j] = (real)((double)p[chosen[j] - 1] / by);
}

static void add_token(double *sums, const real *x, const real *p, log_sum total,
                      const int64_t *chosen, const bam_route *r) {
  int64_t n = r->experts;
  double lse = (double)total.max + total.rest;
  for (int64_t j = 0; j < r->k; j++)
    sums[CHOSEN * n + chosen[j] - 1] += 1;
  for (int64_t i = 0; i < n; i++) {
    sums[MEAN * n + i] += (double)p[i];
    double minus_log = total.rest - (double)(x[i] - total.max);
    sums[ENTROPY * n + i] += p[i] == 0 ? 0 : (double)p[i] * minus_log;
  }
  sums[SUMS * n] += lse * lse;
  sums[SUMS * n + 1] += 1;
}

/* Where the results of the tokens go; `width` is that of a row of gates. */
typedef struct routed_tokens {
  real *gates, *p, *lse;
  int64_t *chosen, width;
  const real *logits;
  const uint8_t *mask; /* NULL: every token counts */
} routed_tokens;

static void route_parts(const routed_tokens *to, double *scratch, const bam_route *r) {
  int64_t parts = r->tokens / r->group * parts_of(r), n = r->experts;
#pragma omp for schedule(static)
  for (int64_t part = 0; part < parts; part++) {
    double *sums = scratch + part * sums_of(r);
    int64_t in_group = part % parts_of(r) * BAM_ROUTE_PART;
    int64_t from = part / parts_of(r) * r->group + in_group, left = r->group - in_group;
    memset(sums, 0, (size_t)sums_of(r) * sizeof *sums);
    for (int64_t t = from; t < from + (left < BAM_ROUTE_PART ? left : BAM_ROUTE_PART); t++) {
      const real *x = to->logits + t * n;
      log_sum total = softmax_row(to->p + t * n, x, n);
      to->lse[t] = (real)((double)total.max + total.rest);
      choose(to->chosen + t * r->k, to->p + t * n, r);
      write_gates(to->gates + t * to->width, to->p + t * n, to->chosen + t * r->k, r);
      if (to->mask == NULL || to->mask[t] != 0)
        add_token(sums, x, to->p + t * n, total, to->chosen + t * r->k, r);
    }
  }
}

/* From the sums of one group to its load; returns its balance loss, experts * sum of load * mean
   p, times the share of its tokens that count. Its sums come together in its first part. */
static double balance_group(double *sums, real *load, const bam_route *r) {
  int64_t n = r->experts;
  double loss = 0;
  for (int64_t part = 1; part < parts_of(r); part++)
    for (int64_t i = 0; i < sums_of(r); i++)
      sums[i] += sums[part * sums_of(r) + i];
  const double tokens = sums[SUMS * n + 1], any = tokens > 0 ? tokens : 1;
  for (int64_t i = 0; i < n; i++) {
    double share = sums[CHOSEN * n + i] / (any * (double)r->k);
    load[i] = (real)share;
    loss += (double)n * share * sums[MEAN * n + i] / any;
  }
  return loss * (tokens / (double)r->group);
}

/* The losses and statistics of all groups, whose sums come together in the first; returns how many
   tokens count. */
static double finish(real *losses, real *statistics, double *sums, double balance,
                     const bam_route *r) {
  int64_t groups = r->tokens / r->group, n = r->experts;
  for (int64_t g = 1; g < groups; g++)
    for (int64_t i = 0; i < sums_of(r); i++)
      sums[i] += sums[g * parts_of(r) * sums_of(r) + i];
  const double tokens = sums[SUMS * n + 1], any = tokens > 0 ? tokens : 1;
  for (int64_t i = 0; i < SUMS * n; i++)
    statistics[i] = (real)(sums[i] / (i < n ? any * (double)r->k : any));
  losses[0] = (real)(balance / (any / (double)r->group));
  losses[1] = (real)(sums[SUMS * n] / any);
  return tokens;
}

void KERNEL(route)(bam_stream stream, const bam_route_tensors *args, const bam_route *r) {
  (void)stream;
  routed_tokens to = {
    args->gates,  args->p,   args->lse, args->chosen, r->dense ? r->experts : r->k,
    args->logits, args->mask
  };
  int64_t groups = r->tokens / r->group;
  double balance = 0;
  SHARE(r->tokens * r->experts > BAM_GRAIN / 8, route_parts(&to, args->scratch, r));
  for (int64_t g = 0; g < groups; g++)
    balance += balance_group(args->scratch + g * parts_of(r) * sums_of(r),
                             (real *)args->load + g * r->experts, r);
  *args->counted = finish(args->losses, args->statistics, args->scratch, balance, r);
}

/* ---- backward ---- */

/* One token: from the gradients of its gates (NULL: none) to those of p, added to dp. */
static void gates_backward(real *dp, const real *dgates, const real *p, const int64_t *chosen,
                           const bam_route *r) {
  double by = divisor(p, chosen, r), mean = 0;
  for (int64_t j = 0; r->renormalise && j < r->k; j++)
    mean += (double)dgates[r->dense ? chosen[j] - 1 : j] * (double)p[chosen[j] - 1] / by;
  for (int64_t j = 0; j < r->k; j++)
    dp[chosen[j] - 1] += (real)(((double)dgates[r->dense ? chosen[j] - 1 : j] - mean) / by);
}

/* dx = softmax's derivative of dp, in place, plus `factor` p. */
static void soften_backward(real *dx, const real *p, int64_t n, double factor) {
  double mean = 0;
  for (int64_t i = 0; i < n; i++)
    mean += (double)p[i] * (double)dx[i];
  for (int64_t i = 0; i < n; i++)
    dx[i] = (real)((double)p[i] * ((double)dx[i] - mean + factor));
}

/* What backward reads. The gradients of the losses are 0 where none arrived. */
typedef struct route_gradients {
  const real *dgates, *p, *lse, *load;
  const int64_t *chosen;
  double balance, z, counted;
  const uint8_t *mask;
} route_gradients;

static void backward_tokens(real *dlogits, const route_gradients *from, const bam_route *r) {
  int64_t n = r->experts, width = r->dense ? n : r->k;
  double balance = from->balance * (double)n / from->counted;
#pragma omp for schedule(static)
  for (int64_t t = 0; t < r->tokens; t++) {
    real *dx = dlogits + t * n;
    const bool included = from->mask == NULL || from->mask[t] != 0;
    const real *p = from->p + t * n, *load = from->load + t / r->group * n;
    for (int64_t i = 0; i < n; i++)
      dx[i] = included ? (real)(balance * (double)load[i]) : 0;
    if (from->dgates != NULL)
      gates_backward(dx, from->dgates + t * width, p, from->chosen + t * r->k, r);
    soften_backward(dx, p, n, included ? from->z * 2 * (double)from->lse[t] / from->counted : 0);
  }
}

void KERNEL(route_backward)(bam_stream stream, const bam_route_gradients *args,
                            const bam_route *r) {
  (void)stream;
  const real *losses = args->dlosses;
  route_gradients from = { args->dgates,
                           args->p,
                           args->lse,
                           args->load,
                           args->chosen,
                           losses != NULL ? (double)losses[0] : 0,
                           losses != NULL ? (double)losses[1] : 0,
                           *args->counted,
                           args->mask };
  SHARE(r->tokens * r->experts > BAM_GRAIN / 8, backward_tokens(args->dlogits, &from, r));
}
