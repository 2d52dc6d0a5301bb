/* Threads that wait for other warps: barriers in shared memory (mbarrier) and barriers with a number (bar.sync). Such a
   thread is parked until its condition holds. Conditions are looked at when no warp can go on, so that whoever waits
   does so as long as possible. */
#include <stdlib.h>

#include "machine.h"
#include "simt_hopper.h"

/* ---- parking ---- */

void simt_wait_until(const simt_condition *condition, simt_site site) {
  simt_machine *m = simt_running();
  simt_warp *warp = &m->warps[m->thread / SIMT_WARP];
  const uint32_t bit = 1u << m->thread % SIMT_WARP;
  if (condition->holds(condition))
    return;
  warp->offer[m->thread % SIMT_WARP] = { SIMT_SYNC, bit, (uint64_t)condition, 0, site };
  warp->ready &= ~bit;
  warp->parked |= bit;
  simt_pass_on(m);
}

/* Let those of a warp go on whose condition holds; true if there are any. */
static bool release(simt_warp *warp) {
  uint32_t released = 0;
  for (uint32_t rest = warp->parked; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const simt_condition *condition = (const simt_condition *)warp->offer[lane].value;
    if (condition->holds(condition))
      released |= 1u << lane;
  }
  warp->parked &= ~released;
  warp->ready |= released;
  return released != 0;
}

static bool release_all(simt_machine *m) {
  bool released = false;
  for (int i = 0; i < m->nwarps; i++)
    released |= release(&m->warps[i]);
  return released;
}

/* A thread that is parked, or -1. */
static int find_parked(const simt_machine *m) {
  for (int i = 0; i < m->nwarps; i++)
    if (m->warps[i].parked != 0)
      return i * SIMT_WARP + __builtin_ctz(m->warps[i].parked);
  return -1;
}

bool simt_release_parked(simt_machine *m) {
  const int thread = find_parked(m);
  if (thread < 0)
    return false;
  while (!release_all(m))
    if (!simt_land_bulk_copy()) {
      const simt_offer *offer = &m->warps[thread / SIMT_WARP].offer[thread % SIMT_WARP];
      simt_fail_at(thread, offer->site, "waits for ever in %s",
                   ((const simt_condition *)offer->value)->name);
      return false;
    }
  return true;
}

/* ---- barriers in shared memory ---- */

/* What the 64 bits of one are here; a device has its own. */
struct simt_mbarrier {
  uint32_t mark : 8, ready : 1, phase : 1, count : 11, missing : 11;
  int32_t bytes; /* expected minus arrived */
};
static_assert(sizeof(simt_mbarrier) == 8, "the size of an mbarrier");

#define MARK 0xb5u

static simt_mbarrier *find_barrier(uint64_t *word, simt_site site) {
  simt_mbarrier *barrier = (simt_mbarrier *)word;
  if (simt_check_shared(word, 8, "a barrier is at", site) && barrier->mark != MARK) {
    simt_fail_at(simt_running()->thread, site, "a barrier that was not initialized");
    simt_pass_on(simt_running());
  }
  return barrier;
}

static void finish_phase(simt_mbarrier *barrier) {
  if (barrier->missing == 0 && barrier->bytes == 0) {
    barrier->phase ^= 1;
    barrier->missing = barrier->count;
  }
}

/* Barriers of the block that copies do not see yet, and who has initialized them. */
#define MOST_NEW 64
struct simt_new_barriers {
  simt_mbarrier *barrier[MOST_NEW];
  int thread[MOST_NEW], count;
};

static simt_new_barriers *new_barriers(void) {
  static simt_new_barriers barriers;
  return &barriers;
}

void simt_barrier_init(uint64_t *word, int count, simt_site site) {
  simt_new_barriers *made = new_barriers();
  const unsigned threads = (unsigned)count & 0x7ff;
  if (!simt_check_shared(word, 8, "a barrier is at", site))
    return;
  if (made->count == MOST_NEW)
    abort();
  *(simt_mbarrier *)word = { MARK, 0, 0, threads, threads, 0 };
  made->barrier[made->count] = (simt_mbarrier *)word;
  made->thread[made->count++] = simt_running()->thread;
}

void simt_barriers_ready(void) {
  simt_new_barriers *made = new_barriers();
  int left = 0;
  for (int i = 0; i < made->count; i++)
    if (made->thread[i] == simt_running()->thread)
      made->barrier[i]->ready = 1;
    else {
      made->barrier[left] = made->barrier[i];
      made->thread[left++] = made->thread[i];
    }
  made->count = left;
}

bool simt_barrier_is_ready(uint64_t *word, simt_site site) {
  return find_barrier(word, site)->ready != 0;
}

void simt_barrier_arrive(uint64_t *word, int bytes, simt_site site) {
  simt_mbarrier *barrier = find_barrier(word, site);
  if (barrier->missing == 0) {
    simt_fail_at(simt_running()->thread, site, "more threads arrive at a barrier than it is for");
    simt_pass_on(simt_running());
  }
  barrier->bytes += bytes;
  barrier->missing--;
  finish_phase(barrier);
}

void simt_barrier_complete(uint64_t *word, int bytes) {
  simt_mbarrier *barrier = (simt_mbarrier *)word;
  barrier->bytes -= bytes;
  finish_phase(barrier);
}

struct phase_condition {
  simt_condition base;
  const simt_mbarrier *barrier;
  unsigned parity;
};

static bool phase_is_over(const simt_condition *condition) {
  const phase_condition *c = (const phase_condition *)condition;
  return c->barrier->phase != c->parity;
}

void simt_barrier_wait(uint64_t *word, unsigned parity, simt_site site) {
  const phase_condition condition = { { "barrier_wait", phase_is_over },
                                      find_barrier(word, site),
                                      parity & 1 };
  simt_wait_until(&condition.base, site);
}

/* ---- barriers with a number ---- */

#define NAMED 16

struct simt_named_barrier {
  int arrived, threads;
  int64_t turn; /* how often it has opened */
};

static simt_named_barrier *named_barrier_of(int number) {
  static simt_named_barrier barriers[NAMED];
  return &barriers[number];
}

struct turn_condition {
  simt_condition base;
  const simt_named_barrier *barrier;
  int64_t turn;
};

static bool has_opened(const simt_condition *condition) {
  const turn_condition *c = (const turn_condition *)condition;
  return c->barrier->turn != c->turn;
}

/* Count the thread in; false when it must not be. */
static bool arrive(simt_named_barrier *barrier, int threads) {
  if (threads % SIMT_WARP != 0 || (barrier->arrived > 0 && barrier->threads != threads))
    return false;
  barrier->threads = threads;
  if (++barrier->arrived == threads) {
    barrier->arrived = 0;
    barrier->turn++;
  }
  return true;
}

void simt_named_barrier_sync(int number, int threads, bool wait, simt_site site) {
  simt_named_barrier *barrier = named_barrier_of(number & (NAMED - 1));
  const turn_condition condition = { { "named_barrier", has_opened }, barrier, barrier->turn };
  if (number < 1 || number >= NAMED || !arrive(barrier, threads)) {
    simt_fail_at(simt_running()->thread, site, "barrier %d of %d threads, others say %d", number,
                 threads, barrier->threads);
    simt_pass_on(simt_running());
  }
  if (wait)
    simt_wait_until(&condition.base, site);
}

/* ---- blocks ---- */

void simt_begin_hopper(simt_machine *m) {
  m->shared.async_end = 0;
  new_barriers()->count = 0;
  for (int i = 0; i < NAMED; i++)
    *named_barrier_of(i) = {};
}

void simt_end_hopper(simt_machine *m) {
  const int copies = simt_drop_bulk_copies();
  if (m->error == cudaSuccess && copies > 0)
    simt_fail(-1, "%d bulk copies are under way at the end", copies);
  for (int i = 1; i < NAMED && m->error == cudaSuccess; i++)
    if (named_barrier_of(i)->arrived > 0)
      simt_fail(-1, "%d threads have arrived at barrier %d, which is for %d",
                named_barrier_of(i)->arrived, i, named_barrier_of(i)->threads);
  simt_end_products(m);
}
