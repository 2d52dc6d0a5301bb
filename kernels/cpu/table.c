/* The kernel table of one instruction set and dtype, made from the list. */
#include "cpu.h"

#if defined(BAM_TYPE_f32) || defined(BAM_TYPE_f64)
#define HAS_REAL 1
#else
#define HAS_REAL 0
#endif

#define DECLARE(name, parameters) void KERNEL(name) parameters;
#define ENTRY(name, parameters) .name = KERNEL(name),

BAM_KERNELS_ANY(DECLARE)
#if HAS_REAL
BAM_KERNELS_REAL(DECLARE)
#endif

extern const bam_kernels KERNEL(table);
const bam_kernels KERNEL(table) = {
  BAM_KERNELS_ANY(ENTRY)
#if HAS_REAL
  BAM_KERNELS_REAL(ENTRY)
#endif
};
