/* The peak of this pass's instruction set: how many multiply-adds a thread makes per second when
   nothing waits for memory. Progress and benchmarks show their rates as shares of it. */
#include <omp.h>

#include "cpu.h"

#define CHAINS 12
#define RUNS 20
#define ROUNDS 20000 /* in a run: some hundred microseconds */
#if defined __AVX512F__
#define BYTES 64
#elif defined __AVX__
#define BYTES 32
#else
#define BYTES 16
#endif
typedef real vector __attribute__((vector_size(BYTES)));

/* Independent sums, enough to hide the latency of a multiply-add on every pipe. They are named
   variables, not an array, so that they stay in registers. */
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define DECLARE(i) vector s##i = a * (real)i;
#define STEP(i) s##i = s##i * a + b;
#define KEEP(i) __asm__("" : "+v"(s##i)); /* or the compiler finds the closed form */
#define SUM(i) +s##i

static real chains(void) {
  vector a = { 0 }, b = { 0 };
  a += (real)0.999;
  b += (real)0.001;
  EACH(DECLARE)
  for (int r = 0; r < ROUNDS; r++) {
    EACH(STEP)
    EACH(KEEP)
  }
  vector sum = EACH(SUM);
  return sum[0];
}

/* Seconds of the best of several runs on the calling thread. */
static double best_run(void) {
  double best = 1e9;
  for (int run = 0; run < RUNS; run++) {
    double start = omp_get_wtime();
    real result = chains();
    __asm__ volatile("" : : "m"(result)); /* or nothing would be computed */
    double seconds = omp_get_wtime() - start;
    best = seconds < best ? seconds : best;
  }
  return best;
}

double KERNEL(peak)(void) {
  double total = 0;
#pragma omp parallel reduction(+ : total)
  total += 2.0 * CHAINS * ROUNDS * (BYTES / sizeof(real)) / best_run();
  return total;
}
