/* Declares Lua's raising functions noreturn, which Lua's headers do not. Compilers and analyzers then know that
   code after a check runs only if the check passed. */
#ifndef BAM_RAISE_H
#define BAM_RAISE_H

#include <lauxlib.h>
#include <lua.h>

_Noreturn int(lua_error)(lua_State *L);
_Noreturn int(luaL_error)(lua_State *L, const char *format, ...);
_Noreturn int(luaL_argerror)(lua_State *L, int arg, const char *message);
_Noreturn int(luaL_typeerror)(lua_State *L, int arg, const char *type);

#endif
