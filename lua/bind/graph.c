/* Backward functions of custom ops, and their lifetime. A function may refer to the results of its own op, so a
   reference from the engine would make a cycle invisible to Lua's collector. Instead the functions are
   stored in Lua tables, one per graph: custom ops that depend on one another share a graph, and so do all
   results computed from them. In the registry,
     graphs[number] is the graph's table (weak values: it lives while something else refers to it);
     handles[handle] is the graph of the tensor in that handle (weak keys): a graph lives as long as its handles;
     walked is a list of the graphs in use by running backward passes.
   A graph stores { function, needs } under the node's sequence number. When an op joins two graphs, one becomes
   part of the other: its field `into` is the other, which stores it under its negative number. */
#include "bind.h"

static const char graphs_key, handles_key, walked_key; /* their addresses are the registry keys */

enum { FUNCTION = 1, NEEDS };

static void make_table(lua_State *L, const char *key, const char *mode) {
  lua_newtable(L);
  if (mode != NULL) {
    lua_createtable(L, 0, 1);
    lua_pushstring(L, mode);
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
  }
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void bind_graph_open(lua_State *L) {
  make_table(L, &graphs_key, "v");
  make_table(L, &handles_key, "k");
  make_table(L, &walked_key, NULL);
}

/* Push graphs[number], or nil. */
static int push_numbered(lua_State *L, int64_t number) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &graphs_key);
  int type = lua_rawgeti(L, -1, number);
  lua_remove(L, -2);
  return type;
}

/* Replace the graph on top by the whole graph that it is part of. */
static void find_whole(lua_State *L) {
  while (lua_getfield(L, -1, "into") != LUA_TNIL)
    lua_remove(L, -2);
  lua_pop(L, 1);
}

/* Make the graph `number` part of the whole graph on top. */
static void join(lua_State *L, int64_t number) {
  if (push_numbered(L, number) != LUA_TNIL) {
    find_whole(L);
    if (!lua_rawequal(L, -1, -2)) {
      lua_pushvalue(L, -2);
      lua_setfield(L, -2, "into");
      lua_pushvalue(L, -1);
      lua_rawseti(L, -3, -number);
    }
  }
  lua_pop(L, 1);
}

/* ---- recording ---- */

int64_t bind_graph_push(lua_State *L, bam_tensor *const *tensors, int n) {
  for (int i = 0; i < n; i++) {
    const int64_t number = tensors[i]->node != NULL ? tensors[i]->node->graph : 0;
    if (number != 0 && push_numbered(L, number) != LUA_TNIL)
      return number;
    lua_pop(L, number != 0);
  }
  bind_state *state = bind_get_state(L);
  lua_newtable(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &graphs_key);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, ++state->graphs);
  lua_pop(L, 1);
  return state->graphs;
}

void bind_graph_set_backward(lua_State *L, int graph, bam_function function) {
  graph = lua_absindex(L, graph);
  lua_createtable(L, 2, 0);
  lua_insert(L, -3);
  lua_rawseti(L, -3, NEEDS);
  lua_rawseti(L, -2, FUNCTION);
  lua_rawseti(L, graph, (lua_Integer)function.node);
}

/* The node of the op whose results are in these handles, or NULL if it belongs to no graph of custom ops. */
static const bam_node *find_node(lua_State *L, int first, int n) {
  for (int k = first; k < first + n; k++) {
    const bind_handle *handle = lua_touserdata(L, k);
    if (handle->tensor->node != NULL)
      return handle->tensor->node->graph != 0 ? handle->tensor->node : NULL;
  }
  return NULL;
}

void bind_graph_note(lua_State *L, int first, int n) {
  const bam_node *node = find_node(L, first, n);
  if (node == NULL)
    return;
  luaL_checkstack(L, 6, "too many results");
  if (push_numbered(L, node->graph) != LUA_TNIL) {
    find_whole(L);
    for (int i = 0; i < node->n_inputs; i++) {
      const bam_node *input = node->edges[i].node;
      if (input != NULL && input->graph != 0 && input->graph != node->graph)
        join(L, input->graph);
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
    for (int k = first; k < first + n; k++) {
      lua_pushvalue(L, k);
      lua_pushvalue(L, -3);
      lua_rawset(L, -3);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* ---- backward ---- */

void bind_graph_push_backward(lua_State *L, bam_function function) {
  if (push_numbered(L, function.graph) == LUA_TNIL ||
      lua_rawgeti(L, -1, (lua_Integer)function.node) == LUA_TNIL)
    luaL_error(L, "the backward function of a custom op is gone");
  lua_rawgeti(L, -1, FUNCTION);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

void bind_graph_push_needs(lua_State *L) {
  if (lua_type(L, -1) == LUA_TTABLE)
    lua_rawgeti(L, -1, NEEDS);
  else
    lua_pushnil(L);
}

/* Nothing here allocates, so nothing raises. */
void bind_graph_forget(lua_State *L, bam_function function) {
  const int top = lua_gettop(L);
  if (!lua_checkstack(L, 4))
    return;
  if (push_numbered(L, function.graph) != LUA_TNIL &&
      lua_rawgeti(L, -1, (lua_Integer)function.node) != LUA_TNIL) {
    lua_pushnil(L);
    lua_rawseti(L, top + 1, (lua_Integer)function.node);
  }
  lua_settop(L, top);
}

void bind_graph_of_handle(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
  lua_pushvalue(L, index);
  lua_rawget(L, -2);
  lua_remove(L, -2);
}

void bind_graph_begin_walk(lua_State *L, int index) {
  bind_state *state = bind_get_state(L);
  bind_graph_of_handle(L, index);
  if (!lua_isnil(L, -1)) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &walked_key);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  state->walks++;
}

void bind_graph_end_walk(lua_State *L) {
  if (--bind_get_state(L)->walks > 0)
    return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &walked_key);
  for (lua_Integer n = (lua_Integer)lua_rawlen(L, -1); n > 0; n--) {
    lua_pushnil(L);
    lua_rawseti(L, -2, n);
  }
  lua_pop(L, 1);
}
