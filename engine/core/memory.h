/* The engine's allocator: host objects (tensors, nodes) come from free lists, storage bytes from size
   classes cached per device, on GPUs large ones from an arena (arena.h). After the first steps of a
   training loop every request is served from there, and `system_requests` stops growing. */
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
  int64_t system_requests; /* how many of them allocated from the system */
  int64_t fail_at;         /* the request with this number fails (testing); 0: none */
  int64_t live_objects;    /* tensors, nodes, storages not yet released */
  int64_t live_bytes;      /* storage bytes in use, over all devices */
  int64_t peak_bytes;      /* the maximum of live_bytes so far */
  int64_t reserved_bytes;  /* storage bytes held from the system, cached ones included */
  int64_t limit_bytes;     /* storage allocations beyond this fail; 0: no limit */
  bool no_cache;
  void *free_objects[BAM_OBJECT_CLASSES + 1];
  struct bam_slab *slabs;
} bam_memory;

/* Allocate `bytes` of uninitialized host memory for one object. Returns NULL, with the context's
   message set, if memory is short. */
void *bam_object_alloc(struct bam_context *context, size_t bytes);

/* Free an object of `bytes` bytes. NULL is allowed. */
void bam_object_free(struct bam_context *context, void *object, size_t bytes);

/* Allocate a storage of at least `bytes` uninitialized bytes on `device`, 64-byte aligned, with one
   reference. When memory is short, asks the host once to collect garbage, then returns cached storages
   to the system: as many as are needed, those longest unused first, all before it fails, and gives up graphs. During a
   capture of the device nothing is returned to it. */
bam_status bam_storage_alloc(struct bam_context *context, struct bam_device *device, int64_t bytes,
                             struct bam_storage **out);

/* Take all memory of `device` that was in use at some time during capture `number` (core/capture.h), and is not now, as
   storages with one reference each; a list linked by `next`. False if memory for records is short: then only some. */
bool bam_memory_take_captured(struct bam_context *context, struct bam_device *device,
                              uint32_t number, struct bam_storage **taken);

/* Grow the CPU storage *scratch (NULL: none yet) to at least `bytes`, keeping its contents. */
bam_status bam_storage_grow(struct bam_context *context, struct bam_storage **scratch,
                            int64_t bytes);

struct bam_storage *bam_storage_retain(struct bam_storage *storage);
void bam_storage_release(struct bam_context *context, struct bam_storage *storage);

/* Return cached storages and the free blocks of arenas to the system, except small ones, which share
   regions. */
void bam_memory_trim(struct bam_context *context);

/* Free everything; called by bam_context_destroy. */
void bam_memory_destroy(struct bam_context *context);

#endif
