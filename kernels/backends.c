/* The table of compiled-in backends. No other file knows their names. */
#include "device.h"

#ifdef BAM_HAS_CUDA
extern const bam_backend bam_cuda_backend;
#endif

const bam_backend *const bam_backends[] = {
#ifdef BAM_HAS_CUDA
  &bam_cuda_backend,
#endif
  NULL
};
