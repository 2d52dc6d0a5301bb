/* Loading source text only. Lua does not verify bytecode, and a crafted chunk can crash the process. So all
   functions that load code are replaced by versions whose mode never contains 'b'. Arguments, results and
   messages are the same as in the originals, but syntax errors that dofile and require raise say what to write. */
#include "interp.h"

#include <lauxlib.h>
#include <string.h>

/* The script's mode without 'b'. A mode without 't' becomes one that accepts nothing. */
static const char *text_mode(const char *wanted) {
  return wanted == NULL || strchr(wanted, 't') != NULL ? "t" : "";
}

/* Replaces the mode of text_mode in the message at the top by the script's. */
static void restore_mode(lua_State *L, const char *wanted) {
  static const char none[] = "(mode is '')";
  const char *message = lua_tostring(L, -1);
  size_t length = message == NULL ? 0 : strlen(message), tail = sizeof none - 1;
  if (wanted == NULL || length < tail || strcmp(message + length - tail, none) != 0)
    return;
  bool text = strstr(message, "attempt to load a text chunk") != NULL;
  lua_pushlstring(L, message, length - tail);
  lua_pushfstring(L, "(mode is '%s')", text ? wanted : "t");
  lua_concat(L, 2);
  lua_remove(L, -2);
}

/* The results of load and loadfile: the function, with its first upvalue set to the environment at
   stack index `env` (0 for the default), or nil and the message. `wanted` is the script's mode. */
static int finish_load(lua_State *L, int status, const char *wanted, int env) {
  if (status != LUA_OK) {
    restore_mode(L, wanted);
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
  }
  if (env != 0) {
    lua_pushvalue(L, env);
    if (lua_setupvalue(L, -2, 1) == NULL)
      lua_pop(L, 1);
  }
  return 1;
}

enum {
  LOAD_ARGUMENTS = 4,
  PIECE_SLOT
}; /* the slot anchors the string that the parser is reading */

static const char *read_piece(lua_State *L, void *unused, size_t *size) {
  (void)unused;
  luaL_checkstack(L, 2, "too many nested functions");
  lua_pushvalue(L, 1);
  lua_call(L, 0, 1);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    *size = 0;
    return NULL;
  }
  if (!lua_isstring(L, -1))
    luaL_error(L, "reader function must return a string");
  lua_replace(L, PIECE_SLOT);
  return lua_tolstring(L, PIECE_SLOT, size);
}

static int text_load(lua_State *L) {
  size_t size = 0;
  const char *text = lua_tolstring(L, 1, &size);
  const char *wanted = luaL_optstring(L, 3, NULL), *mode = text_mode(wanted);
  int env = lua_isnone(L, LOAD_ARGUMENTS) ? 0 : LOAD_ARGUMENTS;
  if (text != NULL) {
    const char *name = luaL_optstring(L, 2, text);
    return finish_load(L, luaL_loadbufferx(L, text, size, name, mode), wanted, env);
  }
  const char *name = luaL_optstring(L, 2, "=(load)");
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, PIECE_SLOT);
  return finish_load(L, lua_load(L, read_piece, NULL, name, mode), wanted, env);
}

static int text_loadfile(lua_State *L) {
  const char *file = luaL_optstring(L, 1, NULL);
  const char *wanted = luaL_optstring(L, 2, NULL), *mode = text_mode(wanted);
  int env = lua_isnone(L, 3) ? 0 : 3;
  return finish_load(L, luaL_loadfilex(L, file, mode), wanted, env);
}

static int dofile_results(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  return lua_gettop(L) - 1;
}

static int text_dofile(lua_State *L) {
  const char *file = luaL_optstring(L, 1, NULL);
  lua_settop(L, 1);
  if (luaL_loadfilex(L, file, "t") != LUA_OK) {
    host_explain_syntax(L, NULL, file);
    return lua_error(L);
  }
  lua_callk(L, 0, LUA_MULTRET, 0, dofile_results);
  return dofile_results(L, LUA_OK, 0);
}

/* The searcher of require for files in package.path. Upvalues: the table package, and the original
   package.searchpath, so that a script that replaces it does not affect require. */
static int text_searcher(lua_State *L) {
  const char *module = luaL_checkstring(L, 1);
  lua_getfield(L, lua_upvalueindex(1), "path");
  if (!lua_isstring(L, -1))
    return luaL_error(L, "'package.path' must be a string");
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, 1);
  lua_pushvalue(L, -3);
  lua_call(L, 2, 2);
  if (lua_isnil(L, -2))
    return 1; /* the message says where it looked */
  lua_pop(L, 1);
  const char *file = lua_tostring(L, -1);
  if (luaL_loadfilex(L, file, "t") != LUA_OK) {
    host_explain_syntax(L, NULL, file);
    return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s", module, file,
                      lua_tostring(L, -1));
  }
  lua_insert(L, -2);
  return 2; /* the chunk, and the file name for it */
}

void host_textonly_install(lua_State *L) {
  static const luaL_Reg loaders[] = { { "load", text_load },
                                      { "loadfile", text_loadfile },
                                      { "dofile", text_dofile },
                                      { NULL, NULL } };
  lua_pushglobaltable(L);
  luaL_setfuncs(L, loaders, 0);
  lua_getfield(L, -1, "package");
  lua_getfield(L, -1, "searchers");
  lua_pushvalue(L, -2);
  lua_getfield(L, -3, "searchpath");
  lua_pushcclosure(L, text_searcher, 2);
  lua_rawseti(L, -2, 2); /* 1 is package.preload, 2 the Lua files */
  lua_pop(L, 3);
}
