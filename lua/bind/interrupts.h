/* Ctrl-C raises the error "interrupted!" in the running Lua code. Signal handlers belong to the process, so only
   one Lua state at a time may use this. */
#ifndef BAM_INTERRUPTS_H
#define BAM_INTERRUPTS_H

#include <lua.h>
#include <stdbool.h>

/* Between begin and end, SIGINT raises the error in the code that `L` runs. */
void bind_interrupts_begin(lua_State *L);
void bind_interrupts_end(lua_State *L);

/* From now on the process is an interactive session: no number of interrupts ends it, and those outside of begin
   and end are dropped. Uses SIGALRM and the real-time timer. */
void bind_interrupts_session(void);
bool bind_interrupts_in_session(void);

/* Between hold and release, which nest, Ctrl-C raises no error; it is raised directly after the outermost
   release. */
void bind_interrupts_hold(void);
void bind_interrupts_release(void);

/* Whether the error value at `index` is the one raised by Ctrl-C. */
bool bind_is_interrupt(lua_State *L, int index);

/* Replaces coroutine.resume and coroutine.wrap by versions that track the running thread, so that Ctrl-C also
   reaches code in coroutines. They behave like the originals otherwise. */
void bind_coroutines_track(lua_State *L);

#endif
