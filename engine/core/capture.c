/* capture.h. Every storage has the number of the capture during which it was allocated, or 0; the number stays with it
   in the cache, so that the end of the capture finds there what it has used. */
#include "capture.h"

#include <stdlib.h>

#include "arena.h"
#include "devices.h"

/* A storage from before the capture, retained. */
typedef struct use {
  bam_storage *storage;
  bool changes;
} use;

/* What an op has taken for granted of an input, instead of waiting for the device. */
typedef struct reliance {
  bam_tensor *tensor; /* retained */
  int64_t low, high, other;
} reliance;

struct bam_capture {
  bam_context *context;
  bam_device *device;
  bam_capture *next; /* in the context's list, once ended */
  uint32_t number;
  bool is_dropped;    /* by the program */
  bool out_of_memory; /* of the host, while it was in progress */
  struct bam_device_graph *graph;
  const char *obstacle; /* why there is no graph any longer */

  /* What the host's part depended on. */
  uint64_t epoch;
  bool no_grad, tf32;

  use *uses;
  int n_uses, room_for_uses;
  reliance *reliances;
  int n_reliances, room_for_reliances;
  bam_storage *kept; /* allocated during the capture, without other references; linked by `next` */
  double flops;
};

bam_status bam_capture_refuse(bam_context *context, const char *what) {
  return context->capture == NULL
           ? BAM_OK
           : bam_fail(context, BAM_ERROR_ARGUMENT, "a graph cannot capture %s", what);
}

bam_status bam_capture_change_leaf(const bam_tensor *leaf, const char *what) {
  bam_context *context = leaf->context;
  if (context->capture == NULL) {
    context->epoch++;
    return BAM_OK;
  }
  return leaf->storage->captured == context->capture->number ? BAM_OK
                                                             : bam_capture_refuse(context, what);
}

/* ---- in progress ---- */

uint32_t bam_capture_number(const bam_context *context, const bam_device *device) {
  const bam_capture *c = context->capture;
  return c != NULL && c->device == device ? c->number : 0;
}

/* Room for one more element in an array of elements of `size` bytes. */
static bool make_room(void **array, int count, int *room, size_t size) {
  if (count < *room)
    return true;
  const int more = *room > 0 ? 2 * *room : 16;
  void *grown = realloc(*array, (size_t)more * size);
  if (grown == NULL)
    return false;
  *array = grown;
  *room = more;
  return true;
}

static use *find_use(bam_capture *c, bam_storage *storage) {
  for (int i = 0; i < c->n_uses; i++)
    if (c->uses[i].storage == storage)
      return &c->uses[i];
  if (!make_room((void **)&c->uses, c->n_uses, &c->room_for_uses, sizeof *c->uses)) {
    c->out_of_memory = true;
    return NULL;
  }
  c->uses[c->n_uses] = (use){ .storage = bam_storage_retain(storage) };
  return &c->uses[c->n_uses++];
}

static bool is_from_before(const bam_capture *c, const bam_storage *storage) {
  return storage->device == c->device && storage->captured != c->number;
}

bool bam_capture_is_input(const bam_capture *capture, const bam_tensor *tensor) {
  return is_from_before(capture, tensor->storage);
}

void bam_capture_use(bam_capture *capture, bam_storage *storage) {
  if (is_from_before(capture, storage))
    find_use(capture, storage);
}

void bam_capture_note_change(bam_capture *capture, bam_storage *storage) {
  use *u = is_from_before(capture, storage) ? find_use(capture, storage) : NULL;
  if (u != NULL)
    u->changes = true;
}

void bam_capture_rely(bam_capture *capture, const bam_tensor *tensor, int64_t low, int64_t high,
                      int64_t other) {
  bam_capture *c = capture;
  if (!is_from_before(c, tensor->storage))
    return;
  if (!make_room((void **)&c->reliances, c->n_reliances, &c->room_for_reliances,
                 sizeof *c->reliances)) {
    c->out_of_memory = true;
    return;
  }
  bam_tensor *kept = bam_tensor_retain((bam_tensor *)(uintptr_t)tensor);
  c->reliances[c->n_reliances++] = (reliance){ kept, low, high, other };
}

/* ---- freeing ---- */

/* Drop the graph and all memory. It waits for the device. */
static void give_up(bam_capture *c, const char *why) {
  bam_context *context = c->context;
  if (c->graph != NULL)
    c->device->free_graph(c->device->stream, c->graph);
  c->graph = NULL;
  c->obstacle = why;
  while (c->kept != NULL) {
    bam_storage *storage = c->kept;
    c->kept = storage->next;
    bam_storage_release(context, storage);
  }
  for (; c->n_uses > 0; c->n_uses--)
    bam_storage_release(context, c->uses[c->n_uses - 1].storage);
  for (; c->n_reliances > 0; c->n_reliances--)
    bam_tensor_release(c->reliances[c->n_reliances - 1].tensor);
}

/* Free what the program has dropped. Not during a capture, when the device can free nothing. */
static void sweep(bam_context *context) {
  for (bam_capture **at = &context->captures; *at != NULL && context->capture == NULL;) {
    bam_capture *c = *at;
    if (!c->is_dropped) {
      at = &c->next;
      continue;
    }
    give_up(c, NULL);
    *at = c->next;
    free(c->uses);
    free(c->reliances);
    free(c);
  }
}

/* ---- beginning and ending ---- */

static bam_status check_mode(bam_context *context, const bam_device *device) {
  const char *what = NULL;
  if (device->begin_capture == NULL)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "graph: %s has no graphs", device->name);
  if (context->memory.no_cache)
    what = "work whose memory is from malloc: unset BAMLUA_ALLOCATOR";
  else if (context->profile != NULL)
    what = "work that is profiled";
  else if (context->check_nan)
    what = "the checks of bam.debug { nan = true }";
  else if (context->capture != NULL)
    what = "another capture";
  return what == NULL
           ? BAM_OK
           : bam_fail(context, BAM_ERROR_ARGUMENT, "graph: a graph cannot capture %s", what);
}

bam_status bam_capture_begin(bam_context *context, bam_device *device, bam_capture **out) {
  BAM_TRY(check_mode(context, device));
  BAM_TRY(bam_device_check(context, device)); /* a failure from before would be blamed on it */
  bam_capture *capture = calloc(1, sizeof *capture);
  if (capture == NULL)
    return bam_fail(context, BAM_ERROR_MEMORY, "out of memory: cannot allocate a graph");
  *capture = (bam_capture){ .context = context,
                            .device = device,
                            .number = ++context->captures_begun,
                            .epoch = context->epoch,
                            .no_grad = context->no_grad,
                            .tf32 = context->tf32,
                            .flops = -device->flops };
  device->begin_capture(device->stream);
  const bam_status status = bam_device_check(context, device);
  if (status != BAM_OK) {
    free(capture);
    return status;
  }
  context->capture = capture;
  device->capturing = true;
  *out = capture;
  return BAM_OK;
}

/* What was asked of the device was not done yet. */
static void leave(bam_capture *c) {
  bam_context *context = c->context;
  context->capture = NULL;
  c->device->capturing = false;
  c->next = context->captures;
  context->captures = c;
  c->flops += c->device->flops;
  c->device->flops -= c->flops;
}

bam_status bam_capture_end(bam_capture *capture) {
  bam_context *context = capture->context;
  bam_device *device = capture->device;
  leave(capture);
  const bool complete = bam_memory_take_captured(context, device, capture->number, &capture->kept);
  capture->graph = device->end_capture(device->stream, complete && !capture->out_of_memory);
  sweep(context);
  if (capture->graph != NULL)
    return BAM_OK;
  capture->obstacle = "it failed";
  BAM_TRY(bam_device_check(context, device));
  return bam_fail(context, BAM_ERROR_MEMORY, "out of memory: cannot allocate a graph");
}

/* ---- ended ---- */

bam_status bam_capture_set_input(bam_tensor *input, bam_tensor *from) {
  BAM_TRY(bam_tensor_copy(input, from));
  bam_facts_copy(input, from);
  return BAM_OK;
}

const char *bam_capture_obstacle(const bam_capture *capture, bool *lasting) {
  const bam_context *context = capture->context;
  *lasting = true;
  if (capture->graph == NULL)
    return capture->obstacle;
  if (capture->epoch != context->epoch)
    return "parameters or gradients have changed place, or what is trained or the algorithms of "
           "products have changed";
  *lasting = false;
  if (capture->no_grad != context->no_grad || capture->tf32 != context->tf32)
    return "no_grad or tf32 are different";
  if (context->profile != NULL || context->check_nan)
    return "every op is looked at";
  for (int i = 0; i < capture->n_reliances; i++) {
    const reliance *r = &capture->reliances[i];
    if (!bam_facts_within(r->tensor, r->low, r->high, r->other))
      return "integers of an input must be checked";
  }
  return NULL;
}

bam_status bam_capture_launch(bam_capture *capture) {
  bam_device *device = capture->device;
  device->launch_graph(device->stream, capture->graph);
  BAM_TRY(bam_device_check(capture->context, device));
  for (int i = 0; i < capture->n_uses; i++)
    if (capture->uses[i].changes)
      capture->uses[i].storage->version++;
  device->flops += capture->flops;
  return BAM_OK;
}

bool bam_capture_keep(bam_context *context, bam_storage *storage) {
  if (storage->captured == 0)
    return false;
  for (bam_capture *c = context->captures; c != NULL; c = c->next)
    if (c->number == storage->captured && c->graph != NULL) {
      storage->refs = 1;
      storage->next = c->kept;
      c->kept = storage;
      return true;
    }
  return false;
}

bool bam_capture_give_up(bam_context *context, bam_device *device) {
  bool any = false;
  for (bam_capture *c = context->captures; c != NULL && context->capture == NULL; c = c->next)
    if (c->device == device && c->graph != NULL) {
      give_up(c, "memory was short");
      any = true;
    }
  return any;
}

void bam_capture_free(bam_capture *capture) {
  char unused[16];
  if (capture == NULL)
    return;
  bam_device *device = capture->device;
  if (capture == capture->context->capture) {
    leave(capture);
    bam_arena_end_notes(device);
    device->end_capture(device->stream, false);
    device->failure(device->stream, unused,
                    sizeof unused); /* it has been reported, or is of no account */
  }
  capture->is_dropped = true;
  sweep(capture->context);
}
