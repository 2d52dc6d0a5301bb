/* Table arguments: lists, options, and lists that contain options, as in { x, y, dim = 2 }. Nothing is silently
   dropped: an unread entry is an error. All lists are measured here by counting their keys, because `#t` of
   a table with holes can be any border, up to 2^63. The result of table.pack is a list too. */
#include <string.h>

#include "bind.h"

/* ---- keys ---- */

/* A summary of the keys of a table. */
typedef struct {
  int64_t positions, last; /* number of positive integer keys, and the largest */
  int named;               /* number of string keys, not counting the `n` of table.pack */
  bool is_packed; /* the table has the `n` of table.pack, which `last` takes into account */
  bool others;    /* there is another key, which is left on the stack */
} keys;

/* Whether the key on top is the `n` of table.pack, with an integer value. */
static bool is_length(lua_State *L, int table, int64_t *length) {
  if (strcmp(lua_tostring(L, -1), "n") != 0)
    return false;
  lua_pushvalue(L, -1);
  bool is_integer = lua_rawget(L, table) == LUA_TNUMBER && lua_isinteger(L, -1);
  *length = is_integer ? lua_tointeger(L, -1) : 0;
  lua_pop(L, 1);
  return is_integer && *length >= 0;
}

static keys count_keys(lua_State *L, int table) {
  keys k = { .positions = 0 };
  int64_t at;
  lua_pushnil(L);
  while (lua_next(L, table)) {
    lua_pop(L, 1);
    if (lua_isinteger(L, -1) && (at = lua_tointeger(L, -1)) > 0) {
      k.positions++;
      k.last = at > k.last ? at : k.last;
    } else if (lua_type(L, -1) == LUA_TSTRING && is_length(L, table, &at)) {
      k.is_packed = true;
      k.last = at > k.last ? at : k.last;
    } else if (lua_type(L, -1) == LUA_TSTRING) {
      k.named++;
    } else {
      k.others = true;
      return k;
    }
  }
  return k;
}

/* Whether the table at `table` has __index, so its raw contents are not what scripts see. */
static bool has_reader(lua_State *L, int table) {
  if (bind_is_sizes(L, table))
    return false;
  bool found = false;
  static const char *const events[] = { "__index", "__len", "__pairs" };
  for (int i = 0; i < 3 && !found; i++)
    if (luaL_getmetafield(L, table, events[i]) != LUA_TNIL) {
      found = true;
      lua_pop(L, 1);
    }
  return found;
}

static _Noreturn void fail_hole(lua_State *L, int table, const keys *k, const char *what) {
  lua_Integer hole = 1;
  while (lua_rawgeti(L, table, hole) != LUA_TNIL) {
    lua_pop(L, 1);
    hole++;
  }
  bind_error(L, "%s: entry %I of the list is nil; its last is %I", what, (LUAI_UACINT)hole,
             (LUAI_UACINT)k->last);
}

/* ---- lists ---- */

int64_t bind_list_with_options(lua_State *L, int arg, const char *what, bool *has_options) {
  const int table = lua_absindex(L, arg);
  if (lua_type(L, table) != LUA_TTABLE)
    bind_error(L, "%s: expected a list, got %s", what, bind_describe(L, table));
  if (has_reader(L, table))
    bind_error(L,
               "%s: expected a plain list, got a table with a metatable; copy it: "
               "{ table.unpack(t) }",
               what);
  const keys k = count_keys(L, table);
  if (k.others)
    bind_error(L, "%s: expected a list, but there is the key %s", what, bind_describe(L, -1));
  if (k.positions != k.last)
    fail_hole(L, table, &k, what);
  *has_options = k.named > 0;
  return k.positions;
}

static _Noreturn void fail_named(lua_State *L, int table, const char *what) {
  lua_pushnil(L);
  while (lua_next(L, table)) {
    lua_pop(L, 1);
    int64_t length;
    if (lua_type(L, -1) == LUA_TSTRING && !is_length(L, table, &length))
      break;
  }
  bind_error(L, "%s: expected a list, but there is the key `%s`", what, lua_tostring(L, -1));
}

int64_t bind_list(lua_State *L, int arg, const char *what) {
  bool has_options;
  const int table = lua_absindex(L, arg);
  const int64_t n = bind_list_with_options(L, table, what, &has_options);
  if (has_options)
    fail_named(L, table, what);
  return n;
}

static int read_integers(lua_State *L, int table, const char *what, int64_t n, int64_t *list) {
  if (n > BAM_MAX_DIMS)
    bind_error(L, "%s: at most %d entries, not %I", what, BAM_MAX_DIMS, (LUAI_UACINT)n);
  for (int i = 0; i < (int)n; i++) {
    lua_rawgeti(L, table, i + 1);
    list[i] = bind_integer(L, -1, what);
    lua_pop(L, 1);
  }
  return (int)n;
}

int bind_integers(lua_State *L, int arg, const char *what, int64_t *list) {
  if (lua_type(L, arg) == LUA_TTABLE) {
    const int table = lua_absindex(L, arg);
    return read_integers(L, table, what, bind_list(L, table, what), list);
  }
  list[0] = bind_integer(L, arg, what);
  return 1;
}

int bind_integers_with_options(lua_State *L, int arg, const char *what, int64_t *list,
                               bool *has_options) {
  const int64_t n = bind_list_with_options(L, arg, what, has_options);
  return read_integers(L, arg, what, n, list);
}

/* ---- options ---- */

bool bind_is_options(lua_State *L, int arg) {
  if (lua_type(L, arg) != LUA_TTABLE)
    return false;
  const int table = lua_absindex(L, arg), top = lua_gettop(L);
  const keys k = count_keys(L, table);
  lua_settop(L, top);
  return (k.named > 0 || k.is_packed) && k.positions == 0 && !k.others;
}

static bool listed(const char *word, const char *const *names) {
  for (; *names != NULL; names++)
    if (strcmp(word, *names) == 0)
      return true;
  return false;
}

static _Noreturn void fail_option(lua_State *L, const char *what, const char *name,
                                  const char *const *names) {
  const char *near = bind_nearest(name, names);
  if (near != NULL)
    bind_error(L, "%s: no option `%s`; did you mean `%s`?", what, name, near);
  lua_pushliteral(L, "");
  for (int i = 0; names[i] != NULL; i++) {
    lua_pushfstring(L, "%s`%s`", i > 0 ? ", " : "", names[i]);
    lua_concat(L, 2);
  }
  bind_error(L, "%s: no option `%s`; there are %s", what, name,
             names[0] ? lua_tostring(L, -1) : "none");
}

/* Check the names. With `positions` the table also has list entries, which have already been read. */
static void check_names(lua_State *L, int arg, const char *what, const char *const *names,
                        bool positions) {
  arg = lua_absindex(L, arg);
  if (lua_getmetatable(L, arg)) /* __index could close a tensor that the caller is using */
    bind_error(L, "%s: expected a plain table of options, got one with a metatable", what);
  lua_pushnil(L);
  while (lua_next(L, arg)) {
    lua_pop(L, 1);
    int64_t length;
    if (positions && (lua_isinteger(L, -1) || is_length(L, arg, &length)))
      continue;
    if (lua_type(L, -1) != LUA_TSTRING)
      bind_error(L, "%s: options must have names, but there is %s", what, bind_describe(L, -1));
    const char *name = lua_tostring(L, -1);
    if (!listed(name, names))
      fail_option(L, what, name, names);
  }
}

void bind_check_options(lua_State *L, int arg, const char *what, const char *const *names) {
  check_names(L, arg, what, names, false);
}

void bind_check_options_among(lua_State *L, int arg, const char *what, const char *const *names) {
  check_names(L, arg, what, names, true);
}

bool bind_flag(lua_State *L, int arg, const char *what) {
  if (lua_type(L, arg) != LUA_TBOOLEAN)
    bind_error(L, "%s: expected true or false, got %s", what, bind_describe(L, arg));
  return lua_toboolean(L, arg);
}
