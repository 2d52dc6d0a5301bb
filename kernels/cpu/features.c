/* Which instruction set and caches this CPU has. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "features.h"

static const char *const isa_names[] = { "baseline", "avx2", "avx512" };

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

int64_t bam_l2_bytes(void) {
#ifdef _SC_LEVEL2_CACHE_SIZE
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (bytes > 0)
    return bytes;
#endif
  return 1 << 20;
}
