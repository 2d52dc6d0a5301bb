/* Matrix products of bamlua beside those of OpenBLAS and oneDNN, where they are installed:

     build/bench_products [ROUNDS]

   Shapes are those of the demo's layers, forward, backward and of the gradients of weights, with operands in the cache.
   Each round measures every side in a process of its own, one after the other, so that their threads do not meet and
   whatever else the machine does meets them all. Prints medians of the rounds. */
#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kernels/cpu/features.h"
#include "../../kernels/device.h"

void bam_device_init_cpu(bam_device *device, bool plain);

enum { SIDES = 3, MOST_ROUNDS = 25 };
#define SECONDS 0.02 /* of one measurement */

/* C[m x n] = op(A) op(B). */
typedef struct shape {
  int m, n, k;
  bool transpose_a, transpose_b;
} shape;

static const shape shapes[] = {
  { 512, 512, 512, false, false },   { 1024, 1024, 1024, false, false },
  { 2048, 384, 128, false, true },   { 2048, 704, 128, false, true },
  { 2048, 128, 352, false, true },   { 2048, 2048, 128, false, true },
  { 2048, 128, 384, false, false },  { 2048, 352, 128, false, false },
  { 2048, 128, 2048, false, false }, { 384, 128, 2048, true, false },
  { 704, 128, 2048, true, false },   { 128, 352, 2048, true, false },
  { 2048, 1536, 512, false, true },  { 2048, 512, 1408, false, true },
  { 1536, 512, 2048, true, false },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* ---- sides ---- */

typedef void multiply(const shape *s, float *c, const float *a, const float *b);

static bam_device cpu;

static int row_of_a(const shape *s) { return s->transpose_a ? s->m : s->k; }
static int row_of_b(const shape *s) { return s->transpose_b ? s->k : s->n; }

static void multiply_own(const shape *s, float *c, const float *a, const float *b) {
  const bam_gemm g = { .transpose_a = s->transpose_a,
                       .transpose_b = s->transpose_b,
                       .m = s->m,
                       .n = s->n,
                       .k = s->k,
                       .lda = row_of_a(s),
                       .ldb = row_of_b(s),
                       .ldc = s->n,
                       .alpha = 1,
                       .batch = 1 };
  cpu.kernels[BAM_F32]->gemm(cpu.stream, &g, c, a, b);
}

static void (*cblas_sgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k,
                           float alpha, const float *a, int lda, const float *b, int ldb,
                           float beta, float *c, int ldc);

static void multiply_openblas(const shape *s, float *c, const float *a, const float *b) {
  enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
  cblas_sgemm(ROW_MAJOR, s->transpose_a ? TRANSPOSED : PLAIN, s->transpose_b ? TRANSPOSED : PLAIN,
              s->m, s->n, s->k, 1, a, row_of_a(s), b, row_of_b(s), 0, c, s->n);
}

static int (*dnnl_sgemm)(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k,
                         float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                         float beta, float *c, int64_t ldc);

static void multiply_onednn(const shape *s, float *c, const float *a, const float *b) {
  dnnl_sgemm(s->transpose_a ? 'T' : 'N', s->transpose_b ? 'T' : 'N', s->m, s->n, s->k, 1, a,
             row_of_a(s), b, row_of_b(s), 0, c, s->n);
}

/* A function of a shared library, or NULL. */
static void *find(const char *library, const char *function) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  return handle != NULL ? dlsym(handle, function) : NULL;
}

static const char *const names[SIDES] = { "bamlua", "OpenBLAS", "oneDNN" };

/* Load a side; NULL: it is not installed. */
static multiply *open_side(int side) {
  if (side == 0) {
    bam_device_init_cpu(&cpu, false);
    return multiply_own;
  }
  /* OpenBLAS 0.3.21 does not know newer CPUs, and then takes SSE3. */
  setenv("OPENBLAS_CORETYPE", bam_isa_usable() == BAM_AVX512 ? "SkylakeX" : "Haswell", 0);
  void *function = side == 1 ? find("libopenblas.so.0", "cblas_sgemm")
                             : find("libdnnl.so.2", "dnnl_sgemm");
  memcpy(side == 1 ? (void *)&cblas_sgemm : (void *)&dnnl_sgemm, &function, sizeof function);
  return function == NULL ? NULL : side == 1 ? multiply_openblas : multiply_onednn;
}

/* ---- measuring ---- */

static int compare(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *x, int count) {
  qsort(x, (size_t)count, sizeof *x, compare);
  return x[count / 2];
}

static float *filled(int64_t count) {
  float *x = aligned_alloc(64, (size_t)(count + 15) / 16 * 64);
  for (int64_t i = 0; x != NULL && i < count; i++)
    x[i] = (float)(i % 17) / 17 - 0.5F;
  return x;
}

/* GFLOP/s of the median call; 0: no memory. */
static double rate_of(multiply *run, const shape *s) {
  enum { CALLS = 1000 };
  double seconds[CALLS];
  float *a = filled((int64_t)s->m * s->k), *b = filled((int64_t)s->k * s->n);
  float *c = filled((int64_t)s->m * s->n);
  int calls = 0;
  const double end = omp_get_wtime() + SECONDS;
  if (a != NULL && b != NULL && c != NULL)
    for (run(s, c, a, b); calls < CALLS && (calls < 5 || omp_get_wtime() < end); calls++) {
      const double start = omp_get_wtime();
      run(s, c, a, b);
      seconds[calls] = omp_get_wtime() - start;
    }
  free(a), free(b), free(c);
  return calls > 0 ? 2e-9 * s->m * s->n * s->k / median(seconds, calls) : 0;
}

/* In a process of its own: the rates of one side to `out`, or nothing where it is not installed. */
static void measure_side(int side, int out) {
  multiply *run = open_side(side);
  double rates[SHAPES];
  if (run == NULL)
    _exit(0);
  for (int i = 0; i < SHAPES; i++)
    rates[i] = rate_of(run, &shapes[i]);
  _exit(write(out, rates, sizeof rates) == (ssize_t)sizeof rates ? 0 : 1);
}

static bool measure(int side, double rates[SHAPES]) {
  int ends[2];
  if (pipe(ends) != 0)
    return false;
  const pid_t child = fork();
  if (child == 0)
    measure_side(side, ends[1]);
  close(ends[1]);
  const bool measured = child > 0 && read(ends[0], rates, sizeof(double[SHAPES])) ==
                                       (ssize_t)sizeof(double[SHAPES]);
  close(ends[0]);
  if (child > 0)
    waitpid(child, NULL, 0);
  return measured;
}

static void print(double rates[SIDES][SHAPES][MOST_ROUNDS], int rounds, const bool present[SIDES]) {
  for (int i = 0; i < SHAPES; i++) {
    const shape *s = &shapes[i];
    double best = 0, own = median(rates[0][i], rounds);
    printf("| %dx%d%s · %dx%d%s | %.0f |", s->m, s->k, s->transpose_a ? " transposed" : "", s->k,
           s->n, s->transpose_b ? " transposed" : "", own);
    for (int side = 1; side < SIDES; side++) {
      const double rate = present[side] ? median(rates[side][i], rounds) : 0;
      best = rate > best ? rate : best;
      printf(" %.0f |", rate);
    }
    printf(" **%.2f** |\n", best > 0 ? own / best : 0);
  }
}

int main(int count, char **arguments) {
  static double rates[SIDES][SHAPES][MOST_ROUNDS];
  bool present[SIDES] = { false };
  const int rounds = count > 1 ? atoi(arguments[1]) : 5;
  if (rounds < 1 || rounds > MOST_ROUNDS) {
    fprintf(stderr, "bench_products: %d rounds; give 1 to %d\n", rounds, MOST_ROUNDS);
    return 1;
  }
  for (int round = 0; round < rounds; round++)
    for (int side = 0; side < SIDES; side++) {
      double taken[SHAPES];
      if (round > 0 && !present[side])
        continue;
      present[side] = measure(side, taken);
      for (int i = 0; present[side] && i < SHAPES; i++)
        rates[side][i][round] = taken[i];
    }
  for (int side = 0; side < SIDES; side++)
    if (!present[side])
      printf("%s is not installed, or could not be measured\n", names[side]);
  printf("GFLOP/s, %d threads, medians of %d rounds\n\n", omp_get_max_threads(), rounds);
  printf("| product | bamlua | OpenBLAS | oneDNN | to the best |\n|---|---|---|---|---|\n");
  print(rates, rounds, present);
  return present[0] ? 0 : 1;
}
