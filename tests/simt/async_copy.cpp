/* Copies to shared memory that a thread begins and waits for later: cp.async. On a device they land at some time
   between; here under half of the schedules at the first and under the others at the last possible moment. Until
   then their target is NaN. A kernel that reads too early, or overwrites what others still read, leaves different
   results. */
#include <stdlib.h>

#include "machine.h"
#include "simt_tensor_core.h"

#define COPY_BYTES 16

struct simt_flight {
  void *to;
  const void *from; /* NULL: zeros */
  int64_t group;
};

/* What a thread has begun and not waited for, the oldest first. */
struct simt_flights {
  simt_flight *flights;
  int count, room;
  int64_t group; /* the number of the group that is not committed */
};

static simt_flights *flights_of(int thread) {
  static simt_flights flights[SIMT_MAX_THREADS];
  return &flights[thread];
}

static bool lands_late(void) { return !simt_running()->lanes_reversed; }

static void land(const simt_flight *flight) {
  if (flight->from != NULL)
    memcpy(flight->to, flight->from, COPY_BYTES);
  else
    memset(flight->to, 0, COPY_BYTES);
}

static void push(simt_flights *f, simt_flight flight) {
  if (f->count == f->room) {
    f->room = f->room > 0 ? 2 * f->room : 16;
    f->flights = (simt_flight *)realloc(f->flights, (size_t)f->room * sizeof *f->flights);
    if (f->flights == NULL)
      abort();
  }
  f->flights[f->count++] = flight;
}

void simt_async_copy(void *shared, const void *global, bool valid, simt_site site) {
  const int thread = simt_running()->thread;
  simt_flights *f = flights_of(thread);
  const simt_flight flight = { shared, valid ? global : NULL, f->group };
  if (!simt_check_shared(shared, COPY_BYTES, "async_copy writes", site))
    return;
  if (valid && ((uintptr_t)global % COPY_BYTES != 0 || simt_device_of(global, COPY_BYTES) < 0)) {
    simt_fail_at(thread, site, "async_copy reads %p, which is not 16 aligned bytes of the device",
                 global);
    return;
  }
  if (lands_late())
    memset(shared, 0xff, COPY_BYTES);
  else
    land(&flight);
  push(f, flight);
}

void simt_async_commit(void) { flights_of(simt_running()->thread)->group++; }

void simt_async_wait(int pending) {
  simt_flights *f = flights_of(simt_running()->thread);
  int landed = 0;
  for (; landed < f->count && f->flights[landed].group < f->group - pending; landed++)
    if (lands_late())
      land(&f->flights[landed]);
  f->count -= landed;
  if (f->count > 0)
    memmove(f->flights, f->flights + landed, (size_t)f->count * sizeof *f->flights);
}

void simt_async_returned(int thread) {
  simt_flights *f = flights_of(thread);
  if (f->count > 0)
    simt_fail(thread, "returns without having waited for %d copies to shared memory", f->count);
  f->count = 0;
}

void simt_async_forget(int thread) { flights_of(thread)->count = 0; }
