/* kernels/cuda/launch.h for g++: starting a kernel, and shared memory, with the same contracts.
   A kernel is the name of a function or a template instance with all its parameters, which then
   is in parentheses. Every pointer that it is given must be NULL or point into memory that
   cudaMalloc gave.

   What the environment may say, each time anew:
   BAMLUA_SIMT=1 .. 4       run launches under that schedule only, and compare nothing
   BAMLUA_SIMT_FAIL=name    launches of that kernel fail; cudaMemcpyAsync: copies do; functions of the
                            driver in pages.cpp, "name:n" after n calls; pages: there are none
   BAMLUA_SIMT_FAIL_LATE=name  launches of that kernel do nothing, and the next wait finds a fault
   BAMLUA_SIMT_HANG=name    launches of that kernel never return
   BAMLUA_SIMT_LIE=name     every second launch of that kernel does nothing, and claims success
   BAMLUA_SIMT_BLAS, BAMLUA_SIMT_ALGORITHMS, BAMLUA_SIMT_BLAS_VERSION  see cublaslt.cpp
   BAMLUA_SIMT_PLAIN=1      say that kernels were compiled for sm_90, not for sm_90a
   BAMLUA_SIMT_STREAMS=side  streams but the first run as early as they may, see streams.cpp
   BAMLUA_SIMT_TRACE=file   append what the host asks for, a line each (trace.cpp)
   BAMLUA_SIMT_MEMORY=n     bytes of memory of each device
   BAMLUA_SIMT_DEVICES=n    devices
   BAMLUA_SIMT_NAME=name    of the devices
   BAMLUA_SIMT_OPEN=1       the host may touch memory of the device */
#ifndef SIMT_H
#define SIMT_H

#include <cuda_runtime.h>

#define BAM_LAUNCH(stream_, kernel, blocks, threads, shared_bytes, ...)               \
  do {                                                                                \
    const dim3 blocks_ = (blocks);                                                    \
    if (blocks_.x > 0 && blocks_.y > 0 && blocks_.z > 0 && bam_cuda_enter(stream_)) { \
      simt_configure(#kernel, kernel, blocks_, (threads), (size_t)(shared_bytes),     \
                     (stream_)->queue)(__VA_ARGS__);                                  \
      bam_cuda_launched((stream_), #kernel, cudaGetLastError());                      \
    }                                                                                 \
  } while (0)

#define BAM_UNROLL

#define BAM_LOAD_16(pointer) simt_load_16(pointer, { __FILE__, __LINE__ })
#define BAM_STORE_16(pointer, value) simt_store_16(pointer, value, { __FILE__, __LINE__ })

void simt_misaligned(const void *pointer, simt_site site); /* ends the launch with an error */

static inline uint4 simt_load_16(const void *pointer, simt_site site) {
  uint4 value;
  if ((uintptr_t)pointer % sizeof value != 0)
    simt_misaligned(pointer, site);
  memcpy(&value, pointer, sizeof value);
  return value;
}

static inline void simt_store_16(void *pointer, uint4 value, simt_site site) {
  if ((uintptr_t)pointer % sizeof value != 0)
    simt_misaligned(pointer, site);
  memcpy(pointer, &value, sizeof value);
}

#define BAM_SHARED(type, name, count)                                                   \
  static simt_shared_array name##_shared_ = { #name, sizeof(type) * (count), 0, NULL }; \
  type(&name)[count] = *(type(*)[count])simt_shared(&name##_shared_)

#define BAM_DYNAMIC_SHARED(type, name) type *name = (type *)simt_here()->dynamic_shared

/* A declaration of shared memory: the same address for all threads of a launch. */
struct simt_shared_array {
  const char *name;
  size_t bytes;
  uint64_t launch; /* that the address is for */
  void *address;
};

void simt_place_shared(simt_shared_array *array);

static inline void *simt_shared(simt_shared_array *array) {
  if (array->launch != simt_here()->launch)
    simt_place_shared(array);
  return array->address;
}

/* A launch, but for the kernel's arguments. */
struct simt_launch {
  const char *name;
  const void *kernel;
  dim3 blocks, threads;
  size_t shared_bytes;
  cudaStream_t stream;
};

/* The kernel with its arguments: what every thread calls. */
struct simt_body {
  void (*call)(const void *arguments);
  const void *arguments;
  size_t bytes; /* of the arguments, one after another */
};

/* Run the launch; an error becomes the last error. `pointers` are among the kernel's arguments. */
void simt_run(const simt_launch *launch, const simt_body *body, const void *const *pointers,
              int npointers);

/* Let host code touch device memory, and no longer; calls nest. */
void simt_open_memory(void);
void simt_close_memory(void);

template <class T> static inline const void *simt_pointer(T *pointer) { return pointer; }
template <class T> static inline const void *simt_pointer(const T &) { return NULL; }

template <class... P> struct simt_configured {
  simt_launch launch;
  void (*kernel)(P...);

  void operator()(P... arguments) const {
    const void *const pointers[] = { simt_pointer(arguments)..., NULL };
    void (*const function)(P...) = kernel; /* a graph keeps it: not `this` */
    auto thread = [=] { function(arguments...); };
    __builtin_clear_padding(&thread); /* old pointers there would be taken for operands */
    const simt_body body = { [](const void *f) { (*(const decltype(thread) *)f)(); }, &thread,
                             sizeof thread };
    simt_run(&launch, &body, pointers, (int)sizeof...(P));
  }
};

template <class... P>
static inline simt_configured<P...> simt_configure(const char *name, void (*kernel)(P...),
                                                   dim3 blocks, dim3 threads, size_t shared_bytes,
                                                   cudaStream_t stream) {
  return { { name, (const void *)kernel, blocks, threads, shared_bytes, stream }, kernel };
}

#endif
