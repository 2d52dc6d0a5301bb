/* The context: everything the engine knows at run time (devices, memory, random numbers, autograd
   mode, the last error) and the host callbacks. There are no mutable globals; a context and all its
   tensors belong to one thread at a time. */
#ifndef BAM_CONTEXT_H
#define BAM_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../kernels/device.h"
#include "memory.h"
#include "status.h"

typedef struct bam_context bam_context;
struct bam_node;
struct bam_tensor;

#define BAM_MESSAGE_SIZE 1024
#define BAM_MAX_DEVICES 17 /* the CPU, and 16 others in use by one context */

/* Identifies the backward function of a custom op, which the host stores: a graph number chosen by the
   host, and the sequence number of the node. */
typedef struct bam_function {
  int64_t graph;
  uint64_t node;
} bam_function;

/* Callbacks into the host language. Any member may be NULL. No callback may unwind through the engine:
   to fail, it sets the message with bam_fail and returns a status. */
typedef struct bam_host {
  void *state;
  /* Collect unreachable tensors, because memory is short. Called at most once per allocation. */
  void (*collect)(void *state);
  /* Call the backward function of a custom op: `grads_out[n_out]` are borrowed (NULL where no gradient
     arrived); it fills `grads_in[n_in]` with owned references or NULL. */
  bam_status (*backward)(void *state, bam_function function, struct bam_tensor *const *grads_out,
                         int n_out, struct bam_tensor **grads_in, int n_in);
  /* Drop `function`: its node was freed, or backward has consumed it. Ignored if unknown. */
  void (*release)(void *state, bam_function function);
  /* Write the script's current position ("train.lua:12") into `text`, for messages. */
  void (*where)(void *state, char *text, size_t size);
} bam_host;

typedef struct bam_context_options {
  bool no_cache; /* one malloc per allocation, so that ASan and valgrind can check each */
  int threads;   /* 0: one per core */
} bam_context_options;

struct bam_context {
  char message[BAM_MESSAGE_SIZE]; /* of the last failure */
  bam_device cpu;
  bam_device *devices[BAM_MAX_DEVICES]; /* opened so far, by number; devices[0] is the CPU */
  bam_device *device;                   /* the default device of new tensors */
  bam_memory memory;
  bam_host host;
  uint64_t seed;                               /* of the counter-based generator */
  uint64_t random_counter;                     /* 128-bit blocks drawn so far */
  uint64_t next_node;                          /* sequence number of the next autograd node */
  void (*release_node)(struct bam_node *node); /* set by autograd, which makes the nodes */
  struct bam_walk *walk;                       /* the innermost backward pass in progress */
  const struct bam_storage *unit_seed; /* the seed gradient, 1, of the backward pass in progress */
  struct bam_staged *staged;           /* staged directories not yet committed (io/staged.h) */
  void (*close_staged)(bam_context *context); /* closes them; NULL until the first is staged */
  bool no_grad;                               /* nothing is recorded while set */
  bool tf32;                                  /* devices may compute products of f32 from tf32 */
  bool check_nan;                             /* bam.debug { nan = true } */
  struct bam_profile *profile;                /* being recorded (core/profile.h), or NULL */
  struct bam_capture *capture;                /* in progress (core/capture.h), or NULL */
  struct bam_capture *captures;               /* all others */
  uint32_t captures_begun;
  uint64_t
    epoch; /* changes of what captures depend on: places and gradients of leaves, whether they
                     require any, algorithms of products */
  int threads;
};

/* Create a context in *out, owned by the caller. `options` may be NULL. no_cache is also set in
   builds with AddressSanitizer, and by the environment variable BAMLUA_ALLOCATOR=malloc. */
bam_status bam_context_create(const bam_context_options *options, bam_context **out);

/* Free the context. All its tensors must already have been released. NULL is allowed. */
void bam_context_destroy(bam_context *context);

/* Record a printf-style message ("matmul: inner sizes differ: ...") and return `status`. */
bam_status bam_fail(bam_context *context, bam_status status, const char *format, ...)
  __attribute__((format(printf, 3, 4)));

/* Prefix the message of the failure just recorded with "what: " and return `status`. */
bam_status bam_fail_within(bam_context *context, bam_status status, const char *what);

/* Use `threads` threads from now on (at least 1). Results depend on the number of threads. */
void bam_context_set_threads(bam_context *context, int threads);

/* Restart the random generator from `seed`. */
void bam_context_set_seed(bam_context *context, uint64_t seed);

#endif
