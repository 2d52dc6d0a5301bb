/* CUDA's host functions, as far as the project calls them. Everything is done at once, when it is
   asked for; an error is remembered until cudaGetLastError asks for it. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "machine.h"

#define MAX_KERNELS 256 /* with attributes */

struct simt_stream {
  int device;
};

struct simt_event {
  struct timespec time;
};

struct simt_host {
  int device;
  cudaError_t error; /* the last one */
  struct {
    const void *kernel;
    int dynamic_bytes;
  } allowed[MAX_KERNELS]; /* dynamic shared memory beyond what every kernel may have */
  int nallowed;
};

static simt_host *host(void) {
  static simt_host host;
  return &host;
}

/* ---- errors ---- */

static const struct {
  cudaError_t error;
  const char *name, *text;
} errors[] = {
#define ERROR(name, text) { name, #name, text }
  ERROR(cudaSuccess, "no error"),
  ERROR(cudaErrorInvalidValue, "invalid argument"),
  ERROR(cudaErrorMemoryAllocation, "out of memory"),
  ERROR(cudaErrorInitializationError, "initialization error"),
  ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
  ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
  ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
  ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
  ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
  ERROR(cudaErrorNotReady, "device not ready"),
  ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
  ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
  ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
  ERROR(cudaErrorUnknown, "unknown error"),
#undef ERROR
};

static size_t find_error(cudaError_t error) {
  size_t i = 0;
  while (errors[i].error != error && errors[i].error != cudaErrorUnknown)
    i++;
  return i;
}

const char *cudaGetErrorName(cudaError_t error) { return errors[find_error(error)].name; }
const char *cudaGetErrorString(cudaError_t error) { return errors[find_error(error)].text; }

cudaError_t simt_result(cudaError_t error) {
  if (error != cudaSuccess)
    host()->error = error;
  return error;
}

cudaError_t cudaPeekAtLastError(void) { return host()->error; }

cudaError_t cudaGetLastError(void) {
  const cudaError_t error = host()->error;
  host()->error = cudaSuccess;
  return error;
}

/* ---- devices ---- */

static int device_count(void) {
  const char *text = getenv("BAMLUA_SIMT_DEVICES");
  return text != NULL ? atoi(text) : 1;
}

static bool is_device(int device) { return device >= 0 && device < device_count(); }

int simt_current_device(void) { return host()->device; }

cudaError_t cudaGetDeviceCount(int *count) {
  *count = device_count();
  return simt_result(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
  if (!is_device(device))
    return simt_result(cudaErrorInvalidDevice);
  host()->device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
  *device = host()->device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  size_t left;
  if (!is_device(device))
    return simt_result(cudaErrorInvalidDevice);
  memset(properties, 0, sizeof *properties);
  strcpy(properties->name, "SIMT shim");
  cudaMemGetInfo(&left, &properties->totalGlobalMem);
  properties->sharedMemPerBlock = SIMT_STATIC_SHARED;
  properties->sharedMemPerBlockOptin = SIMT_SHARED;
  properties->major = 9;
  properties->multiProcessorCount = 4;
  properties->warpSize = SIMT_WARP;
  properties->maxThreadsPerBlock = SIMT_MAX_THREADS;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
  if (!is_device(device))
    return simt_result(cudaErrorInvalidDevice);
  switch (attribute) {
  case cudaDevAttrMultiProcessorCount: *value = 4; return cudaSuccess;
  case cudaDevAttrComputeCapabilityMajor: *value = 9; return cudaSuccess;
  case cudaDevAttrComputeCapabilityMinor: *value = 0; return cudaSuccess;
  case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = SIMT_SHARED; return cudaSuccess;
  }
  return simt_result(cudaErrorInvalidValue);
}

cudaError_t cudaDeviceSynchronize(void) { return cudaSuccess; }

cudaError_t cudaDriverGetVersion(int *version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) { return cudaDriverGetVersion(version); }

/* ---- memory of the host, copies ---- */

cudaError_t cudaMallocHost(void **data, size_t bytes) {
  *data = malloc(bytes > 0 ? bytes : 1);
  return simt_result(*data != NULL ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaHostAlloc(void **data, size_t bytes, unsigned) {
  return cudaMallocHost(data, bytes);
}

cudaError_t cudaFreeHost(void *data) {
  free(data);
  return cudaSuccess;
}

/* Whether the memory is where a copy of that kind wants it. */
static bool is_where(const void *data, size_t bytes, bool device) {
  return device ? simt_is_device(data, bytes) : !simt_touches_device(data, bytes);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (bytes == 0)
    return cudaSuccess;
  if (kind != cudaMemcpyDefault &&
      (!is_where(to, bytes, to_device) || !is_where(from, bytes, from_device))) {
    fprintf(stderr, "simt: a copy of %zu bytes %s the %s: not what cudaMalloc gave\n", bytes,
            to_device ? "to" : "from", to_device || from_device ? "device" : "host");
    return simt_result(cudaErrorInvalidValue);
  }
  memmove(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaMemset(void *data, int byte, size_t bytes) {
  if (bytes > 0 && !simt_is_device(data, bytes))
    return simt_result(cudaErrorInvalidValue);
  memset(data, byte, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *data, int byte, size_t bytes, cudaStream_t) {
  return cudaMemset(data, byte, bytes);
}

/* ---- streams and events ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  *stream = (cudaStream_t)calloc(1, sizeof **stream);
  if (*stream == NULL)
    return simt_result(cudaErrorMemoryAllocation);
  (*stream)->device = host()->device;
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithFlags(stream, 0); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  free(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  *event = (cudaEvent_t)calloc(1, sizeof **event);
  return simt_result(*event != NULL ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  free(event);
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  clock_gettime(CLOCK_MONOTONIC, &event->time);
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
  const double seconds = (double)(to->time.tv_sec - from->time.tv_sec);
  const double nanoseconds = (double)(to->time.tv_nsec - from->time.tv_nsec);
  *milliseconds = (float)(seconds * 1e3 + nanoseconds * 1e-6);
  return cudaSuccess;
}

/* ---- launches ---- */

static int *allowed_bytes(const void *kernel, bool add) {
  simt_host *h = host();
  for (int i = 0; i < h->nallowed; i++)
    if (h->allowed[i].kernel == kernel)
      return &h->allowed[i].dynamic_bytes;
  if (!add || h->nallowed == MAX_KERNELS)
    return NULL;
  h->allowed[h->nallowed].kernel = kernel;
  return &h->allowed[h->nallowed++].dynamic_bytes;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
    return cudaSuccess;
  int *bytes = value >= 0 && value <= SIMT_SHARED ? allowed_bytes(kernel, true) : NULL;
  if (bytes == NULL)
    return simt_result(cudaErrorInvalidValue);
  *bytes = value;
  return cudaSuccess;
}

/* Report why a launch is refused. */
static cudaError_t refuse(const simt_launch *launch, cudaError_t error, const char *why) {
  const dim3 b = launch->blocks, t = launch->threads;
  fprintf(stderr,
          "simt: kernel %s, %u x %u x %u blocks of %u x %u x %u threads, %zu bytes shared: %s\n",
          launch->name, b.x, b.y, b.z, t.x, t.y, t.z, launch->shared_bytes, why);
  return error;
}

/* Whether BAMLUA_SIMT_FAIL names the kernel: without parentheses and what its template is of. */
static bool is_to_fail(const simt_launch *launch) {
  const char *wanted = getenv("BAMLUA_SIMT_FAIL");
  const char *name = launch->name + strspn(launch->name, "( ");
  if (wanted == NULL)
    return false;
  const size_t length = strlen(wanted);
  return length > 0 && strncmp(name, wanted, length) == 0 &&
         strcspn(name, "<() ") == length;
}

cudaError_t simt_check_launch(const simt_launch *launch, const void *const *pointers,
                              int npointers) {
  const dim3 b = launch->blocks, t = launch->threads;
  const int *allowed = allowed_bytes(launch->kernel, false);
  const size_t most = allowed != NULL && *allowed > SIMT_STATIC_SHARED ? (size_t)*allowed
                                                                       : SIMT_STATIC_SHARED;
  if (is_to_fail(launch))
    return refuse(launch, cudaErrorLaunchFailure, "fails because BAMLUA_SIMT_FAIL says so");
  if (launch->stream != NULL && launch->stream->device != host()->device)
    return refuse(launch, cudaErrorInvalidResourceHandle, "the stream is another device's");
  if (t.x == 0 || t.y == 0 || t.z == 0 || t.x > 1024 || t.y > 1024 || t.z > 64 ||
      (uint64_t)t.x * t.y * t.z > SIMT_MAX_THREADS)
    return refuse(launch, cudaErrorInvalidConfiguration, "no such blocks");
  if (b.x == 0 || b.y == 0 || b.z == 0 || b.x > INT32_MAX || b.y > 65535 || b.z > 65535)
    return refuse(launch, cudaErrorInvalidConfiguration, "no such grid");
  if (launch->shared_bytes > most)
    return refuse(launch, cudaErrorInvalidValue, "more dynamic shared memory than it may have");
  for (int i = 0; i < npointers; i++)
    if (pointers[i] != NULL && !simt_is_device(pointers[i], 0)) {
      char why[64];
      snprintf(why, sizeof why, "argument %d is no pointer to device memory", i + 1);
      return refuse(launch, cudaErrorIllegalAddress, why);
    }
  return cudaSuccess;
}

/* The only schedule to run, from 0, or -1 for all. */
static int wanted_schedule(void) {
  const char *text = getenv("BAMLUA_SIMT");
  const int number = text != NULL ? atoi(text) : 0;
  return number >= 1 && number <= SIMT_SCHEDULES ? number - 1 : -1;
}

static cudaError_t run_once(const simt_launch *launch, void (*call)(const void *arguments),
                            const void *arguments, int schedule) {
  cudaError_t error = simt_run_schedule(launch, call, arguments, schedule);
  if (!simt_check_red_zones(launch->name) && error == cudaSuccess)
    error = cudaErrorLaunchFailure;
  return error;
}

static cudaError_t run_all(const simt_launch *launch, void (*call)(const void *arguments),
                           const void *arguments) {
  if (!simt_save_memory())
    return refuse(launch, cudaErrorLaunchFailure, "no memory to compare schedules");
  cudaError_t error = run_once(launch, call, arguments, 0);
  if (error == cudaSuccess)
    simt_keep_memory();
  for (int i = 1; i < SIMT_SCHEDULES && error == cudaSuccess; i++) {
    simt_restore_memory();
    error = run_once(launch, call, arguments, i);
    if (error == cudaSuccess && !simt_compare_memory(launch->name, i))
      error = cudaErrorLaunchFailure;
  }
  return error;
}

void simt_run(const simt_launch *launch, void (*call)(const void *arguments),
              const void *arguments, const void *const *pointers, int npointers) {
  const int schedule = wanted_schedule();
  cudaError_t error = simt_check_launch(launch, pointers, npointers);
  if (error == cudaSuccess)
    error = schedule >= 0 ? run_once(launch, call, arguments, schedule)
                          : run_all(launch, call, arguments);
  simt_result(error);
}
