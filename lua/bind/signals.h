/* Signals that end a process. Ctrl-C, SIGTERM, SIGHUP and SIGPIPE can be deferred, so that a script can stop
   cleanly; when one ends the process, a line on stderr says so. Handlers belong to the process, so this
   state is shared by all Lua states. */
#ifndef BAM_SIGNALS_H
#define BAM_SIGNALS_H

#include <stdbool.h>

/* From now on, SIGTERM, SIGHUP and SIGPIPE print a line to stderr before they end the process. */
void bind_signals_announce(void);

/* Defer signals: from now on the first SIGINT, SIGTERM, SIGHUP or SIGPIPE is only recorded; a second one ends the
   process, except SIGPIPE, which every write raises again. Does nothing if signals are already deferred.
   Returns whether they were. */
bool bind_signals_defer(void);

/* Restore the previous handlers, and discard a recorded signal. Does nothing if signals are not deferred. Returns
   whether they were. */
bool bind_signals_restore(void);

/* The name of the signal recorded since bind_signals_defer ("SIGINT", ...), or NULL. */
const char *bind_signals_pending(void);

#endif
