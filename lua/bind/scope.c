/* bam.scope: tensors born while a function runs are released when it returns, except what it
   returns (also inside tables) and what was kept. A scope is a list of boxes; the boxes
   themselves belong to Lua. */
#include <string.h>

#include "bind.h"

typedef struct bind_scope {
  struct bind_scope *parent;
  bind_box *boxes;
  const char *name; /* where it began; anchored in the registry */
} bind_scope;

void bind_scope_enter(bind_state *state, bind_box *box) {
  bind_scope *scope = state->scope;
  box->scope = scope;
  if (scope == NULL)
    return;
  box->previous = NULL;
  box->next = scope->boxes;
  if (box->next != NULL)
    box->next->previous = box;
  scope->boxes = box;
}

void bind_scope_leave(bind_box *box) {
  if (box->scope == NULL)
    return;
  if (box->previous != NULL)
    box->previous->next = box->next;
  else
    box->scope->boxes = box->next;
  if (box->next != NULL)
    box->next->previous = box->previous;
  box->scope = NULL;
}

/* Move a box born in `scope` to its parent. */
static void move_out(bind_state *state, bind_scope *scope, bind_box *box) {
  if (box->scope != scope)
    return;
  bind_scope_leave(box);
  bind_scope *inner = state->scope;
  state->scope = scope->parent;
  bind_scope_enter(state, box);
  state->scope = inner;
}

/* Put the value on top (pops it) on the list of tables to walk, the table at index `list` with *n
   entries, unless it was there before: `list` also holds each table as a key. A box moves out at
   once. */
static void visit(lua_State *L, bind_state *state, bind_scope *scope, int list, lua_Integer *n) {
  bind_box *box = bind_test_box(L, -1);
  if (box != NULL)
    move_out(state, scope, box);
  if (lua_type(L, -1) != LUA_TTABLE) {
    lua_pop(L, 1);
    return;
  }
  lua_pushvalue(L, -1);
  bool known = lua_rawget(L, list) != LUA_TNIL;
  lua_pop(L, 1);
  if (known) {
    lua_pop(L, 1);
    return;
  }
  lua_pushvalue(L, -1);
  lua_pushboolean(L, 1);
  lua_rawset(L, list);
  lua_rawseti(L, list, ++*n);
}

/* Move the boxes found in the value on top (pops it) to the parent scope; tables are walked, each
   once. A list instead of recursion: a linked list in Lua may be longer than the C stack is deep.
   */
static void hand_out(lua_State *L, bind_state *state, bind_scope *scope, int list) {
  lua_Integer n = 0;
  visit(L, state, scope, list, &n);
  while (n > 0) {
    lua_rawgeti(L, list, n);
    lua_pushnil(L);
    lua_rawseti(L, list, n--);
    lua_pushnil(L);
    while (lua_next(L, -2))
      visit(L, state, scope, list, &n);
    lua_pop(L, 1);
  }
}

static void release_all(bind_scope *scope) {
  while (scope->boxes != NULL) {
    bind_box *box = scope->boxes;
    bam_tensor *tensor = box->tensor;
    bind_scope_leave(box);
    box->tensor = NULL;
    box->released_by = scope->name;
    bam_tensor_release(tensor);
  }
}

/* Arguments: scope (light), then the results. Runs protected, so that a scope always ends. */
static int hand_out_results(lua_State *L) {
  bind_scope *scope = lua_touserdata(L, 1);
  bind_state *state = bind_get_state(L);
  int n = lua_gettop(L);
  lua_newtable(L);
  for (int i = 2; i <= n; i++) {
    lua_pushvalue(L, i);
    hand_out(L, state, scope, n + 1);
  }
  return 0;
}

/* The script line that called us, anchored in the registry (one entry per line of a script). */
static const char *name_of_caller(lua_State *L) {
  int top = lua_gettop(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, "bam.scopes");
  luaL_where(L, 1);
  size_t length;
  const char *where = lua_tolstring(L, -1, &length);
  lua_pushlstring(L, where, length >= 2 ? length - 2 : length); /* without ": " */
  lua_pushvalue(L, top + 3);
  if (lua_rawget(L, top + 1) == LUA_TNIL) {
    lua_pushvalue(L, top + 3);
    lua_pushvalue(L, top + 3);
    lua_rawset(L, top + 1);
    lua_pushvalue(L, top + 3);
  }
  const char *name = lua_tostring(L, -1);
  lua_settop(L, top);
  return name;
}

static int scope_call(lua_State *L) {
  if (!bind_is_callable(L, 1))
    return bind_error(L, "scope: expected a function, got %s", bind_describe(L, 1));
  bind_scope scope = { .name = name_of_caller(L) };
  bind_state *state = bind_get_state(L);
  scope.parent = state->scope;
  state->scope = &scope;
  int status = bind_callback(L, lua_gettop(L) - 1);
  int n = lua_gettop(L); /* the results, or one error value */
  if (lua_checkstack(L, n + 3)) {
    lua_pushcfunction(L, hand_out_results);
    lua_pushlightuserdata(L, &scope);
    for (int i = 1; i <= n; i++)
      lua_pushvalue(L, i);
    int handed = lua_pcall(L, n + 1, 0, 0);
    status = status != LUA_OK ? status : handed;
  } else {
    lua_pushstring(L, "scope: too many results");
    status = LUA_ERRRUN;
  }
  state->scope = scope.parent;
  release_all(&scope);
  return status == LUA_OK ? n : bind_raise(L);
}

const luaL_Reg bind_scope_functions[] = { { "scope", scope_call }, { NULL, NULL } };
