/* What the files of the shim share: the threads, warps and the block that run (simt.cpp), the
   memory of the devices (memory.cpp, compare.cpp), the host's functions (runtime.cpp), and
   launches (launch.cpp). */
#ifndef SIMT_MACHINE_H
#define SIMT_MACHINE_H

#include <functional>
#include <memory>

#include "fiber.h"
#include "simt.h"

/* AddressSanitizer sees what must not be touched: red zones and freed memory. Functions that look
   at red zones are UNWATCHED. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define SIMT_UNWATCHED __attribute__((no_sanitize("address")))
#else
#define ASAN_POISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#define SIMT_UNWATCHED
#endif

#define SIMT_WARP 32
#define SIMT_MAX_THREADS 1024
#define SIMT_MAX_WARPS (SIMT_MAX_THREADS / SIMT_WARP)
#define SIMT_STATIC_SHARED (48 << 10)
#define SIMT_SHARED 232448 /* bytes that a block of compute capability 9.0 may have */
#define SIMT_DEVICES 16
#define SIMT_RED_ZONE 256  /* bytes on both sides of device memory */
#define SIMT_MAX_ARRAYS 64 /* of shared memory, in one kernel */
#define SIMT_SCHEDULES 4

/* What a lane that waits for others of its warp has brought. */
struct simt_offer {
  simt_kind kind;
  unsigned mask;
  uint64_t value; /* then the result */
  int source;
  simt_site site;
};

/* Every lane that exists is in one of ready, waiting, arrived and parked, or it has returned. */
struct simt_warp {
  uint32_t present, ready;
  uint32_t waiting; /* for lanes of the warp */
  uint32_t arrived; /* at a barrier of the block */
  uint32_t parked;  /* until a condition holds; the offer's value is the condition */
  simt_offer offer[SIMT_WARP];
};

struct simt_barrier {
  int arrived, first; /* how many threads, and which came first */
  int count, result;  /* of true predicates, this time and last time */
  simt_site site;
};

/* The block's shared memory: the dynamic part first; behind each array is a small red zone. */
struct simt_shared_memory {
  unsigned char bytes[SIMT_SHARED + SIMT_STATIC_SHARED + SIMT_MAX_ARRAYS * 96]
    __attribute__((aligned(1024)));
  size_t dynamic_bytes, static_bytes, end;
  unsigned char async_view[SIMT_SHARED + SIMT_STATIC_SHARED + SIMT_MAX_ARRAYS * 96]
    __attribute__((aligned(1024))); /* what async_proxy.cpp keeps, up to async_end */
  size_t async_end;
  struct {
    const char *name;
    size_t end;
  } arrays[SIMT_MAX_ARRAYS];
  int narrays;
  uint32_t poison;
};

struct simt_machine {
  const simt_launch *launch; /* NULL while none runs */
  const simt_body *body;
  cudaError_t error; /* of this launch */

  /* How the launch is run: one of the schedules. */
  bool lanes_reversed, warps_reversed;
  int threads, nwarps;
  int thread;          /* that runs */
  int warp, warps_run; /* whose lanes run, and how many have had their turn */
  uint32_t sweep;      /* lanes of the warp that are to be looked at before it starts anew */

  uint3 position[SIMT_MAX_THREADS];
  uint3 positions_of;                  /* the size of the block for which they are */
  simt_fiber *fiber[SIMT_MAX_THREADS]; /* NULL for threads that have not begun or have returned */
  simt_warp warps[SIMT_MAX_WARPS];
  simt_barrier barrier;
  simt_shared_memory shared;

  simt_fiber first; /* the program's own stack */
  simt_fiber fibers[SIMT_MAX_THREADS];
  int nfibers;
  simt_fiber *idle, *running;
};

/* Run the launch once; schedules are numbered from 0. */
cudaError_t simt_run_schedule(const simt_launch *launch, const simt_body *body, int schedule);

simt_machine *simt_running(void);

/* Say what a thread did, -1 for an unknown one, once per launch; the launch ends when the thread
   next stops running. */
void simt_fail(int thread, const char *format, ...) __attribute__((cold, format(printf, 2, 3)));

/* The same, ending the message with the place in the kernel. */
void simt_fail_at(int thread, simt_site site, const char *format, ...)
  __attribute__((cold, format(printf, 3, 4)));

/* False, and the launch has failed, unless the bytes are the block's shared memory and `data` is a multiple of
   `bytes`. */
bool simt_check_shared(const void *data, size_t bytes, const char *what, simt_site site);

/* The end of the red zone of an array of shared memory. */
static inline size_t simt_shared_zone_end(size_t array_end) {
  return (array_end + 32 + 63) / 64 * 64;
}

/* Let another thread run; the one that calls waits, or the launch has failed. */
void simt_pass_on(simt_machine *m);

/* ---- conditions.cpp ---- */

/* What a thread waits for, and other warps or copies bring about. */
struct simt_condition {
  const char *name;
  bool (*holds)(const simt_condition *condition);
};
void simt_wait_until(const simt_condition *condition, simt_site site);

/* No warp can go on: look whether threads that wait for a condition can, which copies may have to land for. False when
   none can, and the launch has failed if there are some. */
bool simt_release_parked(simt_machine *m);

/* Before and after a block: named barriers, bulk copies and products of warpgroups. */
void simt_begin_hopper(simt_machine *m);
void simt_end_hopper(simt_machine *m);

/* ---- async_proxy.cpp ---- */

const unsigned char *simt_async_view(void);            /* all of shared memory */
void simt_async_publish(void);                         /* what threads have stored */
void simt_async_wrote(const void *data, size_t bytes); /* shared memory, by a copy */
bool simt_async_sees(const void *data, size_t bytes);  /* as it is in shared memory */

/* ---- bulk_copy.cpp, warpgroup.cpp ---- */

bool simt_land_bulk_copy(void); /* the oldest; false when none is under way */
int simt_drop_bulk_copies(void);
void simt_end_products(simt_machine *m);

/* ---- async_copy.cpp ---- */

void simt_async_returned(int thread); /* it must have waited for all copies that it began */
void simt_async_forget(int thread);   /* those it began */

/* ---- memory.cpp ---- */

struct simt_allocation {
  char *data; /* behind the red zone */
  size_t bytes;
  int device;
  uint64_t number; /* of the call of cudaMalloc */
};

/* The memory of all devices, in one range of addresses. */
struct simt_memory {
  char *arena;
  size_t arena_bytes, used;     /* what of it was ever in use */
  int opened;                   /* how many times more than closed */
  simt_allocation *allocations; /* by address */
  int count, room;
  size_t bytes;    /* of all allocations */
  uint64_t number; /* of the last allocation */

  /* The upper half of the arena has the ranges of pages.cpp. */
  char *ranges, *ranges_end;  /* those that were taken */
  size_t ranges_used;         /* what of them ever had memory */
  size_t pages[SIMT_DEVICES]; /* bytes of memory for them, per device */
};

simt_memory *simt_device_memory(void);

/* For pages.cpp. Take addresses; NULL if there are none. */
char *simt_take_range(size_t bytes, size_t alignment);

/* Take memory of a device for pages; false if there is not enough. */
bool simt_take_pages(int device, size_t bytes);
void simt_give_pages(int device, size_t bytes);

/* Fill addresses of a range with NaN, usable from then on. */
bool simt_fill_range(char *data, size_t bytes);

/* Make a block of a range an allocation, filled with NaN, with red zones; and the reverse, which reports writes beside
   the block. */
bool simt_use_block(char *data, size_t bytes, int device);
bool simt_leave_block(char *data);

/* Whether some allocation has bytes there. */
bool simt_is_used(const char *data, size_t bytes);

/* The allocation that `data` points into, or behind; NULL if none. */
const simt_allocation *simt_allocation_of(const void *data);

/* The device in one allocation of which all bytes are, or -1. */
int simt_device_of(const void *data, size_t bytes);
bool simt_touches_device(const void *data, size_t bytes); /* any byte, of any device */

/* The number of the allocation that has a byte, or the gap before it; 0: none. */
uint64_t simt_number_at(const void *data);

/* False when something wrote outside the allocations, which is reported and repaired. Not while a graph runs. */
bool simt_check_red_zones(const char *what);
void simt_restore_red_zones(void);

/* ---- fault.cpp ---- */

/* From now on say what a segmentation fault was about. */
void simt_explain_faults(void);

/* ---- compare.cpp ---- */

bool simt_save_memory(void);    /* what a launch begins with; false when there is no room */
void simt_restore_memory(void); /* to that */
void simt_keep_memory(void);    /* as the result to compare with */
bool simt_compare_memory(const char *kernel, int schedule);

/* ---- trace.cpp ---- */

/* Append a line to the file that BAMLUA_SIMT_TRACE names. */
void simt_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- capture.cpp ---- */

struct simt_recording;

struct simt_queue;

struct simt_stream {
  int device;
  std::shared_ptr<simt_queue> queue;
  simt_recording *recording; /* NULL: what is asked of it runs */
};

typedef std::function<cudaError_t()> simt_action;

/* True if the call must not run now: the stream records, and `action` is what the graph will do; or it is an error.
   The memory that the words of `arguments` point into must be there whenever the graph is launched. */
bool simt_record(cudaStream_t stream, const char *what, const void *arguments, size_t bytes,
                 const simt_action &action, cudaError_t *error);

/* An error, which spoils the recording, if a stream records; `what` may not be called then. */
cudaError_t simt_forbidden_in_capture(const char *what);
cudaError_t simt_unsafe_in_capture(const char *what); /* unless the thread's mode is relaxed */
cudaError_t simt_forbidden_on(cudaStream_t stream, const char *what); /* if that stream records */

bool simt_is_capturing(void); /* does a stream record? */
bool simt_is_replaying(void); /* does a graph run? */

/* ---- streams.cpp ---- */

typedef enum {
  SIMT_AT_ONCE,        /* before the call returns */
  SIMT_WHEN_SCHEDULED, /* as the schedule of streams says */
  SIMT_WHEN_WAITED_FOR
} simt_when;

/* Ask a stream to do something after all that it was asked for before; or record it, if the stream is captured. The
   words of `arguments` are as in simt_record. Returns the error with which it ended, if it has run. */
cudaError_t simt_ask(cudaStream_t stream, const char *what, const void *arguments, size_t bytes,
                     simt_when when, const simt_action &action);

void simt_finish_stream(cudaStream_t stream); /* all that it was asked for */
void simt_finish_streams(void);
bool simt_streams_are_done(void); /* with what they were asked for */

/* False, and it has been reported, if a stream has still to use the memory. */
bool simt_is_unused(const simt_allocation *allocation);

/* ---- runtime.cpp ---- */

cudaError_t simt_result(cudaError_t error); /* the last error unless a success; returns it */
int simt_current_device(void);
int simt_stream_device(cudaStream_t stream);
bool simt_is_idle(void); /* all work and all copies were waited for */
void simt_all_was_waited_for(void);

/* A launch or product was enqueued, which takes that time: events count nothing else. */
void simt_count_work(double milliseconds);
double simt_clock(uint64_t *work); /* the milliseconds, and how many there were */
cudaError_t simt_waited(void);     /* what a wait ends with */

/* From now on, until it has been reported, waiting fails with `error`: a fault of a kernel that has been
   enqueued. */
void simt_fail_later(cudaError_t error);

#endif
