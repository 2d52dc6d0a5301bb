/* Signals that end a process: Ctrl-C and others put off, so that what runs can come to a good end, and
   said when they come. Handlers belong to the process, so this does too, whatever number of Lua states
   there is. */
#ifndef BAM_SIGNALS_H
#define BAM_SIGNALS_H

#include <stdbool.h>

/* From now on SIGTERM, SIGHUP and SIGPIPE end the process with a line on stderr that says so. */
void bind_signals_announce(void);

/* From now on the first SIGINT, SIGTERM, SIGHUP or SIGPIPE is only noted; a second one ends the process
   as if nobody had put it off, but for SIGPIPE, which comes again whenever something is written. Nothing
   where that holds already. Returns whether it did. */
bool bind_signals_defer(void);

/* Restore what happened on these signals before, and forget what was noted. Nothing where nothing is
   deferred. Returns whether it was. */
bool bind_signals_restore(void);

/* "SIGINT", "SIGTERM", "SIGHUP" or "SIGPIPE" when that has come since bind_signals_defer, else NULL. */
const char *bind_signals_pending(void);

#endif
