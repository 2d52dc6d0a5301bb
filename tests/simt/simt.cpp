/* Running the threads of a launch, one at a time. Blocks run one after the other, and in a block
   each warp runs until all its lanes wait for the block or have returned, before the next one
   starts. A thread keeps its fiber only while it waits: when it returns, the next one begins on
   the same stack. Whoever stops running looks for the next thread (next_thread) and switches to
   it; when there is none, the block is over, and the first fiber goes on.

   A schedule is an order of lanes, and one of warps and blocks. Threads that would wait for ever
   end the launch with a message instead. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine.h"

simt_machine *simt_running(void) {
  static simt_machine machine;
  return &machine;
}

/* ---- what went wrong ---- */

void simt_fail(int thread, const char *format, ...) {
  simt_machine *m = simt_running();
  const uint3 block = simt_here()->block, place = m->position[thread >= 0 ? thread : 0];
  char text[256], who[64] = "";
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (thread >= 0)
    snprintf(who, sizeof who, ", thread (%u, %u, %u)", place.x, place.y, place.z);
  if (m->error == cudaSuccess)
    fprintf(stderr, "simt: kernel %s, block (%u, %u, %u)%s: %s\n", m->launch->name, block.x,
            block.y, block.z, who, text);
  m->error = cudaErrorLaunchFailure;
}

static const char *file_name(simt_site site) {
  const char *slash = strrchr(site.file, '/');
  return slash == NULL ? site.file : slash + 1;
}

void simt_fail_at(int thread, simt_site site, const char *format, ...) {
  char text[192];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  simt_fail(thread, "%s, at %s:%d", text, file_name(site), site.line);
}

static bool same_site(simt_site a, simt_site b) {
  return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0);
}

static const char *kind_name(const simt_offer *offer) {
  switch (offer->kind) {
  case SIMT_SYNC: return "__syncwarp";
  case SIMT_SHUFFLE: return "a shuffle";
  case SIMT_BALLOT: return "a ballot";
  default: return ((const simt_collective *)offer->value)->name;
  }
}

/* What a thread does, for messages. */
static const char *state_of(const simt_warp *warp, int lane) {
  const uint32_t bit = 1u << lane;
  return !(warp->present & bit) ? "does not exist"
         : warp->waiting & bit  ? "waits elsewhere in the warp"
         : warp->arrived & bit  ? "waits at __syncthreads"
         : warp->parked & bit   ? "waits for other warps"
         : warp->ready & bit    ? "runs"
                                : "has returned";
}

/* ---- choosing the thread that runs next ---- */

static void fail_waiting(simt_machine *m) {
  const simt_warp *warp = &m->warps[m->warp];
  const int lane = __builtin_ctz(warp->waiting);
  const simt_offer *offer = &warp->offer[lane];
  uint32_t missing = offer->mask & warp->present & ~warp->waiting;
  const int other = missing != 0 ? __builtin_ctz(missing) : lane;
  simt_fail(m->warp * SIMT_WARP + lane, "waits in %s at %s:%d for lane %d, which %s",
            kind_name(offer), file_name(offer->site), offer->site.line, other,
            state_of(warp, other));
}

/* The next lane of the warp that can run, in order, or -1 when none can. */
static int next_lane(simt_machine *m, const simt_warp *warp) {
  for (;;) {
    const uint32_t lanes = warp->ready & m->sweep;
    if (lanes != 0) {
      const int lane = m->lanes_reversed ? 31 - __builtin_clz(lanes) : __builtin_ctz(lanes);
      m->sweep = m->lanes_reversed ? (1u << lane) - 1 : ~1u << lane;
      return lane;
    }
    if (m->sweep == ~0u)
      return -1;
    m->sweep = ~0u;
  }
}

static void first_warp(simt_machine *m) {
  m->warps_run = 0;
  m->warp = m->warps_reversed ? m->nwarps - 1 : 0;
  m->sweep = ~0u;
}

/* All warps have had their turn. Let the threads go on when all wait at the barrier; false when
   the block is over. */
static bool release_barrier(simt_machine *m) {
  simt_barrier *barrier = &m->barrier;
  if (barrier->arrived == 0)
    return false;
  if (barrier->arrived != m->threads) {
    simt_fail(barrier->first,
              "waits in __syncthreads at %s:%d, but only %d of %d threads do, the others have "
              "returned",
              file_name(barrier->site), barrier->site.line, barrier->arrived, m->threads);
    return false;
  }
  for (int i = 0; i < m->nwarps; i++) {
    m->warps[i].ready = m->warps[i].present;
    m->warps[i].arrived = 0;
  }
  barrier->arrived = 0;
  barrier->result = barrier->count;
  first_warp(m);
  return true;
}

/* The thread that runs next, or -1 when the block is over or has failed. */
static int next_thread(simt_machine *m) {
  while (m->error == cudaSuccess) {
    const simt_warp *warp = &m->warps[m->warp];
    const int lane = next_lane(m, warp);
    if (lane >= 0)
      return m->warp * SIMT_WARP + lane;
    if (warp->waiting != 0 && warp->parked == 0)
      fail_waiting(m);
    else if (++m->warps_run < m->nwarps)
      m->warp += m->warps_reversed ? -1 : 1;
    else if (simt_release_parked(m))
      first_warp(m);
    else if (!release_barrier(m))
      break;
  }
  return -1;
}

/* ---- fibers ---- */

static void run_threads(void);

static simt_fiber *idle_fiber(simt_machine *m) {
  simt_fiber *fiber = m->idle;
  if (fiber != NULL) {
    m->idle = fiber->next_idle;
    return fiber;
  }
  fiber = &m->fibers[m->nfibers];
  if (!simt_fiber_create(fiber, m->nfibers)) {
    fputs("simt: no memory for a stack\n", stderr);
    abort();
  }
  m->nfibers++;
  simt_fiber_begin(fiber, run_threads);
  return fiber;
}

static void make_idle(simt_machine *m, simt_fiber *fiber) {
  fiber->next_idle = m->idle;
  m->idle = fiber;
}

/* Let the next thread run, on its own fiber or an idle one, or the first fiber when there is none.
   Returns when it is the turn of the fiber that called. */
void simt_pass_on(simt_machine *m) {
  simt_fiber *from = m->running, *to = &m->first;
  const int thread = next_thread(m);
  if (thread >= 0) {
    if (m->fiber[thread] == NULL)
      m->fiber[thread] = idle_fiber(m);
    to = m->fiber[thread];
    m->thread = thread;
    simt_here()->thread = m->position[thread];
    simt_here()->lane = thread % SIMT_WARP;
  }
  m->running = to;
  if (to != from)
    simt_fiber_switch(from, to);
}

/* The body of every fiber: threads, one after the other. */
static void run_threads(void) {
  simt_machine *m = simt_running();
  simt_fiber_entered(m->running, &m->first);
  for (;;) {
    m->body->call(m->body->arguments);
    simt_async_returned(m->thread);
    m->warps[m->thread / SIMT_WARP].ready &= ~(1u << m->thread % SIMT_WARP);
    m->fiber[m->thread] = NULL;
    make_idle(m, m->running);
    simt_pass_on(m);
  }
}

/* The threads that have begun but not returned, after a failure, will not go on. */
static void abandon_threads(simt_machine *m) {
  for (int i = 0; i < m->threads; i++) {
    simt_async_forget(i);
    if (m->fiber[i] != NULL) {
      simt_fiber_begin(m->fiber[i], run_threads);
      make_idle(m, m->fiber[i]);
      m->fiber[i] = NULL;
    }
  }
}

/* ---- threads that wait ---- */

void simt_misaligned(const void *pointer, simt_site site) {
  simt_machine *m = simt_running();
  simt_fail_at(m->thread, site, "an access of 16 bytes at %p, which is not aligned", pointer);
  simt_pass_on(m);
}

int simt_source(int lane, int width, simt_site site) {
  simt_machine *m = simt_running();
  if (width < 1 || width > SIMT_WARP || (width & (width - 1)) != 0) {
    simt_fail(m->thread, "a width of %d in the shuffle at %s:%d", width, file_name(site),
              site.line);
    simt_pass_on(m);
  }
  return lane & ~(width - 1);
}

int simt_sync_block(bool predicate, simt_site site) {
  simt_machine *m = simt_running();
  simt_barrier *barrier = &m->barrier;
  simt_warp *warp = &m->warps[m->thread / SIMT_WARP];
  const uint32_t bit = 1u << m->thread % SIMT_WARP;
  if (barrier->arrived++ == 0) {
    barrier->first = m->thread;
    barrier->count = 0;
    barrier->site = site;
  } else if (!same_site(site, barrier->site)) {
    simt_fail(m->thread, "waits in __syncthreads at %s:%d, thread %d of the block at %s:%d",
              file_name(site), site.line, barrier->first, file_name(barrier->site),
              barrier->site.line);
  }
  barrier->count += predicate;
  warp->ready &= ~bit;
  warp->arrived |= bit;
  simt_pass_on(m);
  return barrier->result;
}

/* All lanes that exist have brought something. */
static bool run_collective(simt_machine *m, const simt_offer *last, uint32_t lanes,
                           const uint64_t value[SIMT_WARP]) {
  simt_collective *brought[SIMT_WARP];
  if (lanes != ~0u) {
    simt_fail_at(m->thread, last->site, "%s in a warp that is not whole", kind_name(last));
    return false;
  }
  for (int i = 0; i < SIMT_WARP; i++)
    brought[i] = (simt_collective *)value[i];
  brought[0]->run(brought);
  return true;
}

/* All lanes of the mask are there: give each its result. False when they do not fit together.
   Not inlined: what it needs of the stack would lie in every lane that waits. */
static __attribute__((noinline)) bool exchange(simt_machine *m, simt_warp *warp,
                                               const simt_offer *last) {
  const uint32_t lanes = last->mask & warp->present;
  uint64_t value[SIMT_WARP], ballot = 0;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const simt_offer *offer = &warp->offer[lane];
    if (offer->mask != last->mask || offer->kind != last->kind ||
        !same_site(offer->site, last->site)) {
      simt_fail(m->thread, "%s at %s:%d with mask %08x meets lane %d in %s at %s:%d, mask %08x",
                kind_name(last), file_name(last->site), last->site.line, last->mask, lane,
                kind_name(offer), file_name(offer->site), offer->site.line, offer->mask);
      return false;
    }
    value[lane] = offer->value;
    ballot |= (uint64_t)(offer->value != 0) << lane;
  }
  if (last->kind == SIMT_COLLECTIVE)
    return run_collective(m, last, lanes, value);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    simt_offer *offer = &warp->offer[__builtin_ctz(rest)];
    if (offer->kind == SIMT_SHUFFLE && !(offer->source >= 0 && (lanes >> offer->source & 1))) {
      simt_fail(m->warp * SIMT_WARP + __builtin_ctz(rest),
                "reads lane %d in the shuffle at %s:%d, which is not in the mask or does not exist",
                offer->source, file_name(offer->site), offer->site.line);
      return false;
    }
    offer->value = offer->kind == SIMT_SHUFFLE ? value[offer->source] : ballot;
  }
  return true;
}

uint64_t simt_sync_warp(simt_kind kind, unsigned mask, uint64_t value, int source, simt_site site) {
  simt_machine *m = simt_running();
  const int lane = m->thread % SIMT_WARP;
  const uint32_t bit = 1u << lane;
  simt_warp *warp = &m->warps[m->thread / SIMT_WARP];
  simt_offer *offer = &warp->offer[lane];
  *offer = { kind, mask, value, source, site };
  if (!(mask & bit)) {
    simt_fail(m->thread, "%s at %s:%d by lane %d, which is not in its mask %08x", kind_name(offer),
              file_name(site), site.line, lane, mask);
    simt_pass_on(m);
  }
  const uint32_t lanes = mask & warp->present;
  warp->ready &= ~bit;
  warp->waiting |= bit;
  if ((warp->waiting & lanes) == lanes && exchange(m, warp, offer)) {
    warp->waiting &= ~lanes;
    warp->ready |= lanes;
  } else
    simt_pass_on(m);
  return offer->value;
}

void simt_sync_collective(simt_collective *mine, simt_site site) {
  simt_sync_warp(SIMT_COLLECTIVE, ~0u, (uint64_t)mine, 0, site);
}

/* ---- shared memory ---- */

bool simt_check_shared(const void *data, size_t bytes, const char *what, simt_site site) {
  simt_machine *m = simt_running();
  const uintptr_t offset = (uintptr_t)data - (uintptr_t)m->shared.bytes;
  if (offset < m->shared.end && offset + bytes <= m->shared.end && offset % bytes == 0)
    return true;
  simt_fail_at(m->thread, site, "%s %p, which is not %zu aligned bytes of shared memory", what,
               data, bytes);
  simt_pass_on(m);
  return false;
}

static SIMT_UNWATCHED void poison_shared(simt_machine *m, size_t from, size_t to) {
  uint32_t *words = (uint32_t *)m->shared.bytes;
  for (size_t i = from / 4; i < to / 4; i++)
    words[i] = m->shared.poison;
}

/* Give `bytes` bytes, with a red zone behind them; everything up to there is poisoned. */
static size_t carve_shared(simt_machine *m, const char *name, size_t bytes) {
  simt_shared_memory *shared = &m->shared;
  const size_t start = shared->end;
  shared->arrays[shared->narrays].name = name;
  shared->arrays[shared->narrays++].end = start + bytes;
  shared->end = simt_shared_zone_end(start + bytes);
  poison_shared(m, start, shared->end);
  ASAN_UNPOISON_MEMORY_REGION(shared->bytes + start, bytes);
  ASAN_POISON_MEMORY_REGION(shared->bytes + start + bytes, shared->end - start - bytes);
  return start;
}

/* Whether the block may have the array too; otherwise the launch has failed. */
static bool has_room(simt_machine *m, const simt_shared_array *array) {
  const size_t fixed = m->shared.static_bytes + array->bytes;
  const size_t all = fixed + m->shared.dynamic_bytes;
  if (m->shared.narrays == SIMT_MAX_ARRAYS)
    simt_fail(m->thread, "%s is one array of shared memory too many", array->name);
  else if (fixed > SIMT_STATIC_SHARED)
    simt_fail(m->thread, "%zu bytes of static shared memory with %s, at most %d are allowed", fixed,
              array->name, SIMT_STATIC_SHARED);
  else if (all > SIMT_SHARED) {
    simt_fail(m->thread, "%zu bytes of shared memory with %s, at most %d are allowed", all,
              array->name, SIMT_SHARED);
    m->error = cudaErrorInvalidValue;
  }
  return m->error == cudaSuccess;
}

void simt_place_shared(simt_shared_array *array) {
  simt_machine *m = simt_running();
  if (!has_room(m, array))
    simt_pass_on(m);
  m->shared.static_bytes += array->bytes;
  array->address = m->shared.bytes + carve_shared(m, array->name, array->bytes);
  array->launch = simt_here()->launch;
}

static void begin_shared(simt_machine *m, size_t dynamic_bytes, int schedule) {
  simt_shared_memory *shared = &m->shared;
  shared->poison = schedule < 2 ? 0xffffffffu : 0x7ffdfdfdu; /* NaN as float and as double */
  shared->narrays = 0;
  shared->end = shared->static_bytes = 0;
  shared->dynamic_bytes = dynamic_bytes;
  simt_here()->dynamic_shared = shared->bytes +
                                carve_shared(m, "dynamic shared memory", dynamic_bytes);
}

/* Whether nothing was written between the arrays. */
static SIMT_UNWATCHED void check_shared(simt_machine *m) {
  simt_shared_memory *shared = &m->shared;
  for (int i = 0; i < shared->narrays; i++) {
    const size_t end = shared->arrays[i].end;
    for (size_t k = (end + 3) / 4 * 4; k < simt_shared_zone_end(end); k += 4)
      if (*(uint32_t *)(shared->bytes + k) != shared->poison) {
        simt_fail(-1, "something was written %zu bytes behind %s", k - end, shared->arrays[i].name);
        return;
      }
  }
}

/* ---- blocks and launches ---- */

static void compute_positions(simt_machine *m, dim3 threads) {
  if (threads.x == m->positions_of.x && threads.y == m->positions_of.y &&
      threads.z == m->positions_of.z)
    return;
  m->positions_of = { threads.x, threads.y, threads.z };
  for (unsigned i = 0; i < threads.x * threads.y * threads.z; i++)
    m->position[i] = { i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y };
}

static void run_block(simt_machine *m) {
  for (int i = 0; i < m->nwarps; i++) {
    const int lanes = m->threads - i * SIMT_WARP;
    simt_warp *warp = &m->warps[i];
    warp->present = warp->ready = lanes >= SIMT_WARP ? ~0u : (1u << lanes) - 1;
    warp->waiting = warp->arrived = warp->parked = 0;
  }
  m->barrier.arrived = 0;
  poison_shared(m, 0, m->shared.end);
  simt_begin_hopper(m);
  first_warp(m);
  simt_pass_on(m);
  if (m->error == cudaSuccess)
    check_shared(m);
  simt_end_hopper(m);
  if (m->error != cudaSuccess)
    abandon_threads(m);
}

static uint3 block_at(dim3 blocks, uint64_t i) {
  return { (unsigned)(i % blocks.x), (unsigned)(i / blocks.x % blocks.y),
           (unsigned)(i / blocks.x / blocks.y) };
}

cudaError_t simt_run_schedule(const simt_launch *launch, const simt_body *body, int schedule) {
  simt_machine *m = simt_running();
  simt_place *here = simt_here();
  const uint64_t nblocks = (uint64_t)launch->blocks.x * launch->blocks.y * launch->blocks.z;
  m->launch = launch;
  m->body = body;
  m->error = cudaSuccess;
  m->lanes_reversed = schedule & 1;
  m->warps_reversed = schedule & 2;
  m->threads = (int)(launch->threads.x * launch->threads.y * launch->threads.z);
  m->nwarps = (m->threads + SIMT_WARP - 1) / SIMT_WARP;
  m->running = &m->first;
  compute_positions(m, launch->threads);
  here->threads = launch->threads;
  here->blocks = launch->blocks;
  here->launch++;
  begin_shared(m, launch->shared_bytes, schedule);
  for (uint64_t i = 0; i < nblocks && m->error == cudaSuccess; i++) {
    here->block = block_at(launch->blocks, m->warps_reversed ? nblocks - 1 - i : i);
    run_block(m);
  }
  m->launch = NULL;
  return m->error;
}
