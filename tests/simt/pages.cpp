/* Pages of device memory at addresses of the host's choice, as CUDA's driver has them. Only whole handles are mapped
   and unmapped; mapped memory may be used once access was set, and unmapped after all work has been waited for. What is
   mapped is NaN, whatever a page held before. Blocks that the program uses there are allocations as those of cudaMalloc
   are, with red zones in the gaps between them (bam_cuda_mark). */
#include <functional> /* before CUDA's words, of which it uses some */
#include <memory>

#include "cuda.h"

#include <stdio.h>
#include <stdlib.h>

#include "../../kernels/cuda/pages.h"
#include "machine.h"

#define GRANULE ((size_t)64 << 10)
#define MAX_RANGES 16

/* Physical memory. The handle is its address; it exists while something refers to it. */
struct simt_pages {
  size_t bytes;
  int device, references;
};

struct simt_granule {
  simt_pages *pages; /* mapped here, or NULL */
  bool first;        /* where the mapping of a handle begins */
  bool usable;       /* access was set */
};

struct simt_range {
  char *data;
  size_t bytes;
  simt_granule *granules;
};

struct simt_driver {
  simt_range ranges[MAX_RANGES];
  int count;
};

static simt_driver *driver(void) {
  static simt_driver driver;
  return &driver;
}

/* Whether BAMLUA_SIMT_FAIL is the name of this function, or "name:n" and n calls of it went well. */
static bool fails(const char *name) {
  const char *wanted = getenv("BAMLUA_SIMT_FAIL");
  static int calls; /* of the one that is named */
  const size_t length = strlen(name);
  if (wanted == NULL || strncmp(wanted, name, length) != 0)
    return false;
  return wanted[length] == '\0' || (wanted[length] == ':' && ++calls > atoi(wanted + length + 1));
}

static CUresult refuse(const char *name, CUdeviceptr data, size_t bytes, const char *why) {
  fprintf(stderr, "simt: %s of %zu bytes at %p: %s\n", name, bytes, (void *)(uintptr_t)data, why);
  return CUDA_ERROR_INVALID_VALUE;
}

/* ---- what is asked of the driver ---- */

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute, CUdevice) {
  *value = !fails("pages");
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
  *text = error == CUDA_ERROR_ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
          : error == CUDA_ERROR_UNKNOWN       ? "unknown error"
                                              : "invalid argument";
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *,
                                       CUmemAllocationGranularity_flags) {
  *granularity = GRANULE;
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult *found) {
  static const struct {
    const char *name;
    void *function;
  } functions[] = {
#define FUNCTION(name) { #name, (void *)name }
    FUNCTION(cuDeviceGet),
    FUNCTION(cuDeviceGetAttribute),
    FUNCTION(cuGetErrorString),
    FUNCTION(cuMemGetAllocationGranularity),
    FUNCTION(cuMemAddressReserve),
    FUNCTION(cuMemAddressFree),
    FUNCTION(cuMemCreate),
    FUNCTION(cuMemRelease),
    FUNCTION(cuMemMap),
    FUNCTION(cuMemUnmap),
    FUNCTION(cuMemSetAccess),
    FUNCTION(cuMemRetainAllocationHandle),
#undef FUNCTION
  };
  *function = NULL;
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
    if (strcmp(functions[i].name, name) == 0)
      *function = functions[i].function;
  *found = *function != NULL ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

/* ---- ranges of addresses ---- */

/* The range of these addresses, which must be whole granules; NULL if there is none. */
static simt_range *find_range(CUdeviceptr data, size_t bytes) {
  simt_driver *d = driver();
  const char *start = (const char *)(uintptr_t)data;
  for (int i = 0; i < d->count; i++) {
    simt_range *r = &d->ranges[i];
    if (r->data != NULL && start >= r->data && start + bytes <= r->data + r->bytes &&
        (size_t)(start - r->data) % GRANULE == 0 && bytes % GRANULE == 0 && bytes > 0)
      return r;
  }
  return NULL;
}

static simt_granule *granule_of(const simt_range *r, CUdeviceptr data) {
  return r->granules + (size_t)((char *)(uintptr_t)data - r->data) / GRANULE;
}

CUresult cuMemAddressReserve(CUdeviceptr *data, size_t bytes, size_t alignment, CUdeviceptr,
                             unsigned long long) {
  simt_driver *d = driver();
  if (bytes % GRANULE != 0 || fails("cuMemAddressReserve") || d->count == MAX_RANGES)
    return CUDA_ERROR_OUT_OF_MEMORY;
  char *start = simt_take_range(bytes, alignment > 0 ? alignment : GRANULE);
  simt_granule *granules = (simt_granule *)calloc(bytes / GRANULE, sizeof *granules);
  if (start == NULL || granules == NULL) {
    free(granules);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  d->ranges[d->count++] = { start, bytes, granules };
  *data = (CUdeviceptr)(uintptr_t)start;
  return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr data, size_t bytes) {
  simt_range *r = find_range(data, bytes);
  if (r == NULL || r->bytes != bytes)
    return refuse("cuMemAddressFree", data, bytes, "was not reserved so");
  for (size_t i = 0; i < bytes / GRANULE; i++)
    if (r->granules[i].pages != NULL)
      return refuse("cuMemAddressFree", data, bytes, "has memory");
  free(r->granules);
  *r = {};
  return CUDA_SUCCESS;
}

/* ---- pages ---- */

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes,
                     const CUmemAllocationProp *properties, unsigned long long) {
  const int device = properties->location.id;
  if (fails("cuMemCreate"))
    return CUDA_ERROR_UNKNOWN;
  if (bytes == 0 || bytes % GRANULE != 0 || properties->type != CU_MEM_ALLOCATION_TYPE_PINNED)
    return CUDA_ERROR_INVALID_VALUE;
  if (!simt_take_pages(device, bytes))
    return CUDA_ERROR_OUT_OF_MEMORY;
  *handle = (CUmemGenericAllocationHandle)(uintptr_t) new simt_pages{ bytes, device, 1 };
  return CUDA_SUCCESS;
}

static void drop(simt_pages *pages) {
  if (--pages->references > 0)
    return;
  simt_give_pages(pages->device, pages->bytes);
  delete pages;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  drop((simt_pages *)(uintptr_t)handle);
  return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr data, size_t bytes, size_t offset,
                  CUmemGenericAllocationHandle handle, unsigned long long) {
  simt_pages *pages = (simt_pages *)(uintptr_t)handle;
  const simt_range *r = find_range(data, bytes);
  if (fails("cuMemMap"))
    return CUDA_ERROR_UNKNOWN;
  if (r == NULL || bytes != pages->bytes || offset != 0)
    return refuse("cuMemMap", data, bytes, "not reserved, or not the whole handle");
  simt_granule *g = granule_of(r, data);
  for (size_t i = 0; i < bytes / GRANULE; i++)
    if (g[i].pages != NULL)
      return refuse("cuMemMap", data, bytes, "has memory already");
  if (!simt_fill_range((char *)(uintptr_t)data, bytes))
    return CUDA_ERROR_OUT_OF_MEMORY;
  for (size_t i = 0; i < bytes / GRANULE; i++)
    g[i] = { pages, i == 0, false };
  pages->references++;
  return CUDA_SUCCESS;
}

CUresult cuMemSetAccess(CUdeviceptr data, size_t bytes, const CUmemAccessDesc *access, size_t) {
  const simt_range *r = find_range(data, bytes);
  if (fails("cuMemSetAccess"))
    return CUDA_ERROR_UNKNOWN;
  if (r == NULL)
    return refuse("cuMemSetAccess", data, bytes, "not reserved");
  simt_granule *g = granule_of(r, data);
  for (size_t i = 0; i < bytes / GRANULE; i++) {
    if (g[i].pages == NULL || g[i].pages->device != access->location.id)
      return refuse("cuMemSetAccess", data, bytes, "has no memory of that device");
    g[i].usable = true;
  }
  return CUDA_SUCCESS;
}

/* Why the addresses cannot be unmapped: they must be those of one handle, and nothing may be in use. Or NULL. */
static const char *find_obstacle(const simt_granule *g, CUdeviceptr data, size_t bytes) {
  if (g->pages == NULL)
    return "has no memory";
  if (!g->first || g->pages->bytes != bytes)
    return "not the whole of a handle";
  if (simt_is_used((const char *)(uintptr_t)data, bytes))
    return "is in use";
  return simt_is_idle() ? NULL : "work that may use it was not waited for";
}

CUresult cuMemUnmap(CUdeviceptr data, size_t bytes) {
  const simt_range *r = find_range(data, bytes);
  if (r == NULL)
    return refuse("cuMemUnmap", data, bytes, "not reserved");
  simt_granule *g = granule_of(r, data);
  const char *obstacle = find_obstacle(g, data, bytes);
  if (obstacle != NULL)
    return refuse("cuMemUnmap", data, bytes, obstacle);
  simt_fill_range((char *)(uintptr_t)data, bytes);
  drop(g->pages);
  for (size_t i = 0; i < bytes / GRANULE; i++)
    g[i] = {};
  return CUDA_SUCCESS;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address) {
  const CUdeviceptr data = (CUdeviceptr)(uintptr_t)address;
  const simt_range *r = find_range(data, GRANULE);
  if (r == NULL || granule_of(r, data)->pages == NULL)
    return refuse("cuMemRetainAllocationHandle", data, 0, "has no memory");
  simt_pages *pages = granule_of(r, data)->pages;
  pages->references++;
  *handle = (CUmemGenericAllocationHandle)(uintptr_t)pages;
  return CUDA_SUCCESS;
}

/* ---- blocks in use ---- */

void bam_cuda_mark(bam_stream, void *data, int64_t bytes, bool used) {
  const CUdeviceptr start = (CUdeviceptr)(uintptr_t)data;
  const CUdeviceptr first = start / GRANULE * GRANULE;
  const CUdeviceptr end = (start + (CUdeviceptr)bytes + GRANULE - 1) / GRANULE * GRANULE;
  const simt_range *r = find_range(first, end - first);
  bool good = r != NULL;
  for (CUdeviceptr at = first; at < end && good; at += GRANULE)
    good = granule_of(r, at)->usable;
  if (good)
    good = used ? simt_use_block((char *)data, (size_t)bytes, granule_of(r, first)->pages->device)
                : simt_leave_block((char *)data);
  else
    refuse("a block", start, (size_t)bytes, "has no memory that may be used");
  if (!good)
    simt_fail_later(cudaErrorIllegalAddress);
}
