/* The CPU as a device: which tables this machine can run, its memory, and
   conversion between dtypes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../device.h"
#include "features.h"

typedef struct {
  bam_isa isa;
  const bam_kernels *f32, *f64;
  double (*peak)(void);
} kernel_set;

#define DECLARE(isa, type) extern const bam_kernels bam_cpu_##isa##_##type##_table;
#define DECLARE_PEAK(isa) double bam_cpu_##isa##_f32_peak(void);
#define SET(id, name) \
  { id, &bam_cpu_##name##_f32_table, &bam_cpu_##name##_f64_table, bam_cpu_##name##_f32_peak },
/* clang-format off */
DECLARE_PEAK(baseline) DECLARE_PEAK(avx2) DECLARE_PEAK(avx512)
DECLARE(baseline, f32) DECLARE(baseline, f64)
DECLARE(avx2, f32) DECLARE(avx2, f64)
DECLARE(avx512, f32) DECLARE(avx512, f64)
DECLARE(baseline, i32) DECLARE(baseline, i64) DECLARE(baseline, u8) DECLARE(baseline, b8)

/* Those compiled in (ISAS in the Makefile), best first. */
static const kernel_set sets[] = {
#ifdef BAM_HAS_avx512
  SET(BAM_AVX512, avx512)
#endif
#ifdef BAM_HAS_avx2
  SET(BAM_AVX2, avx2)
#endif
  SET(BAM_BASELINE, baseline)
};
/* clang-format on */

/* The best kernels that this machine can run. */
static const kernel_set *choose(void) {
  const kernel_set *set = sets;
  while (set->isa > bam_isa_usable())
    set++;
  return set;
}

static void *cpu_alloc(bam_stream stream, int64_t bytes) {
  (void)stream;
  void *data = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                    0);
  if (data == MAP_FAILED)
    return NULL;
  madvise(data, (size_t)bytes, MADV_HUGEPAGE); /* only a hint: a refusal costs nothing */
  return data;
}

/* malloc, so that sanitizers and valgrind watch every single block. */
static void *plain_alloc(bam_stream stream, int64_t bytes) {
  (void)stream;
  void *data;
  return posix_memalign(&data, 64, (size_t)bytes) == 0 ? data : NULL;
}

static void plain_free(bam_stream stream, void *data, int64_t bytes) {
  (void)stream;
  (void)bytes;
  free(data);
}

static void cpu_free(bam_stream stream, void *data, int64_t bytes) {
  (void)stream;
  munmap(data, (size_t)bytes);
}

static void cpu_copy(bam_stream stream, void *to, const void *from, int64_t bytes) {
  (void)stream;
  memcpy(to, from, (size_t)bytes);
}

static void cpu_synchronize(bam_stream stream) { (void)stream; }

/* Threads that wait for work spin for some microseconds and then sleep. libgomp's own default spins
   for milliseconds, which on a machine with other work on it takes the core that the awaited thread
   needs: training beside one busy process was four times slower. libgomp reads this before main,
   hence the early constructor; what the user has set stays. */
__attribute__((constructor(101))) static void wait_briefly(void) {
  if (getenv("OMP_WAIT_POLICY") == NULL)
    setenv("GOMP_SPINCOUNT", "2000", 0);
}

void bam_device_init_cpu(bam_device *device, bool plain) {
  const kernel_set *best = choose();
  *device = (bam_device){
    .name = "cpu",
    .isa = bam_isa_name(best->isa),
    .is_host = true,
    .peak = best->peak,
    .system_alloc = plain ? plain_alloc : cpu_alloc,
    .system_free = plain ? plain_free : cpu_free,
    .copy_in = cpu_copy,
    .copy_out = cpu_copy,
    .convert = bam_cpu_convert,
    .synchronize = cpu_synchronize,
    .kernels = { [BAM_BOOL] = &bam_cpu_baseline_b8_table,
                 [BAM_U8] = &bam_cpu_baseline_u8_table,
                 [BAM_I32] = &bam_cpu_baseline_i32_table,
                 [BAM_I64] = &bam_cpu_baseline_i64_table,
                 [BAM_F32] = best->f32,
                 [BAM_F64] = best->f64 },
  };
}

const char *bam_device_describe_cpu(void) { return bam_isa_name(choose()->isa); }
