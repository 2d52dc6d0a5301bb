/* The interpreter's own parts, shared by program.c, repl.c and their neighbours. None of them knows
   the engine: they meet it only as the module "bam.core". Functions that take a lua_State may raise
   memory errors; all of them run below the protected call in bamlua_main(). */
#ifndef BAM_INTERP_H
#define BAM_INTERP_H

#include <stdbool.h>

#include "../../engine/core/version.h"
#include "../bind/raise.h"

#define BAM_VERSION_TEXT "bamlua " BAM_VERSION

/* Calls the function below its `nargs` arguments, like lua_pcall, with a traceback added to the
   message, and with Ctrl-C turned into the error "interrupted!". Returns the status; on error the
   one value left is the message. */
int host_call(lua_State *L, int nargs, int nresults);

/* Pushes `message` and the traceback of the caller, without the frames of bam's own modules; with
   them when the message names a line there. */
void host_traceback(lua_State *L, const char *message);

/* If `status` is an error, pops its message and writes it to stderr, after "who: " unless who is
   NULL. Returns whether the status was LUA_OK. */
bool host_report(lua_State *L, int status, const char *who);

/* Replaces load, loadfile, dofile and the Lua searcher of require by versions that accept source
   text only, whatever mode the script asks for: bytecode is not verified and can crash the process.
   */
void host_textonly_install(lua_State *L);

/* Reads statements from stdin until its end, runs them and prints the results of expressions.
   Line editing, history and completion come with a terminal; without one it behaves like lua -i. */
void host_repl_run(lua_State *L);

#endif
