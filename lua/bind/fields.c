/* Copies of the fields of many tables at once: in C, since a start of the program takes a few milliseconds. */
#include "bind.h"

enum { LIST = 1, SPANS = 2 };

/* Appends the fields of the table on top to the list, which has `n` entries. Returns how many it has then. */
static lua_Integer append_fields(lua_State *L, lua_Integer n) {
  const int table = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, table)) {
    lua_pushvalue(L, -2);
    lua_rawseti(L, LIST, ++n);
    lua_rawseti(L, LIST, ++n);
  }
  return n;
}

/* Copies the table on top. Returns the length of the list, which was `n`. */
static lua_Integer copy_fields(lua_State *L, lua_Integer n, lua_Integer depth) {
  const int table = lua_gettop(L);
  luaL_checkstack(L, 8, "copy_fields");
  lua_pushvalue(L, table);
  lua_Integer first = n + 1, last = n;
  if (lua_rawget(L, SPANS) == LUA_TNUMBER) {
    const lua_Integer span = lua_tointeger(L, -1);
    first = span & 0x3fffffff;
    last = span >> 30 & 0x3fffffff;
    if (span >> 60 >= depth)
      depth = -1;
  } else {
    lua_settop(L, table);
    last = n = append_fields(L, n);
  }
  lua_settop(L, table);
  if (depth < 0)
    return n;
  lua_pushvalue(L, table);
  lua_pushinteger(L, depth << 60 | last << 30 | first);
  lua_rawset(L, SPANS);
  for (lua_Integer i = first + 1; i <= last && depth > 0; i += 2) {
    if (lua_rawgeti(L, LIST, i) == LUA_TTABLE)
      n = copy_fields(L, n, depth - 1);
    lua_settop(L, table);
  }
  return n;
}

BIND_DOC(fields_copy_fields, "copy_fields(list, spans, t, depth)",
         "Append the fields of a table to a list, keys and values in turn, and likewise those of "
         "the tables among "
         "the\n"
         "values, `depth` levels further down. spans[t] becomes depth << 60 | last << 30 | first, "
         "where its fields "
         "are in\n"
         "the list. A table that was copied before, to this depth, is left alone.\n"
         "@param list any[]\n"
         "@param spans table<table, integer>\n"
         "@param t table\n"
         "@param depth integer 0 to 2");
static int fields_copy_fields(lua_State *L) {
  const int64_t depth = bind_integer(L, 4, "copy_fields");
  if (!lua_istable(L, LIST) || !lua_istable(L, SPANS) || !lua_istable(L, 3) || depth < 0 ||
      depth > 2)
    return bind_error(L, "copy_fields: expected three tables and a depth of 0 to 2");
  const lua_Integer n = (lua_Integer)lua_rawlen(L, LIST);
  if (n >= 1 << 29)
    return bind_error(L, "copy_fields: the list is too long");
  lua_settop(L, 3);
  copy_fields(L, n, depth);
  return 0;
}

const bind_export bind_fields_functions[] = { BIND_EXPORT(fields_copy_fields), { NULL, NULL } };
