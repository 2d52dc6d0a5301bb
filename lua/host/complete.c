/* Completion of names: globals, fields and methods. Everything is read raw, because a metamethod may be
   slow, print or fail. The names of a userdata come from its metatable: `__methods` is the table of
   methods, `__properties` a list of names or a table keyed by names. */
#include "complete.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INDEX_CHAIN = 100 }; /* as many __index tables as Lua itself follows */

/* The search: names that begin with `partial`; after ':' only functions. */
struct wanted {
  const char *partial;
  size_t length;
  bool methods;
};

static bool is_word_byte(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* Whether the string at the top of the stack is an identifier. */
static bool is_name(lua_State *L) {
  size_t length;
  const char *name = lua_tolstring(L, -1, &length);
  if (length == 0 || isdigit((unsigned char)name[0]))
    return false;
  for (size_t i = 0; i < length; i++) {
    if (!is_word_byte(name[i]))
      return false;
  }
  return true;
}

/* Whether the string at the top matches. Names that begin with '_' match only if that was typed. */
static bool is_wanted(lua_State *L, const struct wanted *wanted) {
  if (lua_type(L, -1) != LUA_TSTRING || !is_name(L))
    return false;
  const char *name = lua_tostring(L, -1);
  if (name[0] == '_' && wanted->length == 0)
    return false;
  return strncmp(name, wanted->partial, wanted->length) == 0;
}

/* Adds the wanted string keys of the table at the top to the set at index `set`, and pops the
   table. */
static void add_keys(lua_State *L, int set, const struct wanted *wanted) {
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    bool callable = lua_isfunction(L, -1) || !wanted->methods;
    lua_pop(L, 1);
    if (!callable || !is_wanted(L, wanted))
      continue;
    lua_pushvalue(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, set);
  }
  lua_pop(L, 1);
}

/* Adds the wanted strings of the list at the top to the set at index `set`, and pops the list. */
static void add_items(lua_State *L, int set, const struct wanted *wanted) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, -1, i);
    if (is_wanted(L, wanted)) {
      lua_pushboolean(L, 1);
      lua_rawset(L, set);
    } else {
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}

/* Pushes the field of the metatable of the value at the top if it is a table; else pushes nothing.
   */
static bool push_metatable_table(lua_State *L, const char *field) {
  int type = luaL_getmetafield(L, -1, field);
  if (type == LUA_TTABLE)
    return true;
  if (type != LUA_TNIL)
    lua_pop(L, 1);
  return false;
}

/* Adds the names of the value at the top, its own and those of its metatable, and pops the value. */
static void add_names(lua_State *L, int set, const struct wanted *wanted) {
  if (push_metatable_table(L, "__methods"))
    add_keys(L, set, wanted);
  if (!wanted->methods && push_metatable_table(L, "__properties")) {
    lua_pushvalue(L, -1);
    add_items(L, set, wanted);
    add_keys(L, set, wanted);
  }
  for (int i = 0; i < MAX_INDEX_CHAIN; i++) {
    if (lua_istable(L, -1)) {
      lua_pushvalue(L, -1);
      add_keys(L, set, wanted);
    }
    if (!push_metatable_table(L, "__index"))
      break;
    lua_remove(L, -2);
  }
  lua_pop(L, 1);
}

/* Replaces the value at the top by its field of that name, or by nil if a metamethod would have to run. */
static void step_into(lua_State *L, const char *name, size_t length) {
  for (int i = 0; i < MAX_INDEX_CHAIN; i++) {
    if (lua_istable(L, -1)) {
      lua_pushlstring(L, name, length);
      if (lua_rawget(L, -2) != LUA_TNIL) {
        lua_remove(L, -2);
        return;
      }
      lua_pop(L, 1);
    }
    if (!push_metatable_table(L, "__index"))
      break;
    lua_remove(L, -2);
  }
  lua_pop(L, 1);
  lua_pushnil(L);
}

/* The start of the expression `a.b.c:d` that ends at `end`; an operator `..` is not part of it. */
static const char *expression_start(const char *text, const char *end) {
  const char *start = end;
  while (start > text && (is_word_byte(start[-1]) || start[-1] == '.' || start[-1] == ':')) {
    if (start < end && start[-1] == '.' && start[0] == '.')
      return start + 1;
    start--;
  }
  return start;
}

/* Pushes the value of the expression before the last name: `a.b` of `a.b.c`, for a lone name the
   globals. Returns the start of the last name. */
static const char *push_owner(lua_State *L, const char *start, const char *end) {
  lua_pushglobaltable(L);
  const char *name = start;
  for (const char *at = start; at < end; at++) {
    if (is_word_byte(*at))
      continue;
    step_into(L, name, (size_t)(at - name));
    name = at + 1;
  }
  return name;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Pushes the sorted list of the keys of the set at index `set`, all of them strings. */
static void push_sorted(lua_State *L, int set) {
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, set); lua_pop(L, 1))
    count++;
  const char **names = lua_newuserdatauv(L, (count + 1) * sizeof *names, 0);
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, set); lua_pop(L, 1))
    names[n++] = lua_tostring(L, -2);
  qsort(names, count, sizeof *names, compare_names);
  lua_newtable(L);
  for (n = 0; n < count; n++) {
    lua_pushstring(L, names[n]);
    lua_rawseti(L, -2, (lua_Integer)n + 1);
  }
}

/* Replaces the owner at the top by its member of that name; methods of userdata are found too. */
static void step_into_member(lua_State *L, const char *name, size_t length) {
  if (lua_isuserdata(L, -1) && push_metatable_table(L, "__methods"))
    lua_remove(L, -2);
  step_into(L, name, length);
}

/* After an opening bracket: pushes the usage of the function before it, or nil. */
static void push_usage(lua_State *L, const char *text, const char *end) {
  while (end > text && end[-1] == ' ')
    end--;
  if (end == text || (end[-1] != '(' && end[-1] != '{')) {
    lua_pushnil(L);
    return;
  }
  do
    end--;
  while (end > text && end[-1] == ' ');
  const char *start = expression_start(text, end);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "bam.doc.usage");
  lua_call(L, 1, 1);
  lua_pushlstring(L, start, (size_t)(end - start));
  const char *name = push_owner(L, start, end);
  step_into_member(L, name, (size_t)(end - name));
  lua_call(L, 2, 1);
}

int host_complete(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  const char *end = text + length;
  lua_settop(L, 1);
  push_usage(L, text, end);
  if (!lua_isnil(L, -1)) {
    lua_newtable(L);
    lua_pushinteger(L, 0);
    lua_rotate(L, -3, 2);
    return 3;
  }
  const char *start = expression_start(text, end);
  lua_settop(L, 1);
  lua_newtable(L);
  const char *name = push_owner(L, start, end);
  struct wanted wanted = { .partial = name, .length = (size_t)(end - name) };
  wanted.methods = name > start && name[-1] == ':';
  add_names(L, 2, &wanted);
  push_sorted(L, 2);
  lua_pushinteger(L, (lua_Integer)wanted.length);
  lua_pushnil(L);
  return 3;
}
