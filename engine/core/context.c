/* Creating and destroying a context, recording errors, threads and seed. */
#include "context.h"
#include "profile.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"

/* Sanitizers and valgrind track single malloc blocks, so they cannot see into the cache.
   BAMLUA_ALLOCATOR=malloc in the environment disables it for valgrind. */
static bool has_memory_checker(void) {
#ifdef __SANITIZE_ADDRESS__
  return true;
#else
  const char *allocator = getenv("BAMLUA_ALLOCATOR");
  return allocator != NULL && strcmp(allocator, "malloc") == 0;
#endif
}

bam_status bam_context_create(const bam_context_options *options, bam_context **out) {
  bam_context *context = calloc(1, sizeof *context);
  if (context == NULL)
    return BAM_ERROR_MEMORY;
  context->memory.no_cache = (options != NULL && options->no_cache) || has_memory_checker();
  bam_device_init_cpu(&context->cpu, context->memory.no_cache);
  context->device = context->devices[0] = &context->cpu;
  int threads = options != NULL ? options->threads : 0;
  bam_context_set_threads(context, threads > 0 ? threads : omp_get_num_procs());
  bam_context_set_seed(context, 0);
  *out = context;
  return BAM_OK;
}

void bam_context_destroy(bam_context *context) {
  if (context == NULL)
    return;
  if (context->close_staged != NULL)
    context->close_staged(context);
  bam_profile_free(bam_profile_end(context));
  bam_memory_destroy(context);
  bam_context_close_devices(context);
  free(context);
}

bam_status bam_fail(bam_context *context, bam_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(context->message, sizeof context->message, format, arguments);
  va_end(arguments);
  return status;
}

bam_status bam_fail_within(bam_context *context, bam_status status, const char *what) {
  char inner[BAM_MESSAGE_SIZE];
  memcpy(inner, context->message, sizeof inner);
  int room = (int)sizeof inner - (int)strlen(what) - 3;
  snprintf(context->message, sizeof context->message, "%s: %.*s", what, room > 0 ? room : 0, inner);
  return status;
}

void bam_context_set_threads(bam_context *context, int threads) {
  context->threads = threads;
  omp_set_num_threads(threads);
}

void bam_context_set_seed(bam_context *context, uint64_t seed) {
  context->seed = seed;
  context->random_counter = 0;
}
