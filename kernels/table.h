/* The kernel table of one pass, made from the list. Included, after KERNEL is defined, by the file
   of each device that is compiled for every pass. */
#include "kernels.h"
#include "real.h"

#ifndef BAM_LINKAGE /* until all kernels of a new device are there */
#define BAM_LINKAGE
#endif
#define DECLARE(name, parameters) void KERNEL(name) parameters BAM_LINKAGE;
#define ENTRY(name, parameters) .name = KERNEL(name),

BAM_KERNELS_ANY(DECLARE)
#if BAM_FLOATING
BAM_KERNELS_REAL(DECLARE)
#endif

extern const bam_kernels KERNEL(table);
const bam_kernels KERNEL(table) = {
  BAM_KERNELS_ANY(ENTRY)
#if BAM_FLOATING
  BAM_KERNELS_REAL(ENTRY)
#endif
};
