/* The router: softmax, the k largest, the auxiliary losses and the statistics (BAM §4.2). A warp
   has a token, a block a part of BAM_ROUTE_PART tokens, whose sums it adds up too. Sums are taken
   in double precision, over the tokens of a part, then the parts of a group, then the groups. */
#include "reduce.h"
#include "vmath.h"

/* What a part adds up over the tokens that count: how often each expert was chosen, the sum of p,
   the sum of -p ln p, and the sum of lse². */
enum { CHOSEN, MEAN, ENTROPY, SUMS };

BAM_FUNCTION int64_t parts_of(const bam_route &r) {
  return (r.group + BAM_ROUTE_PART - 1) / BAM_ROUTE_PART;
}

BAM_FUNCTION int64_t sums_of(const bam_route &r) { return SUMS * r.experts + 1; }

/* Behind the sums of all parts: how many tokens count in each part, then in each group. */
BAM_FUNCTION double *part_tokens(double *scratch, const bam_route &r) {
  return scratch + r.tokens / r.group * parts_of(r) * sums_of(r);
}

BAM_FUNCTION double *group_tokens(double *scratch, const bam_route &r) {
  return part_tokens(scratch, r) + r.tokens / r.group * parts_of(r);
}

/* Functions here work for one warp; what a thread writes of a row, only that thread reads. */
static constexpr int group_size = BAM_WARP;

/* ---- a token ---- */

/* The logarithm of a sum of exponentials, in two parts: large logits cost no digits. */
struct log_sum {
  real max;
  double rest;
};

/* p = softmax(x) */
static __device__ __forceinline__ log_sum softmax_row(real *p, const real *x, int64_t n) {
  real max = -(real)INFINITY;
  double sum = 0;
  BAM_EACH_OF_GROUP(i, n)
  max = larger(max, x[i]);
  max = warp_max(max);
  BAM_EACH_OF_GROUP(i, n) {
    p[i] = v_exp(x[i] - max);
    sum += (double)p[i];
  }
  sum = warp_sum(sum);
  BAM_EACH_OF_GROUP(i, n)
  p[i] = (real)((double)p[i] / sum);
  return { max, log(sum) };
}

namespace {

struct largest_first {
  typedef indexed_value total;
  __device__ bool before(real a, real b) const { return a > b; }
  __device__ total identity() const { return { 0, NOWHERE }; }
  __device__ total combine(total a, total b) const { return first_indexed(*this, a, b); }
};

} // namespace

/* The first element behind `last`; all when p is NaN come in order. */
static __device__ __forceinline__ indexed_value next_choice(const real *p, int64_t n,
                                                            indexed_value last) {
  const largest_first order;
  indexed_value next = order.identity();
  BAM_EACH_OF_GROUP(i, n) {
    const indexed_value here = { p[i], i };
    if (last.at == NOWHERE || first_indexed(order, last, here).at != i)
      next = first_indexed(order, next, here);
  }
  return warp_reduce(order, next);
}

/* The positions (from 1) of the k largest, the first of equals, and their gates. */
static __device__ __forceinline__ void choose(int64_t *chosen, real *gates, const real *p,
                                              const bam_route &r) {
  const int64_t width = r.dense ? r.experts : r.k;
  indexed_value last = { 0, NOWHERE };
  double sum = 0;
  if (r.dense)
    BAM_EACH_OF_GROUP(i, width)
  gates[i] = 0;
  for (int64_t j = 0; j < r.k; j++) {
    last = next_choice(p, r.experts, last);
    const int64_t at = r.dense ? last.at : j;
    if (at % group_size == (int64_t)threadIdx.x % group_size)
      gates[at] = last.value;
    if (BAM_GROUP_FIRST)
      chosen[j] = last.at + 1;
    sum += (double)last.value;
  }
  if (r.renormalise)
    BAM_EACH_OF_GROUP(i, width)
  if (gates[i] != 0)
    gates[i] = (real)((double)gates[i] / sum);
}

/* ---- a part ---- */

/* Where the results of the tokens go, and the tokens of one part. */
struct routed_tokens {
  real *gates, *p, *lse;
  int64_t *chosen;
  const real *logits;
  const uint8_t *mask; /* NULL: every token counts */
  int64_t first;
  int count;
};

static __device__ __forceinline__ bool counts(const uint8_t *mask, int64_t t) {
  return mask == NULL || mask[t] != 0;
}

static __device__ __forceinline__ void add_expert(double *sums, const routed_tokens &to,
                                                  const log_sum *totals, int64_t expert,
                                                  const bam_route &r) {
  double chosen = 0, mean = 0, entropy = 0;
  BAM_EACH_OF_GROUP(j, to.count) {
    const int64_t t = to.first + j, i = t * r.experts + expert;
    if (!counts(to.mask, t))
      continue;
    const double p = (double)to.p[i];
    const double minus_log = totals[j].rest - (double)(to.logits[i] - totals[j].max);
    for (int64_t c = 0; c < r.k; c++)
      chosen += to.chosen[t * r.k + c] == expert + 1;
    mean += p;
    entropy += p == 0 ? 0 : p * minus_log;
  }
  chosen = warp_sum(chosen);
  mean = warp_sum(mean);
  entropy = warp_sum(entropy);
  if (BAM_GROUP_FIRST) {
    sums[CHOSEN * r.experts + expert] = chosen;
    sums[MEAN * r.experts + expert] = mean;
    sums[ENTROPY * r.experts + expert] = entropy;
  }
}

/* What the threads of the block have written about the tokens is there. */
static __device__ __forceinline__ void add_part(double *sums, double *tokens,
                                                const routed_tokens &to, const log_sum *totals,
                                                const bam_route &r) {
  double squares = 0, counted = 0;
  for (int64_t i = threadIdx.x / group_size; i < r.experts; i += BAM_BLOCK / group_size)
    add_expert(sums, to, totals, i, r);
  for (int j = threadIdx.x; j < to.count; j += BAM_BLOCK) {
    const double lse = (double)totals[j].max + totals[j].rest;
    if (!counts(to.mask, to.first + j))
      continue;
    squares += lse * lse;
    counted += 1;
  }
  squares = block_sum(squares);
  counted = to.mask != NULL ? block_sum(counted) : to.count;
  if (threadIdx.x == 0) {
    sums[SUMS * r.experts] = squares;
    *tokens = counted;
  }
}

static __global__ void route_parts(routed_tokens to, double *scratch, bam_route r, int64_t parts) {
  BAM_SHARED(log_sum, totals, BAM_ROUTE_PART);
  const int64_t width = r.dense ? r.experts : r.k;
  BAM_EACH_ROW(part, parts) {
    const int64_t in_group = part % parts_of(r) * BAM_ROUTE_PART, left = r.group - in_group;
    to.first = part / parts_of(r) * r.group + in_group;
    to.count = left < BAM_ROUTE_PART ? (int)left : BAM_ROUTE_PART;
    for (int j = threadIdx.x / group_size; j < to.count; j += BAM_BLOCK / group_size) {
      const int64_t t = to.first + j, row = t * r.experts;
      const log_sum total = softmax_row(to.p + row, to.logits + row, r.experts);
      choose(to.chosen + t * r.k, to.gates + t * width, to.p + row, r);
      if (BAM_GROUP_FIRST) {
        to.lse[t] = (real)((double)total.max + total.rest);
        totals[j] = total;
      }
    }
    __syncthreads();
    add_part(scratch + part * sums_of(r), part_tokens(scratch, r) + part, to, totals, r);
    __syncthreads(); /* before `totals` is written again */
  }
}

/* ---- groups ---- */

/* How many tokens of a group count. */
static __device__ __forceinline__ double add_tokens(double *scratch, int64_t group,
                                                    const bam_route &r) {
  const int64_t parts = parts_of(r);
  double tokens = 0;
  BAM_EACH_OF_GROUP(part, parts)
  tokens += part_tokens(scratch, r)[group * parts + part];
  return warp_sum(tokens);
}

/* The sums of each group come together in its first part, a warp per sum. */
static __global__ void add_parts(real *load, double *scratch, bam_route r, int64_t groups) {
  const int64_t sums = sums_of(r), parts = parts_of(r);
  BAM_EACH_GROUP_ROW(row, groups * sums) {
    const int64_t group = row / sums, i = row % sums;
    double *from = scratch + group * parts * sums + i, sum = 0;
    BAM_EACH_OF_GROUP(part, parts)
    sum += from[part * sums];
    sum = warp_sum(sum);
    const double tokens = add_tokens(scratch, group, r);
    if (BAM_GROUP_FIRST) {
      *from = sum;
      if (i < r.experts)
        load[group * r.experts + i] = (real)(sum / ((tokens > 0 ? tokens : 1) * (double)r.k));
      else if (i == sums - 1)
        group_tokens(scratch, r)[group] = tokens;
    }
  }
}

/* The statistics of one expert over `tokens` tokens; returns its sum of chosen * mean over the
   groups, each times its tokens over those that count. */
static __device__ __forceinline__ double finish_expert(real *statistics, double *scratch,
                                                       int64_t expert, double tokens,
                                                       const bam_route &r) {
  const int64_t n = r.experts, step = parts_of(r) * sums_of(r);
  const double *of_group = group_tokens(scratch, r);
  double chosen = 0, mean = 0, entropy = 0, balance = 0;
  BAM_EACH_OF_GROUP(group, r.tokens / r.group) {
    const double *sums = scratch + group * step + expert;
    chosen += sums[CHOSEN * n];
    mean += sums[MEAN * n];
    entropy += sums[ENTROPY * n];
    if (of_group[group] > 0)
      balance += sums[CHOSEN * n] * sums[MEAN * n] * ((double)r.group / of_group[group]);
  }
  chosen = warp_sum(chosen);
  mean = warp_sum(mean);
  entropy = warp_sum(entropy);
  if (BAM_GROUP_FIRST) {
    statistics[CHOSEN * n + expert] = (real)(chosen / (tokens * (double)r.k));
    statistics[MEAN * n + expert] = (real)(mean / tokens);
    statistics[ENTROPY * n + expert] = (real)(entropy / tokens);
  }
  return balance;
}

/* One block. The balance loss of a group is experts * sum of load * mean p. */
static __global__ void finish(real *losses, real *statistics, double *counted, double *scratch,
                              bam_route r) {
  const int64_t step = parts_of(r) * sums_of(r);
  double balance = 0, squares = 0, tokens = 0;
  for (int64_t group = threadIdx.x; group < r.tokens / r.group; group += BAM_BLOCK)
    tokens += group_tokens(scratch, r)[group];
  tokens = block_sum(tokens);
  const double any = tokens > 0 ? tokens : 1;
  for (int64_t i = threadIdx.x / group_size; i < r.experts; i += BAM_BLOCK / group_size)
    balance += finish_expert(statistics, scratch, i, any, r);
  for (int64_t group = threadIdx.x; group < r.tokens / r.group; group += BAM_BLOCK)
    squares += scratch[group * step + SUMS * r.experts];
  balance = block_sum(balance);
  squares = block_sum(squares);
  if (threadIdx.x == 0) {
    const double scale = (double)r.experts / (any * (double)r.group * (double)r.k);
    losses[0] = (real)(balance * scale);
    losses[1] = (real)(squares / any);
    *counted = tokens;
  }
}

void KERNEL(route)(bam_stream stream, const bam_route_tensors *args, const bam_route *r) {
  const routed_tokens to = { (real *)args->gates,
                             (real *)args->p,
                             (real *)args->lse,
                             args->chosen,
                             (const real *)args->logits,
                             args->mask,
                             0,
                             0 };
  const int64_t groups = r->tokens / r->group, parts = groups * parts_of(*r);
  BAM_LAUNCH(stream, route_parts, BAM_ROW_BLOCKS(parts), BAM_BLOCK, 0, to, args->scratch, *r,
             parts);
  BAM_LAUNCH(stream, add_parts, BAM_WARP_ROWS(groups * sums_of(*r)), BAM_BLOCK, 0,
             (real *)args->load, args->scratch, *r, groups);
  BAM_LAUNCH(stream, finish, 1, BAM_BLOCK, 0, (real *)args->losses, (real *)args->statistics,
             args->counted, args->scratch, *r);
}

/* ---- backward ---- */

/* From the gradients of a token's gates to those of p, added to dp. */
static __device__ __forceinline__ void gates_backward(real *dp, const real *dgates, const real *p,
                                                      const int64_t *chosen, const bam_route &r) {
  double by = 0, mean = 0;
  for (int64_t j = 0; r.renormalise && j < r.k; j++) {
    const int64_t i = chosen[j] - 1;
    by += (double)p[i];
    mean += (double)dgates[r.dense ? i : j] * (double)p[i];
  }
  by = r.renormalise ? by : 1;
  mean /= by;
  for (int64_t j = 0; j < r.k; j++) {
    const int64_t i = chosen[j] - 1;
    if (i % group_size == (int64_t)threadIdx.x % group_size)
      dp[i] += (real)(((double)dgates[r.dense ? i : j] - mean) / by);
  }
}

/* dx = softmax's derivative of dp, in place, plus `factor` p. */
static __device__ __forceinline__ void soften_backward(real *dx, const real *p, int64_t n,
                                                       double factor) {
  double mean = 0;
  BAM_EACH_OF_GROUP(i, n)
  mean += (double)p[i] * (double)dx[i];
  mean = warp_sum(mean);
  BAM_EACH_OF_GROUP(i, n)
  dx[i] = (real)((double)p[i] * ((double)dx[i] - mean + factor));
}

/* What backward reads; dgates and dlosses may be NULL. */
struct route_gradients {
  const real *dgates, *dlosses, *p, *lse, *load;
  const int64_t *chosen;
  const double *counted;
  const uint8_t *mask;
};

static __global__ void backward_tokens(real *dlogits, route_gradients from, bam_route r) {
  const int64_t n = r.experts, width = r.dense ? n : r.k;
  const double tokens = *from.counted;
  const double dbalance = from.dlosses != NULL ? (double)from.dlosses[0] : 0;
  const double dz = from.dlosses != NULL ? (double)from.dlosses[1] : 0;
  const double balance = dbalance * (double)n / tokens;
  BAM_EACH_GROUP_ROW(t, r.tokens) {
    real *dx = dlogits + t * n;
    const bool included = counts(from.mask, t);
    const real *p = from.p + t * n, *load = from.load + t / r.group * n;
    BAM_EACH_OF_GROUP(i, n)
    dx[i] = included ? (real)(balance * (double)load[i]) : 0;
    if (from.dgates != NULL)
      gates_backward(dx, from.dgates + t * width, p, from.chosen + t * r.k, r);
    soften_backward(dx, p, n, included ? dz * 2 * (double)from.lse[t] / tokens : 0);
  }
}

void KERNEL(route_backward)(bam_stream stream, const bam_route_gradients *args,
                            const bam_route *r) {
  const route_gradients from = { (const real *)args->dgates,
                                 (const real *)args->dlosses,
                                 (const real *)args->p,
                                 (const real *)args->lse,
                                 (const real *)args->load,
                                 args->chosen,
                                 args->counted,
                                 args->mask };
  BAM_LAUNCH(stream, backward_tokens, BAM_WARP_ROWS(r->tokens), BAM_BLOCK, 0, (real *)args->dlogits,
             from, *r);
}
