/* Memory: objects from free lists over slabs, storages from size classes over regions. Without the
   cache (sanitizer builds) every request is one malloc.
   Invariants: a cached storage has refs 0 and keeps its data; slabs and regions live as long as the
   context; storages of OWN_BYTES and more are allocated from the system one by one. On a GPU, where
   memory is scarce, regions are small, and storages of ARENA_BYTES and more are blocks of the device's
   arena (arena.h). */
#include "memory.h"
#include "devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "assert.h"
#include "capture.h"
#include "tensor.h"

#define SLAB_BYTES (64 * 1024)
#define REGION_BYTES (64LL << 20)
#define OWN_BYTES (8LL << 20)
#define ARENA_BYTES (1LL << 20)
#define ARENA_REGION_BYTES (2LL << 20)
#define DEVICE_ALIGN 256 /* as libraries for GPUs expect */

struct bam_slab {
  struct bam_slab *next;
};

struct bam_region {
  struct bam_region *next;
  char *data;
  int64_t bytes, used;
  bam_block *block; /* of the arena, on devices that have one */
};

/* Count a request. True if a test wants this one to fail (see fail_at). */
static bool refused(bam_memory *memory) { return ++memory->requests == memory->fail_at; }

/* ---- objects ---- */

static void *system_object(bam_memory *memory, size_t bytes) {
  memory->system_requests++;
  return malloc(bytes);
}

/* Cut a new slab into objects of class `class` and put them on its free list. */
static bool refill(bam_memory *memory, size_t class) {
  struct bam_slab *slab = system_object(memory, SLAB_BYTES);
  if (slab == NULL)
    return false;
  slab->next = memory->slabs;
  memory->slabs = slab;
  size_t size = class * 64;
  for (char *p = (char *)slab + 64; p + size <= (char *)slab + SLAB_BYTES; p += size) {
    *(void **)p = memory->free_objects[class];
    memory->free_objects[class] = p;
  }
  return true;
}

static bool object_is_cached(const bam_memory *memory, size_t class) {
  return !memory->no_cache && class <= BAM_OBJECT_CLASSES;
}

/* An object from the free lists or the system, or NULL. */
static void *take_object(bam_memory *memory, size_t bytes) {
  size_t class = (bytes + 63) / 64;
  void *object = NULL;
  if (!object_is_cached(memory, class))
    object = system_object(memory, bytes);
  else if (memory->free_objects[class] != NULL || refill(memory, class)) {
    object = memory->free_objects[class];
    memory->free_objects[class] = *(void **)object;
  }
  memory->live_objects += object != NULL;
  return object;
}

void *bam_object_alloc(bam_context *context, size_t bytes) {
  void *object = refused(&context->memory) ? NULL : take_object(&context->memory, bytes);
  if (object == NULL)
    bam_fail(context, BAM_ERROR_MEMORY, "out of memory: cannot allocate %zu bytes", bytes);
  return object;
}

static void put_object(bam_memory *memory, void *object, size_t bytes) {
  memory->live_objects--;
  size_t class = (bytes + 63) / 64;
  if (!object_is_cached(memory, class)) {
    free(object);
    return;
  }
  *(void **)object = memory->free_objects[class];
  memory->free_objects[class] = object;
}

void bam_object_free(bam_context *context, void *object, size_t bytes) {
  if (object != NULL)
    put_object(&context->memory, object, bytes);
}

/* ---- storages ---- */

/* Round *bytes up to the next size class and return that class. Classes are multiples of 64 up to 512,
   then eight per power of two, so that at most an eighth of the memory is wasted. */
static int size_class(int64_t *bytes) {
  int64_t b = *bytes <= 0 ? 64 : (*bytes + 63) & ~63LL;
  if (b <= 512) {
    *bytes = b;
    return (int)(b / 64) - 1;
  }
  int exponent = 63 - __builtin_clzll((unsigned long long)b - 1);
  int64_t step = 1LL << (exponent - 3);
  b = (b + step - 1) & ~(step - 1);
  *bytes = b;
  return 8 + (exponent - 9) * 8 + (int)((b - (1LL << exponent)) / step) - 1;
}

/* Do storages of this size come from the arena? */
static bool is_in_arena(const bam_memory *memory, const bam_device *device, int64_t bytes) {
  return !memory->no_cache && !device->is_host && bytes >= ARENA_BYTES;
}

static void count_reserved(bam_memory *memory, bam_device *device, int64_t bytes) {
  memory->reserved_bytes += bytes;
  device->reserved_bytes += bytes;
}

static void count_live(bam_memory *memory, bam_device *device, int64_t bytes) {
  memory->live_bytes += bytes;
  device->live_bytes += bytes;
  if (memory->live_bytes > memory->peak_bytes)
    memory->peak_bytes = memory->live_bytes;
  if (device->live_bytes > device->peak_bytes)
    device->peak_bytes = device->live_bytes;
}

static void *system_bytes(bam_memory *memory, bam_device *device, int64_t bytes) {
  if (memory->limit_bytes > 0 && memory->reserved_bytes + bytes > memory->limit_bytes)
    return NULL;
  memory->system_requests++;
  void *data = device->system_alloc(device->stream, bytes);
  if (data != NULL)
    count_reserved(memory, device, bytes);
  return data;
}

/* A block of the device's arena, or NULL. */
static bam_block *take_block(bam_memory *memory, bam_device *device, int64_t bytes) {
  const int64_t before = bam_arena_reserved(device), moves = bam_arena_moves(device);
  const int64_t room = memory->limit_bytes > 0 ? memory->limit_bytes - memory->reserved_bytes
                                               : INT64_MAX;
  bam_block *block = bam_arena_take(device, bytes, room);
  const int64_t more = bam_arena_reserved(device) - before;
  memory->system_requests += more != 0 || bam_arena_moves(device) != moves;
  count_reserved(memory, device, more);
  return block;
}

static bool fill_region(bam_memory *memory, bam_device *device, struct bam_region *region) {
  region->used = 0;
  region->bytes = device->is_host ? REGION_BYTES : ARENA_REGION_BYTES;
  if (device->is_host)
    region->data = system_bytes(memory, device, region->bytes);
  else if ((region->block = take_block(memory, device, region->bytes)) != NULL)
    region->data = region->block->data;
  return region->data != NULL;
}

/* Cut a storage from a region. */
static void *carve(bam_memory *memory, bam_device *device, int64_t bytes) {
  if (!device->is_host)
    bytes = (bytes + DEVICE_ALIGN - 1) / DEVICE_ALIGN * DEVICE_ALIGN;
  struct bam_region *region = device->regions;
  while (region != NULL && region->bytes - region->used < bytes)
    region = region->next;
  if (region == NULL) {
    region = calloc(1, sizeof *region);
    if (region == NULL || !fill_region(memory, device, region)) {
      free(region);
      return NULL;
    }
    region->next = device->regions;
    device->regions = region;
  }
  char *data = region->data + region->used;
  region->used += bytes;
  return data;
}

static bool is_own(const bam_memory *memory, int64_t bytes) {
  return memory->no_cache || bytes >= OWN_BYTES;
}

/* A new storage of this class from the system or a region, or NULL. */
static bam_storage *new_storage(bam_memory *memory, bam_device *device, int class, int64_t bytes) {
  void *data = is_own(memory, bytes) ? system_bytes(memory, device, bytes)
                                     : carve(memory, device, bytes);
  if (data == NULL)
    return NULL;
  bam_storage *storage = take_object(memory,
                                     sizeof *storage); /* bytes and record are one request */
  if (storage == NULL) {
    if (is_own(memory, bytes)) {
      device->system_free(device->stream, data, bytes);
      count_reserved(memory, device, -bytes);
    }
    return NULL; /* the piece cut from a region stays unused until the context is destroyed */
  }
  *storage = (bam_storage){ .size_class = class, .device = device, .data = data, .bytes = bytes };
  return storage;
}

static bam_storage *find_in_arena(bam_memory *memory, bam_device *device, int64_t bytes) {
  bam_storage *storage = take_object(memory, sizeof *storage);
  if (storage == NULL)
    return NULL;
  bam_block *block = take_block(memory, device, bytes);
  if (block == NULL) {
    put_object(memory, storage, sizeof *storage);
    return NULL;
  }
  *storage = (bam_storage){ .device = device,
                            .data = block->data,
                            .bytes = bam_arena_capacity(device, block),
                            .block = block };
  return storage;
}

/* A storage of at least `bytes`, from the cache or the system; NULL if both are exhausted. */
static bam_storage *find_storage(bam_context *context, bam_device *device, int64_t bytes) {
  bam_memory *memory = &context->memory;
  if (is_in_arena(memory, device, bytes))
    return find_in_arena(memory, device, bytes);
  int64_t size = bytes;
  const int class = size_class(&size);
  if (memory->no_cache)
    size = bytes > 0 ? bytes : 1; /* exactly, so that the byte after it is out of bounds */
  bam_storage *storage = device->free_storages[class];
  if (storage == NULL)
    return new_storage(memory, device, class, size);
  device->free_storages[class] = storage->next;
  memory->live_objects++;
  return storage;
}

/* What is said of the free blocks of a device with an arena. */
static const char *free_text(const bam_device *device, char *text, size_t size) {
  *text = '\0';
  if (!device->is_host)
    snprintf(text, size, ", the largest free piece being %.1f MB",
             (double)bam_arena_largest(device) * 1e-6);
  return text;
}

static bam_status out_of_memory(bam_context *context, bam_device *device, int64_t bytes) {
  /* A failed device is the better explanation. */
  bam_status failed = bam_device_check(context, device);
  if (failed != BAM_OK)
    return failed;
  const double mb = 1e-6;
  char text[64];
  return bam_fail(context, BAM_ERROR_MEMORY,
                  "out of memory on %s: asked for %.1f MB with %.1f MB in use and %.1f MB "
                  "reserved%s; use a smaller batch, or release tensors (bam.scope, <close>)",
                  device->name, (double)bytes * mb, (double)device->live_bytes * mb,
                  (double)device->reserved_bytes * mb, free_text(device, text, sizeof text));
}

/* Return a storage that was allocated on its own to the system. */
static void free_own(bam_context *context, bam_storage *storage) {
  bam_device *device = storage->device;
  device->system_free(device->stream, storage->data, storage->bytes);
  count_reserved(&context->memory, device, -storage->bytes);
  bam_object_free(context, storage, sizeof *storage);
}

/* The storage of a free list that has been there longest, if that is longer than `*oldest`, which is
   NULL or points to the storage's place in another list. */
static void find_oldest(bam_storage **list, bam_storage ***oldest) {
  for (bam_storage **at = list; *at != NULL; at = &(*at)->next)
    if (*oldest == NULL || (*at)->freed_at < (**oldest)->freed_at)
      *oldest = at;
}

/* Return to the system the cached storage that has been unused longest. False if there is none. */
static bool free_oldest(bam_context *context, bam_device *device) {
  bam_storage **oldest = NULL;
  for (int k = 0; k < BAM_SIZE_CLASSES; k++) {
    const bam_storage *first = device->free_storages[k];
    if (first != NULL && is_own(&context->memory, first->bytes))
      find_oldest(&device->free_storages[k], &oldest);
  }
  if (oldest == NULL)
    return false;
  bam_storage *storage = *oldest;
  *oldest = storage->next;
  context->memory.live_objects++; /* it was not live in the cache */
  free_own(context, storage);
  return true;
}

/* find_storage after returning cached storages of the device to the system, one by one until there is
   room. Others stay cached: near the limit an allocation would otherwise empty the cache for all that
   follow. */
static bam_storage *make_room(bam_context *context, bam_device *device, int64_t bytes) {
  bam_storage *storage = NULL;
  while (storage == NULL && free_oldest(context, device))
    storage = find_storage(context, device, bytes);
  return storage;
}

/* find_storage after doing more and more for it; NULL if nothing helps. During a capture nothing can be returned to the
   system. */
static bam_storage *find_anywhere(bam_context *context, bam_device *device, int64_t bytes) {
  const bool capturing = device->capturing;
  bam_storage *storage = NULL;
  if (context->host.collect != NULL) {
    context->host.collect(context->host.state);
    storage = find_storage(context, device, bytes);
  }
  if (storage == NULL && !capturing)
    storage = make_room(context, device, bytes);
  if (storage == NULL && !capturing) {
    bam_memory_trim(context);
    storage = find_storage(context, device, bytes);
  }
  if (storage == NULL && bam_capture_give_up(context, device)) {
    bam_memory_trim(context);
    storage = find_storage(context, device, bytes);
  }
  return storage;
}

bam_status bam_storage_alloc(bam_context *context, bam_device *device, int64_t bytes,
                             bam_storage **out) {
  bam_memory *memory = &context->memory;
  if (refused(memory) || bytes > INT64_MAX / 4)
    return out_of_memory(context, device, bytes);
  const uint32_t captured = bam_capture_number(context, device);
  bam_storage *storage = find_storage(context, device, bytes);
  if (storage == NULL)
    storage = find_anywhere(context, device, bytes);
  if (storage == NULL)
    return out_of_memory(context, device, bytes);
  storage->captured = captured;
  storage->refs = 1;
  storage->version = 0;
  storage->facts = (bam_facts){ .bounded = false };
  count_live(memory, device, storage->bytes);
  *out = storage;
  return BAM_OK;
}

bam_status bam_storage_grow(bam_context *context, bam_storage **scratch, int64_t bytes) {
  bam_storage *old = *scratch, *grown = NULL;
  if (old != NULL && old->bytes >= bytes)
    return BAM_OK;
  int64_t wanted = old != NULL && bytes < 2 * old->bytes ? 2 * old->bytes : bytes;
  BAM_TRY(bam_storage_alloc(context, &context->cpu, wanted, &grown));
  if (old != NULL)
    memcpy(grown->data, old->data, (size_t)old->bytes);
  bam_storage_release(context, old);
  *scratch = grown;
  return BAM_OK;
}

bam_storage *bam_storage_retain(bam_storage *storage) {
  bam_assert(storage->refs > 0);
  storage->refs++;
  return storage;
}

void bam_storage_release(bam_context *context, bam_storage *storage) {
  if (storage == NULL || --storage->refs > 0 || bam_capture_keep(context, storage))
    return;
  count_live(&context->memory, storage->device, -storage->bytes);
  if (storage->block != NULL) {
    bam_arena_release(storage->device, storage->block);
    bam_object_free(context, storage, sizeof *storage);
    return;
  }
  if (context->memory.no_cache) {
    free_own(context, storage);
    return;
  }
  bam_storage **list = &storage->device->free_storages[storage->size_class];
  storage->freed_at = context->memory.requests;
  storage->next = *list;
  *list = storage;
  context->memory.live_objects--;
}

static void trim_device(bam_context *context, bam_device *device) {
  if (device->capturing)
    return;
  while (free_oldest(context, device))
    ;
  const int64_t before = bam_arena_reserved(device);
  bam_arena_trim(device);
  count_reserved(&context->memory, device, bam_arena_reserved(device) - before);
}

void bam_memory_trim(bam_context *context) {
  for (int i = 0; i < BAM_MAX_DEVICES && context->devices[i] != NULL; i++)
    trim_device(context, context->devices[i]);
}

/* Move those allocated during the capture from one list of the cache to another list. */
static void take_captured(bam_context *context, bam_storage **from, uint32_t number,
                          bam_storage **to) {
  while (*from != NULL) {
    bam_storage *storage = *from;
    if (storage->captured != number) {
      from = &storage->next;
      continue;
    }
    *from = storage->next;
    storage->next = *to;
    storage->refs = 1;
    *to = storage;
    context->memory.live_objects++;
    count_live(&context->memory, storage->device, storage->bytes);
  }
}

/* The same with blocks of the arena, as storages. False if memory for their records is short. */
static bool take_blocks(bam_context *context, bam_device *device, bam_storage **to) {
  for (;;) {
    bam_storage *storage = take_object(&context->memory, sizeof *storage);
    bam_block *block = storage != NULL ? bam_arena_claim(device) : NULL;
    if (block == NULL) {
      if (storage != NULL)
        put_object(&context->memory, storage, sizeof *storage);
      return storage != NULL && bam_arena_end_notes(device);
    }
    *storage = (bam_storage){ .refs = 1,
                              .device = device,
                              .data = block->data,
                              .bytes = bam_arena_capacity(device, block),
                              .block = block,
                              .next = *to };
    *to = storage;
    count_live(&context->memory, device, storage->bytes);
  }
}

bool bam_memory_take_captured(bam_context *context, bam_device *device, uint32_t number,
                              bam_storage **taken) {
  for (int k = 0; k < BAM_SIZE_CLASSES; k++)
    take_captured(context, &device->free_storages[k], number, taken);
  return take_blocks(context, device, taken);
}

static void destroy_regions(bam_device *device) {
  while (device->regions != NULL) {
    struct bam_region *region = device->regions;
    device->regions = region->next;
    if (region->block != NULL)
      bam_arena_release(device, region->block);
    else
      device->system_free(device->stream, region->data, region->bytes);
    free(region);
  }
}

void bam_memory_destroy(bam_context *context) {
  bam_memory_trim(context);
  for (int i = 0; i < BAM_MAX_DEVICES && context->devices[i] != NULL; i++) {
    destroy_regions(context->devices[i]);
    bam_arena_destroy(context->devices[i]);
  }
  while (context->memory.slabs != NULL) {
    struct bam_slab *slab = context->memory.slabs;
    context->memory.slabs = slab->next;
    free(slab);
  }
}
