/* All device memory is known (memory.cpp), so a launch can be repeated from the same memory, and
   what it leaves can be compared. */
#include <stdio.h>
#include <stdlib.h>

#include "machine.h"

/* A copy of all memory, in the order of the allocations. */
struct simt_copy {
  char *data;
  size_t room;
};

struct simt_copies {
  simt_copy before, after; /* a launch under the first schedule */
};

static simt_copies *copies(void) {
  static simt_copies copies;
  return &copies;
}

static bool make_room(simt_copy *copy, size_t bytes) {
  if (bytes <= copy->room)
    return true;
  free(copy->data);
  copy->data = (char *)malloc(bytes);
  copy->room = copy->data != NULL ? bytes : 0;
  return copy->data != NULL;
}

static void copy_memory(const simt_copy *to) {
  const simt_memory *m = simt_device_memory();
  char *data = to->data;
  for (int i = 0; i < m->count; data += m->allocations[i++].bytes)
    memcpy(data, m->allocations[i].data, m->allocations[i].bytes);
}

bool simt_save_memory(void) {
  const size_t bytes = simt_device_memory()->bytes;
  if (!make_room(&copies()->before, bytes) || !make_room(&copies()->after, bytes))
    return false;
  copy_memory(&copies()->before);
  return true;
}

void simt_keep_memory(void) { copy_memory(&copies()->after); }

void simt_restore_memory(void) {
  const simt_memory *m = simt_device_memory();
  const char *from = copies()->before.data;
  for (int i = 0; i < m->count; from += m->allocations[i++].bytes)
    memcpy(m->allocations[i].data, from, m->allocations[i].bytes);
}

/* Report the first difference of an allocation, whose first result is `expected`. */
static void report_difference(const simt_allocation *a, const char *expected, const char *kernel,
                              int schedule) {
  size_t i = 0;
  while (i < a->bytes && a->data[i] == expected[i])
    i++;
  i = i / 8 * 8;
  const size_t size = a->bytes - i < 8 ? a->bytes - i : 8;
  uint32_t one[2] = {}, other[2] = {};
  memcpy(one, expected + i, size);
  memcpy(other, a->data + i, size);
  fprintf(stderr,
          "simt: kernel %s: the result depends on the order of threads: at byte %zu of %zu in the "
          "allocation at %p schedule 1 leaves %08x %08x (%g, %g), schedule %d %08x %08x (%g, %g)\n",
          kernel, i, a->bytes, (void *)a->data, one[0], one[1], (double)__uint_as_float(one[0]),
          (double)__uint_as_float(one[1]), schedule + 1, other[0], other[1],
          (double)__uint_as_float(other[0]), (double)__uint_as_float(other[1]));
}

bool simt_compare_memory(const char *kernel, int schedule) {
  const simt_memory *m = simt_device_memory();
  const char *expected = copies()->after.data;
  for (int i = 0; i < m->count; expected += m->allocations[i++].bytes)
    if (memcmp(m->allocations[i].data, expected, m->allocations[i].bytes) != 0) {
      report_difference(&m->allocations[i], expected, kernel, schedule);
      return false;
    }
  return true;
}
