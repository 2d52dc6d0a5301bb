/* Ctrl-C and SIGTERM put off, so that what runs can come to a good end. Handlers belong to the
   process, so this does too, whatever number of Lua states there is. */
#ifndef BAM_SIGNALS_H
#define BAM_SIGNALS_H

#include <lua.h>
#include <stdbool.h>

/* From now on the first SIGINT or SIGTERM is only noted; a second one, of either, ends the process
   as if nobody had put it off. Nothing where that holds already. Returns whether it did. */
bool bam_signals_defer(void);

/* Restore what happened on both signals before, and forget what was noted. Nothing where nothing is
   deferred. Returns whether it was. */
bool bam_signals_restore(void);

/* "SIGINT", "SIGTERM" or "SIGHUP" when that has come since bam_signals_defer, else NULL. */
const char *bam_signals_pending(void);

/* Between these two, which may be nested, Ctrl-C does not become a Lua error; it becomes one right
   after the outermost release. call.c */
void bam_interrupts_hold(void);
void bam_interrupts_release(void);

/* Is the error value at `index` the one that Ctrl-C raises? */
bool bam_is_interrupt(lua_State *L, int index);

#endif
