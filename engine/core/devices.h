/* The devices of a context, which are opened when they are asked for first. */
#ifndef BAM_DEVICES_H
#define BAM_DEVICES_H

#include "context.h"

/* The device called "cpu", "cuda" (which is "cuda:0") or "cuda:1" in *out, opened when it is asked
   for first; it lives as long as the context. Fails, saying what there is, when it does not exist
   or cannot be used. */
bam_status bam_context_device(bam_context *context, const char *name, bam_device **out);

/* Fails with what has gone wrong on `device` since it was last checked. Work that is still running
   may fail later. */
bam_status bam_device_check(bam_context *context, bam_device *device);

/* Wait for everything on `device`; fails like bam_device_check. */
bam_status bam_device_synchronise(bam_context *context, bam_device *device);

/* Let devices that can do it compute products of f32 from operands rounded to tf32 (10 bits after
   the point), several times as fast. Off at first. */
void bam_context_allow_tf32(bam_context *context, bool allow);

/* Close all devices but the CPU, whose memory has been freed. */
void bam_context_close_devices(bam_context *context);

#endif
