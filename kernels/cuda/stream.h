/* The state behind a bam_stream of a CUDA device. Functions here do not fail: what goes wrong is
   noted in the stream, once, and the engine asks for it after every op. */
#ifndef BAM_CUDA_STREAM_H
#define BAM_CUDA_STREAM_H

#include <cuda_runtime.h>
#include <stdint.h>

#include "../kernels.h"

#define BAM_STAGING_SLOTS 4
#define BAM_STAGING_BYTES (1 << 20) /* of one slot */
#define BAM_OLD_SCRATCH 64          /* each at least twice as large as the one before */

/* Queues that products of experts are spread over. One expert's product has few tiles, [16384 / 4, 2304]
   of 128 x 256 about two for each multiprocessor, and the last ones leave most of the device idle; of
   four at a time only the last ones of all do. More would take more workspace for no more work. */
#define BAM_LANES 4

/* Copies to the host that are begun now and finished later: what a routed layer must know of its experts, with one
   layer's work in between. Several may be under way, and some are never finished. */
#define BAM_EARLY_SLOTS 16
#define BAM_EARLY_BYTES 4096 /* of one slot: the counts of 511 experts */

struct bam_cuda_blas;

struct bam_stream_state {
  int number; /* of the device, as CUDA counts */
  cudaStream_t
    queue; /* its work runs in order: lanes[lane], which is lanes[0] outside of bam_cuda_fork */
  char failure[256]; /* the first thing that went wrong since it was asked for, or "" */

  /* See bam_cuda_fork. Those from 1 on, and the events, are made when they are first needed. */
  cudaStream_t lanes[BAM_LANES];
  cudaEvent_t forked, joined[BAM_LANES]; /* joined[0] is not used */
  int lane, forks; /* the one in use, and how many there are now: 1 outside of a fork */

  /* Memory for intermediate results of one kernel call; see bam_cuda_scratch. */
  void *scratch;
  int64_t scratch_bytes;
  void *old_scratch[BAM_OLD_SCRATCH]; /* smaller ones that graphs use; see bam_cuda_free_graph */
  int n_old_scratch;
  int multiprocessors;
  int64_t shared_limit; /* bytes of shared memory that a block may have when it asks for them */
  int64_t page_bytes;   /* of memory; see pages.h */
  int capability;       /* the compute capability: 90 for 9.0 */

  /* Pinned memory that copies to and from the host pass through, slot by slot. */
  char *staging;
  cudaEvent_t staged[BAM_STAGING_SLOTS]; /* the copy that used the slot last is done */
  int slot;

  /* Pinned memory of early copies: number n, counted from 1, is in slot n % BAM_EARLY_SLOTS. */
  char *early;
  cudaEvent_t arrived[BAM_EARLY_SLOTS];
  bool awaited[BAM_EARLY_SLOTS]; /* the slot's copy has been begun, and not been waited for */
  uint64_t last_early;           /* number of the last one */

  bool capturing; /* what is enqueued is recorded in a graph (graph.cu) */
  bool no_graphs; /* BAMLUA_GRAPHS=0 */
  int graphs;     /* that exist: they know the addresses of scratch and workspace */

  bool tf32;                  /* products of f32 may be computed from tf32 */
  bool sync;                  /* BAMLUA_SYNC=1: wait after every launch and product */
  struct bam_cuda_blas *blas; /* NULL until the first product */
};

/* Make the stream's device the current one of this thread; false when that fails. */
bool bam_cuda_enter(bam_stream stream);

/* Record that `what` ended with `error`, unless that is a success or something was recorded
   before. */
void bam_cuda_note(bam_stream stream, const char *what, cudaError_t error);

/* Note the error of the launch or product `what` that was just enqueued. With BAMLUA_SYNC=1 also wait
   for it, so that a fault in it is blamed on it and not on the next thing that waits. */
void bam_cuda_launched(bam_stream stream, const char *what, cudaError_t error);

/* The same as bam_cuda_note, with a printf-style message. */
void bam_cuda_fail(bam_stream stream, const char *format, ...)
  __attribute__((format(printf, 2, 3)));

/* If the stream is capturing, note that `what` cannot be captured, and return true: the caller then does nothing. */
bool bam_cuda_cannot_capture(bam_stream stream, const char *what);

/* Around what is no part of a graph, but might be taken for it: allocations. */
static inline void bam_cuda_exchange_mode(bam_stream stream, cudaStreamCaptureMode *mode) {
  if (stream->capturing)
    cudaThreadExchangeStreamCaptureMode(mode);
}

/* `bytes` bytes of memory of the device, which is current; NULL when there is not so much. Any
   other error is noted. */
void *bam_cuda_malloc(bam_stream stream, int64_t bytes);

/* `bytes` bytes of device memory, 256-byte aligned, valid until the next call that asks for some:
   kernels on the stream run in order, so all may use the same. NULL when there is no memory,
   which is noted: the caller then launches nothing. It grows to the most ever asked for; while there
   are graphs, the smaller one is kept for them. */
void *bam_cuda_scratch(bam_stream stream, int64_t bytes);

/* Between a fork and its join, work may be enqueued on `count` lanes, 1 .. BAM_LANES, that run side by side, after
   what was enqueued before the fork; what is enqueued after the join runs after all of them. Work on different lanes
   must not touch what another one writes. So from outside the stream still runs in order, and memory that is freed
   or used again after the join is safe: whoever gets it enqueues after the join, and cudaFree comes after a
   synchronization with lane 0. Nothing but kernels without scratch and products may be enqueued in between.
   bam_cuda_use_lane makes a lane the stream's queue. When a fork fails, which is noted, or while the stream is
   captured, lane 0 is the only one. */
void bam_cuda_fork(bam_stream stream, int count);
void bam_cuda_use_lane(bam_stream stream, int lane);
void bam_cuda_join(bam_stream stream);

/* Copy to or from host memory behind what is on the stream. Copies out wait for their data; when
   they fail, `host` is filled with zeros. */
void bam_cuda_copy_in(bam_stream stream, void *device, const void *host, int64_t bytes);
void bam_cuda_copy_out(bam_stream stream, void *host, const void *device, int64_t bytes);

/* Copy out in two steps; see kernels/device.h. */
uint64_t bam_cuda_begin_copy_out(bam_stream stream, const void *device, int64_t bytes);
bool bam_cuda_finish_copy_out(bam_stream stream, uint64_t number, void *host, int64_t bytes);

#endif
