/* Attention on tensor cores (kernels/cuda/attention_mma.h) against its definition in double precision, with the whole
   T x T matrix: results, stats and gradients, around every edge of the tiles. Queries, keys and values are rows of one
   tensor, as in a model. Ends with "N passed, N failed".

   attention_mma [mma | hopper] [--time T]: only the kernels of attention_mma.h, or those of attention_hopper.h; without
   a name both, if the device has the second. With --time they are measured instead, with sequences of T tokens, of one
   document and of four: milliseconds (the median of ten runs) and TFLOP/s. A causal forward pass over T tokens has
   2 B H T T K floating-point operations, a quarter of that in four documents, and a backward pass 2.5 times as many. */
#include "harness.h"

#include "../../kernels/cuda/attention_hopper.h"
#include "../../kernels/cuda/attention_mma.h"

/* ---- a case ---- */

enum document_kind { ONE, RUNS, MIXED, FAR, FOUR };
static const char *const documents_names[] = { "", ", documents in runs", ", mixed documents",
                                               ", documents far apart", ", four documents" };

struct attention_case {
  int B, T, H, G, K, window; /* window 0: all */
  document_kind documents;
  bool add; /* gradients are added to what is there */
};

static int64_t columns_of(const attention_case &c) { return (int64_t)(c.H + 2 * c.G) * c.K; }
static int64_t tokens_of(const attention_case &c) { return (int64_t)c.B * c.T; }

static int document_of(const attention_case &c, int t) {
  switch (c.documents) {
  case RUNS: return (t + t / 7 * 3) / 50;
  case MIXED: return t * 7 % 3;
  case FAR: return t < 70 || t > 190 ? 0 : 1;
  case FOUR: return 4 * t / c.T;
  default: return 0;
  }
}

static bool sees(const attention_case &c, int query, int key) {
  return key <= query && (c.window == 0 || query - key < c.window) &&
         document_of(c, query) == document_of(c, key);
}

/* ---- the definition ---- */

/* `right` is by the definition, and `size` what is added up for it, without signs: rounding errors are in proportion to
   that. */
struct numbers {
  int64_t count;
  double *right, *size;
};

static numbers make_numbers(int64_t n) {
  return { n, (double *)calloc((size_t)n, 8), (double *)calloc((size_t)n, 8) };
}

static void free_numbers(numbers &x) {
  free(x.right);
  free(x.size);
}

static void add(numbers &x, int64_t i, double value, double size) {
  x.right[i] += value;
  x.size[i] += size;
}

/* qkv and dqkv are [tokens, columns], o and dy [tokens, H, K]. */
struct oracle {
  attention_case c;
  double scale;
  const double *qkv, *dy;
  numbers o, dqkv;
};

static int64_t query_at(const attention_case &c, int b, int t, int h) {
  return ((int64_t)b * c.T + t) * columns_of(c) + (int64_t)h * c.K;
}
static int64_t key_at(const attention_case &c, int b, int t, int h) {
  return query_at(c, b, t, c.H + h / (c.H / c.G));
}
static int64_t value_at(const attention_case &c, int b, int t, int h) {
  return key_at(c, b, t, h) + (int64_t)c.G * c.K;
}

static double dot(const double *x, const double *y, int n) {
  double sum = 0;
  for (int i = 0; i < n; i++)
    sum += x[i] * y[i];
  return sum;
}

static double dot_size(const double *x, const double *y, int n) {
  double sum = 0;
  for (int i = 0; i < n; i++)
    sum += fabs(x[i] * y[i]);
  return sum;
}

static void find_weights(const oracle &x, int b, int t, int h, double *p) {
  const attention_case &c = x.c;
  double most = -INFINITY, sum = 0;
  for (int j = 0; j <= t; j++) {
    p[j] = -INFINITY;
    if (sees(c, t, j))
      p[j] = x.scale * dot(x.qkv + query_at(c, b, t, h), x.qkv + key_at(c, b, j, h), c.K);
    most = fmax(most, p[j]);
  }
  for (int j = 0; j <= t; j++)
    sum += p[j] = exp(p[j] - most);
  for (int j = 0; j <= t; j++)
    p[j] /= sum;
}

static void run_row(oracle &x, int b, int t, int h, double *p) {
  const attention_case &c = x.c;
  const int64_t at = (((int64_t)b * c.T + t) * c.H + h) * c.K, query = query_at(c, b, t, h);
  find_weights(x, b, t, h, p);
  for (int j = 0; j <= t; j++)
    for (int d = 0; d < c.K; d++) {
      const double value = x.qkv[value_at(c, b, j, h) + d];
      add(x.o, at + d, p[j] * value, p[j] * fabs(value));
    }
  const double delta = dot(x.o.right + at, x.dy + at, c.K);
  const double delta_size = dot_size(x.o.size + at, x.dy + at, c.K);
  for (int j = 0; j <= t; j++) {
    const int64_t key = key_at(c, b, j, h), value = value_at(c, b, j, h);
    const double part = p[j] * x.scale;
    const double ds = part * (dot(x.dy + at, x.qkv + value, c.K) - delta);
    const double size = part * (dot_size(x.dy + at, x.qkv + value, c.K) + delta_size);
    for (int d = 0; d < c.K; d++) {
      add(x.dqkv, query + d, ds * x.qkv[key + d], size * fabs(x.qkv[key + d]));
      add(x.dqkv, key + d, ds * x.qkv[query + d], size * fabs(x.qkv[query + d]));
      add(x.dqkv, value + d, p[j] * x.dy[at + d], p[j] * fabs(x.dy[at + d]));
    }
  }
}

static void run_oracle(oracle &x) {
  double *p = (double *)calloc((size_t)x.c.T, sizeof *p);
  for (int b = 0; b < x.c.B; b++)
    for (int t = 0; t < x.c.T; t++)
      for (int h = 0; h < x.c.H; h++)
        run_row(x, b, t, h, p);
  free(p);
}

/* ---- numbers of bf16 ---- */

struct bf16_numbers {
  int64_t count;
  bf16 *stored;
  double *value;
};

static bf16_numbers draw_numbers(int64_t n, float most) {
  const bf16_numbers x = { n, (bf16 *)malloc((size_t)n * 2), (double *)malloc((size_t)n * 8) };
  for (int64_t i = 0; i < n; i++) {
    x.stored[i] = to_bf16(uniform() * most);
    x.value[i] = from_bf16(x.stored[i]);
  }
  return x;
}

static void free_bf16(bf16_numbers &x) {
  free(x.stored);
  free(x.value);
}

/* The largest error in parts of what an element may err, and that of all elements together in parts of their
   length; NaN is infinite. */
struct errors {
  double largest, together;
};

static errors compare(const bf16 *got, const numbers &want, const double *start) {
  double largest = 0, sum = 0, squares = 0;
  for (int64_t i = 0; i < want.count; i++) {
    const double before = start != NULL ? start[i] : 0, right = want.right[i] + before;
    const double error = fabs(from_bf16(got[i]) - right);
    const double room = 0x1p-8 * fabs(right) + 0x1p-7 * want.size[i] + 1e-30;
    largest = error / room <= largest ? largest : error == error ? error / room : INFINITY;
    sum += error == error ? error * error : INFINITY;
    squares += right * right;
  }
  return { largest, sqrt(sum / (squares + 1e-30)) };
}

/* ---- both passes ---- */

struct device_tensors {
  device_array<bf16> qkv, o, dy, dqkv;
  device_array<float> stats, delta;
  device_array<int32_t> first;

  explicit device_tensors(const attention_case &c)
      : qkv(tokens_of(c) * columns_of(c)), o(tokens_of(c) * c.H * c.K), dy(o.count),
        dqkv(qkv.count), stats(2 * tokens_of(c) * c.H), delta(tokens_of(c) * c.H),
        first(tokens_of(c)) {}
};

static bam_attention describe(const attention_case &c, double scale) {
  bam_attention a = {};
  const int64_t stride[3] = { c.T * columns_of(c), columns_of(c), c.K };
  a.batch = c.B, a.time = c.T, a.heads = c.H, a.kv_heads = c.G, a.width = c.K;
  a.window = c.window > 0 && c.window < c.T ? c.window : c.T;
  a.scale = scale;
  a.add_dq = a.add_dk = a.add_dv = c.add;
  for (int d = 0; d < 3; d++)
    a.q[d] = a.k[d] = a.v[d] = a.dq[d] = a.dk[d] = a.dv[d] = stride[d];
  return a;
}

static void put_first(const attention_case &c, const device_tensors &t) {
  int32_t *first = (int32_t *)malloc((size_t)tokens_of(c) * sizeof *first);
  for (int64_t i = 0; i < tokens_of(c); i++) {
    first[i] = 0;
    while (document_of(c, first[i]) != document_of(c, (int)(i % c.T)))
      first[i]++;
  }
  cudaMemcpy(t.first.at, first, (size_t)tokens_of(c) * sizeof *first, cudaMemcpyHostToDevice);
  free(first);
}

/* `hopper`: on warpgroups. */
static bool run_forward(bam_stream stream, const attention_case &c, const device_tensors &t,
                        const bam_attention &a, bool hopper) {
  const int64_t keys = (int64_t)c.H * c.K, values = keys + (int64_t)c.G * c.K;
  bam_attention_tensors args = {};
  args.o = t.o.at, args.stats = t.stats.at;
  args.q = t.qkv.at, args.k = t.qkv.at + keys, args.v = t.qkv.at + values;
  args.first = c.documents != ONE ? t.first.at : NULL;
  if (!bam_cuda_attention_mma_fits(stream, &args, &a))
    return false;
  if (!hopper)
    bam_cuda_attention_mma(stream, &args, &a);
  else if (!bam_cuda_attention_hopper(stream, &args, &a))
    return false;
  return is_sound(stream);
}

/* delta as the engine computes it, from the rounded results. */
static void put_delta(const attention_case &c, const device_tensors &t, const bf16_numbers &dy) {
  bf16 *o = (bf16 *)malloc((size_t)t.o.count * 2);
  float *delta = (float *)calloc((size_t)t.delta.count, sizeof *delta);
  cudaMemcpy(o, t.o.at, (size_t)t.o.count * 2, cudaMemcpyDeviceToHost);
  for (int64_t i = 0; i < t.o.count; i++)
    delta[i / c.K] += from_bf16(o[i]) * (float)dy.value[i];
  cudaMemcpy(t.delta.at, delta, (size_t)t.delta.count * sizeof *delta, cudaMemcpyHostToDevice);
  free(o);
  free(delta);
}

static bool run_backward(bam_stream stream, const attention_case &c, const device_tensors &t,
                         const bam_attention &a, bool hopper) {
  const int64_t keys = (int64_t)c.H * c.K, values = keys + (int64_t)c.G * c.K;
  bam_attention_gradients args = {};
  args.dq = t.dqkv.at, args.dk = t.dqkv.at + keys, args.dv = t.dqkv.at + values;
  args.grad_out = t.dy.at, args.stats = t.stats.at, args.delta = t.delta.at;
  args.q = t.qkv.at, args.k = t.qkv.at + keys, args.v = t.qkv.at + values;
  args.first = c.documents != ONE ? t.first.at : NULL;
  if (!bam_cuda_attention_mma_backward_fits(stream, &args, &a))
    return false;
  if (!hopper)
    bam_cuda_attention_mma_backward(stream, &args, &a);
  else if (!bam_cuda_attention_hopper_backward(stream, &args, &a))
    return false;
  return is_sound(stream);
}

/* Results and gradients of one run. */
struct outputs {
  bf16 *o, *dqkv;
};

static void free_outputs(outputs &y) {
  free(y.o);
  free(y.dqkv);
}

static outputs run(bam_stream stream, const attention_case &c, const bf16_numbers &qkv,
                   const bf16_numbers &dy, const bf16_numbers &before, double scale, bool hopper,
                   bool *good) {
  const device_tensors t(c);
  const bam_attention a = describe(c, scale);
  const outputs y = { (bf16 *)calloc((size_t)t.o.count, 2), (bf16 *)calloc((size_t)qkv.count, 2) };
  cudaMemcpy(t.qkv.at, qkv.stored, (size_t)qkv.count * 2, cudaMemcpyHostToDevice);
  cudaMemcpy(t.dy.at, dy.stored, (size_t)dy.count * 2, cudaMemcpyHostToDevice);
  if (c.add)
    cudaMemcpy(t.dqkv.at, before.stored, (size_t)before.count * 2, cudaMemcpyHostToDevice);
  put_first(c, t);
  *good &= run_forward(stream, c, t, a, hopper);
  put_delta(c, t, dy);
  *good &= run_backward(stream, c, t, a, hopper);
  t.o.get(y.o);
  t.dqkv.get(y.dqkv);
  return y;
}

/* The numbers of a case and what they should give. */
struct tested_case {
  attention_case c;
  bf16_numbers qkv, dy, before;
  double scale;
  oracle right;
};

/* One run against the definition. With `twice`, another run must give the same bits. */
static void test_run(bam_stream stream, const tested_case &x, bool hopper, bool twice) {
  const attention_case &c = x.c;
  bool good = true;
  outputs y = run(stream, c, x.qkv, x.dy, x.before, x.scale, hopper, &good);
  const errors o = compare(y.o, x.right.o, NULL);
  const errors dqkv = compare(y.dqkv, x.right.dqkv, c.add ? x.before.value : NULL);
  good &= o.largest < 1 && o.together < 0.003 && dqkv.largest < 1 && dqkv.together < 0.004;
  check(good, "B %d, T %d, H %d, G %d, K %d, window %d%s%s%s: errors %.2g, %.2g; of all %.2g, %.2g",
        c.B, c.T, c.H, c.G, c.K, c.window, documents_names[c.documents], c.add ? ", added" : "",
        hopper ? ", warpgroups" : "", o.largest, dqkv.largest, o.together, dqkv.together);
  if (twice) {
    outputs again = run(stream, c, x.qkv, x.dy, x.before, x.scale, hopper, &good);
    check(good && memcmp(y.o, again.o, (size_t)x.dy.count * 2) == 0 &&
            memcmp(y.dqkv, again.dqkv, (size_t)x.qkv.count * 2) == 0,
          "the same bits again");
    free_outputs(again);
  }
  free_outputs(y);
}

/* The kernels that are run: those of attention_mma.h, those of attention_hopper.h. */
struct kernel_choice {
  bool mma, hopper;
};

static void test_case(bam_stream stream, const kernel_choice &kernels, const attention_case &c,
                      bool twice) {
  bf16_numbers qkv = draw_numbers(tokens_of(c) * columns_of(c), 1.5f);
  bf16_numbers dy = draw_numbers(tokens_of(c) * c.H * c.K, 1), before = draw_numbers(qkv.count, 1);
  const double scale = c.add ? 0.2 : 1 / sqrt((double)c.K);
  oracle right = { c, scale, qkv.value, dy.value, make_numbers(dy.count), make_numbers(qkv.count) };
  run_oracle(right);
  const tested_case x = { c, qkv, dy, before, scale, right };
  if (kernels.mma)
    test_run(stream, x, false, twice);
  if (kernels.hopper)
    test_run(stream, x, true, twice);
  free_numbers(right.o);
  free_numbers(right.dqkv);
  free_bf16(qkv);
  free_bf16(before);
  free_bf16(dy);
}

/* ---- time ---- */

#define MOST_RUNS 10

static int compare_times(const void *a, const void *b) {
  const float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* The median of the milliseconds that `run` takes; 0 when it fails. */
template <class F> static float measure(bam_stream stream, int runs, F run) {
  float times[MOST_RUNS];
  cudaEvent_t from, to;
  bool good = run() && run(); /* loads the kernel */
  cudaEventCreate(&from);
  cudaEventCreate(&to);
  for (int i = 0; i < runs && good; i++) {
    cudaEventRecord(from, stream->queue);
    good = run();
    cudaEventRecord(to, stream->queue);
    cudaEventSynchronize(to);
    cudaEventElapsedTime(&times[i], from, to);
  }
  cudaEventDestroy(from);
  cudaEventDestroy(to);
  qsort(times, (size_t)runs, sizeof times[0], compare_times);
  return good ? times[runs / 2] : 0;
}

static void print_time(const attention_case &c, const char *what, double passes, float ms) {
  const double share = c.documents == FOUR ? 0.25 : 1;
  const double flop = share * passes * 2.0 * c.B * c.H * (double)c.T * c.T * c.K;
  printf("%s: B %d, T %d, H %d, G %d, K %d%s: %.3f ms, %.0f TFLOP/s\n", what, c.B, c.T, c.H, c.G,
         c.K, documents_names[c.documents], (double)ms, ms > 0 ? flop / ms * 1e-9 : 0);
}

static bool time_passes(bam_stream stream, const attention_case &c, const device_tensors &t,
                        bool hopper) {
  const bam_attention a = describe(c, 1 / sqrt((double)c.K));
  const int runs = c.T >= 2048 ? MOST_RUNS : 1; /* shorter ones are for the shim */
  const float forward = measure(stream, runs, [&] { return run_forward(stream, c, t, a, hopper); });
  const float backward = measure(stream, runs,
                                 [&] { return run_backward(stream, c, t, a, hopper); });
  print_time(c, hopper ? "forward on warpgroups" : "forward", 1, forward);
  print_time(c, hopper ? "backward on warpgroups" : "backward", 2.5, backward);
  return forward > 0 && backward > 0;
}

static void time_case(bam_stream stream, const kernel_choice &kernels, const attention_case &c) {
  const device_tensors t(c);
  bf16_numbers qkv = draw_numbers(t.qkv.count, 1), dy = draw_numbers(t.dy.count, 1);
  t.qkv.put(qkv.stored);
  t.dy.put(dy.stored);
  put_first(c, t);
  cudaMemset(t.delta.at, 0, (size_t)t.delta.count * sizeof(float));
  bool good = true;
  if (kernels.mma)
    good &= time_passes(stream, c, t, false);
  if (kernels.hopper)
    good &= time_passes(stream, c, t, true);
  check(good, "B %d, T %d, H %d, G %d, K %d%s", c.B, c.T, c.H, c.G, c.K,
        documents_names[c.documents]);
  free_bf16(qkv);
  free_bf16(dy);
}

static void time_all(bam_stream stream, const kernel_choice &kernels, int T) {
  const int B = T >= 2048 ? 16384 / T > 0 ? 16384 / T : 1 : 1;
  const document_kind kinds[] = { ONE, FOUR };
  for (document_kind documents : kinds) {
    time_case(stream, kernels, { B, T, 16, 4, 64, 0, documents, false });
    time_case(stream, kernels, { B, T, 18, 6, 128, 0, documents, false });
    if (T >= 2048)
      time_case(stream, kernels, { B, T, 72, 24, 128, 0, documents, false });
  }
}

static void test_all(bam_stream stream, const kernel_choice &kernels, int K) {
  const int times[] = { 1, 15, 63, 64, 65, 128, 130, 257 };
  for (int T : times)
    test_case(stream, kernels, { 1, T, 2, 1, K, 0, ONE, false }, false);
  test_case(stream, kernels, { 2, 100, 6, 2, K, 0, ONE, false }, false);
  test_case(stream, kernels, { 2, 70, 3, 3, K, 0, ONE, true }, false);
  const int windows[] = { 1, 17, 63, 64, 150 };
  for (int window : windows)
    test_case(stream, kernels, { 1, 230, 1, 1, K, window, ONE, false }, false);
  for (int d = RUNS; d <= FAR; d++)
    test_case(stream, kernels, { 1, 300, 2, 1, K, 0, (document_kind)d, d == FAR }, false);
  test_case(stream, kernels, { 2, 200, 2, 2, K, 40, RUNS, false }, true);
  test_case(stream, kernels, { 1, 200, 2, 2, K, 90, MIXED, true }, true);
}

int main(int n, char **arguments) {
  bam_stream_state stream = {};
  open_device(&stream);
  const bool named = n > 1 && arguments[1][0] != '-';
  const bool mma = !named || strcmp(arguments[1], "mma") == 0,
             there = bam_cuda_attention_hopper_runs(&stream);
  const kernel_choice kernels = { mma, there && (!mma || !named) };
  if (!mma)
    check(there, "the device and the program have attention on warpgroups");
  if (n > 2 && strcmp(arguments[n - 2], "--time") == 0)
    time_all(&stream, kernels, atoi(arguments[n - 1]));
  else
    for (int K = 64; K <= 128; K += 64)
      test_all(&stream, kernels, K);
  cudaStreamDestroy(stream.queue);
  return report();
}
