/* Defines the kernel table of one dtype from the list of kernels. Include it after defining KERNEL, in the
   file of each device that is compiled once per dtype. */
#include "kernels.h"
#include "real.h"

#define DECLARE(name, parameters) void KERNEL(name) parameters;
#define ENTRY(name, parameters) .name = KERNEL(name),

BAM_KERNELS_ANY(DECLARE)
#if BAM_FLOATING
BAM_KERNELS_REAL(DECLARE)
#endif

extern const bam_kernels KERNEL(table);
const bam_kernels KERNEL(table) = { BAM_KERNELS_ANY(ENTRY)
#if BAM_FLOATING
                                      BAM_KERNELS_REAL(ENTRY)
#endif
};
