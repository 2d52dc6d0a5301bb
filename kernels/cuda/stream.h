/* The state behind a bam_stream of a CUDA device. Functions here do not fail: what goes wrong is
   noted in the stream, once, and the engine asks for it after every op. */
#ifndef BAM_CUDA_STREAM_H
#define BAM_CUDA_STREAM_H

#include <cuda_runtime.h>
#include <stdint.h>

#include "../kernels.h"

#define BAM_STAGING_SLOTS 4
#define BAM_STAGING_BYTES (1 << 20) /* of one slot */

struct bam_cuda_blas;

struct bam_stream_state {
  int number;         /* of the device, as CUDA counts */
  cudaStream_t queue; /* its work runs in order */
  char failure[256];  /* the first thing that went wrong since it was asked for, or "" */

  /* Memory for intermediate results of one kernel call; see bam_cuda_scratch. */
  void *scratch;
  int64_t scratch_bytes;
  int multiprocessors;
  int64_t shared_limit; /* bytes of shared memory that a block may have when it asks for them */
  int capability;       /* the compute capability: 90 for 9.0 */

  /* Pinned memory that copies to and from the host pass through, slot by slot. */
  char *staging;
  cudaEvent_t staged[BAM_STAGING_SLOTS]; /* the copy that used the slot last is done */
  int slot;

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

/* `bytes` bytes of memory of the device, which is current; NULL when there is not so much. Any
   other error is noted. */
void *bam_cuda_malloc(bam_stream stream, int64_t bytes);

/* `bytes` bytes of device memory, 256-byte aligned, valid until the next call that asks for some:
   kernels on the stream run in order, so all may use the same. NULL when there is no memory,
   which is noted: the caller then launches nothing. It grows to the most ever asked for. */
void *bam_cuda_scratch(bam_stream stream, int64_t bytes);

/* Copy to or from host memory behind what is on the stream. Copies out wait for their data; when
   they fail, `host` is filled with zeros. */
void bam_cuda_copy_in(bam_stream stream, void *device, const void *host, int64_t bytes);
void bam_cuda_copy_out(bam_stream stream, void *host, const void *device, int64_t bytes);

#endif
