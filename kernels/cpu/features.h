/* The instruction set of this CPU, under the limit that the user may set, and its caches. */
#ifndef BAM_CPU_FEATURES_H
#define BAM_CPU_FEATURES_H

#include <stdint.h>

/* Instruction sets, each containing those before it. */
typedef enum { BAM_BASELINE, BAM_AVX2, BAM_AVX512 } bam_isa;

/* "baseline", "avx2", "avx512". */
const char *bam_isa_name(bam_isa isa);

/* The best instruction set of this CPU, or the lesser one that BAMLUA_ISA names. */
bam_isa bam_isa_usable(void);

/* Bytes of the L2 cache of a core: what the machine reports, or 1 MiB if it does not. */
int64_t bam_l2_bytes(void);

#endif
