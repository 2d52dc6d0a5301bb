/* The bindings when Lua itself runs out of memory. A state whose allocator fails from the n-th
   request on (Lua retries after a collection, so one failure alone would heal) runs the scripts of
   tests/lua/support/bindings.lua for n = 1, 2, ... until nothing fails: each time an error, no
   crash, and no tensor left behind. */
#include <criterion/criterion.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "../../lua/bind/bind.h"

typedef struct {
  int64_t left; /* requests until they fail; negative: never */
  bool refused; /* has one failed? */
} budget;

static void *limited_alloc(void *data, void *block, size_t old_size, size_t size) {
  budget *b = data;
  if (size == 0) {
    free(block);
    return NULL;
  }
  bool grows = block == NULL || size > old_size; /* Lua relies on shrinking */
  if (grows && b->left == 0) {
    b->refused = true;
    return NULL;
  }
  b->left -= grows && b->left > 0;
  return realloc(block, size);
}

/* Give the state n more requests, or as many as it likes when n is negative. */
static void set_budget(lua_State *L, int64_t n) {
  void *data;
  lua_getallocf(L, &data);
  *(budget *)data = (budget){ .left = n };
}

static bool was_refused(lua_State *L) {
  void *data;
  lua_getallocf(L, &data);
  return ((budget *)data)->refused;
}

static lua_State *new_state(budget *b) {
  *b = (budget){ .left = -1 };
  lua_State *L = lua_newstate(limited_alloc, b);
  cr_assert_not_null(L);
  luaL_openlibs(L);
  lua_gc(L, LUA_GCGEN, 0, 0); /* as bamlua runs */
  return L;
}

static int open_core(lua_State *L) {
  luaL_requiref(L, "bam.core", luaopen_bam_core, 0);
  return 0;
}

Test(lua_memory, opening) {
  bool refused = true;
  for (int64_t n = 0; refused; n++) {
    budget b;
    lua_State *L = new_state(&b);
    lua_pushcfunction(L, open_core);
    set_budget(L, n);
    int status = lua_pcall(L, 0, 0, 0);
    refused = was_refused(L);
    set_budget(L, -1);
    cr_assert(refused || status == LUA_OK, "%s", lua_tostring(L, -1));
    lua_close(L); /* frees the context; a leak is seen by the sanitizers */
  }
}

/* Live engine objects, after a collection. */
static int64_t live_objects(lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT);
  lua_gc(L, LUA_GCCOLLECT);
  return bind_context(L)->memory.live_objects;
}

/* Run the function on top (kept) with n requests granted. */
static bool run_with(lua_State *L, int64_t n, const char *name) {
  lua_pushvalue(L, -1);
  set_budget(L, n);
  int status = lua_pcall(L, 0, 0, 0);
  bool refused = was_refused(L);
  set_budget(L, -1);
  if (status != LUA_OK) {
    cr_assert(refused, "%s: %s", name, lua_tostring(L, -1));
    cr_assert_eq(lua_type(L, -1), LUA_TSTRING, "%s: the error is a %s", name, luaL_typename(L, -1));
    lua_pop(L, 1);
  }
  return refused;
}

static void try_case(lua_State *L, const char *name) {
  run_with(L, -1, name); /* what is made once is made now */
  int64_t objects = live_objects(L), left;
  bool refused = true;
  for (int64_t n = 0; refused; n++) {
    refused = run_with(L, n, name);
    left = live_objects(L) - objects;
    cr_assert_eq(left, 0, "%s: %lld objects left behind with %lld requests granted", name,
                 (long long)left, (long long)n);
  }
}

Test(lua_memory, bindings) {
  budget b;
  lua_State *L = new_state(&b);
  open_core(L);
  int status = luaL_dofile(L, "tests/lua/support/bindings.lua");
  cr_assert_eq(status, LUA_OK, "%s", lua_tostring(L, -1));
  int list = lua_gettop(L), count = (int)luaL_len(L, list);
  cr_assert_gt(count, 100);
  for (int i = 1; i <= count; i++) {
    lua_geti(L, list, i);
    lua_getfield(L, -1, "name");
    lua_getfield(L, -2, "run");
    try_case(L, lua_tostring(L, -2));
    lua_settop(L, list);
  }
  lua_close(L);
}
