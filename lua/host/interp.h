/* Internals of the interpreter, shared by the files of lua/host. They do not depend on the engine, which
   they see only as the module "bam.core". Functions that take a lua_State may raise memory errors; all
   of them run inside the protected call in bamlua_main(). */
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

/* Pushes `message` with a traceback of the caller. Frames of bam's own modules are omitted, unless the
   message names a line in one of them. */
void host_traceback(lua_State *L, const char *message);

/* Adds to the message of a syntax error, at the top, what Lua writes instead, if that is known. The text is
   given, or the path of its file; nothing happens if both are NULL. */
void host_explain_syntax(lua_State *L, const char *text, const char *path);

/* If `status` is an error, pops its message and writes it to stderr, prefixed with "who: " unless `who` is
   NULL. Returns whether the status is LUA_OK. */
bool host_report(lua_State *L, int status, const char *who);

/* Replaces load, loadfile, dofile and the Lua searcher of require by versions that accept only source text,
   whatever mode the script passes. Lua does not verify bytecode, so bytecode can crash the process. */
void host_textonly_install(lua_State *L);

/* Reads statements from stdin until its end, runs them, and prints the results of expressions. On a terminal
   it has line editing, history and completion; otherwise it behaves like lua -i. */
void host_repl_run(lua_State *L);

#endif
