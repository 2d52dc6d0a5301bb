/* A profile: what ops a context ran while it was recorded, and how long each took.

   Ops may run inside others: every event has its depth, and the time that is its own. On a device that computes in the
   background an event ends when the device is done, so that the program is slower while it is profiled. */
#ifndef BAM_PROFILE_H
#define BAM_PROFILE_H

#include "tensor.h"

#define BAM_PROFILE_DEPTH 64 /* deeper events count towards the one around them */

typedef struct bam_profile_event {
  const char *name; /* of the op: lives as long as the program */
  bool backward;
  int depth;    /* 0: not inside another op */
  double start; /* seconds since the profile began */
  double seconds;
  double inner; /* seconds of the events inside this one */
  double
    flops; /* of matrix products and attention, 2 per multiply-add; without the events inside */
  double bytes; /* of the op's inputs and outputs */
} bam_profile_event;

typedef struct bam_profile {
  bam_profile_event *events; /* in the order in which they began */
  int64_t count, capacity;
  int64_t lost;                    /* events for which there was no memory */
  double began, seconds;           /* seconds: set when it ends */
  int64_t open[BAM_PROFILE_DEPTH]; /* indices of the events in progress; -1: lost */
  double flops_before[BAM_PROFILE_DEPTH];
  double inner_flops[BAM_PROFILE_DEPTH];
  int depth;
} bam_profile;

/* Begin to record. Fails if a profile is being recorded, or without memory. */
bam_status bam_profile_begin(bam_context *context);

/* End the recording, and give the profile to the caller, who frees it with bam_profile_free. NULL if none was
   recorded. Events in progress are left out of it. */
bam_profile *bam_profile_end(bam_context *context);

void bam_profile_free(bam_profile *profile);

/* The bytes of a tensor's elements; 0 for NULL. */
double bam_profile_bytes(const bam_tensor *tensor);

/* The two ends of an event. They do nothing unless a profile is recorded, but callers may look at context->profile
   first, to save the call. `name` lives as long as the program. `device` is where it ran, or NULL if nothing did;
   `bytes` is the size of its inputs and outputs. */
void bam_profile_push(bam_context *context, const char *name, bool backward);
void bam_profile_pop(bam_context *context, bam_device *device, double bytes);

#endif
