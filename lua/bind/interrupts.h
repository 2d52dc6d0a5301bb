/* Ctrl-C becomes the error "interrupted!" of the Lua code that runs. Handlers belong to the process, so
   one Lua state at a time may do this. */
#ifndef BAM_INTERRUPTS_H
#define BAM_INTERRUPTS_H

#include <lua.h>
#include <stdbool.h>

/* From here on, until the end, SIGINT raises the error in what `L` runs. */
void bind_interrupts_begin(lua_State *L);
void bind_interrupts_end(lua_State *L);

/* Between these two, which may be nested, Ctrl-C does not become a Lua error; it becomes one right
   after the outermost release. */
void bind_interrupts_hold(void);
void bind_interrupts_release(void);

/* Is the error value at `index` the one that Ctrl-C raises? */
bool bind_is_interrupt(lua_State *L, int index);

/* Makes coroutine.resume and coroutine.wrap keep track of which thread runs, so that Ctrl-C reaches
   Lua code inside a coroutine too. They behave as before. */
void bind_coroutines_track(lua_State *L);

#endif
