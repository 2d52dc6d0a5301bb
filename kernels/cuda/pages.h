/* Pages of device memory at addresses that the engine chooses (map and the others of ../device.h), by the driver's
   virtual memory management. The driver's functions are looked up through the runtime, which is linked statically. */
#ifndef BAM_CUDA_PAGES_H
#define BAM_CUDA_PAGES_H

#include "stream.h"

/* Find the size of a page, also for the stream; 0 if the device has no virtual memory management, if a try of it fails,
   or if BAMLUA_ALLOCATOR=segments forbids it. */
int64_t bam_cuda_find_page_bytes(bam_stream stream);

void *bam_cuda_reserve(bam_stream stream, int64_t bytes);
void bam_cuda_unreserve(bam_stream stream, void *data, int64_t bytes);
int64_t bam_cuda_map(bam_stream stream, void *data, int64_t bytes);
void bam_cuda_unmap(bam_stream stream, void *data, int64_t bytes);
bool bam_cuda_move(bam_stream stream, void *to, void *from, int64_t bytes);

/* Not defined in the program. The shim of tests/simt learns from it which memory is in use. */
extern "C" void bam_cuda_mark(bam_stream stream, void *data, int64_t bytes, bool used)
  __attribute__((weak));

#endif
