/* CUDA as a backend: which devices there are, opening one, its memory. The runtime is linked
   statically and finds the driver when it is first asked; a machine without one is told so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "../device.h"
}

#include "blas.h"
#include "convert.h"
#include "fp8.h"
#include "graph.h"
#include "pages.h"
#include "stream.h"

#define DECLARE(type) extern "C" const bam_kernels bam_cuda_##type##_table;
/* clang-format off */
DECLARE(f32) DECLARE(f64) DECLARE(bf16) DECLARE(i32) DECLARE(i64) DECLARE(u8) DECLARE(b8)
  /* clang-format on */

  /* ---- memory ---- */

  static void *device_alloc(bam_stream stream, int64_t bytes) {
  return bam_cuda_enter(stream) ? bam_cuda_malloc(stream, bytes) : NULL;
}

static void device_synchronize(bam_stream stream) {
  if (!bam_cuda_cannot_capture(stream, "a wait for the device") && bam_cuda_enter(stream))
    bam_cuda_note(stream, "synchronize", cudaStreamSynchronize(stream->queue));
}

/* After the work that may still use it. */
static void device_free(bam_stream stream, void *data, int64_t bytes) {
  (void)bytes;
  if (bam_cuda_cannot_capture(stream, "freeing memory"))
    return;
  device_synchronize(stream);
  bam_cuda_note(stream, "cudaFree", cudaFree(data));
}

static bool device_failure(bam_stream stream, char *text, size_t size) {
  if (stream->failure[0] == '\0')
    return false;
  snprintf(text, size, "%s", stream->failure);
  stream->failure[0] = '\0';
  return true;
}

static void device_allow_tf32(bam_stream stream, bool allow) { stream->tf32 = allow; }

/* ---- the stream ---- */

static void close_lanes(bam_stream stream) {
  for (int i = 0; i < BAM_LANES; i++) {
    if (stream->joined[i] != NULL)
      cudaEventDestroy(stream->joined[i]);
    if (stream->lanes[i] != NULL)
      cudaStreamDestroy(stream->lanes[i]);
  }
  if (stream->forked != NULL)
    cudaEventDestroy(stream->forked);
}

static void close_stream(bam_stream stream) {
  if (bam_cuda_enter(stream)) {
    bam_cuda_blas_close(stream);
    for (int i = 0; i < BAM_STAGING_SLOTS; i++)
      if (stream->staged[i] != NULL)
        cudaEventDestroy(stream->staged[i]);
    if (stream->staging != NULL)
      cudaFreeHost(stream->staging);
    for (int i = 0; i < BAM_EARLY_SLOTS; i++)
      if (stream->arrived[i] != NULL)
        cudaEventDestroy(stream->arrived[i]);
    if (stream->early != NULL)
      cudaFreeHost(stream->early);
    cudaFree(stream->scratch);
    for (int i = 0; i < stream->n_old_scratch; i++)
      cudaFree(stream->old_scratch[i]);
    close_lanes(stream);
  }
  free(stream);
}

static cudaError_t find_capability(bam_stream stream) {
  int major = 0, minor = 0;
  cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor,
                                             stream->number);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, stream->number);
  stream->capability = 10 * major + minor;
  return error;
}

static cudaError_t fill_stream(bam_stream stream) {
  cudaError_t error = cudaSetDevice(stream->number);
  const char *sync = getenv("BAMLUA_SYNC"), *graphs = getenv("BAMLUA_GRAPHS");
  int shared = 0;
  if (error == cudaSuccess)
    error = cudaStreamCreateWithFlags(&stream->lanes[0], cudaStreamNonBlocking);
  stream->queue = stream->lanes[0];
  stream->forks = 1;
  if (error == cudaSuccess)
    error = cudaMallocHost((void **)&stream->staging, BAM_STAGING_SLOTS * BAM_STAGING_BYTES);
  for (int i = 0; i < BAM_STAGING_SLOTS && error == cudaSuccess; i++)
    error = cudaEventCreateWithFlags(&stream->staged[i], cudaEventDisableTiming);
  if (error == cudaSuccess)
    error = cudaMallocHost((void **)&stream->early, BAM_EARLY_SLOTS * BAM_EARLY_BYTES);
  for (int i = 0; i < BAM_EARLY_SLOTS && error == cudaSuccess; i++)
    error = cudaEventCreateWithFlags(&stream->arrived[i], cudaEventDisableTiming);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&stream->multiprocessors, cudaDevAttrMultiProcessorCount,
                                   stream->number);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                   stream->number);
  stream->shared_limit = shared;
  stream->sync = sync != NULL && strcmp(sync, "1") == 0;
  stream->no_graphs = graphs != NULL && strcmp(graphs, "0") == 0;
  if (error == cudaSuccess)
    error = find_capability(stream);
  return error;
}

static bam_stream open_stream(int number, char *why, size_t size) {
  bam_stream stream = (bam_stream)calloc(1, sizeof *stream);
  if (stream == NULL) {
    snprintf(why, size, "out of memory");
    return NULL;
  }
  stream->number = number;
  const cudaError_t error = fill_stream(stream);
  if (error != cudaSuccess) {
    cudaGetLastError();
    snprintf(why, size, "%s", cudaGetErrorString(error));
    close_stream(stream);
    return NULL;
  }
  return stream;
}

/* ---- the backend ---- */

typedef void make_known(void);
extern "C" make_known *const __start_bam_cuda_modules[] __attribute__((weak));
extern "C" make_known *const __stop_bam_cuda_modules[] __attribute__((weak));

/* Make the kernels of all files known to CUDA, once per process: what nvcc would have done before
   main, in programs that never use a device too (LATE in the Makefile). */
static void make_kernels_known(void) {
  static bool done;
  if (!done)
    for (make_known *const *f = __start_bam_cuda_modules; f < __stop_bam_cuda_modules; f++)
      (*f)();
  done = true;
}

static int count_devices(char *why, size_t size) {
  int count = 0;
  make_kernels_known();
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0)
    return count;
  cudaGetLastError();
  if (error == cudaErrorInsufficientDriver)
    snprintf(why, size, "no NVIDIA driver, or one too old for CUDA %d.%d; install a newer one",
             CUDART_VERSION / 1000, CUDART_VERSION / 10 % 100);
  else if (error == cudaErrorNoDevice || error == cudaSuccess)
    snprintf(why, size, "the NVIDIA driver finds no GPU; is CUDA_VISIBLE_DEVICES set?");
  else
    snprintf(why, size, "%s", cudaGetErrorString(error));
  return 0;
}

/* Nothing that would make CUDA set up the device: that takes hundreds of megabytes of it. */
static void describe_device(int number, char *text, size_t size, int64_t *bytes) {
  cudaDeviceProp properties;
  snprintf(text, size, "cannot be asked");
  *bytes = 0;
  if (cudaGetDeviceProperties(&properties, number) != cudaSuccess) {
    cudaGetLastError();
    return;
  }
  snprintf(text, size, "%s, compute capability %d.%d, %d multiprocessors", properties.name,
           properties.major, properties.minor, properties.multiProcessorCount);
  *bytes = (int64_t)properties.totalGlobalMem;
}

/* Memory in pages, where the device can. */
static void add_pages(bam_device *device) {
  device->page_bytes = bam_cuda_find_page_bytes(device->stream);
  if (device->page_bytes == 0)
    return;
  device->reserve = bam_cuda_reserve;
  device->unreserve = bam_cuda_unreserve;
  device->map = bam_cuda_map;
  device->unmap = bam_cuda_unmap;
  device->move = bam_cuda_move;
  device->mark = bam_cuda_mark;
}

static bool open_device(bam_device *device, int number, char *why, size_t size) {
  bam_stream stream = open_stream(number, why, size);
  if (stream == NULL)
    return false;
  device->stream = stream;
  device->kernels[BAM_BOOL] = &bam_cuda_b8_table;
  device->kernels[BAM_U8] = &bam_cuda_u8_table;
  device->kernels[BAM_I32] = &bam_cuda_i32_table;
  device->kernels[BAM_I64] = &bam_cuda_i64_table;
  device->kernels[BAM_BF16] = &bam_cuda_bf16_table;
  device->kernels[BAM_F32] = &bam_cuda_f32_table;
  device->kernels[BAM_F64] = &bam_cuda_f64_table;
  device->fp8 = stream->capability >= BAM_CUDA_FP8_CAPABILITY ? &bam_cuda_fp8 : NULL;
  device->system_alloc = device_alloc;
  device->system_free = device_free;
  add_pages(device);
  device->copy_in = bam_cuda_copy_in;
  device->copy_out = bam_cuda_copy_out;
  device->begin_copy_out = bam_cuda_begin_copy_out;
  device->finish_copy_out = bam_cuda_finish_copy_out;
  device->convert = bam_cuda_convert;
  device->synchronize = device_synchronize;
  device->failure = device_failure;
  device->allow_tf32 = device_allow_tf32;
  device->library = bam_cuda_blas_library;
  device->set_algorithms = bam_cuda_blas_set_algorithms;
  device->algorithms = bam_cuda_blas_algorithms;
  device->begin_capture = bam_cuda_begin_capture;
  device->end_capture = bam_cuda_end_capture;
  device->launch_graph = bam_cuda_launch_graph;
  device->free_graph = bam_cuda_free_graph;
  device->close = close_stream;
  return true;
}

extern "C" const bam_backend bam_cuda_backend;
const bam_backend bam_cuda_backend = { "cuda", count_devices, open_device, describe_device };
