/* Large storages on a device that is not the host: their sizes, what is reused and what is returned when memory is
   short. The device is a counter: its memory is never touched. Where blocks lie is tested in test_arena.c. */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

#define MB (1LL << 20)

static bam_context *owner;
static bam_device *device;
static int64_t capacity, taken;
static int frees;

/* Addresses are never used. */
static void *fake_alloc(bam_stream stream, int64_t bytes) {
  static uintptr_t next = (uintptr_t)1 << 40;
  (void)stream;
  if (taken + bytes > capacity)
    return NULL;
  taken += bytes;
  next += (uintptr_t)bytes;
  return (void *)(next - (uintptr_t)bytes);
}

static void fake_free(bam_stream stream, void *data, int64_t bytes) {
  (void)stream;
  taken -= bytes;
  (void)data;
  frees++;
}

static void open_memory(void) {
  const bam_context_options options = { .threads = 1 };
  cr_assert_eq(bam_context_create(&options, &owner), BAM_OK);
  owner->memory.no_cache = false; /* sanitizers cannot see into this device */
  device = calloc(1, sizeof *device);
  cr_assert_not_null(device);
  device->system_alloc = fake_alloc;
  device->system_free = fake_free;
  owner->devices[1] = device;
  capacity = 1LL << 50;
  taken = frees = 0;
}

static void close_memory(void) {
  const int64_t left = owner->memory.live_objects;
  bam_context_destroy(owner);
  cr_assert_eq(left, 0);
  cr_assert_eq(taken, 0);
}

TestSuite(memory, .init = open_memory, .fini = close_memory);

static bam_storage *take(int64_t bytes) {
  bam_storage *storage = NULL;
  cr_assert_eq(bam_storage_alloc(owner, device, bytes, &storage), BAM_OK, "%s", owner->message);
  cr_assert(storage->bytes >= bytes);
  return storage;
}

static void drop(bam_storage *storage) { bam_storage_release(owner, storage); }

/* Four flat buffers of an optimizer with 6.2e9 parameters, which size classes would round to 25.77e9 bytes each. */
Test(memory, large_sizes_are_exact) {
  const int64_t bytes = 24800000000;
  bam_storage *flat[4];
  for (int i = 0; i < 4; i++)
    flat[i] = take(bytes);
  cr_assert(taken - 4 * bytes < 4 * 2 * MB);
  cr_assert(device->live_bytes - 4 * bytes < 4 * 512);
  cr_assert_eq(device->reserved_bytes, taken);
  for (int i = 0; i < 4; i++)
    drop(flat[i]);
  cr_assert_eq(device->live_bytes, 0);
  cr_assert(device->peak_bytes <= taken);
}

Test(memory, steps_reuse_large_storages) {
  const int64_t sizes[] = { 130 * MB, 70 * MB + 5, 33 * MB, 70 * MB, 250 * MB };
  int64_t after_first = 0;
  for (int step = 0; step < 5; step++) {
    bam_storage *held[5];
    for (int i = 0; i < 5; i++)
      held[i] = take(sizes[i]);
    for (int i = 0; i < 5; i++)
      drop(held[(i + step) % 5]);
    if (step == 0)
      after_first = owner->memory.system_requests;
  }
  cr_assert_eq(owner->memory.system_requests, after_first);
}

/* Storages that were released one by one make room for a larger one. */
Test(memory, released_storages_merge) {
  capacity = 400 * MB;
  bam_storage *whole = take(400 * MB), *parts[4];
  drop(whole);
  for (int i = 0; i < 4; i++)
    parts[i] = take(100 * MB - 512 * i);
  for (int i = 0; i < 4; i++)
    drop(parts[i]);
  whole = take(400 * MB);
  cr_assert_eq(device->reserved_bytes, 400 * MB);
  cr_assert_eq(frees, 0);
  drop(whole);
}

/* Without memory for another segment, those that are free as a whole are returned; nothing else is lost. */
Test(memory, a_full_device) {
  capacity = 1000 * MB;
  bam_storage *a = take(200 * MB), *b = take(300 * MB), *c = take(400 * MB);
  drop(a);
  drop(b);
  bam_storage *large = take(550 * MB), *nothing = NULL;
  cr_assert_eq(frees, 2);
  cr_assert_eq(taken, 950 * MB);
  cr_assert_eq(bam_storage_alloc(owner, device, 900 * MB, &nothing), BAM_ERROR_MEMORY);
  cr_assert_not_null(strstr(owner->message,
                            "asked for 943.7 MB with 996.1 MB in use and 996.1 MB reserved, the "
                            "largest free piece being 0.0 MB"),
                     "%s", owner->message);
  cr_assert_eq(device->live_bytes, 950 * MB);
  drop(large);
  drop(c);
  bam_memory_trim(owner);
  cr_assert_eq(device->reserved_bytes, 0);
}

/* Small storages, and all on the CPU, have size classes. */
Test(memory, classes) {
  bam_storage *small = take(MB / 2 + 1), *host = NULL;
  cr_assert_eq(small->bytes, MB / 2 + MB / 16);
  drop(small);
  cr_assert_eq(bam_storage_alloc(owner, &owner->cpu, 65 * MB, &host), BAM_OK);
  cr_assert_eq(host->bytes, 72 * MB);
  drop(host);
}
