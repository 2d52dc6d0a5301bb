/* Which instruction set this CPU has, asked of the CPU itself; and the choice of OpenBLAS's kernels.

   OpenBLAS knows CPUs by their model numbers. One that is newer than the library gets kernels of
   twenty years ago, which are several times slower, without a word. So this file chooses for it,
   by features, before it starts. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "features.h"

extern char *openblas_get_corename(void); /* of OpenBLAS; cblas.h may lack it */

static const char *const isa_names[] = { "baseline", "avx2", "avx512" };

/* OpenBLAS's kernels for each; the first is the one to ask for. An old CPU is left to OpenBLAS,
   whose baseline has many. */
static const char *const cores[][4] = {
  [BAM_AVX2] = { "Haswell", "Zen" },
  [BAM_AVX512] = { "SkylakeX", "Cooperlake", "SapphireRapids" },
};

/* Address space that OpenBLAS maps for each thread, with something to spare. */
#define OPENBLAS_BUFFER ((size_t)136 << 20)

static bool core_was_set_here;

const char *bam_isa_name(bam_isa isa) { return isa_names[isa]; }

static bam_isa isa_of_cpu(void) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512cd"))
    return BAM_AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2"))
    return BAM_AVX2;
  return BAM_BASELINE;
}

bam_isa bam_isa_usable(void) {
  const char *limit = getenv("BAMLUA_ISA");
  bam_isa isa = isa_of_cpu();
  for (bam_isa lesser = BAM_BASELINE; limit != NULL && lesser < isa; lesser++)
    if (strcmp(isa_names[lesser], limit) == 0)
      return lesser;
  return isa;
}

const char *bam_openblas_core(void) { return openblas_get_corename(); }

bam_isa bam_openblas_isa(void) {
  for (bam_isa isa = BAM_AVX2; isa <= BAM_AVX512; isa++)
    for (int i = 0; i < 4 && cores[isa][i] != NULL; i++)
      if (strcasecmp(cores[isa][i], bam_openblas_core()) == 0)
        return isa;
  return BAM_BASELINE;
}

/* Early, since OpenBLAS reads the variable in a constructor. What the user has set stays. */
__attribute__((constructor(101))) static void choose_openblas_core(void) {
  bam_isa isa = bam_isa_usable();
  if (isa == BAM_BASELINE || getenv("OPENBLAS_CORETYPE") != NULL)
    return;
  core_was_set_here = setenv("OPENBLAS_CORETYPE", cores[isa][0], 0) == 0;
}

/* How many threads OpenBLAS will prepare for. */
static int openblas_threads(void) {
  static const char *const variables[] = { "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS" };
  cpu_set_t cpus;
  int available = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
  for (int i = 0; i < 2; i++) {
    const char *text = getenv(variables[i]);
    int wanted = text != NULL ? atoi(text) : 0;
    if (wanted > 0)
      return wanted < available ? wanted : available;
  }
  return available;
}

/* OpenBLAS maps a buffer per thread as it starts, and tries forever where the address space is
   limited (ulimit -v). So look whether there is room, and say so where there is none. */
__attribute__((constructor(101))) static void check_address_space(void) {
  size_t bytes = (size_t)openblas_threads() * OPENBLAS_BUFFER;
  void *room = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room != MAP_FAILED) {
    munmap(room, bytes);
    return;
  }
  fprintf(stderr,
          "bamlua: cannot start: OpenBLAS needs %zu MB of address space for its %d threads, and "
          "there is less (ulimit -v); raise the limit or set OMP_NUM_THREADS=1\n",
          bytes >> 20, openblas_threads());
  _exit(EXIT_FAILURE);
}

void bam_openblas_clean_environment(void) {
  if (core_was_set_here)
    unsetenv("OPENBLAS_CORETYPE");
  core_was_set_here = false;
}
