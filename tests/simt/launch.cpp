/* A launch: refuse what CUDA would refuse, run it under the schedules that are wanted
   (simt.cpp), and compare what they leave. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <memory>

#include "machine.h"

#define MAX_KERNELS 256
#define MAX_OPERANDS 32

/* Kernels that may have more dynamic shared memory than every kernel may have. */
struct simt_attributes {
  struct {
    const void *kernel;
    int dynamic_bytes;
  } kernels[MAX_KERNELS];
  int count;
};

static simt_attributes *attributes(void) {
  static simt_attributes attributes;
  return &attributes;
}

/* ---- what is allowed ---- */

static int find_kernel(const void *kernel) {
  const simt_attributes *a = attributes();
  int i = 0;
  while (i < a->count && a->kernels[i].kernel != kernel)
    i++;
  return i;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
  simt_attributes *a = attributes();
  const int i = find_kernel(kernel);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
    return cudaSuccess;
  if (value < 0 || value > SIMT_SHARED || i == MAX_KERNELS)
    return simt_result(cudaErrorInvalidValue);
  a->kernels[i] = { kernel, value };
  a->count = i < a->count ? a->count : i + 1;
  return cudaSuccess;
}

/* What nvcc makes of kernels that the device's code cannot hold is for one thread (kernels/cuda/hopper.h). */
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *) {
  attributes->maxThreadsPerBlock = getenv("BAMLUA_SIMT_PLAIN") != NULL ? 1 : SIMT_MAX_THREADS;
  return cudaSuccess;
}

static size_t most_dynamic_bytes(const void *kernel) {
  const int i = find_kernel(kernel);
  const int allowed = i < attributes()->count ? attributes()->kernels[i].dynamic_bytes : 0;
  return (size_t)(allowed > SIMT_STATIC_SHARED ? allowed : SIMT_STATIC_SHARED);
}

/* Report why a launch is refused. */
static cudaError_t refuse(const simt_launch *launch, cudaError_t error, const char *why) {
  const dim3 b = launch->blocks, t = launch->threads;
  fprintf(stderr,
          "simt: kernel %s, %u x %u x %u blocks of %u x %u x %u threads, %zu bytes shared: %s\n",
          launch->name, b.x, b.y, b.z, t.x, t.y, t.z, launch->shared_bytes, why);
  return error;
}

/* Whether the variable names the kernel: without parentheses and what its template is of. */
static bool is_named(const simt_launch *launch, const char *variable) {
  const char *wanted = getenv(variable);
  const char *name = launch->name + strspn(launch->name, "( ");
  if (wanted == NULL)
    return false;
  const size_t length = strlen(wanted);
  return length > 0 && strncmp(name, wanted, length) == 0 && strcspn(name, "<() ") == length;
}

static cudaError_t check_launch(const simt_launch *launch, const void *const *pointers,
                                int npointers) {
  const dim3 b = launch->blocks, t = launch->threads;
  if (is_named(launch, "BAMLUA_SIMT_FAIL"))
    return refuse(launch, cudaErrorLaunchFailure, "fails because BAMLUA_SIMT_FAIL says so");
  if (launch->stream != NULL && simt_stream_device(launch->stream) != simt_current_device())
    return refuse(launch, cudaErrorInvalidResourceHandle, "the stream is another device's");
  if (t.x == 0 || t.y == 0 || t.z == 0 || t.x > 1024 || t.y > 1024 || t.z > 64 ||
      (uint64_t)t.x * t.y * t.z > SIMT_MAX_THREADS)
    return refuse(launch, cudaErrorInvalidConfiguration, "no such blocks");
  if (b.x == 0 || b.y == 0 || b.z == 0 || b.x > INT32_MAX || b.y > 65535 || b.z > 65535)
    return refuse(launch, cudaErrorInvalidConfiguration, "no such grid");
  if (launch->shared_bytes > most_dynamic_bytes(launch->kernel))
    return refuse(launch, cudaErrorInvalidValue, "more dynamic shared memory than it may have");
  for (int i = 0; i < npointers; i++)
    if (pointers[i] != NULL && simt_device_of(pointers[i], 0) != simt_current_device()) {
      char why[64];
      snprintf(why, sizeof why, "argument %d is no pointer to its memory", i + 1);
      return refuse(launch, cudaErrorIllegalAddress, why);
    }
  return cudaSuccess;
}

/* ---- running ---- */

/* The only schedule to run, from 0, or -1 for all. */
static int wanted_schedule(void) {
  const char *text = getenv("BAMLUA_SIMT");
  const int number = text != NULL ? atoi(text) : 0;
  return number >= 1 && number <= SIMT_SCHEDULES ? number - 1 : -1;
}

static cudaError_t run_once(const simt_launch *launch, const simt_body *body, int schedule) {
  const cudaError_t error = simt_run_schedule(launch, body, schedule);
  const bool good = simt_check_red_zones(launch->name);
  return error != cudaSuccess || good ? error : cudaErrorLaunchFailure;
}

static cudaError_t run_all(const simt_launch *launch, const simt_body *body) {
  if (!simt_save_memory())
    return refuse(launch, cudaErrorLaunchFailure, "no memory to compare schedules");
  cudaError_t error = run_once(launch, body, 0);
  if (error == cudaSuccess)
    simt_keep_memory();
  for (int i = 1; i < SIMT_SCHEDULES && error == cudaSuccess; i++) {
    simt_restore_memory();
    error = run_once(launch, body, i);
    if (error == cudaSuccess && !simt_compare_memory(launch->name, i))
      error = cudaErrorLaunchFailure;
  }
  return error;
}

/* Trace a launch with the sizes of the allocations that its arguments point into, each once. */
static void trace_launch(const simt_launch *launch, const simt_body *body) {
  const simt_allocation *seen[MAX_OPERANDS];
  char sizes[MAX_OPERANDS * 24] = "";
  int count = 0, length = 0;
  for (size_t at = 0; at + sizeof(char *) <= body->bytes; at += sizeof(char *)) {
    const char *pointer;
    memcpy(&pointer, (const char *)body->arguments + at, sizeof pointer);
    const simt_allocation *a = simt_allocation_of(pointer);
    int i = 0;
    while (i < count && seen[i] != a)
      i++;
    if (a == NULL || i < count || count == MAX_OPERANDS)
      continue;
    seen[count++] = a;
    length += snprintf(sizes + length, sizeof sizes - (size_t)length, " %zu", a->bytes);
  }
  simt_trace("launch %s %u %u%s", launch->name,
             launch->blocks.x * launch->blocks.y * launch->blocks.z, launch->threads.x, sizes);
}

/* Every second time. */
static bool lies(void) {
  static bool last;
  last = !last;
  return !last;
}

static cudaError_t run(const simt_launch *launch, const simt_body *body) {
  const int schedule = wanted_schedule();
  cudaError_t error = cudaSuccess;
  if (getenv("BAMLUA_SIMT_TRACE") != NULL)
    trace_launch(launch, body);
  simt_count_work(0.001);
  if (is_named(launch, "BAMLUA_SIMT_HANG"))
    for (;;)
      pause();
  if (is_named(launch, "BAMLUA_SIMT_FAIL_LATE"))
    simt_fail_later(cudaErrorIllegalAddress);
  else if (is_named(launch, "BAMLUA_SIMT_LIE") && lies())
    ; /* it says that it has run */
  else {
    simt_open_memory();
    error = schedule >= 0 ? run_once(launch, body, schedule) : run_all(launch, body);
    simt_close_memory();
  }
  return error;
}

/* The launch, to be run later, with a copy of its arguments. */
static simt_action copy_launch(const simt_launch *launch, const simt_body *body) {
  const size_t align = 128; /* of the strictest argument */
  const std::shared_ptr<void> arguments(aligned_alloc(align, (body->bytes / align + 1) * align),
                                        free);
  const simt_launch l = *launch;
  const simt_body b = { body->call, arguments.get(), body->bytes };
  memcpy(arguments.get(), body->arguments, body->bytes);
  return [arguments, l, b] { return run(&l, &b); };
}

void simt_run(const simt_launch *launch, const simt_body *body, const void *const *pointers,
              int npointers) {
  cudaError_t error = check_launch(launch, pointers, npointers);
  if (error == cudaSuccess)
    error = simt_ask(launch->stream, launch->name, body->arguments, body->bytes,
                     SIMT_WHEN_SCHEDULED, copy_launch(launch, body));
  simt_result(error);
}
