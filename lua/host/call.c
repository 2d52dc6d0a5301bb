/* The interpreter's protected calls: errors get a traceback, Ctrl-C becomes an error, and reports go to
   stderr. */
#include "../bind/interrupts.h"
#include "../bind/signals.h"
#include "interp.h"

#include <lauxlib.h>
#include <stdio.h>

/* Message handler: leaves error objects with __tostring unchanged, and adds a traceback to the others. */
static int describe_error(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (message == NULL) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
      return 1;
    message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  }
  host_traceback(L, message);
  return 1;
}

int host_call(lua_State *L, int nargs, int nresults) {
  int handler = lua_gettop(L) - nargs;
  lua_pushcfunction(L, describe_error);
  lua_insert(L, handler);
  bind_interrupts_begin(L);
  int status = lua_pcall(L, nargs, nresults, handler);
  bind_signals_restore(); /* the code that deferred them has ended, perhaps by an error */
  bind_interrupts_end(L);
  lua_remove(L, handler);
  return status;
}

bool host_report(lua_State *L, int status, const char *who) {
  if (status == LUA_OK)
    return true;
  const char *message = lua_tostring(L, -1);
  if (message == NULL)
    message = "(error message is not a string)";
  fflush(stdout);
  if (who != NULL)
    fprintf(stderr, "%s: ", who);
  fprintf(stderr, "%s\n", message);
  fflush(stderr);
  lua_pop(L, 1);
  return false;
}
