/* The devices of a context. A device is opened the first time its name is looked up, and stays open
   until the context is destroyed. The CPU is always open. Work on a device is asynchronous: a kernel
   that fails is reported by the next bam_device_check. */
#ifndef BAM_DEVICES_H
#define BAM_DEVICES_H

#include "context.h"

/* Look up the device `name`: "cpu", "cuda" (short for "cuda:0"), "cuda:1". Opens it if necessary. *out
   is borrowed and lives as long as the context. Fails if the device does not exist or cannot be used. */
bam_status bam_context_device(bam_context *context, const char *name, bam_device **out);

/* Fail with BAM_ERROR_DEVICE if anything failed on `device` since the last check. Does not wait: work
   still running may fail later. */
bam_status bam_device_check(bam_context *context, bam_device *device);

/* Wait for all work on `device`; fails like bam_device_check. */
bam_status bam_device_synchronize(bam_context *context, bam_device *device);

/* Begin to copy `bytes` bytes from `data` on `device` to the host, behind the work that is on it; returns the number
   of the copy, for bam_device_finish_copy. */
uint64_t bam_device_begin_copy(bam_device *device, const void *data, int64_t bytes);

/* Wait for the copy begun with these arguments, and write the bytes to `host`. `data` must not have been changed since:
   if the copy has given up its place to later ones, it is made now. Fails like bam_device_check. */
bam_status bam_device_finish_copy(bam_context *context, bam_device *device, uint64_t number,
                                  void *host, const void *data, int64_t bytes);

/* Allow devices to round f32 operands of matrix products to tf32 (10 mantissa bits), which is several
   times as fast. Off by default. */
void bam_context_allow_tf32(bam_context *context, bool allow);

/* Write the name and version of the library that computes products on `device`; "" if they have one implementation. */
bam_status bam_device_library(bam_context *context, bam_device *device, char *text, size_t size);

/* Set the algorithms of products on `device`, see bam_device; fails where they have one implementation. */
bam_status bam_device_set_algorithms(bam_context *context, bam_device *device,
                                     const bam_algorithm *list, int64_t count, bool measure);

/* Close all devices except the CPU. Their memory must already have been freed. */
void bam_context_close_devices(bam_context *context);

#endif
