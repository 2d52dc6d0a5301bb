/* Streams: copies through pinned memory, scratch, and the note of what went wrong. */
#include "stream.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool bam_cuda_enter(bam_stream stream) {
  const cudaError_t error = cudaSetDevice(stream->number);
  bam_cuda_note(stream, "cudaSetDevice", error);
  return error == cudaSuccess;
}

void bam_cuda_note(bam_stream stream, const char *what, cudaError_t error) {
  if (error == cudaSuccess)
    return;
  cudaGetLastError(); /* forget it: the next launch would be blamed */
  bam_cuda_fail(stream, "%s: %s", what, cudaGetErrorString(error));
}

/* `what` as in BAM_LAUNCH: of "(kernel<32>)" the message has the function's name. */
void bam_cuda_launched(bam_stream stream, const char *what, cudaError_t error) {
  char name[64];
  if (stream->sync && !stream->capturing && error == cudaSuccess)
    error = cudaStreamSynchronize(stream->queue);
  if (error == cudaSuccess)
    return;
  what += strspn(what, "( ");
  snprintf(name, sizeof name, "%.*s", (int)strcspn(what, "<( "), what);
  bam_cuda_note(stream, name, error);
}

void bam_cuda_fail(bam_stream stream, const char *format, ...) {
  if (stream->failure[0] != '\0')
    return; /* the first failure explains the others */
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(stream->failure, sizeof stream->failure, format, arguments);
  va_end(arguments);
}

bool bam_cuda_cannot_capture(bam_stream stream, const char *what) {
  if (stream->capturing)
    bam_cuda_fail(stream, "a graph cannot capture %s", what);
  return stream->capturing;
}

void *bam_cuda_malloc(bam_stream stream, int64_t bytes) {
  void *data = NULL;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  bam_cuda_exchange_mode(stream, &mode);
  const cudaError_t error = cudaMalloc(&data, (size_t)bytes);
  bam_cuda_exchange_mode(stream, &mode);
  if (error == cudaErrorMemoryAllocation)
    cudaGetLastError(); /* memory being short is no failure of the device */
  else
    bam_cuda_note(stream, "cudaMalloc", error);
  return error == cudaSuccess ? data : NULL;
}

/* Give the scratch buffer back, after the work that uses it; graphs go on using it. */
static void drop_scratch(bam_stream stream) {
  if (stream->scratch != NULL && stream->graphs > 0 && stream->n_old_scratch < BAM_OLD_SCRATCH) {
    stream->old_scratch[stream->n_old_scratch++] = stream->scratch;
    return;
  }
  bam_cuda_note(stream, "scratch", cudaStreamSynchronize(stream->queue));
  bam_cuda_note(stream, "cudaFree", cudaFree(stream->scratch));
}

/* Doubling, so that sizes that grow slowly do not ask the driver each time; just enough when there
   is not so much. The old memory is freed first. */
void *bam_cuda_scratch(bam_stream stream, int64_t bytes) {
  if (bytes <= stream->scratch_bytes && stream->scratch != NULL)
    return stream->scratch;
  if (bam_cuda_cannot_capture(stream, "the first use of more scratch memory") ||
      !bam_cuda_enter(stream))
    return NULL;
  drop_scratch(stream);
  stream->scratch_bytes = 2 * stream->scratch_bytes > bytes ? 2 * stream->scratch_bytes : bytes;
  stream->scratch = bam_cuda_malloc(stream, stream->scratch_bytes);
  if (stream->scratch == NULL) {
    stream->scratch_bytes = bytes;
    stream->scratch = bam_cuda_malloc(stream, bytes);
  }
  if (stream->scratch == NULL) {
    stream->scratch_bytes = 0;
    bam_cuda_fail(stream, "out of memory: no %.1f MB for intermediate results; use a smaller batch",
                  (double)bytes * 1e-6);
  }
  return stream->scratch;
}

/* ---- copies ---- */

/* The next slot of pinned memory, when its last copy is done. */
static char *next_slot(bam_stream stream) {
  stream->slot = (stream->slot + 1) % BAM_STAGING_SLOTS;
  bam_cuda_note(stream, "copy", cudaEventSynchronize(stream->staged[stream->slot]));
  return stream->staging + (int64_t)stream->slot * BAM_STAGING_BYTES;
}

void bam_cuda_copy_in(bam_stream stream, void *device, const void *host, int64_t bytes) {
  if (bytes == 0 || bam_cuda_cannot_capture(stream, "a copy from the host") ||
      !bam_cuda_enter(stream))
    return;
  for (int64_t done = 0; done < bytes; done += BAM_STAGING_BYTES) {
    const int64_t step = bytes - done < BAM_STAGING_BYTES ? bytes - done : BAM_STAGING_BYTES;
    char *slot = next_slot(stream);
    memcpy(slot, (const char *)host + done, (size_t)step);
    bam_cuda_note(stream, "copy to the device",
                  cudaMemcpyAsync((char *)device + done, slot, (size_t)step, cudaMemcpyHostToDevice,
                                  stream->queue));
    bam_cuda_note(stream, "copy to the device",
                  cudaEventRecord(stream->staged[stream->slot], stream->queue));
  }
}

/* Start copying one piece into the next slot. */
static void begin_out(bam_stream stream, const char *device, int64_t bytes) {
  char *slot = next_slot(stream);
  bam_cuda_note(
    stream, "copy from the device",
    cudaMemcpyAsync(slot, device, (size_t)bytes, cudaMemcpyDeviceToHost, stream->queue));
  bam_cuda_note(stream, "copy from the device",
                cudaEventRecord(stream->staged[stream->slot], stream->queue));
}

/* Pieces are copied from pinned memory while the next ones arrive there. */
void bam_cuda_copy_out(bam_stream stream, void *host, const void *device, int64_t bytes) {
  const int64_t pieces = (bytes + BAM_STAGING_BYTES - 1) / BAM_STAGING_BYTES;
  if (bytes == 0)
    return;
  if (bam_cuda_cannot_capture(stream, "a copy to the host, which waits for the device") ||
      !bam_cuda_enter(stream)) {
    memset(host, 0, (size_t)bytes);
    return;
  }
  for (int64_t i = 0, begun = 0; i < pieces; i++) {
    for (; begun < pieces && begun < i + BAM_STAGING_SLOTS; begun++) {
      const int64_t from = begun * BAM_STAGING_BYTES;
      const int64_t rest = bytes - from;
      begin_out(stream, (const char *)device + from,
                rest < BAM_STAGING_BYTES ? rest : BAM_STAGING_BYTES);
    }
    const int64_t behind = begun - i - 1; /* slots begun after piece i's */
    const int slot = (int)((stream->slot + BAM_STAGING_SLOTS - behind) % BAM_STAGING_SLOTS);
    const int64_t from = i * BAM_STAGING_BYTES, rest = bytes - from;
    bam_cuda_note(stream, "copy from the device", cudaEventSynchronize(stream->staged[slot]));
    memcpy((char *)host + from, stream->staging + (int64_t)slot * BAM_STAGING_BYTES,
           (size_t)(rest < BAM_STAGING_BYTES ? rest : BAM_STAGING_BYTES));
  }
  if (stream->failure[0] != '\0')
    memset(host, 0, (size_t)bytes);
}

/* ---- early copies ---- */

/* The slot's memory, when no copy is under way to it. */
static char *early_slot(bam_stream stream, uint64_t number) {
  const int slot = (int)(number % BAM_EARLY_SLOTS);
  if (stream->awaited[slot])
    bam_cuda_note(stream, "early copy", cudaEventSynchronize(stream->arrived[slot]));
  stream->awaited[slot] = false;
  return stream->early + slot * BAM_EARLY_BYTES;
}

uint64_t bam_cuda_begin_copy_out(bam_stream stream, const void *device, int64_t bytes) {
  if (bytes == 0 || bytes > BAM_EARLY_BYTES ||
      bam_cuda_cannot_capture(stream, "a copy to the host, which waits for the device") ||
      !bam_cuda_enter(stream))
    return 0;
  const uint64_t number = stream->last_early + 1;
  const int slot = (int)(number % BAM_EARLY_SLOTS);
  char *to = early_slot(stream, number);
  cudaError_t error = cudaMemcpyAsync(to, device, (size_t)bytes, cudaMemcpyDeviceToHost,
                                      stream->queue);
  if (error == cudaSuccess)
    error = cudaEventRecord(stream->arrived[slot], stream->queue);
  bam_cuda_note(stream, "early copy", error);
  stream->awaited[slot] = error == cudaSuccess;
  stream->last_early = number;
  return error == cudaSuccess ? number : 0;
}

bool bam_cuda_finish_copy_out(bam_stream stream, uint64_t number, void *host, int64_t bytes) {
  if (number == 0 || stream->last_early - number >= BAM_EARLY_SLOTS || !bam_cuda_enter(stream))
    return false;
  const char *from = early_slot(stream, number);
  if (stream->failure[0] == '\0')
    memcpy(host, from, (size_t)bytes);
  else
    memset(host, 0, (size_t)bytes);
  return true;
}
