/* The memory of the devices. What cudaMalloc gives is filled with 0xff, NaN for every type, and so
   are the red zones on both sides of it, which are looked at after every launch. The host cannot
   touch any of it, as with a real device: it is mapped without access except while it is open, for
   a launch or a copy. The upper half of the addresses is for pages.cpp. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "machine.h"

#define ARENA_BYTES ((size_t)256 << 30) /* of addresses: only what is used takes memory */
#define PAGE ((size_t)2 << 20)          /* large ones: what may touch them changes often */

simt_memory *simt_device_memory(void) {
  static simt_memory memory;
  return &memory;
}

/* ---- who may touch it ---- */

static bool make_arena(simt_memory *m) {
  if (m->arena != NULL)
    return true;
  void *arena = MAP_FAILED;
  size_t bytes = 2 * ARENA_BYTES;
  while (arena == MAP_FAILED && (bytes /= 2) > PAGE)
    arena = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED)
    return false;
  const size_t skip = (PAGE - (uintptr_t)arena % PAGE) % PAGE;
  m->arena = (char *)arena + skip;
  m->arena_bytes = bytes - PAGE;
  madvise(m->arena, m->arena_bytes, MADV_HUGEPAGE); /* only a hint */
  m->ranges = m->ranges_end = m->arena + m->arena_bytes / 2 / PAGE * PAGE;
  simt_explain_faults();
  return true;
}

static void protect(const simt_memory *m, int access) {
  if (m->used > 0)
    mprotect(m->arena, m->used, access);
  if (m->ranges_used > 0)
    mprotect(m->ranges, m->ranges_used, access);
}

void simt_open_memory(void) {
  simt_memory *m = simt_device_memory();
  if (m->opened++ == 0)
    protect(m, PROT_READ | PROT_WRITE);
}

void simt_close_memory(void) {
  simt_memory *m = simt_device_memory();
  if (--m->opened == 0 && getenv("BAMLUA_SIMT_OPEN") == NULL)
    protect(m, PROT_NONE);
}

/* ---- finding ---- */

/* How many allocations begin at or below the address. */
static int count_below(const simt_memory *m, const void *address) {
  int low = 0, high = m->count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (m->allocations[middle].data <= (const char *)address)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

const simt_allocation *simt_allocation_of(const void *data) {
  const simt_memory *m = simt_device_memory();
  const int i = count_below(m, data) - 1;
  if (i < 0 || (size_t)((const char *)data - m->allocations[i].data) > m->allocations[i].bytes)
    return NULL;
  return &m->allocations[i];
}

int simt_device_of(const void *data, size_t bytes) {
  const simt_allocation *a = simt_allocation_of(data);
  return a != NULL && bytes <= a->bytes - (size_t)((const char *)data - a->data) ? a->device : -1;
}

bool simt_touches_device(const void *data, size_t bytes) {
  const simt_memory *m = simt_device_memory();
  const char *start = (const char *)data;
  return m->arena != NULL && start + bytes > m->arena && start < m->arena + m->arena_bytes;
}

/* ---- red zones ---- */

static void poison(void *data, size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
  memset(data, 0xff, bytes);
  ASAN_POISON_MEMORY_REGION(data, bytes);
}

static void poison_red_zones(const simt_allocation *a) {
  poison(a->data - SIMT_RED_ZONE, SIMT_RED_ZONE);
  poison(a->data + a->bytes, SIMT_RED_ZONE);
}

/* The first byte that is no longer poison, or NULL. */
static SIMT_UNWATCHED const char *damage(const char *zone) {
  unsigned char all = 0xff;
  for (int i = 0; i < SIMT_RED_ZONE; i++)
    all &= (unsigned char)zone[i];
  if (all == 0xff)
    return NULL;
  while ((unsigned char)*zone == 0xff)
    zone++;
  return zone;
}

static bool check_allocation(const simt_allocation *a, const char *what) {
  const char *before = damage(a->data - SIMT_RED_ZONE), *behind = damage(a->data + a->bytes);
  if (before == NULL && behind == NULL)
    return true;
  const ptrdiff_t offset = (behind != NULL ? behind : before) - a->data;
  fprintf(stderr, "simt: %s: something was written at byte %td of an allocation of %zu bytes\n",
          what, offset, a->bytes);
  poison_red_zones(a);
  return false;
}

/* Blocks of ranges have a gap behind them, where others may have been when a graph was captured. */
uint64_t simt_number_at(const void *data) {
  const simt_memory *m = simt_device_memory();
  const int i = count_below(m, data) - 1;
  if (i < 0)
    return 0;
  const size_t gap = m->allocations[i].data >= m->ranges ? 4 * SIMT_RED_ZONE : 0;
  return (size_t)((const char *)data - m->allocations[i].data) <= m->allocations[i].bytes + gap
           ? m->allocations[i].number
           : 0;
}

void simt_restore_red_zones(void) {
  const simt_memory *m = simt_device_memory();
  simt_open_memory();
  for (int i = 0; i < m->count; i++)
    poison_red_zones(&m->allocations[i]);
  simt_close_memory();
}

bool simt_check_red_zones(const char *what) {
  const simt_memory *m = simt_device_memory();
  bool good = true;
  for (int i = 0; i < m->count && !simt_is_replaying(); i++)
    good &= check_allocation(&m->allocations[i], what);
  return good;
}

/* ---- what the host calls ---- */

static size_t limit(void) {
  const char *text = getenv("BAMLUA_SIMT_MEMORY");
  return text != NULL ? strtoull(text, NULL, 10) : (size_t)4 << 30;
}

/* Blocks of ranges are in pages, which count as a whole. */
static size_t taken_bytes(const simt_memory *m, int device) {
  size_t taken = m->pages[device];
  for (int i = 0; i < m->count; i++)
    if (m->allocations[i].device == device && m->allocations[i].data < m->ranges)
      taken += m->allocations[i].bytes;
  return taken;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  const size_t taken = taken_bytes(simt_device_memory(), simt_current_device());
  *total = limit();
  *free_bytes = taken < *total ? *total - taken : 0;
  return cudaSuccess;
}

static bool grow_table(simt_memory *m) {
  if (m->count < m->room)
    return true;
  const int room = m->room > 0 ? 2 * m->room : 64;
  void *table = realloc(m->allocations, (size_t)room * sizeof *m->allocations);
  if (table == NULL)
    return false;
  m->allocations = (simt_allocation *)table;
  m->room = room;
  return true;
}

/* Bytes of the arena, from red zone to red zone. */
static size_t extent(size_t bytes) { return (bytes + 2 * SIMT_RED_ZONE + 255) / 256 * 256; }

/* The first gap that is large enough: which allocation it is before, and where it begins. */
static int find_gap(const simt_memory *m, size_t bytes, char **start) {
  *start = m->arena;
  for (int i = 0; i < m->count; i++) {
    char *zone = m->allocations[i].data - SIMT_RED_ZONE;
    if ((size_t)(zone - *start) >= extent(bytes))
      return i;
    *start = zone + extent(m->allocations[i].bytes);
  }
  return m->count;
}

static void insert(simt_memory *m, int at, char *data, size_t bytes, int device) {
  memmove(m->allocations + at + 1, m->allocations + at,
          (size_t)(m->count - at) * sizeof *m->allocations);
  m->allocations[at] = { data, bytes, device, ++m->number };
  m->count++;
  m->bytes += bytes;
}

/* Insert an allocation with red zones, filled with NaN; the memory is open. */
static void insert_poisoned(simt_memory *m, int at, char *data, size_t bytes, int device) {
  insert(m, at, data, bytes, device);
  poison_red_zones(&m->allocations[at]);
  poison(data, bytes);
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
}

/* Check and poison an allocation, and remove it from the table. False if something was written beside it. */
static bool remove_allocation(simt_memory *m, int at, const char *what) {
  const simt_allocation old = m->allocations[at];
  simt_open_memory();
  const bool good = check_allocation(&old, what);
  poison(old.data, old.bytes);
  simt_close_memory();
  m->count--;
  m->bytes -= old.bytes;
  memmove(m->allocations + at, m->allocations + at + 1,
          (size_t)(m->count - at) * sizeof *m->allocations);
  return good;
}

/* Make the arena usable up to there; the memory is open. */
static bool use_arena(simt_memory *m, const char *end) {
  const size_t used = ((size_t)(end - m->arena) + PAGE - 1) / PAGE * PAGE;
  if (used <= m->used)
    return true;
  if (mprotect(m->arena, used, PROT_READ | PROT_WRITE) != 0)
    return false;
  m->used = used;
  return true;
}

cudaError_t cudaMalloc(void **data, size_t bytes) {
  simt_memory *m = simt_device_memory();
  size_t left, total;
  char *start;
  *data = NULL;
  const cudaError_t refused = simt_unsafe_in_capture("cudaMalloc");
  if (bytes == 0 || refused != cudaSuccess)
    return refused;
  cudaMemGetInfo(&left, &total);
  if (bytes > left || !grow_table(m) || !make_arena(m))
    return simt_result(cudaErrorMemoryAllocation);
  const int at = find_gap(m, bytes, &start);
  if (extent(bytes) > (size_t)(m->ranges - start))
    return simt_result(cudaErrorMemoryAllocation);
  simt_open_memory();
  const bool good = use_arena(m, start + extent(bytes));
  if (good) {
    *data = start + SIMT_RED_ZONE;
    insert_poisoned(m, at, start + SIMT_RED_ZONE, bytes, simt_current_device());
  }
  simt_close_memory();
  return simt_result(good ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *data) {
  simt_memory *m = simt_device_memory();
  const int at = count_below(m, data) - 1;
  const cudaError_t refused = simt_forbidden_in_capture("cudaFree");
  if (refused != cudaSuccess)
    return refused;
  if (data == NULL)
    return cudaSuccess;
  if (at < 0 || m->allocations[at].data != data)
    return simt_result(cudaErrorInvalidValue);
  const bool unused = simt_is_unused(&m->allocations[at]);
  simt_finish_streams();
  return simt_result(remove_allocation(m, at, "cudaFree") && unused ? cudaSuccess
                                                                    : cudaErrorIllegalAddress);
}

/* ---- ranges ---- */

/* A red zone may be before the first block. */
char *simt_take_range(size_t bytes, size_t alignment) {
  simt_memory *m = simt_device_memory();
  if (!make_arena(m))
    return NULL;
  char *start = m->ranges_end + PAGE;
  start += (alignment - (uintptr_t)start % alignment) % alignment;
  if (bytes > (size_t)(m->arena + m->arena_bytes - start))
    return NULL;
  m->ranges_end = start + bytes;
  return start;
}

bool simt_take_pages(int device, size_t bytes) {
  simt_memory *m = simt_device_memory();
  if (taken_bytes(m, device) + bytes > limit())
    return false;
  m->pages[device] += bytes;
  return true;
}

void simt_give_pages(int device, size_t bytes) { simt_device_memory()->pages[device] -= bytes; }

bool simt_fill_range(char *data, size_t bytes) {
  simt_memory *m = simt_device_memory();
  const size_t used = ((size_t)(data + bytes - m->ranges) + 2 * PAGE - 1) / PAGE * PAGE;
  simt_open_memory();
  if (used > m->ranges_used && mprotect(m->ranges, used, PROT_READ | PROT_WRITE) == 0)
    m->ranges_used = used;
  if (used <= m->ranges_used)
    poison(data, bytes);
  simt_close_memory();
  return used <= m->ranges_used;
}

bool simt_use_block(char *data, size_t bytes, int device) {
  simt_memory *m = simt_device_memory();
  if (!grow_table(m))
    return false;
  simt_open_memory();
  insert_poisoned(m, count_below(m, data), data, bytes, device);
  simt_close_memory();
  return true;
}

bool simt_leave_block(char *data) {
  simt_memory *m = simt_device_memory();
  const int at = count_below(m, data) - 1;
  simt_finish_streams(); /* it may be used until what is enqueued now has run, and is poisoned here */
  return at >= 0 && m->allocations[at].data == data &&
         remove_allocation(m, at, "a block that was released");
}

bool simt_is_used(const char *data, size_t bytes) {
  const simt_memory *m = simt_device_memory();
  const int at = count_below(m, data + bytes - 1) - 1;
  return at >= 0 && m->allocations[at].data + m->allocations[at].bytes > data;
}
