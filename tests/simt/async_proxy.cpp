/* Shared memory as asynchronous copies and products of warpgroups see it (the async proxy of PTX): what copies brought,
   and what threads stored before an async_fence. It is a second copy of the block's memory, in use from the block's
   first such instruction on; stores that no fence has published are where the two differ. A fence publishes the stores
   of all threads so far: one thread may fence for others that it has met at a barrier. Storing the value that a place
   had before goes unnoticed. */
#include "machine.h"

/* Bring the second copy to where shared memory ends now; blocks begin with poison. */
static simt_shared_memory *extend_view(void) {
  simt_shared_memory *shared = &simt_running()->shared;
  uint32_t *words = (uint32_t *)shared->async_view;
  for (; shared->async_end < shared->end; shared->async_end += 4)
    words[shared->async_end / 4] = shared->poison;
  return shared;
}

static size_t offset_of(const simt_shared_memory *shared, const void *data) {
  return (size_t)((const unsigned char *)data - shared->bytes);
}

const unsigned char *simt_async_view(void) { return extend_view()->async_view; }

void simt_async_publish(void) {
  simt_shared_memory *shared = extend_view();
  size_t start = 0;
  for (int i = 0; i < shared->narrays; i++) { /* not the red zones */
    const size_t end = shared->arrays[i].end;
    memcpy(shared->async_view + start, shared->bytes + start, end - start);
    start = simt_shared_zone_end(end);
  }
}

void simt_async_wrote(const void *data, size_t bytes) {
  simt_shared_memory *shared = extend_view();
  memcpy(shared->async_view + offset_of(shared, data), data, bytes);
}

bool simt_async_sees(const void *data, size_t bytes) {
  const simt_shared_memory *shared = extend_view();
  return memcmp(shared->async_view + offset_of(shared, data), data, bytes) == 0;
}
