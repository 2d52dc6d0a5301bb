/* Part of the shim's self-test: work on several streams, with each event that its order needs, and with one missing. */
#include "selftest.h"

#define N 64

static __global__ void add_one(float *y, const float *x) { y[threadIdx.x] = x[threadIdx.x] + 1; }

/* What is left out. */
typedef enum { NOTHING, FORK, JOIN, ORDER, JOINED_TOO_EARLY } fault;

/* The stream counts up x; lane 1 sets y = x + 1; the stream z = y + 1. True if z is right. */
static bool run_lanes(bam_stream stream, const char *schedule, fault missing) {
  float *x = device_array<float>(N), *y = device_array<float>(N), *z = device_array<float>(N);
  schedule != NULL ? setenv("BAMLUA_SIMT_STREAMS", schedule, 1) : unsetenv("BAMLUA_SIMT_STREAMS");
  if (missing != ORDER)
    BAM_LAUNCH(stream, count_up<float>, 1, N, 0, x, N);
  missing == FORK ? (void)(stream->forks = 2) : bam_cuda_fork(stream, 2);
  if (missing == ORDER) /* on the stream, after the fork */
    BAM_LAUNCH(stream, count_up<float>, 1, N, 0, x, N);
  if (missing == JOINED_TOO_EARLY)
    cudaEventRecord(stream->joined[1], stream->lanes[1]);
  bam_cuda_use_lane(stream, 1);
  BAM_LAUNCH(stream, add_one, 1, N, 0, y, x);
  if (missing == JOINED_TOO_EARLY) {
    cudaStreamWaitEvent(stream->lanes[0], stream->joined[1], 0);
    missing = JOIN;
  }
  missing == JOIN ? (void)(stream->forks = 1) : bam_cuda_join(stream);
  bam_cuda_use_lane(stream, 0);
  BAM_LAUNCH(stream, add_one, 1, N, 0, z, y);
  cudaDeviceSynchronize();
  bool good = noted(stream, NULL);
  for (int i = 0; i < N; i++)
    good &= at(z, i) == (float)i + 2;
  cudaFree(x), cudaFree(y), cudaFree(z);
  unsetenv("BAMLUA_SIMT_STREAMS");
  return good;
}

/* Whether either order of streams shows the fault. */
static bool is_caught(bam_stream stream, fault missing) {
  return !run_lanes(stream, NULL, missing) || !run_lanes(stream, "side", missing);
}

/* Memory that the stream writes again while a lane has still to read it. */
static bool reuses_memory(bam_stream stream, bool joins) {
  float *x = device_array<float>(N), *y = device_array<float>(N);
  BAM_LAUNCH(stream, count_up<float>, 1, N, 0, x, N);
  bam_cuda_fork(stream, 2);
  bam_cuda_use_lane(stream, 1);
  BAM_LAUNCH(stream, add_one, 1, N, 0, y, x);
  bam_cuda_use_lane(stream, 0);
  if (joins)
    bam_cuda_join(stream);
  cudaMemsetAsync(x, 0, N * sizeof *x, stream->queue);
  bam_cuda_join(stream);
  cudaDeviceSynchronize();
  const bool good = at(y, 5) == 6;
  cudaFree(x), cudaFree(y);
  return good;
}

/* Memory that a lane has used is freed after a wait for the stream. */
static cudaError_t free_memory(bam_stream stream, bool joins) {
  float *x = device_array<float>(N);
  bam_cuda_fork(stream, 2);
  bam_cuda_use_lane(stream, 1);
  BAM_LAUNCH(stream, count_up<float>, 1, N, 0, x, N);
  bam_cuda_use_lane(stream, 0);
  if (joins)
    bam_cuda_join(stream);
  cudaStreamSynchronize(stream->queue);
  const cudaError_t error = cudaFree(x);
  bam_cuda_join(stream);
  cudaDeviceSynchronize();
  cudaGetLastError();
  return error;
}

static void test_waits(bam_stream stream) {
  float *device = device_array<float>(1), *host;
  setenv("BAMLUA_SIMT_STREAMS", "side", 1);
  cudaMallocHost(&host, sizeof *host);
  *host = 7;
  BAM_LAUNCH(stream, count_up<float>, 1, 32, 0, device, 1);
  cudaMemcpyAsync(host, device, sizeof *host, cudaMemcpyDeviceToHost, stream->queue);
  check(*host == 7, "a stream that runs late has copied nothing");
  bam_cuda_fork(stream, 2); /* a lane that runs early waits for it */
  check(*host == 0, "what waits for an event runs all before it");
  bam_cuda_join(stream);
  unsetenv("BAMLUA_SIMT_STREAMS");
  cudaFreeHost(host);
  cudaFree(device);
}

void test_streams(bam_stream stream) {
  stream->lanes[0] = stream->queue;
  stream->forks = 1;
  check(!is_caught(stream, NOTHING), "lanes that are forked and joined");
  check(is_caught(stream, FORK), "caught: a lane that does not wait for the stream");
  check(is_caught(stream, ORDER), "caught: work of the stream after the fork that a lane needs");
  check(is_caught(stream, JOIN), "caught: a stream that does not wait for the lane");
  check(is_caught(stream, JOINED_TOO_EARLY), "caught: an event recorded before the lane's work");
  check(reuses_memory(stream, true), "memory used again after the join");
  check(!reuses_memory(stream, false), "caught: memory used again before the join");
  check(free_memory(stream, true) == cudaSuccess, "memory freed after the join");
  check(free_memory(stream, false) == cudaErrorIllegalAddress,
        "caught: memory freed before the join");
  test_waits(stream);
  for (int i = 1; i < BAM_LANES; i++) {
    cudaStreamDestroy(stream->lanes[i]);
    cudaEventDestroy(stream->joined[i]);
    stream->lanes[i] = NULL;
  }
  cudaEventDestroy(stream->forked);
}
