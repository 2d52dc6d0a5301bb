/* What x.shape and x.strides give: a list with a metatable. A position below 1 is an error, as a user of Python counts
   from 0 and a list would be silently nil there; `==` compares the sizes. In all else it is a plain list. */
#include "bind.h"

#define SIZES "bam.Sizes"

/* __index: what is asked for is not in the list. */
static int sizes_index(lua_State *L) {
  if (lua_isinteger(L, 2) && lua_tointeger(L, 2) < 1)
    return bind_error(L,
                      "sizes: a list counts from 1, got %I; x.shape[1] is the first size and "
                      "x:size(-1) the last",
                      (LUAI_UACINT)lua_tointeger(L, 2));
  lua_pushnil(L);
  return 1;
}

static int sizes_equal(lua_State *L) {
  const lua_Unsigned n = lua_rawlen(L, 1);
  bool equal = n == lua_rawlen(L, 2);
  for (lua_Unsigned i = 1; equal && i <= n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i);
    lua_rawgeti(L, 2, (lua_Integer)i);
    equal = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
  }
  lua_pushboolean(L, equal);
  return 1;
}

/* "{ 2, 3 }" */
static int sizes_text(lua_State *L) {
  const lua_Unsigned n = lua_rawlen(L, 1);
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  luaL_addstring(&text, n > 0 ? "{ " : "{}");
  for (lua_Unsigned i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i);
    luaL_tolstring(L, -1, NULL); /* a script may have put anything there */
    lua_remove(L, -2);
    luaL_addvalue(&text);
    luaL_addstring(&text, i < n ? ", " : " }");
  }
  luaL_pushresult(&text);
  return 1;
}

static void push_metatable(lua_State *L) {
  if (!luaL_newmetatable(L, SIZES))
    return;
  bind_push_function(L, sizes_index, 0, true);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, sizes_equal);
  lua_setfield(L, -2, "__eq");
  lua_pushcfunction(L, sizes_text);
  lua_setfield(L, -2, "__tostring");
  lua_pushstring(L, "shape");
  lua_setfield(L, -2, "__name");
}

void bind_sizes_open(lua_State *L) {
  push_metatable(L);
  lua_pop(L, 1);
}

void bind_push_sizes(lua_State *L, const int64_t *sizes, int n) {
  lua_createtable(L, n, 0);
  for (int d = 0; d < n; d++) {
    lua_pushinteger(L, sizes[d]);
    lua_rawseti(L, -2, d + 1);
  }
  push_metatable(L);
  lua_setmetatable(L, -2);
}

bool bind_is_sizes(lua_State *L, int arg) {
  if (!lua_getmetatable(L, arg))
    return false;
  luaL_getmetatable(L, SIZES);
  const bool found = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return found;
}
