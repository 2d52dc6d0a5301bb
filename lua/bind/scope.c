/* bam.scope: tensors created while a function runs are released when it returns. Exceptions: its results (also
   inside tables), tensors that the backward functions of custom ops need to differentiate the results, and
   tensors kept by x:keep(). A scope is a list of handles; the handles belong to Lua. */
#include <string.h>

#include "extent.h"

static const char names_key; /* its address is the registry key of the names of scopes */

void bind_scope_open(lua_State *L) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &names_key);
}

/* Put `handle` into `scope`, unless that is NULL. */
static void enter(bind_extent *scope, bind_handle *handle) {
  handle->scope = scope;
  if (scope == NULL)
    return;
  handle->previous = NULL;
  handle->next = scope->handles;
  if (handle->next != NULL)
    handle->next->previous = handle;
  scope->handles = handle;
}

void bind_scope_enter(bind_state *state, bind_handle *handle) {
  enter(state->extents == NULL ? NULL : bind_extent_find(state, state->L, BIND_SCOPE), handle);
}

void bind_scope_leave(bind_handle *handle) {
  if (handle->scope == NULL)
    return;
  if (handle->previous != NULL)
    handle->previous->next = handle->next;
  else
    handle->scope->handles = handle->next;
  if (handle->next != NULL)
    handle->next->previous = handle->previous;
  handle->scope = NULL;
}

/* ---- values that leave a scope ---- */

/* How a value on the work list is traversed. */
enum {
  TABLE = 1, /* a table: the tables and handles in it leave too */
  NEEDS, /* values used by a backward function: like TABLE, and upvalues of functions leave too */
  GRAPH  /* a graph of custom ops: its NEEDS and the graphs that are part of it leave */
};

typedef struct {
  lua_State *L;
  bind_state *state;
  bind_extent *from, *to; /* handles of scope `from` (NULL: of any) move to `to` (NULL: to none) */
  int
    list; /* stack index of the work list: the values in order, and as keys with how to traverse them */
  lua_Integer count;
} departure;

static void move_out(const departure *d, bind_handle *handle) {
  if (handle->scope == NULL || (d->from != NULL && handle->scope != d->from))
    return;
  bind_scope_leave(handle);
  enter(d->to, handle);
}

/* Pop the value on top and append it to the work list, unless it has been there. */
static void enlist(departure *d, int how) {
  lua_State *L = d->L;
  lua_pushvalue(L, -1);
  bool known = lua_rawget(L, d->list) != LUA_TNIL;
  lua_pop(L, 1);
  if (known) {
    lua_pop(L, 1);
    return;
  }
  lua_pushvalue(L, -1);
  lua_pushinteger(L, how);
  lua_rawset(L, d->list);
  lua_rawseti(L, d->list, ++d->count);
}

/* Pop and process the value on top: a handle leaves at once, and its graph is put on the work list. */
static void visit(departure *d, int how) {
  lua_State *L = d->L;
  int type = lua_type(L, -1);
  bind_handle *handle = bind_test_handle(L, -1);
  if (handle != NULL) {
    move_out(d, handle);
    if (d->state->graphs > 0) {
      bind_graph_of_handle(L, -1);
      lua_remove(L, -2);
      type = lua_type(L, -1);
      how = GRAPH;
    }
  }
  if (type == LUA_TTABLE || (type == LUA_TFUNCTION && how == NEEDS))
    enlist(d, how);
  else
    lua_pop(L, 1);
}

static void walk_function(departure *d) {
  const char *name;
  for (int i = 1; (name = lua_getupvalue(d->L, -1, i)) != NULL; i++)
    if (strcmp(name, "_ENV") != 0)
      visit(d, lua_isfunction(d->L, -1) ? NEEDS : TABLE);
    else
      lua_pop(d->L, 1);
}

static void walk_graph(departure *d) {
  lua_State *L = d->L;
  lua_pushnil(L);
  while (lua_next(L, -2))
    if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 0) {
      bind_graph_push_needs(L);
      lua_remove(L, -2);
      visit(d, NEEDS);
    } else {
      visit(d, GRAPH);
    }
}

static void walk_table(departure *d, int how) {
  lua_pushnil(d->L);
  while (lua_next(d->L, -2))
    visit(d, how == NEEDS && lua_isfunction(d->L, -1) ? NEEDS : TABLE);
}

/* Pop the value on top; it and everything reachable from it leave the scope. Uses a work list, because recursion on
   a long linked list would overflow the C stack. */
static void hand_out(departure *d) {
  lua_State *L = d->L;
  visit(d, TABLE);
  while (d->count > 0) {
    lua_rawgeti(L, d->list, d->count);
    lua_pushnil(L);
    lua_rawseti(L, d->list, d->count--);
    lua_pushvalue(L, -1);
    lua_rawget(L, d->list);
    int how = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (lua_isfunction(L, -1))
      walk_function(d);
    else if (how == GRAPH)
      walk_graph(d);
    else
      walk_table(d, how);
    lua_pop(L, 1);
  }
}

void bind_scope_keep(lua_State *L, int index) {
  departure d = { .L = L, .state = bind_get_state(L) };
  index = lua_absindex(L, index);
  lua_newtable(L);
  d.list = lua_gettop(L);
  lua_pushvalue(L, index);
  hand_out(&d);
  lua_pop(L, 1);
}

/* ---- scopes ---- */

void bind_scope_release(bind_extent *scope) {
  while (scope->handles != NULL) {
    bind_handle *handle = scope->handles;
    bam_tensor *tensor = handle->tensor;
    bind_scope_leave(handle);
    handle->tensor = NULL;
    handle->released_by = scope->name;
    bam_tensor_release(tensor);
  }
}

/* Let the results leave the scope. Arguments: the scope (light userdata), then the results. Runs protected, so
   that a scope always ends. */
static int hand_out_results(lua_State *L) {
  bind_extent *scope = lua_touserdata(L, 1);
  int n = lua_gettop(L);
  bind_state *state = bind_get_state(L);
  departure d = { .L = L,
                  .state = state,
                  .from = scope,
                  .to = bind_extent_find(state, L, BIND_SCOPE),
                  .list = n + 1 };
  lua_newtable(L);
  for (int i = 2; i <= n; i++) {
    lua_pushvalue(L, i);
    hand_out(&d);
  }
  return 0;
}

/* The script line of the caller, anchored in the registry (one entry per line of a script). */
static const char *name_of_caller(lua_State *L) {
  int top = lua_gettop(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key);
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

/* The scope's function has returned, or failed. From 3 on are its results, or the error. */
static int end_scope(lua_State *L, int status, lua_KContext context) {
  bind_extent *scope = (bind_extent *)context;
  const int active = bind_begin_running(L), n = lua_gettop(L) - 2;
  bool failed = status != LUA_OK && status != LUA_YIELD;
  bind_extent_unlink(bind_get_state(L), scope);
  if (lua_checkstack(L, n + 3)) {
    lua_pushcfunction(L, hand_out_results);
    lua_pushlightuserdata(L, scope);
    for (int i = 1; i <= n; i++)
      lua_pushvalue(L, i + 2);
    failed |= lua_pcall(L, n + 1, 0, 0) != LUA_OK;
  } else {
    lua_pushstring(L, "scope: too many results");
    failed = true;
  }
  bind_scope_release(scope);
  if (failed)
    return bind_raise(L);
  bind_end_running(L, active);
  return n;
}

BIND_DOC(
  scope_call, "scope(f, ...)",
  "Call f(...) and release every tensor created meanwhile, except those that f returns (also "
  "inside\n"
  "tables) and those kept by x:keep(). Using a released tensor is an error that names the scope.\n"
  "\n"
  "  local loss = bam.scope(function() return model:loss(ids, targets) end)\n"
  "@param f function\n"
  "@param ... any arguments of f\n"
  "@return any ... results of f");
int bind_scope_call(lua_State *L) {
  const int active = bind_begin_running(L);
  if (!bind_is_callable(L, 1))
    return bind_error(L, "scope: expected a function, got %s; write bam.scope(function() ... end)",
                      bind_describe(L, 1));
  lua_pushnil(L);
  lua_insert(L, 1);
  const char *name = name_of_caller(L);
  bind_extent room, *scope = bind_extent_begin(L, BIND_SCOPE, &room);
  scope->name = name;
  bind_end_running(L, active);
  return bind_extent_call(L, scope, end_scope);
}

const bind_export bind_scope_functions[] = {
  BIND_TOPIC(scope_call),
  { NULL, NULL },
};
