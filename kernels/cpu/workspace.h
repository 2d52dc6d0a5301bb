/* Memory of a thread for kernels that copy operands: too much for a stack, which may be small. */
#ifndef BAM_CPU_WORKSPACE_H
#define BAM_CPU_WORKSPACE_H

#include <stddef.h>

#define BAM_WORKSPACE_BYTES ((size_t)786432)

/* BAM_WORKSPACE_BYTES that belong to the calling thread, aligned to 64 bytes. They are allocated by the first call of
   each thread and freed when it ends. NULL: there is no memory; the caller must manage with less. */
void *bam_cpu_workspace(void);

#endif
