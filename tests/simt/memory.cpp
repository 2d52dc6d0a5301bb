/* The memory of the devices. What cudaMalloc gives is filled with 0xff, NaN for every type, and so
   are red zones on both sides of it; they are looked at after every launch. Since all of it is
   known here, a launch can be repeated from the same memory, and its results compared. */
#include <stdio.h>
#include <stdlib.h>

#include "machine.h"

struct simt_allocation {
  char *data; /* behind the red zone */
  size_t bytes;
  int device;
};

/* A copy of all memory, in the order of the allocations. */
struct simt_copy {
  char *data;
  size_t room;
};

struct simt_memory {
  simt_allocation *allocations; /* by address */
  int count, room;
  size_t bytes; /* of all of them */
  simt_copy before, after;
};

static simt_memory *memory(void) {
  static simt_memory memory;
  return &memory;
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

bool simt_is_device(const void *data, size_t bytes) {
  const simt_memory *m = memory();
  const int i = count_below(m, data) - 1;
  if (i < 0 || m->allocations[i].device != simt_current_device())
    return false;
  const size_t offset = (size_t)((const char *)data - m->allocations[i].data);
  return offset <= m->allocations[i].bytes && bytes <= m->allocations[i].bytes - offset;
}

bool simt_touches_device(const void *data, size_t bytes) {
  const simt_memory *m = memory();
  const int i = count_below(m, (const char *)data + bytes) - 1;
  return bytes > 0 && i >= 0 && m->allocations[i].data < (const char *)data + bytes &&
         m->allocations[i].data + m->allocations[i].bytes > (const char *)data;
}

/* ---- red zones ---- */

static void poison(void *data, size_t bytes) { memset(data, 0xff, bytes); }

/* The first byte of a red zone that is no longer poison, or NULL. */
static const char *damage(const char *zone) {
  uint64_t words[SIMT_RED_ZONE / 8], all = ~(uint64_t)0;
  memcpy(words, zone, sizeof words);
  for (uint64_t word : words)
    all &= word;
  while (all != ~(uint64_t)0 && (unsigned char)*zone == 0xff)
    zone++;
  return all == ~(uint64_t)0 ? NULL : zone;
}

static bool check_allocation(const simt_allocation *a, const char *what) {
  const char *zones[] = { a->data - SIMT_RED_ZONE, a->data + a->bytes };
  for (int i = 0; i < 2; i++) {
    const char *found = damage(zones[i]);
    if (found == NULL)
      continue;
    if (i == 0)
      fprintf(stderr, "simt: %s: %td bytes before an allocation of %zu bytes something was written\n",
              what, a->data - found, a->bytes);
    else
      fprintf(stderr, "simt: %s: %td bytes behind an allocation of %zu bytes something was written\n",
              what, found - a->data - (ptrdiff_t)a->bytes, a->bytes);
    poison(a->data - SIMT_RED_ZONE, SIMT_RED_ZONE);
    poison(a->data + a->bytes, SIMT_RED_ZONE);
    return false;
  }
  return true;
}

bool simt_check_red_zones(const char *what) {
  const simt_memory *m = memory();
  bool good = true;
  for (int i = 0; i < m->count; i++)
    good &= check_allocation(&m->allocations[i], what);
  return good;
}

/* ---- copies of all memory ---- */

static bool make_room(simt_copy *copy, size_t bytes) {
  if (bytes <= copy->room)
    return true;
  free(copy->data);
  copy->data = (char *)malloc(bytes);
  copy->room = copy->data != NULL ? bytes : 0;
  return copy->data != NULL;
}

static void copy_out(const simt_memory *m, char *to) {
  for (int i = 0; i < m->count; to += m->allocations[i++].bytes)
    memcpy(to, m->allocations[i].data, m->allocations[i].bytes);
}

bool simt_save_memory(void) {
  simt_memory *m = memory();
  if (!make_room(&m->before, m->bytes) || !make_room(&m->after, m->bytes))
    return false;
  copy_out(m, m->before.data);
  return true;
}

void simt_restore_memory(void) {
  const simt_memory *m = memory();
  const char *from = m->before.data;
  for (int i = 0; i < m->count; from += m->allocations[i++].bytes)
    memcpy(m->allocations[i].data, from, m->allocations[i].bytes);
}

void simt_keep_memory(void) { copy_out(memory(), memory()->after.data); }

/* Report the first difference of an allocation, whose first result is `expected`. */
static void report_difference(const simt_allocation *a, const char *expected, const char *kernel,
                              int schedule) {
  size_t i = 0;
  while (i < a->bytes && a->data[i] == expected[i])
    i++;
  i = i / 4 * 4;
  uint32_t words[2] = { 0, 0 };
  const size_t size = a->bytes - i < 4 ? a->bytes - i : 4;
  memcpy(&words[0], expected + i, size);
  memcpy(&words[1], a->data + i, size);
  fprintf(stderr,
          "simt: kernel %s: the result depends on the order of threads: at byte %zu of %zu in the "
          "allocation at %p schedule 1 leaves %08x (%g), schedule %d leaves %08x (%g)\n",
          kernel, i, a->bytes, (void *)a->data, words[0], (double)__uint_as_float(words[0]),
          schedule + 1, words[1], (double)__uint_as_float(words[1]));
}

bool simt_compare_memory(const char *kernel, int schedule) {
  const simt_memory *m = memory();
  const char *expected = m->after.data;
  for (int i = 0; i < m->count; expected += m->allocations[i++].bytes)
    if (memcmp(m->allocations[i].data, expected, m->allocations[i].bytes) != 0) {
      report_difference(&m->allocations[i], expected, kernel, schedule);
      return false;
    }
  return true;
}

/* ---- what the host calls ---- */

static size_t limit(void) {
  const char *text = getenv("BAMLUA_SIMT_MEMORY");
  return text != NULL ? strtoull(text, NULL, 10) : (size_t)4 << 30;
}

/* Bytes that the current device has given. */
static size_t used(const simt_memory *m) {
  size_t bytes = 0;
  for (int i = 0; i < m->count; i++)
    if (m->allocations[i].device == simt_current_device())
      bytes += m->allocations[i].bytes;
  return bytes;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  const size_t taken = used(memory());
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

cudaError_t cudaMalloc(void **data, size_t bytes) {
  simt_memory *m = memory();
  size_t left, total;
  void *raw;
  *data = NULL;
  if (bytes == 0)
    return cudaSuccess;
  cudaMemGetInfo(&left, &total);
  if (bytes > left || !grow_table(m) ||
      posix_memalign(&raw, 256, bytes + 2 * SIMT_RED_ZONE) != 0)
    return simt_result(cudaErrorMemoryAllocation);
  poison(raw, bytes + 2 * SIMT_RED_ZONE);
  *data = (char *)raw + SIMT_RED_ZONE;
  const int at = count_below(m, *data);
  memmove(m->allocations + at + 1, m->allocations + at,
          (size_t)(m->count - at) * sizeof *m->allocations);
  m->allocations[at] = { (char *)*data, bytes, simt_current_device() };
  m->count++;
  m->bytes += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void *data) {
  simt_memory *m = memory();
  const int at = count_below(m, data) - 1;
  if (data == NULL)
    return cudaSuccess;
  if (at < 0 || m->allocations[at].data != data)
    return simt_result(cudaErrorInvalidValue);
  const simt_allocation old = m->allocations[at];
  const bool good = check_allocation(&old, "cudaFree");
  memmove(m->allocations + at, m->allocations + at + 1,
          (size_t)(m->count - at - 1) * sizeof *m->allocations);
  m->count--;
  m->bytes -= old.bytes;
  poison(old.data, old.bytes);
  free(old.data - SIMT_RED_ZONE);
  return good ? cudaSuccess : simt_result(cudaErrorIllegalAddress);
}
