/* Pages by the driver's virtual memory management. A page is created, mapped, and its handle released at once: the
   mapping keeps it, and gives the handle back when the page moves. */
#include "pages.h"

#include <cuda.h>
#include <stdlib.h>
#include <string.h>

/* Large, as each costs some calls of the driver; the shim has smaller ones. */
#ifndef PAGE_BYTES
#define PAGE_BYTES (16 << 20)
#endif

#define LEFT_PARTS 512 /* 1 / LEFT_PARTS of the memory is left for scratch and libraries */

#define DRIVER_FUNCTIONS(X)        \
  X(cuDeviceGet)                   \
  X(cuDeviceGetAttribute)          \
  X(cuGetErrorString)              \
  X(cuMemGetAllocationGranularity) \
  X(cuMemAddressReserve)           \
  X(cuMemAddressFree)              \
  X(cuMemCreate)                   \
  X(cuMemRelease)                  \
  X(cuMemMap)                      \
  X(cuMemUnmap)                    \
  X(cuMemSetAccess)                \
  X(cuMemRetainAllocationHandle)

struct driver {
  bool is_complete;
#define MEMBER(name) decltype(&::name) name;
  DRIVER_FUNCTIONS(MEMBER)
};

#define DRIVER_VERSION 12000 /* of the functions that are meant */

static bool look_up(const char *name, void **function) {
  cudaDriverEntryPointQueryResult found;
  const cudaError_t error = cudaGetDriverEntryPointByVersion(name, function, DRIVER_VERSION,
                                                             cudaEnableDefault, &found);
  if (error != cudaSuccess)
    cudaGetLastError();
  return error == cudaSuccess && found == cudaDriverEntryPointSuccess && *function != NULL;
}

/* The driver's functions, looked up once per process. */
static const driver *find_driver(void) {
  static driver functions;
  static bool done;
  if (!done) {
    functions.is_complete = true;
#define LOOK_UP(name) functions.is_complete &= look_up(#name, (void **)&functions.name);
    DRIVER_FUNCTIONS(LOOK_UP)
    done = true;
  }
  return &functions;
}

/* True if the result is a success. Notes other failures in the stream than that memory is short. */
static bool note(bam_stream stream, const char *what, CUresult result) {
  const char *text = NULL;
  if (result == CUDA_SUCCESS || result == CUDA_ERROR_OUT_OF_MEMORY)
    return result == CUDA_SUCCESS;
  if (find_driver()->cuGetErrorString(result, &text) != CUDA_SUCCESS || text == NULL)
    text = "unknown error";
  bam_cuda_fail(stream, "%s: %s", what, text);
  return false;
}

static CUmemAllocationProp properties(bam_stream stream) {
  CUmemAllocationProp p;
  memset(&p, 0, sizeof p);
  p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  p.location.id = stream->number;
  return p;
}

static CUdeviceptr address(const void *data, int64_t offset) {
  return (CUdeviceptr)(uintptr_t)data + (CUdeviceptr)offset;
}

/* A failure is no fault of the device: there are other ways to get memory. */
void *bam_cuda_reserve(bam_stream stream, int64_t bytes) {
  CUdeviceptr data = 0;
  if (!bam_cuda_enter(stream))
    return NULL;
  const CUresult result = find_driver()->cuMemAddressReserve(&data, (size_t)bytes,
                                                             (size_t)stream->page_bytes, 0, 0);
  return result == CUDA_SUCCESS ? (void *)(uintptr_t)data : NULL;
}

void bam_cuda_unreserve(bam_stream stream, void *data, int64_t bytes) {
  if (bam_cuda_enter(stream))
    note(stream, "cuMemAddressFree",
         find_driver()->cuMemAddressFree(address(data, 0), (size_t)bytes));
}

/* Page by page: only what was mapped by one call can be unmapped by one. */
void bam_cuda_unmap(bam_stream stream, void *data, int64_t bytes) {
  const bool entered = bam_cuda_enter(stream);
  for (int64_t at = 0; at < bytes && entered; at += stream->page_bytes)
    note(stream, "cuMemUnmap",
         find_driver()->cuMemUnmap(address(data, at), (size_t)stream->page_bytes));
}

/* Let the device use pages that were just mapped. */
static bool allow_access(bam_stream stream, void *data, int64_t bytes) {
  CUmemAccessDesc access;
  memset(&access, 0, sizeof access);
  access.location = properties(stream).location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  return note(stream, "cuMemSetAccess",
              find_driver()->cuMemSetAccess(address(data, 0), (size_t)bytes, &access, 1));
}

/* Map a page there and drop the handle, which is consumed. */
static bool map_handle(bam_stream stream, CUdeviceptr at, size_t bytes,
                       CUmemGenericAllocationHandle handle) {
  const bool mapped = note(stream, "cuMemMap", find_driver()->cuMemMap(at, bytes, 0, handle, 0));
  return note(stream, "cuMemRelease", find_driver()->cuMemRelease(handle)) && mapped;
}

static bool map_page(bam_stream stream, CUdeviceptr at, size_t bytes) {
  const CUmemAllocationProp p = properties(stream);
  CUmemGenericAllocationHandle handle;
  return note(stream, "cuMemCreate", find_driver()->cuMemCreate(&handle, bytes, &p, 0)) &&
         map_handle(stream, at, bytes, handle);
}

/* What the engine may have of the device's memory: a little is left for scratch buffers and for workspaces of
   libraries, which are allocated later. */
static int64_t count_available(bam_stream stream) {
  size_t available, total;
  const cudaError_t error = cudaMemGetInfo(&available, &total);
  bam_cuda_note(stream, "cudaMemGetInfo", error);
  return error == cudaSuccess ? (int64_t)available - (int64_t)(total / LEFT_PARTS) : 0;
}

int64_t bam_cuda_map(bam_stream stream, void *data, int64_t bytes) {
  int64_t done = 0;
  if (!bam_cuda_enter(stream))
    return 0;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  bam_cuda_exchange_mode(stream, &mode);
  const int64_t page = stream->page_bytes, most = count_available(stream);
  bytes = bytes < most ? bytes : most / page * page;
  while (done < bytes && map_page(stream, address(data, done), (size_t)page))
    done += page;
  if (done > 0 && !allow_access(stream, data, done)) {
    bam_cuda_unmap(stream, data, done);
    done = 0;
  }
  bam_cuda_exchange_mode(stream, &mode);
  return done;
}

/* Move the page at `from`, which is unmapped in any case. */
static bool move_page(bam_stream stream, CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  const driver *d = find_driver();
  CUmemGenericAllocationHandle handle;
  const bool found = note(stream, "cuMemRetainAllocationHandle",
                          d->cuMemRetainAllocationHandle(&handle, (void *)(uintptr_t)from));
  note(stream, "cuMemUnmap", d->cuMemUnmap(from, bytes));
  return found && map_handle(stream, to, bytes, handle);
}

bool bam_cuda_move(bam_stream stream, void *to, void *from, int64_t bytes) {
  int64_t done = 0;
  if (!bam_cuda_enter(stream))
    return false;
  const int64_t page = stream->page_bytes;
  while (done < bytes && move_page(stream, address(to, done), address(from, done), (size_t)page))
    done += page;
  if (done == bytes && allow_access(stream, to, bytes))
    return true;
  if (done < bytes) /* the page that failed is unmapped already */
    bam_cuda_unmap(stream, (char *)from + done + page, bytes - done - page);
  bam_cuda_unmap(stream, to, done);
  return false;
}

/* ---- whether there are pages ---- */

static bool is_supported(const driver *d, int number) {
  CUdevice device;
  int value = 0;
  return d->cuDeviceGet(&device, number) == CUDA_SUCCESS &&
         d->cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
                                 device) == CUDA_SUCCESS &&
         value != 0;
}

/* The size that pages would have; 0 if there are none. */
static int64_t choose_page_bytes(bam_stream stream) {
  const driver *d = find_driver();
  const char *allocator = getenv("BAMLUA_ALLOCATOR");
  const CUmemAllocationProp p = properties(stream);
  size_t step = 0;
  if ((allocator != NULL && strcmp(allocator, "segments") == 0) || !d->is_complete ||
      !is_supported(d, stream->number))
    return 0;
  if (d->cuMemGetAllocationGranularity(&step, &p, CU_MEM_ALLOC_GRANULARITY_MINIMUM) !=
        CUDA_SUCCESS ||
      step == 0)
    return 0;
  return (int64_t)((PAGE_BYTES + step - 1) / step * step);
}

/* Whether a page can be mapped, moved and unmapped. */
static bool try_page(bam_stream stream) {
  const int64_t page = stream->page_bytes;
  char *data = (char *)bam_cuda_reserve(stream, 2 * page);
  if (data == NULL)
    return false;
  bam_cuda_note(stream, "synchronize", cudaStreamSynchronize(stream->queue));
  const bool moved = bam_cuda_map(stream, data, page) == page &&
                     bam_cuda_move(stream, data + page, data, page);
  if (moved)
    bam_cuda_unmap(stream, data + page, page);
  bam_cuda_unreserve(stream, data, 2 * page);
  return moved && stream->failure[0] == '\0';
}

int64_t bam_cuda_find_page_bytes(bam_stream stream) {
  stream->page_bytes = choose_page_bytes(stream);
  if (stream->page_bytes > 0 && !try_page(stream)) {
    stream->page_bytes = 0;
    stream->failure[0] = '\0'; /* the device is used without them */
  }
  return stream->page_bytes;
}
