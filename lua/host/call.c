/* The interpreter's protected calls: errors get a traceback, Ctrl-C becomes an error, and reports go to
   stderr. */
#include "../bind/interrupts.h"
#include "../bind/signals.h"
#include "../bind/traces.h"
#include "interp.h"

#include <lauxlib.h>
#include <stdio.h>

static const char
  noted; /* its address is the registry key of { message, the message with its traceback } */

/* Pushes the traceback noted for the string at index 1, if there is one. */
static bool push_noted(lua_State *L) {
  const int top = lua_gettop(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &noted) == LUA_TTABLE) {
    lua_rawgeti(L, -1, 1);
    if (lua_tostring(L, -1) ==
        lua_tostring(L, 1)) { /* the same object: an equal message may be of another error */
      lua_rawgeti(L, -2, 2);
      return true;
    }
  }
  lua_settop(L, top);
  return false;
}

/* Message handler of functions of bam that pass errors on: notes the traceback, and leaves the message alone. */
static int note_error(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING && !push_noted(L)) {
    host_traceback(L, lua_tostring(L, 1));
    lua_createtable(L, 2, 0);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 2);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &noted);
  }
  lua_settop(L, 1);
  return 1;
}

/* Message handler: leaves error objects with __tostring unchanged, and adds a traceback to the others. */
static int describe_error(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (message == NULL) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
      return 1;
    message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  }
  if (lua_type(L, 1) == LUA_TSTRING && push_noted(L))
    return 1;
  host_traceback(L, message);
  return 1;
}

int host_call(lua_State *L, int nargs, int nresults) {
  int handler = lua_gettop(L) - nargs;
  lua_pushcfunction(L, note_error);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &bind_note_error);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &noted);
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
