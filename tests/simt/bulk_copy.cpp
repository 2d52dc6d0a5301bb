/* Copies that one thread begins for a block, of rows of memory (cp.async.bulk) or of a box of a tensor
   (cp.async.bulk.tensor): their bytes arrive at a barrier in shared memory. They land at once, or when no thread can go
   on without them, by schedule; until then their target is NaN. */
#include <stdlib.h>

#include "machine.h"
#include "simt_hopper.h"

/* A tensor map, of which the host only knows the size. */
struct simt_tensor {
  const char *data;
  int rank, box[SIMT_TENSOR_RANK];
  int64_t size[SIMT_TENSOR_RANK], stride[SIMT_TENSOR_RANK]; /* strides in bytes */
  bool swizzled;
};
static_assert(sizeof(simt_tensor) <= sizeof(simt_tensor_map), "what a tensor map has room for");

struct simt_bulk_copy {
  char *to;
  uint64_t *barrier;
  const char *from; /* NULL: a box */
  int bytes;
  simt_tensor tensor;
  int at[SIMT_TENSOR_RANK];
};

struct simt_bulk_copies {
  simt_bulk_copy *copies;
  int count, room;
};

static simt_bulk_copies *bulk_copies(void) {
  static simt_bulk_copies copies;
  return &copies;
}

/* ---- landing ---- */

/* Where byte `offset` of a swizzled box is: pieces of 16 bytes change places within 128, by address. */
static char *place_of(char *box, int64_t offset, bool swizzled) {
  const uintptr_t address = (uintptr_t)box + (uintptr_t)offset;
  return (char *)(swizzled ? address ^ (address >> 7 & 7) << 4 : address);
}

/* Element `i` of the box, counted in rows; elements outside of the tensor are 0. */
static void land_element(const simt_bulk_copy *copy, int i) {
  const simt_tensor *t = &copy->tensor;
  const char *from = t->data;
  char *to = place_of(copy->to, 2 * (int64_t)i, t->swizzled);
  bool inside = true;
  for (int d = 0, rest = i; d < t->rank; rest /= t->box[d++]) {
    const int64_t at = copy->at[d] + rest % t->box[d];
    inside &= at >= 0 && at < t->size[d];
    from += at * t->stride[d];
  }
  if (inside)
    memcpy(to, from, 2);
  else
    memset(to, 0, 2);
}

static void land(const simt_bulk_copy *copy) {
  if (copy->from != NULL)
    memcpy(copy->to, copy->from, (size_t)copy->bytes);
  else
    for (int i = 0; i < copy->bytes / 2; i++)
      land_element(copy, i);
  simt_async_wrote(copy->to, (size_t)copy->bytes);
  simt_barrier_complete(copy->barrier, copy->bytes);
}

bool simt_land_bulk_copy(void) {
  simt_bulk_copies *all = bulk_copies();
  if (all->count == 0)
    return false;
  land(&all->copies[0]);
  memmove(all->copies, all->copies + 1, (size_t)--all->count * sizeof *all->copies);
  return true;
}

int simt_drop_bulk_copies(void) {
  const int count = bulk_copies()->count;
  bulk_copies()->count = 0;
  return count;
}

static void push(const simt_bulk_copy *copy) {
  simt_bulk_copies *all = bulk_copies();
  if (all->count == all->room) {
    all->room = all->room > 0 ? 2 * all->room : 16;
    all->copies = (simt_bulk_copy *)realloc(all->copies, (size_t)all->room * sizeof *all->copies);
    if (all->copies == NULL)
      abort();
  }
  all->copies[all->count++] = *copy;
}

/* ---- beginning ---- */

static bool is_shared(const void *data, int bytes, size_t alignment, simt_site site) {
  const simt_machine *m = simt_running();
  const uintptr_t offset = (uintptr_t)data - (uintptr_t)m->shared.bytes;
  if (offset < m->shared.end && offset + (size_t)bytes <= m->shared.end && offset % alignment == 0)
    return true;
  simt_fail_at(m->thread, site, "a bulk copy to %p, not %d bytes of shared memory aligned to %zu",
               data, bytes, alignment);
  return false;
}

static void begin(const simt_bulk_copy *copy, simt_site site) {
  simt_machine *m = simt_running();
  if (m->error != cudaSuccess)
    simt_pass_on(m);
  simt_check_shared(copy->barrier, 8, "a barrier is at", site);
  if (!simt_async_sees(copy->to, (size_t)copy->bytes))
    simt_fail_at(m->thread, site, "a bulk copy over stores that no async_fence has published");
  else if (!simt_barrier_is_ready(copy->barrier, site))
    simt_fail_at(m->thread, site,
                 "a bulk copy to a barrier whose thread has not called "
                 "barriers_ready");
  if (m->error != cudaSuccess)
    simt_pass_on(m);
  if (m->lanes_reversed)
    land(copy);
  else {
    memset(copy->to, 0xff, (size_t)copy->bytes);
    simt_async_wrote(copy->to, (size_t)copy->bytes);
    push(copy);
  }
}

void simt_bulk_copy_begin(void *shared, const void *global, int bytes, uint64_t *barrier,
                          simt_site site) {
  const int thread = simt_running()->thread;
  if (bytes <= 0 || bytes % 16 != 0 || (uintptr_t)global % 16 != 0)
    simt_fail_at(thread, site, "a bulk copy of %d bytes from %p: multiples of 16 are allowed",
                 bytes, global);
  else if (simt_device_of(global, (size_t)bytes) < 0)
    simt_fail_at(thread, site, "a bulk copy from %p, not memory of the device", global);
  else
    is_shared(shared, bytes, 16, site);
  simt_bulk_copy copy = { (char *)shared, barrier, (const char *)global, bytes, {}, {} };
  begin(&copy, site);
}

void simt_tensor_copy_begin(void *shared, const simt_tensor_map *map, const int *at,
                            uint64_t *barrier, simt_site site) {
  simt_bulk_copy copy = { (char *)shared, barrier, NULL, 2, {}, {} };
  memcpy(&copy.tensor, map, sizeof copy.tensor);
  for (int d = 0; d < copy.tensor.rank; d++) {
    copy.at[d] = at[d];
    copy.bytes *= copy.tensor.box[d];
  }
  is_shared(shared, copy.bytes, copy.tensor.swizzled ? 1024 : 128, site);
  begin(&copy, site);
}

/* ---- the host's side ---- */

bool simt_encode_tensor(simt_tensor_map *map, const void *data, int rank, const int64_t *size,
                        const int64_t *stride, const int *box, bool swizzled) {
  simt_tensor t = { (const char *)data, rank, {}, {}, {}, swizzled };
  bool good = rank >= 1 && rank <= SIMT_TENSOR_RANK && (uintptr_t)data % 16 == 0;
  for (int d = 0; good && d < rank; d++) {
    t.size[d] = size[d];
    t.stride[d] = d == 0 ? 2 : 2 * stride[d - 1];
    t.box[d] = box[d];
    good = size[d] > 0 && box[d] > 0 && box[d] <= 256 && (d == 0 || t.stride[d] % 16 == 0);
  }
  good = good && box[0] * 2 % 16 == 0 && (!swizzled || box[0] * 2 <= 128);
  memcpy(map, &t, sizeof t);
  return good;
}
