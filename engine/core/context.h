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

/* The name of a custom op's backward function, which the host keeps: the graph that the host chose and
   the sequence number of the node. */
typedef struct bam_function {
  int64_t graph;
  uint64_t node;
} bam_function;

/* What the engine asks of the language that drives it. Any member may be NULL. None of them may
   unwind through the engine: a failure is a returned status with the message set by bam_fail. */
typedef struct bam_host {
  void *state;
  /* Drop unreachable tensors: memory is short. Called at most once per allocation. */
  void (*collect)(void *state);
  /* Call the backward function of a custom op: `grads_out[n_out]` are borrowed (NULL where no gradient
     arrived); it fills `grads_in[n_in]` with owned references or NULL. */
  bam_status (*backward)(void *state, bam_function function, struct bam_tensor *const *grads_out,
                         int n_out, struct bam_tensor **grads_in, int n_in);
  /* Forget `function`, if it is known: its node was freed, or backward has gone through it. */
  void (*release)(void *state, bam_function function);
  /* Write where the script is now ("train.lua:12") into `text`, for messages. */
  void (*where)(void *state, char *text, size_t size);
} bam_host;

typedef struct bam_context_options {
  bool no_cache; /* every allocation is a malloc of its own, so that ASan and valgrind see it */
  int threads;   /* 0: one per core */
} bam_context_options;

struct bam_context {
  char message[BAM_MESSAGE_SIZE]; /* of the last failure */
  bam_device cpu;
  bam_device *devices[BAM_MAX_DEVICES]; /* opened so far, by number; devices[0] is the CPU */
  bam_device *device; /* where scripts' new tensors go, unless told otherwise */
  bam_memory memory;
  bam_host host;
  uint64_t seed;           /* of the counter-based generator */
  uint64_t random_counter; /* 128-bit blocks drawn so far */
  uint64_t next_node;      /* sequence number of the next autograd node */
  void (*release_node)(struct bam_node *node); /* set by autograd, which makes the nodes */
  struct bam_walk *walk;   /* the innermost running backward */
  const struct bam_storage *unit_seed; /* the seed, 1, that a running backward made */
  struct bam_staged *staged; /* directories that are being filled (io/staged.h), */
  void (*close_staged)(bam_context *context); /* and what closes them; set with the first */
  bool no_grad;            /* nothing is recorded while set */
  bool tf32;               /* devices may compute products of f32 from tf32 */
  bool check_nan;          /* bam.debug { nan = true } */
  int threads;
};

/* A new context in *out, owned by the caller. `options` may be NULL. no_cache is also set when
   built with AddressSanitizer, and by the environment variable BAMLUA_ALLOCATOR=malloc. */
bam_status bam_context_create(const bam_context_options *options, bam_context **out);

/* Free the context. Every tensor must have been released before. NULL is legal. */
void bam_context_destroy(bam_context *context);

/* Record a printf-style message ("matmul: inner sizes differ: ...") and return `status`. */
bam_status bam_fail(bam_context *context, bam_status status, const char *format, ...)
  __attribute__((format(printf, 3, 4)));

/* Put "what: " before the message of the failure just recorded and return `status`. */
bam_status bam_fail_within(bam_context *context, bam_status status, const char *what);

/* Use `threads` threads from now on (at least 1). Results depend on the number of threads. */
void bam_context_set_threads(bam_context *context, int threads);

/* Restart the random generator from `seed`. */
void bam_context_set_seed(bam_context *context, uint64_t seed);

#endif
