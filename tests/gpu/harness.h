/* What the programs of this directory share that launch kernels without the engine: nvcc compiles them for a
   device, g++ over the shim. One file of a program includes it. */
#ifndef BAM_GPU_HARNESS_H
#define BAM_GPU_HARNESS_H

#define BAM_TYPE f32
#define BAM_TYPE_f32
#include <stdio.h>
#include <stdlib.h>

#include "../../kernels/cuda/cuda.h"
/* behind cuda.h, which defines the words of CUDA for g++ */
#include "../../kernels/convert.h"
#include "checks.h"

/* ---- the stream: kernels/cuda/stream.cu is linked ---- */

/* What device.cu does: make the kernels of linked files known (LATE in the Makefile). */
typedef void make_known(void);
extern "C" make_known *const __start_bam_cuda_modules[] __attribute__((weak));
extern "C" make_known *const __stop_bam_cuda_modules[] __attribute__((weak));

/* Open the first device, or say why there is none and end the program. */
static void open_device(bam_stream stream) {
  cudaDeviceProp properties;
  for (make_known *const *f = __start_bam_cuda_modules; f < __stop_bam_cuda_modules; f++)
    (*f)();
  bam_cuda_note(stream, "open", cudaGetDeviceProperties(&properties, 0));
  bam_cuda_note(stream, "stream", cudaStreamCreate(&stream->queue));
  if (stream->failure[0] != '\0') {
    printf("no device: %s\n0 passed, 1 failed\n", stream->failure);
    exit(1);
  }
  stream->multiprocessors = properties.multiProcessorCount;
  stream->shared_limit = (int64_t)properties.sharedMemPerBlockOptin;
  stream->capability = 10 * properties.major + properties.minor;
  printf("%s, compute capability %d.%d\n", properties.name, properties.major, properties.minor);
}

/* Wait for the device. Whether nothing failed since the last call; what did is printed. */
static bool is_sound(bam_stream stream) {
  bam_cuda_note(stream, "wait", cudaStreamSynchronize(stream->queue));
  const bool sound = stream->failure[0] == '\0';
  if (!sound)
    printf("%s\n", stream->failure);
  stream->failure[0] = '\0';
  return sound;
}

/* ---- arrays of the device ---- */

template <class T> struct device_array {
  T *at;
  int64_t count;

  explicit device_array(int64_t n) : at(NULL), count(n) {
    if (cudaMalloc(&at, (size_t)n * sizeof(T)) != cudaSuccess)
      abort();
    cudaMemset(at, 0xff, (size_t)n * sizeof(T)); /* NaN */
  }
  ~device_array() { cudaFree(at); }
  device_array(const device_array &) = delete;
  device_array &operator=(const device_array &) = delete;

  void put(const T *host) const {
    cudaMemcpy(at, host, (size_t)count * sizeof(T), cudaMemcpyHostToDevice);
  }
  void get(T *host) const {
    cudaMemcpy(host, at, (size_t)count * sizeof(T), cudaMemcpyDeviceToHost);
  }
};

/* ---- numbers ---- */

/* Uniform in -1 .. 1, a new one at every call. */
static float uniform() {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (float)(int32_t)(state >> 32) * 0x1p-31f;
}

#endif
