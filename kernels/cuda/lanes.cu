/* Lanes: work of one stream that runs side by side; see bam_cuda_fork. */
#include "stream.h"

/* Make the lanes and events that there are not yet. */
static cudaError_t open_lanes(bam_stream stream) {
  cudaError_t error = cudaSuccess;
  if (stream->forked == NULL)
    error = cudaEventCreateWithFlags(&stream->forked, cudaEventDisableTiming);
  for (int i = 1; i < BAM_LANES && error == cudaSuccess; i++) {
    if (stream->lanes[i] == NULL)
      error = cudaStreamCreateWithFlags(&stream->lanes[i], cudaStreamNonBlocking);
    if (error == cudaSuccess && stream->joined[i] == NULL)
      error = cudaEventCreateWithFlags(&stream->joined[i], cudaEventDisableTiming);
  }
  return error;
}

void bam_cuda_fork(bam_stream stream, int count) {
  if (count < 2 || stream->capturing || !bam_cuda_enter(stream))
    return;
  cudaError_t error = open_lanes(stream);
  if (error == cudaSuccess)
    error = cudaEventRecord(stream->forked, stream->lanes[0]);
  for (int i = 1; i < count && error == cudaSuccess; i++)
    error = cudaStreamWaitEvent(stream->lanes[i], stream->forked, 0);
  bam_cuda_note(stream, "fork", error);
  stream->forks = error == cudaSuccess ? count : 1;
}

void bam_cuda_use_lane(bam_stream stream, int lane) {
  stream->lane = lane < stream->forks ? lane : 0;
  stream->queue = stream->lanes[stream->lane];
}

void bam_cuda_join(bam_stream stream) {
  for (int i = 1; i < stream->forks; i++) {
    cudaError_t error = cudaEventRecord(stream->joined[i], stream->lanes[i]);
    if (error == cudaSuccess)
      error = cudaStreamWaitEvent(stream->lanes[0], stream->joined[i], 0);
    bam_cuda_note(stream, "join", error);
  }
  stream->forks = 1;
  bam_cuda_use_lane(stream, 0);
}
