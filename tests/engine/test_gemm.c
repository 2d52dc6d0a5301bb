/* The CPU's matrix products, in every instruction set that this machine has: random shapes, layouts and factors against
   loops in double precision, with a guard page after every operand. BAMLUA_GEMM_CASES sets the number of cases. */
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../../kernels/cpu/features.h"
#include "../../kernels/cpu/workspace.h"
#include "fixture.h"

TestSuite(gemm, .init = fixture_open, .fini = fixture_close);

typedef void gemm_kernel(bam_stream stream, const bam_gemm *gemm, void *c, const void *a,
                         const void *b);
typedef void grouped_kernel(bam_stream stream, const bam_grouped_gemm *gemm, void *c, const void *a,
                            const void *b, const int64_t *offsets);

/* Weak: a build may have fewer instruction sets (ISAS in the Makefile). */
#define DECLARE(isa, type)                                                \
  extern __attribute__((weak)) gemm_kernel bam_cpu_##isa##_##type##_gemm; \
  extern __attribute__((weak)) grouped_kernel bam_cpu_##isa##_##type##_grouped_gemm
DECLARE(baseline, f32);
DECLARE(baseline, f64);
DECLARE(avx2, f32);
DECLARE(avx2, f64);
DECLARE(avx512, f32);
DECLARE(avx512, f64);

typedef struct kernel_set {
  bam_isa isa;
  gemm_kernel *gemm[2]; /* f32, f64 */
  grouped_kernel *grouped[2];
} kernel_set;

#define SET(id, isa)                                                     \
  {                                                                      \
    id, { bam_cpu_##isa##_f32_gemm, bam_cpu_##isa##_f64_gemm }, {        \
      bam_cpu_##isa##_f32_grouped_gemm, bam_cpu_##isa##_f64_grouped_gemm \
    }                                                                    \
  }

/* Those that are compiled in and that this CPU can run. Returns their number. */
static int kernel_sets(kernel_set out[3]) {
  const kernel_set all[] = { SET(BAM_BASELINE, baseline), SET(BAM_AVX2, avx2),
                             SET(BAM_AVX512, avx512) };
  int count = 0;
  for (int i = 0; i < 3; i++)
    if (all[i].gemm[0] != NULL && all[i].isa <= bam_isa_usable())
      out[count++] = all[i];
  return count;
}

/* ---- operands ---- */

/* `count` elements that end where an unreadable page begins. */
typedef struct guarded {
  char *pages, *data;
  size_t mapped;
} guarded;

static guarded guard(int64_t count, size_t size) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (size_t)count * size;
  guarded g = { .mapped = (bytes + page - 1) / page * page + page };
  g.pages = mmap(NULL, g.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert(g.pages != MAP_FAILED);
  cr_assert(mprotect(g.pages + g.mapped - page, page, PROT_NONE) == 0);
  g.data = g.pages + g.mapped - page - bytes;
  return g;
}

static void release(guarded g) { munmap(g.pages, g.mapped); }

static double get(const guarded *g, bool wide, int64_t i) {
  return wide ? ((double *)(void *)g->data)[i] : (double)((float *)(void *)g->data)[i];
}

static void put(const guarded *g, bool wide, int64_t i, double value) {
  if (wide)
    ((double *)(void *)g->data)[i] = value;
  else
    ((float *)(void *)g->data)[i] = (float)value;
}

static int64_t pick(int64_t low, int64_t high) { return low + rand() % (high - low + 1); }

/* Halves between -2 and 2: most products are exact, and errors of a whole term show. */
static void fill(const guarded *g, bool wide, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    put(g, wide, i, (double)pick(-4, 4) / 2);
}

/* ---- random products ---- */

/* Mostly small; sometimes beyond a tile, a strip of columns or a block of the depth. */
static int64_t pick_size(void) {
  const int64_t most[] = { 4, 16, 40, 40, 100, 300 };
  return pick(1, most[pick(0, 5)]);
}

/* Like a gradient of weights: deep, and A stored transposed with rows far apart. */
static void make_deep(bam_gemm *g) {
  g->transpose_a = true;
  g->transpose_b = pick(0, 3) == 0;
  g->k = pick(700, 1000);
}

static bam_gemm pick_gemm(void) {
  bam_gemm g = { .transpose_a = pick(0, 1),
                 .transpose_b = pick(0, 1),
                 .m = pick_size(),
                 .n = pick_size(),
                 .k = pick(0, 30) == 0 ? 0 : pick_size(),
                 .alpha = pick(0, 1) ? 1 : -0.5,
                 .beta = (double)pick(0, 2) / 2,
                 .batch = pick(0, 3) ? 1 : pick(0, 5) };
  if (pick(0, 7) == 0)
    make_deep(&g);
  while (g.m * g.n * g.k > 1000000)
    *(pick(0, 1) ? &g.m : &g.n) = pick(1, 40);
  g.lda = (g.transpose_a ? g.m : g.k) + pick(0, 3) + 1 + (g.k >= 700 ? pick(0, 700) : 0);
  g.ldb = (g.transpose_b ? g.k : g.n) + pick(0, 3);
  g.ldb += g.ldb == 0;
  g.ldc = g.n + pick(0, 3);
  g.stride_a = pick(0, 5) ? g.lda * ((g.transpose_a ? g.k : g.m) + pick(0, 1)) : 0;
  g.stride_b = pick(0, 5) ? g.ldb * ((g.transpose_b ? g.n : g.k) + pick(0, 1)) : 0;
  g.stride_c = g.ldc * g.m;
  return g;
}

/* Elements up to the last one that the product may touch: rows need not be whole. */
static int64_t extent(int64_t rows, int64_t columns, int64_t ld, int64_t batch, int64_t stride) {
  return rows > 0 && columns > 0 && batch > 0 ? (batch - 1) * stride + (rows - 1) * ld + columns
                                              : 0;
}

static double dot(const bam_gemm *g, bool wide, const guarded *a, const guarded *b, int64_t entry,
                  int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t p = 0; p < g->k; p++)
    sum += get(a, wide, entry * g->stride_a + (g->transpose_a ? p * g->lda + i : i * g->lda + p)) *
           get(b, wide, entry * g->stride_b + (g->transpose_b ? j * g->ldb + p : p * g->ldb + j));
  return sum;
}

/* Everything in C, what lies between its rows included. */
static void check(const bam_gemm *g, bool wide, const guarded *a, const guarded *b,
                  const guarded *before, const guarded *c, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const int64_t entry = i / g->stride_c, row = i % g->stride_c / g->ldc, column = i % g->ldc;
    const double was = get(before, wide, i), is = get(c, wide, i);
    double want = was;
    if (column < g->n)
      want = g->alpha * dot(g, wide, a, b, entry, row, column) + (g->beta == 0 ? 0 : g->beta * was);
    cr_assert(is == want || (isnan(is) && isnan(want)),
              "%lld x %lld x %lld, transposed %d %d, batch %lld, alpha %g, beta %g, f%d: C[%lld, "
              "%lld, %lld] is %g, not %g",
              (long long)g->m, (long long)g->n, (long long)g->k, g->transpose_a, g->transpose_b,
              (long long)g->batch, g->alpha, g->beta, wide ? 64 : 32, (long long)entry,
              (long long)row, (long long)column, is, want);
  }
}

static void try_one(gemm_kernel *kernel, bool wide) {
  const bam_gemm g = pick_gemm();
  const size_t size = wide ? sizeof(double) : sizeof(float);
  const int64_t na = g.transpose_a ? extent(g.k, g.m, g.lda, g.batch, g.stride_a)
                                   : extent(g.m, g.k, g.lda, g.batch, g.stride_a);
  const int64_t nb = g.transpose_b ? extent(g.n, g.k, g.ldb, g.batch, g.stride_b)
                                   : extent(g.k, g.n, g.ldb, g.batch, g.stride_b);
  const int64_t nc = extent(g.m, g.n, g.ldc, g.batch, g.stride_c);
  guarded a = guard(na, size), b = guard(nb, size), c = guard(nc, size), before = guard(nc, size);
  fill(&a, wide, na);
  fill(&b, wide, nb);
  for (int64_t i = 0; i < nc; i++)
    put(&c, wide, i, g.beta == 0 ? (double)NAN : (double)pick(-4, 4));
  memcpy(before.data, c.data, (size_t)nc * size);
  omp_set_num_threads((int)pick(1, 5));
  kernel(NULL, &g, c.data, a.data, b.data);
  check(&g, wide, &a, &b, &before, &c, nc);
  release(a), release(b), release(c), release(before);
}

Test(gemm, random_products) {
  const char *text = getenv("BAMLUA_GEMM_CASES");
  const long cases = text != NULL ? atol(text) : 10000;
  const int threads = omp_get_max_threads();
  kernel_set sets[3];
  const int count = kernel_sets(sets);
  srand(1);
  for (long i = 0; i < cases; i++)
    try_one(sets[i % count].gemm[i / count % 2], i / count % 2);
  omp_set_num_threads(threads);
}

/* ---- bits ---- */

static void fill_normal(float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    x[i] = (float)rand() / (float)RAND_MAX - 0.5f;
}

/* The same bits on any number of threads, and in a part of C that is computed alone. */
Test(gemm, bits) {
  enum { M = 150, N = 210, K = 700 };
  float *a = malloc(sizeof(float[M * K])), *b = malloc(sizeof(float[K * N]));
  float *c = malloc(sizeof(float[M * N])), *other = malloc(sizeof(float[M * N]));
  fill_normal(a, M * K);
  fill_normal(b, K * N);
  kernel_set sets[3];
  const int count = kernel_sets(sets), most = omp_get_max_threads();
  for (int s = 0; s < count; s++) {
    bam_gemm g = { .m = M, .n = N, .k = K, .lda = K, .ldb = N, .ldc = N, .alpha = 1, .batch = 1 };
    omp_set_num_threads(1);
    sets[s].gemm[0](NULL, &g, c, a, b);
    for (int threads = 2; threads <= 7; threads++) {
      omp_set_num_threads(threads);
      sets[s].gemm[0](NULL, &g, other, a, b);
      cr_assert(memcmp(c, other, sizeof(float[M * N])) == 0, "%d threads", threads);
    }
    for (int i = 0; i < 100; i++) {
      const int64_t row = pick(0, M - 2), column = pick(0, N - 2);
      g.m = pick(2, M - row);
      g.n = pick(2, N - column);
      sets[s].gemm[0](NULL, &g, other, a + row * K, b + column);
      for (int64_t r = 0; r < g.m; r++)
        cr_assert(memcmp(c + (row + r) * N + column, other + r * N, sizeof(float) * (size_t)g.n) ==
                  0);
    }
  }
  omp_set_num_threads(most);
  free(a), free(b), free(c), free(other);
}

/* A gradient of weights has the bits of the plain product. */
Test(gemm, transposed_bits) {
  enum { M = 150, N = 210, K = 900, LDA = 600 };
  float *a = malloc(sizeof(float[M * K])), *stored = malloc(sizeof(float[K * LDA]));
  float *b = malloc(sizeof(float[K * N])), *c = malloc(sizeof(float[M * N]));
  float *other = malloc(sizeof(float[M * N]));
  fill_normal(a, M * K);
  fill_normal(b, K * N);
  for (int i = 0; i < M; i++)
    for (int p = 0; p < K; p++)
      stored[p * LDA + i] = a[i * K + p];
  kernel_set sets[3];
  const int count = kernel_sets(sets), most = omp_get_max_threads();
  for (int s = 0; s < count; s++)
    for (int threads = 1; threads <= 7; threads += 2)
      for (int add = 0; add < 2; add++) {
        bam_gemm g = { .m = M,
                       .n = N,
                       .k = K,
                       .lda = K,
                       .ldb = N,
                       .ldc = N,
                       .alpha = -0.3,
                       .beta = add * 0.7,
                       .batch = 1 };
        omp_set_num_threads(threads);
        for (int64_t i = 0; i < M * N; i++)
          c[i] = other[i] = (float)i * 0.001f;
        sets[s].gemm[0](NULL, &g, c, a, b);
        g.transpose_a = true;
        g.lda = LDA;
        sets[s].gemm[0](NULL, &g, other, stored, b);
        cr_assert(memcmp(c, other, sizeof(float[M * N])) == 0, "%d threads", threads);
      }
  omp_set_num_threads(most);
  free(a), free(stored), free(b), free(c), free(other);
}

/* ---- memory ---- */

enum { SIDE = 800, WIDTH = 200, STACK = 229376 };

/* Products of one thread, in two layouts. */
typedef struct thread_products {
  const kernel_set *set;
  bool memory; /* whether it can allocate its workspace */
  const float *a, *b;
  float *c[2];
} thread_products;

static void *multiply_in_thread(void *argument) {
  const thread_products *t = argument;
  struct rlimit before;
  omp_set_num_threads(1);
  cr_assert(getrlimit(RLIMIT_AS, &before) == 0);
  const struct rlimit none = { 0, before.rlim_max };
  cr_assert(t->memory || setrlimit(RLIMIT_AS, &none) == 0);
  cr_assert((bam_cpu_workspace() != NULL) == t->memory);
  cr_assert(setrlimit(RLIMIT_AS, &before) == 0);
  for (int transposed = 0; transposed < 2; transposed++) {
    const bam_gemm g = { .transpose_a = transposed,
                         .m = SIDE,
                         .n = WIDTH,
                         .k = SIDE,
                         .lda = SIDE,
                         .ldb = WIDTH,
                         .ldc = WIDTH,
                         .alpha = 1,
                         .batch = 1 };
    t->set->gemm[0](NULL, &g, t->c[transposed], t->a, t->b);
  }
  return NULL;
}

/* In a new thread, whose stack is smaller than what is packed at a time. */
static void run_thread(thread_products *t) {
  pthread_attr_t small;
  pthread_t thread;
  t->c[0] = malloc(sizeof(float[SIDE * WIDTH]));
  t->c[1] = malloc(sizeof(float[SIDE * WIDTH]));
  cr_assert(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, STACK) == 0);
  cr_assert(pthread_create(&thread, &small, multiply_in_thread, t) == 0);
  cr_assert(pthread_join(thread, NULL) == 0);
  pthread_attr_destroy(&small);
}

/* A small stack is enough, and the bits are the same when there is no memory for a workspace. */
Test(gemm, small_stack) {
  float *a = malloc(sizeof(float[SIDE * SIDE])), *b = malloc(sizeof(float[SIDE * WIDTH]));
  fill_normal(a, SIDE * SIDE);
  fill_normal(b, SIDE * WIDTH);
  kernel_set sets[3];
  const int count = kernel_sets(sets);
  for (int s = 0; s < count; s++) {
    thread_products with = { &sets[s], true, a, b, { NULL } },
                    without = { &sets[s], false, a, b, { NULL } };
    run_thread(&with);
    run_thread(&without);
    for (int i = 0; i < 2; i++) {
      cr_assert(memcmp(with.c[i], without.c[i], sizeof(float[SIDE * WIDTH])) == 0);
      free(with.c[i]), free(without.c[i]);
    }
  }
  free(a), free(b);
}

/* ---- experts ---- */

/* Against one product per expert, which gives the same bits. */
static void try_experts(const kernel_set *set, bool weights) {
  enum { EXPERTS = 5 };
  const int64_t n = pick_size(), k = pick_size();
  int64_t offsets[EXPERTS + 1] = { 0 };
  for (int e = 0; e < EXPERTS; e++)
    offsets[e + 1] = offsets[e] + (pick(0, 3) ? pick_size() : 0);
  const int64_t rows = offsets[EXPERTS];
  const bam_grouped_gemm grouped = { EXPERTS, n,          k,    !weights && pick(0, 1),
                                     weights, pick(0, 1), false };
  const int64_t nb = weights ? rows * k : EXPERTS * n * k,
                nc = weights ? EXPERTS * n * k : rows * n;
  const int64_t na = rows * (weights ? n : k);
  guarded a = guard(na, 4), b = guard(nb, 4), c = guard(nc, 4), want = guard(nc, 4);
  fill_normal((float *)(void *)a.data, na);
  fill_normal((float *)(void *)b.data, nb);
  fill_normal((float *)(void *)c.data, nc);
  memcpy(want.data, c.data, (size_t)nc * 4);
  omp_set_num_threads((int)pick(1, 5));
  set->grouped[0](NULL, &grouped, c.data, a.data, b.data, offsets);
  for (int e = 0; e < EXPERTS; e++) {
    const int64_t from = offsets[e], own = offsets[e + 1] - from;
    bam_gemm g = { .transpose_b = grouped.transpose_b,
                   .m = own,
                   .n = n,
                   .k = k,
                   .lda = k,
                   .ldb = grouped.transpose_b ? k : n,
                   .ldc = n,
                   .alpha = 1,
                   .beta = grouped.add,
                   .batch = 1 };
    if (weights)
      g = (bam_gemm){ .transpose_a = true,
                      .m = n,
                      .n = k,
                      .k = own,
                      .lda = n,
                      .ldb = k,
                      .ldc = k,
                      .alpha = 1,
                      .beta = grouped.add,
                      .batch = 1 };
    const int64_t matrix = e * n * k;
    set->gemm[0](NULL, &g, want.data + 4 * (weights ? matrix : from * n),
                 a.data + 4 * from * (weights ? n : k), b.data + 4 * (weights ? from * k : matrix));
  }
  for (int64_t i = 0; i < nc; i++)
    cr_assert(fabs(get(&c, false, i) - get(&want, false, i)) <= 1e-4, "%g, not %g",
              get(&c, false, i), get(&want, false, i));
  release(a), release(b), release(c), release(want);
}

Test(gemm, experts) {
  kernel_set sets[3];
  const int count = kernel_sets(sets), threads = omp_get_max_threads();
  srand(2);
  for (int i = 0; i < 1000; i++)
    try_experts(&sets[i % count], i % 2);
  omp_set_num_threads(threads);
}
