/* CUDA's host functions, as far as the project calls them and no other file has them. An error is remembered until
   cudaGetLastError asks for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

/* Memory of cudaMallocHost. */
struct simt_pinned {
  simt_pinned *next;
  char *data;
  size_t bytes;
};

struct simt_host {
  int device;
  cudaError_t error; /* the last one */
  simt_pinned *pinned;
  uint64_t work;    /* launches and products, counted from 1 */
  uint64_t waited;  /* how many of them were waited for */
  double clock;     /* milliseconds that they have taken, as the shim says */
  cudaError_t late; /* what the next wait finds */
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
#define ERROR(name, text) \
  { name, #name, text }
  ERROR(cudaSuccess, "no error"),
  ERROR(cudaErrorInvalidValue, "invalid argument"),
  ERROR(cudaErrorMemoryAllocation, "out of memory"),
  ERROR(cudaErrorInitializationError, "initialization error"),
  ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
  ERROR(cudaErrorInsufficientDriver,
        "CUDA driver version is insufficient for CUDA runtime version"),
  ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
  ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
  ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
  ERROR(cudaErrorNotReady, "device not ready"),
  ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
  ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
  ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
  ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
  ERROR(cudaErrorStreamCaptureInvalidated,
        "operation failed due to a previous error during capture"),
  ERROR(cudaErrorStreamCaptureUnmatched, "capture was not begun on this stream"),
  ERROR(cudaErrorStreamCaptureImplicit,
        "operation would make the legacy stream depend on a capturing blocking stream"),
  ERROR(cudaErrorCapturedEvent,
        "operation not permitted on an event last recorded in a capturing stream"),
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

void simt_count_work(double milliseconds) {
  host()->work++;
  host()->clock += milliseconds;
}

double simt_clock(uint64_t *work) {
  *work = host()->work;
  return host()->clock;
}

void simt_fail_later(cudaError_t error) { host()->late = error; }

cudaError_t simt_waited(void) {
  const cudaError_t late = host()->late;
  host()->late = cudaSuccess;
  return simt_result(late);
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

/* 90, or what BAMLUA_SIMT_CAPABILITY says: 80 for 8.0. Emulated are all instructions, whatever it is. */
static int capability(void) {
  const char *given = getenv("BAMLUA_SIMT_CAPABILITY");
  return given != NULL ? atoi(given) : 90;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  size_t left;
  if (!is_device(device))
    return simt_result(cudaErrorInvalidDevice);
  memset(properties, 0, sizeof *properties);
  snprintf(properties->name, sizeof properties->name, "%s",
           getenv("BAMLUA_SIMT_NAME") != NULL ? getenv("BAMLUA_SIMT_NAME") : "SIMT shim");
  cudaMemGetInfo(&left, &properties->totalGlobalMem);
  properties->sharedMemPerBlock = SIMT_STATIC_SHARED;
  properties->sharedMemPerBlockOptin = SIMT_SHARED;
  properties->major = capability() / 10;
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
  case cudaDevAttrComputeCapabilityMajor: *value = capability() / 10; return cudaSuccess;
  case cudaDevAttrComputeCapabilityMinor: *value = capability() % 10; return cudaSuccess;
  case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = SIMT_SHARED; return cudaSuccess;
  }
  return simt_result(cudaErrorInvalidValue);
}

bool simt_is_idle(void) { return host()->waited == host()->work && simt_streams_are_done(); }

void simt_all_was_waited_for(void) { host()->waited = host()->work; }

cudaError_t cudaDeviceSynchronize(void) {
  const cudaError_t refused = simt_forbidden_in_capture("cudaDeviceSynchronize");
  if (refused != cudaSuccess)
    return refused;
  simt_trace("synchronize");
  simt_finish_streams();
  simt_all_was_waited_for();
  return simt_waited();
}

cudaError_t cudaDriverGetVersion(int *version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) { return cudaDriverGetVersion(version); }

/* ---- memory of the host ---- */

cudaError_t cudaMallocHost(void **data, size_t bytes) {
  const cudaError_t refused = simt_forbidden_in_capture("cudaMallocHost");
  if (refused != cudaSuccess)
    return refused;
  simt_pinned *pinned = (simt_pinned *)malloc(sizeof *pinned);
  *data = malloc(bytes > 0 ? bytes : 1);
  if (*data == NULL || pinned == NULL) {
    free(pinned);
    free(*data);
    return simt_result(cudaErrorMemoryAllocation);
  }
  *pinned = { host()->pinned, (char *)*data, bytes };
  host()->pinned = pinned;
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **data, size_t bytes, unsigned) {
  return cudaMallocHost(data, bytes);
}

cudaError_t cudaFreeHost(void *data) {
  const cudaError_t refused = simt_forbidden_in_capture("cudaFreeHost");
  if (refused != cudaSuccess)
    return refused;
  simt_pinned **link = &host()->pinned;
  simt_finish_streams();
  while (*link != NULL && (*link)->data != data)
    link = &(*link)->next;
  if (*link == NULL)
    return simt_result(data == NULL ? cudaSuccess : cudaErrorInvalidValue);
  simt_pinned *pinned = *link;
  *link = pinned->next;
  free(pinned->data);
  free(pinned);
  return cudaSuccess;
}

static bool is_pinned(const void *data, size_t bytes) {
  const char *start = (const char *)data;
  for (const simt_pinned *p = host()->pinned; p != NULL; p = p->next)
    if (start >= p->data && start + bytes <= p->data + p->bytes)
      return true;
  return false;
}

/* ---- copies ---- */

/* Whether the memory is where a copy of that kind wants it. */
static bool is_where(const void *data, size_t bytes, bool device) {
  return device ? simt_device_of(data, bytes) >= 0 : !simt_touches_device(data, bytes);
}

static bool check_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  static const char *const names[] = { "host to host", "host to device", "device to host",
                                       "device to device" };
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool good = is_where(to, bytes, to_device) && is_where(from, bytes, from_device);
  if (!good)
    fprintf(stderr, "simt: a copy of %zu bytes from %s: %p is not memory of the %s\n", bytes,
            names[kind], is_where(to, bytes, to_device) ? from : to,
            (is_where(to, bytes, to_device) ? from_device : to_device) ? "device" : "host");
  return good;
}

static cudaError_t copy(void *to, const void *from, size_t bytes) {
  simt_open_memory();
  memmove(to, from, bytes);
  simt_close_memory();
  return cudaSuccess;
}

/* A graph may copy only from and to memory of the host that stays where it is. */
static cudaError_t check_recorded(cudaStream_t stream, const void *to, const void *from,
                                  size_t bytes, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDeviceToDevice ||
      is_pinned(kind == cudaMemcpyDeviceToHost ? to : from, bytes))
    return cudaSuccess;
  return simt_forbidden_on(stream, "a copy of memory that is not pinned");
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const char *wanted = getenv("BAMLUA_SIMT_FAIL");
  const void *const operands[] = { to, from };
  if (bytes == 0)
    return cudaSuccess;
  if (wanted != NULL && strcmp(wanted, "cudaMemcpyAsync") == 0)
    return simt_result(cudaErrorLaunchFailure);
  if (kind == cudaMemcpyDefault)
    kind = (cudaMemcpyKind)((simt_touches_device(from, 1) ? 2 : 0) + simt_touches_device(to, 1));
  if (!check_copy(to, from, bytes, kind))
    return simt_result(cudaErrorInvalidValue);
  const cudaError_t error = check_recorded(stream, to, from, bytes, kind);
  if (error != cudaSuccess)
    return error;
  if (!simt_is_capturing())
    simt_trace("copy %s %zu",
               kind == cudaMemcpyHostToDevice   ? "in"
               : kind == cudaMemcpyDeviceToHost ? "out"
                                                : "within",
               bytes);
  const bool pinned = is_pinned(kind == cudaMemcpyDeviceToHost ? to : from, bytes);
  const simt_when when = kind == cudaMemcpyDeviceToDevice ? SIMT_WHEN_SCHEDULED
                         : pinned                         ? SIMT_WHEN_WAITED_FOR
                                                          : SIMT_AT_ONCE;
  return simt_ask(stream, "a copy", operands, sizeof operands, when,
                  [=] { return copy(to, from, bytes); });
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  if (!simt_is_capturing())
    simt_finish_streams();
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, NULL);
  simt_finish_stream(NULL);
  return error;
}

static cudaError_t fill(void *data, int byte, size_t bytes) {
  simt_open_memory();
  memset(data, byte, bytes);
  simt_close_memory();
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *data, int byte, size_t bytes, cudaStream_t stream) {
  if (bytes > 0 && simt_device_of(data, bytes) < 0)
    return simt_result(cudaErrorInvalidValue);
  return simt_ask(stream, "memset", &data, sizeof data, SIMT_WHEN_SCHEDULED,
                  [=] { return fill(data, byte, bytes); });
}

cudaError_t cudaMemset(void *data, int byte, size_t bytes) {
  if (!simt_is_capturing())
    simt_finish_streams();
  return cudaMemsetAsync(data, byte, bytes, NULL);
}
