/* The first index with a property, for the host to know. */
#ifndef BAM_CUDA_FIRST_H
#define BAM_CUDA_FIRST_H

#include "cuda.h"

/* *left is n - i for the first i where f(i) is true, else it stays 0: the smallest index is found
   whichever thread comes first. */
template <class F> static __global__ void find_first(unsigned long long *left, int64_t n, F f) {
  BAM_EACH(i, n) {
    if (f(i)) {
      atomicMax(left, (unsigned long long)(n - i));
      break; /* the rest of this thread's come later */
    }
  }
}

/* The first i in 0 .. n-1 where f(i) is true, or -1; waits for what is on the stream. */
template <class F> static int64_t first_index(bam_stream stream, int64_t n, F f) {
  int64_t left = 0;
  unsigned long long *place = (unsigned long long *)bam_cuda_scratch(stream, sizeof *place);
  if (place == NULL || n == 0 || !bam_cuda_enter(stream))
    return -1;
  bam_cuda_note(stream, "fill", cudaMemsetAsync(place, 0, sizeof *place, stream->queue));
  BAM_LAUNCH(stream, (find_first<F>), BAM_BLOCKS(n), BAM_BLOCK, 0, place, n, f);
  bam_cuda_copy_out(stream, &left, place, sizeof left);
  return left > 0 ? n - left : -1;
}

#endif
