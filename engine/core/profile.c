#include "profile.h"

#include <stdlib.h>
#include <time.h>

#include "devices.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The FLOPs that all devices have been asked for so far. */
static double flops_so_far(const bam_context *context) {
  double sum = 0;
  for (int i = 0; i < BAM_MAX_DEVICES && context->devices[i] != NULL; i++)
    sum += context->devices[i]->flops;
  return sum;
}

bam_status bam_profile_begin(bam_context *context) {
  if (context->profile != NULL)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "profile: a profile is being recorded; profiles cannot be nested");
  bam_profile *profile = calloc(1, sizeof *profile);
  if (profile == NULL)
    return bam_fail(context, BAM_ERROR_MEMORY, "profile: out of memory");
  profile->began = now();
  context->profile = profile;
  return BAM_OK;
}

bam_profile *bam_profile_end(bam_context *context) {
  bam_profile *profile = context->profile;
  if (profile == NULL)
    return NULL;
  context->profile = NULL;
  profile->seconds = now() - profile->began;
  if (profile->depth > 0 && profile->open[0] >= 0)
    profile->count = profile->open[0]; /* ended inside of an op: by its callback */
  return profile;
}

void bam_profile_free(bam_profile *profile) {
  if (profile == NULL)
    return;
  free(profile->events);
  free(profile);
}

/* The index of a new event, or -1 without memory. */
static int64_t add_event(bam_profile *profile) {
  if (profile->count == profile->capacity) {
    const int64_t capacity = profile->capacity > 0 ? 2 * profile->capacity : 1024;
    bam_profile_event *events = realloc(profile->events, sizeof *events * (size_t)capacity);
    if (events == NULL) {
      profile->lost++;
      return -1;
    }
    profile->events = events;
    profile->capacity = capacity;
  }
  return profile->count++;
}

void bam_profile_push(bam_context *context, const char *name, bool backward) {
  bam_profile *profile = context->profile;
  if (profile == NULL)
    return;
  const int depth = profile->depth++;
  if (depth >= BAM_PROFILE_DEPTH)
    return;
  const int64_t i = add_event(profile);
  profile->open[depth] = i;
  profile->flops_before[depth] = flops_so_far(context);
  profile->inner_flops[depth] = 0;
  if (i >= 0)
    profile->events[i] = (bam_profile_event){ .name = name,
                                              .backward = backward,
                                              .depth = depth,
                                              .start = now() - profile->began };
}

void bam_profile_pop(bam_context *context, bam_device *device, double bytes) {
  bam_profile *profile = context->profile;
  if (profile == NULL || profile->depth == 0) /* it began inside of this op */
    return;
  const int depth = --profile->depth;
  if (depth >= BAM_PROFILE_DEPTH)
    return;
  if (device != NULL && !device->is_host)
    device->synchronize(device->stream);
  const double flops = flops_so_far(context) - profile->flops_before[depth];
  if (depth > 0)
    profile->inner_flops[depth - 1] += flops;
  if (profile->open[depth] < 0)
    return;
  bam_profile_event *event = &profile->events[profile->open[depth]];
  event->seconds = now() - profile->began - event->start;
  event->flops = flops - profile->inner_flops[depth];
  event->bytes = bytes;
  if (depth > 0 && profile->open[depth - 1] >= 0)
    profile->events[profile->open[depth - 1]].inner += event->seconds;
}

double bam_profile_bytes(const bam_tensor *tensor) {
  return tensor == NULL ? 0
                        : (double)bam_tensor_count(tensor) * (double)bam_dtype_size(tensor->dtype);
}
