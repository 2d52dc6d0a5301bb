/* Checking arguments, with messages that say what was expected and what was found, and suggest the nearest
   name. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../../engine/core/devices.h"
#include "bind.h"

const char *bind_describe(lua_State *L, int arg) {
  switch (lua_type(L, arg)) {
  case LUA_TNONE: return lua_pushstring(L, "nothing");
  case LUA_TNIL: return lua_pushstring(L, "nil");
  case LUA_TSTRING:
    if (lua_rawlen(L, arg) <= 40)
      return lua_pushfstring(L, "the string \"%s\"", lua_tostring(L, arg));
    break;
  case LUA_TBOOLEAN: return lua_pushstring(L, lua_toboolean(L, arg) ? "true" : "false");
  case LUA_TNUMBER:
    lua_pushvalue(L, arg); /* lua_tolstring would change the argument itself */
    return lua_tostring(L, -1);
  default: break;
  }
  const bind_handle *handle = bind_test_handle(L, arg);
  char text[BAM_SHAPE_TEXT];
  if (handle != NULL && handle->tensor == NULL)
    return lua_pushstring(L, "a closed tensor");
  if (handle != NULL)
    return lua_pushfstring(L, "a tensor of shape %s", bam_shape_text(&handle->tensor->shape, text));
  if (luaL_getmetafield(L, arg, "__name") == LUA_TSTRING)
    return lua_pushfstring(L, "a %s", lua_tostring(L, -1));
  return lua_pushfstring(L, "a %s", luaL_typename(L, arg));
}

int64_t bind_integer(lua_State *L, int arg, const char *what) {
  int is_integer = 0;
  lua_Integer value = 0;
  if (lua_type(L, arg) == LUA_TNUMBER)
    value = lua_tointegerx(L, arg, &is_integer);
  if (!is_integer)
    bind_error(L, "%s: expected an integer, got %s", what, bind_describe(L, arg));
  return value;
}

const char *bind_path(lua_State *L, int arg, const char *what, const char *role) {
  size_t length;
  if (lua_type(L, arg) != LUA_TSTRING)
    bind_error(L, "%s: expected the path of %s, got %s", what, role, bind_describe(L, arg));
  const char *path = lua_tolstring(L, arg, &length);
  if (strlen(path) != length)
    bind_error(L, "%s: the path of %s cannot contain a zero byte", what, role);
  return path;
}

double bind_number(lua_State *L, int arg, const char *what) {
  if (lua_type(L, arg) != LUA_TNUMBER)
    bind_error(L, "%s: expected a number, got %s", what, bind_describe(L, arg));
  return lua_tonumber(L, arg);
}

static const char *const dtype_names[] = { "bool", "u8",  "i32", "i64", "f16",
                                           "bf16", "f32", "f64", NULL };

const char *bind_dtype_name(const char *name) {
  static const char *const names[][2] = {
    { "float32", "f32" }, { "float", "f32" },    { "float64", "f64" },   { "double", "f64" },
    { "float16", "f16" }, { "half", "f16" },     { "bfloat16", "bf16" }, { "int64", "i64" },
    { "long", "i64" },    { "int32", "i32" },    { "int", "i32" },       { "uint8", "u8" },
    { "byte", "u8" },     { "boolean", "bool" },
  };
  if (bam_dtype_find(name) >= 0)
    return name;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(name, names[i][0]) == 0)
      return names[i][1];
  return NULL;
}

bam_dtype bind_dtype(lua_State *L, int arg, const char *what) {
  if (lua_type(L, arg) != LUA_TSTRING)
    bind_error(L, "%s: expected a dtype such as \"f32\", got %s", what, bind_describe(L, arg));
  const char *name = lua_tostring(L, arg);
  int dtype = bam_dtype_find(name);
  if (dtype < 0) {
    const char *near = bind_dtype_name(name);
    if (near == NULL)
      near = bind_nearest(name, dtype_names);
    if (near != NULL)
      bind_error(L, "%s: no dtype \"%s\"; did you mean \"%s\"?", what, name, near);
    if (strcmp(name, "gpu") == 0 || strcmp(name, "mps") == 0)
      bind_error(L, "%s: no device \"%s\"; devices are called \"cpu\" and \"cuda\"", what, name);
    bind_error(L, "%s: no dtype \"%s\"; there are bool u8 i32 i64 f16 bf16 f32 f64", what, name);
  }
  return (bam_dtype)dtype;
}

bam_device *bind_device(lua_State *L, int arg, const char *what) {
  bam_device *device;
  if (lua_type(L, arg) != LUA_TSTRING)
    bind_error(L, "%s: expected a device such as \"cpu\" or \"cuda\", got %s", what,
               bind_describe(L, arg));
  bind_check_within(L, bam_context_device(bind_context(L), lua_tostring(L, arg), &device), what);
  return device;
}

int64_t bind_position(lua_State *L, int arg, const char *what) {
  int64_t value = bind_integer(L, arg, what);
  if (value == 0)
    bind_error(L, "%s: counts from 1 (or from -1 at the end), got 0", what);
  return value > 0 ? value - 1 : value;
}

bool bind_is_callable(lua_State *L, int arg) {
  if (lua_type(L, arg) == LUA_TFUNCTION)
    return true;
  bool callable = luaL_getmetafield(L, arg, "__call") != LUA_TNIL;
  lua_pop(L, callable);
  return callable;
}

/* ---- nearest names ---- */

#define WORD 40 /* bytes; longer words are not compared */

static int smaller(int a, int b) { return a < b ? a : b; }

/* The edit distance (insert, delete, replace, swap adjacent) of two words of at most WORD bytes. */
static int edit_distance(const char *a, const char *b) {
  const size_t na = strlen(a), nb = strlen(b);
  int table[WORD + 1][WORD + 1] = { { 0 } };
  for (size_t i = 0; i <= na; i++)
    for (size_t j = 0; j <= nb; j++) {
      int *cell = &table[i][j];
      if (i == 0 || j == 0) {
        *cell = (int)(i + j);
        continue;
      }
      *cell = smaller(table[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
                      smaller(table[i - 1][j], table[i][j - 1]) + 1);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        *cell = smaller(*cell, table[i - 2][j - 2] + 1);
    }
  return table[na][nb];
}

const char *bind_nearest(const char *word, const char *const *names) {
  const char *best = NULL;
  if (strlen(word) > WORD)
    return NULL;
  const int length = (int)strlen(word); /* more than a third of a short word is another word */
  int best_distance = length > 3 ? 1 + length / 3 : smaller(1, length - 1);
  for (; *names != NULL; names++) {
    if (strlen(*names) > WORD)
      continue;
    int distance = edit_distance(word, *names);
    if (distance <= best_distance && (best == NULL || distance < best_distance)) {
      best = *names;
      best_distance = distance;
    }
  }
  return best;
}
