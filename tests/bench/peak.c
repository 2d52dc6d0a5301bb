/* How many floating-point operations all cores do per second when nothing waits for memory, a
   multiply-add counted as two: prints GFLOP/s, the sum over threads of the best of many short runs.
   The yardstick of the benchmark, compiled for the machine it runs on. */
#include <omp.h>
#include <stdio.h>

#define CHAINS 12
#define RUNS 100
#define ROUNDS 100000 /* in a run: a fraction of a millisecond */
#if defined __AVX512F__
#define LANES 16
#elif defined __AVX__
#define LANES 8
#else
#define LANES 4
#endif
typedef float vector __attribute__((vector_size(4 * LANES)));

/* Independent sums, enough to hide the latency of a multiply-add on every pipe; they have names so
   that they lie in registers. */
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define DECLARE(i) vector s##i = a * (float)i;
#define STEP(i) s##i = s##i * a + b;
#define KEEP(i) __asm__("" : "+v"(s##i)); /* or the compiler finds the closed form */
#define SUM(i) + s##i

static float chains(void) {
  vector a = { 0 }, b = { 0 };
  a += 0.999f;
  b += 0.001f;
  EACH(DECLARE)
  for (int r = 0; r < ROUNDS; r++) {
    EACH(STEP)
    EACH(KEEP)
  }
  vector sum = EACH(SUM);
  return sum[0];
}

int main(void) {
  double total = 0;
  float sink = 0;
#pragma omp parallel reduction(+ : total, sink)
  {
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
      double start = omp_get_wtime();
      sink += chains();
      double seconds = omp_get_wtime() - start;
      best = seconds < best ? seconds : best;
    }
    total += 2.0 * LANES * CHAINS * ROUNDS / best;
  }
  printf("%.1f\n", sink != 0 ? total * 1e-9 : 0);
  return 0;
}
