/* BAMLUA_SIMT_TRACE=FILE: what the host asked of the devices, a line each, in order:
     launch KERNEL BLOCKS THREADS BYTES..., those of each allocation that its arguments point into: with
                    BAMLUA_ALLOCATOR=malloc, of its operands
     heuristic M N K      product M N K
     copy in BYTES      copy out BYTES      copy within BYTES
     wait WORK      for an event, after which WORK launches and products were enqueued: 0 is a wait that the
                    device spends idle, a large number one that is hidden behind work
     synchronize    for everything
     capture ACTIONS      what a graph does: launches, products, copies within, fills
     graph ACTIONS      launched: what it does has no lines */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine.h"

void simt_trace(const char *format, ...) {
  static FILE *file;
  const char *path = getenv("BAMLUA_SIMT_TRACE");
  va_list arguments;
  if (path == NULL || simt_is_replaying() || (file == NULL && (file = fopen(path, "a")) == NULL))
    return;
  va_start(arguments, format);
  vfprintf(file, format, arguments);
  va_end(arguments);
  fputc('\n', file);
  fflush(file);
}
