/* Memory of the engine: small host objects (tensors, nodes) from free lists, storage bytes from
   cached size classes per device. After the first step of a training loop both are served from what
   is already there: `system_requests` stops growing. */
#ifndef BAM_MEMORY_H
#define BAM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

struct bam_context;
struct bam_device;
struct bam_storage;

#define BAM_OBJECT_CLASSES 64 /* of 64 bytes each; rarer, larger objects come from malloc */

typedef struct bam_memory {
  int64_t requests;        /* allocations of any kind so far, cached ones included */
  int64_t system_requests; /* how many of them asked the system */
  int64_t fail_at;         /* the request with this number fails (testing); 0: none */
  int64_t live_objects;    /* tensors, nodes, storages not yet released */
  int64_t live_bytes;      /* storage bytes in use, over all devices */
  int64_t peak_bytes;      /* the most live_bytes has been */
  int64_t reserved_bytes;  /* storage bytes held from the system, cached ones included */
  int64_t limit_bytes;     /* storage allocations beyond this fail; 0: no limit */
  bool no_cache;
  void *free_objects[BAM_OBJECT_CLASSES + 1];
  struct bam_slab *slabs;
} bam_memory;

/* `bytes` of uninitialised host memory for one object, or NULL with the context's message set. */
void *bam_object_alloc(struct bam_context *context, size_t bytes);

/* Give back an object of `bytes` bytes. NULL is legal. */
void bam_object_free(struct bam_context *context, void *object, size_t bytes);

/* A storage of at least `bytes` uninitialised bytes, 64-byte aligned, with one
   reference. When memory is short the host is asked once to collect, and cached storages
   are given back, before failing. */
bam_status bam_storage_alloc(struct bam_context *context, struct bam_device *device, int64_t bytes,
                             struct bam_storage **out);

/* Grow the CPU storage *scratch (NULL: none yet) to at least `bytes`, keeping its contents. */
bam_status bam_storage_grow(struct bam_context *context, struct bam_storage **scratch,
                            int64_t bytes);

struct bam_storage *bam_storage_retain(struct bam_storage *storage);
void bam_storage_release(struct bam_context *context, struct bam_storage *storage);

/* Give cached memory back to the system, as far as whole pieces of it are free. */
void bam_memory_trim(struct bam_context *context);

/* Free everything; called when the context goes. */
void bam_memory_destroy(struct bam_context *context);

#endif
