/* What this CPU can do, under the limit that the user may set, and what OpenBLAS makes of it. */
#ifndef BAM_CPU_FEATURES_H
#define BAM_CPU_FEATURES_H

#include <stdbool.h>

/* Instruction sets, each containing those before it. */
typedef enum { BAM_BASELINE, BAM_AVX2, BAM_AVX512 } bam_isa;

/* "baseline", "avx2", "avx512". */
const char *bam_isa_name(bam_isa isa);

/* The best instruction set of this CPU, or the lesser one that BAMLUA_ISA names. */
bam_isa bam_isa_usable(void);

/* The name of the kernels that OpenBLAS uses ("SkylakeX"), and their instruction set. */
const char *bam_openblas_core(void);
bam_isa bam_openblas_isa(void);

/* Hide OPENBLAS_CORETYPE, where this program has set it itself, from the programs that it starts.
   For when OpenBLAS has read it, which it does before main. */
void bam_openblas_clean_environment(void);

#endif
