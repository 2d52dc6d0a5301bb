/* Differentiation from Lua: backward, no_grad, custom ops, the NaN check. */
#include "../../engine/ops/custom.h"
#include "extent.h"
#include "traces.h"

/* Run backward from the tensor at 1. Backward functions of custom ops run in this coroutine, and may close x
   and seed. `within`: see bam_autograd_backward_within. */
static int walk_back(lua_State *L, bam_tensor *x, bam_tensor *seed, bool retain, bool within) {
  bind_graph_begin_walk(L, 1);
  bind_context(L);
  bam_tensor_retain(x);
  if (seed != NULL)
    bam_tensor_retain(seed);
  bam_status status = within ? bam_autograd_backward_within(x, seed, retain)
                             : bam_autograd_backward(x, seed, retain);
  bam_tensor_release(x);
  bam_tensor_release(seed);
  bind_graph_end_walk(L);
  bind_check(L, status);
  return 0;
}

BIND_DOC(backward_options, "bam.BackwardOptions",
         "Options of x:backward().\n"
         "@field retain? boolean keep the tape, so that backward can run again; false by default\n"
         "@field within? boolean inside the backward function of a custom op: leave what was "
         "recorded before the "
         "op to the backward that called it");

BIND_DOC(
  autograd_backward, "backward(x, seed, options)",
  "Add the gradient of x with respect to every leaf that it depends on to the leaf's `grad`.\n"
  "@param x tensor\n"
  "@param seed? tensor gradient of x; not needed if x has one element\n"
  "@param options? bam.BackwardOptions");
static int autograd_backward(lua_State *L) {
  static const char *const names[] = { "retain", "within", NULL };
  bam_tensor *x = bind_tensor(L, 1);
  int options = bind_is_options(L, 2) ? 2 : 3;
  bam_tensor *seed = options == 2 || lua_isnoneornil(L, 2) ? NULL : bind_tensor(L, 2);
  bool retain = false, within = false;
  if (!lua_isnoneornil(L, options)) {
    if (lua_type(L, options) != LUA_TTABLE)
      return bind_error(L, "backward: expected a table of options, got %s",
                        bind_describe(L, options));
    bind_check_options(L, options, "backward", names);
    if (lua_getfield(L, options, "retain") != LUA_TNIL)
      retain = bind_flag(L, -1, "backward: option retain");
    if (lua_getfield(L, options, "within") != LUA_TNIL)
      within = bind_flag(L, -1, "backward: option within");
  }
  return walk_back(L, x, seed, retain, within);
}

/* The function called by with_grad has returned, or failed. From 3 on are its results, or the error. */
static int end_mode(lua_State *L, int status, lua_KContext context) {
  bind_state *state = bind_get_state(L);
  bind_extent_unlink(state, (bind_extent *)context);
  bind_extent_select(state, L);
  return status == LUA_OK || status == LUA_YIELD ? lua_gettop(L) - 2 : lua_error(L);
}

BIND_DOC(autograd_with_grad, "with_grad(enabled, f, ...)",
         "Call f(...) with recording for backward switched on or off. bam.no_grad and "
         "bam.enable_grad use it.\n"
         "@param enabled boolean\n"
         "@param f function\n"
         "@param ... any arguments of f\n"
         "@return any ... results of f");
int bind_with_grad(lua_State *L) {
  const int active = bind_begin_running(L);
  if (!bind_is_callable(L, 2))
    return bind_error(L, "with_grad: expected a function, got %s", bind_describe(L, 2));
  const bool no_grad = !lua_toboolean(L, 1);
  bind_extent room, *mode = bind_extent_begin(L, BIND_GRAD_MODE, &room);
  mode->no_grad = no_grad;
  bind_context(L)->no_grad = no_grad;
  bind_end_running(L, active);
  return bind_extent_call(L, mode, end_mode);
}

BIND_DOC(autograd_is_recording, "is_recording()",
         "Are ops being recorded for backward?\n"
         "@return boolean");
static int autograd_is_recording(lua_State *L) {
  lua_pushboolean(L, !bind_context(L)->no_grad);
  return 1;
}

BIND_DOC(autograd_reserve_nodes, "reserve_nodes()",
         "Keep a place in the order of backward for ops that run later: see core.record_at.\n"
         "@return integer place");
static int autograd_reserve_nodes(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)bam_autograd_reserve(bind_context(L)));
  return 1;
}

BIND_DOC(autograd_record_at, "record_at(place)",
         "Record ops from now on at a place of core.reserve_nodes, so that backward adds up "
         "gradients as if they had run then. They must not depend on ops that ran since. The place "
         "that is returned, passed to the same function, ends it.\n"
         "@param place integer\n"
         "@return integer place");
static int autograd_record_at(lua_State *L) {
  bam_context *context = bind_context(L);
  const lua_Integer place = luaL_checkinteger(L, 1);
  lua_pushinteger(L, (lua_Integer)bam_autograd_number_from(context, (uint64_t)place));
  return 1;
}

BIND_DOC(autograd_record, "record(inputs, outputs, backward, needs)",
         "Record a custom op: new handles of `outputs` that are differentiable through `backward`. "
         "bam.custom\n"
         "uses it.\n"
         "@param inputs tensor[]\n"
         "@param outputs tensor[] at most 4\n"
         "@param backward function takes a gradient (or nil) per output, returns a gradient (or "
         "nil) per input\n"
         "@param needs? any[] what `backward` uses; tensors in it leave a scope together with the "
         "results\n"
         "@return tensor[]");
static int autograd_record(lua_State *L) {
  int n_inputs, n_outputs;
  lua_settop(L, 4);
  if (lua_type(L, 3) != LUA_TFUNCTION)
    return bind_error(L, "custom: expected a function as backward, got %s", bind_describe(L, 3));
  bam_tensor **inputs = bind_push_tensors(L, 1, "custom", &n_inputs, NULL);
  bam_tensor **outputs = bind_push_tensors(L, 2, "custom", &n_outputs, NULL);
  if (n_outputs > BAM_MAX_OUTPUTS)
    bind_error(L, "custom: at most %d outputs, not %d", BAM_MAX_OUTPUTS, n_outputs);
  const int first = lua_gettop(L) + 1;
  for (int k = 0; k < n_outputs; k++) {
    bind_handle *handle = bind_push_handle(L);
    bind_check(L, bam_tensor_alias(outputs[k], &handle->tensor));
    outputs[k] = handle->tensor;
  }
  const int64_t number = bind_graph_push(L, inputs, n_inputs);
  bind_check(L, bam_record_custom(bind_context(L), inputs, n_inputs, number, outputs, n_outputs));
  for (int k = 0; k < n_outputs; k++)
    if (outputs[k]->node != NULL) {
      lua_pushvalue(L, 3);
      lua_pushvalue(L, 4);
      bind_graph_set_backward(L, -3, (bam_function){ number, outputs[k]->node->sequence });
      break;
    }
  bind_graph_note(L, first, n_outputs);
  lua_createtable(L, n_outputs, 0);
  for (int k = 0; k < n_outputs; k++) {
    lua_pushvalue(L, first + k);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

BIND_DOC(
  autograd_check_nan, "check_nan(enabled)",
  "Raise an error at the first op whose result contains a NaN. bam.debug { nan = true } uses it.\n"
  "@param enabled boolean");
static int autograd_check_nan(lua_State *L) {
  bind_context(L)->check_nan = lua_toboolean(L, 1);
  return 0;
}

BIND_DOC(autograd_trace_all, "trace_all(enabled)",
         "Show bam's own frames in tracebacks too. bam.debug { traces = true } uses it.\n"
         "@param enabled boolean");
static int autograd_trace_all(lua_State *L) {
  lua_pushboolean(L, lua_toboolean(L, 1));
  lua_setfield(L, LUA_REGISTRYINDEX, BAM_TRACE_ALL);
  return 0;
}

const bind_export bind_autograd_functions[] = {
  BIND_TOPIC(backward_options),        BIND_EXPORT(autograd_backward),
  BIND_TOPIC(autograd_with_grad),      BIND_EXPORT(autograd_is_recording),
  BIND_EXPORT(autograd_reserve_nodes), BIND_EXPORT(autograd_record_at),
  BIND_EXPORT(autograd_record),        BIND_EXPORT(autograd_check_nan),
  BIND_EXPORT(autograd_trace_all),     { NULL, NULL },
};
