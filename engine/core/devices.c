/* Devices by name: found in the context, or opened by their backend. */
#include "devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"

static const bam_backend *find_backend(const char *name, size_t length) {
  for (int i = 0; bam_backends[i] != NULL; i++)
    if (strlen(bam_backends[i]->name) == length && memcmp(bam_backends[i]->name, name, length) == 0)
      return bam_backends[i];
  return NULL;
}

/* The device number in the suffix of a name: 1 for ":1", 0 for "", -1 for anything else. */
static int read_number(const char *after) {
  if (*after == '\0')
    return 0;
  char *end;
  long number = after[0] == ':' && after[1] >= '0' && after[1] <= '9' ? strtol(after + 1, &end, 10)
                                                                      : -1;
  return number >= 0 && number < 1000 && *end == '\0' ? (int)number : -1;
}

static bam_status fail_unknown(bam_context *context, const char *name) {
  if (strncmp(name, "cuda", 4) == 0 && find_backend("cuda", 4) == NULL)
    return bam_fail(
      context, BAM_ERROR_ARGUMENT,
      "no device \"%.40s\": this program was built without CUDA; install nvcc and run "
      "make again",
      name);
  return bam_fail(context, BAM_ERROR_ARGUMENT,
                  "no device \"%.40s\"; bam.devices() lists the devices of this machine", name);
}

static bam_status open_device(bam_context *context, const bam_backend *backend, int number,
                              bam_device **out) {
  char why[512] = "", unused[256];
  int at = 1, count = backend->count(why, sizeof why);
  if (count == 0)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "no device \"%s:%d\": %s", backend->name, number,
                    why);
  if (number >= count)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "no device \"%s:%d\"; the last is \"%s:%d\"",
                    backend->name, number, backend->name, count - 1);
  while (at < BAM_MAX_DEVICES && context->devices[at] != NULL)
    at++;
  bam_device *device = at < BAM_MAX_DEVICES ? calloc(1, sizeof *device) : NULL;
  if (device == NULL)
    return bam_fail(context, BAM_ERROR_MEMORY,
                    "device \"%s:%d\": out of memory, or too many devices", backend->name, number);
  if (!backend->open(device, number, why, sizeof why)) {
    free(device);
    return bam_fail(context, BAM_ERROR_ARGUMENT, "device \"%s:%d\": %s", backend->name, number,
                    why);
  }
  snprintf(device->name, sizeof device->name, "%s:%d", backend->name, number);
  device->number = at;
  backend->describe(number, unused, sizeof unused, &device->total_bytes);
  if (device->allow_tf32 != NULL)
    device->allow_tf32(device->stream, context->tf32);
  *out = context->devices[at] = device;
  return BAM_OK;
}

bam_status bam_context_device(bam_context *context, const char *name, bam_device **out) {
  char full[64];
  if (strcmp(name, "cpu") == 0) {
    *out = &context->cpu;
    return BAM_OK;
  }
  size_t length = strcspn(name, ":");
  const bam_backend *backend = find_backend(name, length);
  int number = backend != NULL ? read_number(name + length) : -1;
  if (number < 0)
    return fail_unknown(context, name);
  snprintf(full, sizeof full, "%s:%d", backend->name, number);
  for (int i = 1; i < BAM_MAX_DEVICES && context->devices[i] != NULL; i++)
    if (strcmp(context->devices[i]->name, full) == 0) {
      *out = context->devices[i];
      return BAM_OK;
    }
  return open_device(context, backend, number, out);
}

bam_status bam_device_check(bam_context *context, bam_device *device) {
  char why[512];
  if (device->failure == NULL || !device->failure(device->stream, why, sizeof why))
    return BAM_OK;
  return bam_fail(context, BAM_ERROR_DEVICE, "%s: %s", device->name, why);
}

bam_status bam_device_synchronize(bam_context *context, bam_device *device) {
  device->synchronize(device->stream);
  return bam_device_check(context, device);
}

uint64_t bam_device_begin_copy(bam_device *device, const void *data, int64_t bytes) {
  return device->begin_copy_out != NULL ? device->begin_copy_out(device->stream, data, bytes) : 0;
}

bam_status bam_device_finish_copy(bam_context *context, bam_device *device, uint64_t number,
                                  void *host, const void *data, int64_t bytes) {
  if (device->finish_copy_out == NULL ||
      !device->finish_copy_out(device->stream, number, host, bytes))
    device->copy_out(device->stream, host, data, bytes);
  return bam_device_check(context, device);
}

bam_status bam_device_library(bam_context *context, bam_device *device, char *text, size_t size) {
  text[0] = '\0';
  if (device->library != NULL)
    device->library(device->stream, text, size);
  return bam_device_check(context, device);
}

bam_status bam_device_set_algorithms(bam_context *context, bam_device *device,
                                     const bam_algorithm *list, int64_t count, bool measure) {
  if (device->set_algorithms == NULL)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "products on %s have one implementation: there is nothing to choose",
                    device->name);
  BAM_TRY(bam_capture_refuse(context, "a choice of algorithms"));
  context->epoch++;
  device->set_algorithms(device->stream, list, count, measure);
  return bam_device_check(context, device);
}

void bam_context_allow_tf32(bam_context *context, bool allow) {
  context->tf32 = allow;
  for (int i = 0; i < BAM_MAX_DEVICES && context->devices[i] != NULL; i++)
    if (context->devices[i]->allow_tf32 != NULL)
      context->devices[i]->allow_tf32(context->devices[i]->stream, allow);
}

void bam_context_close_devices(bam_context *context) {
  for (int i = 1; i < BAM_MAX_DEVICES && context->devices[i] != NULL; i++) {
    if (context->devices[i]->close != NULL)
      context->devices[i]->close(context->devices[i]->stream);
    free(context->devices[i]);
    context->devices[i] = NULL;
  }
}
