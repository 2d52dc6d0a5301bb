/* Differentiation from Lua: backward, no_grad, custom ops, the NaN check. */
#include "bind.h"

/* Backward functions of custom ops may close x and seed. */
static int walk_back(lua_State *L, bam_tensor *x, bam_tensor *seed, bool retain) {
  bind_context(L); /* they run in this coroutine */
  bam_tensor_retain(x);
  if (seed != NULL)
    bam_tensor_retain(seed);
  bam_status status = bam_autograd_backward(x, seed, retain);
  bam_tensor_release(x);
  bam_tensor_release(seed);
  bind_check(L, status);
  return 0;
}

/* backward(x, seed?, { retain = false }) */
static int autograd_backward(lua_State *L) {
  static const char *const names[] = { "retain", NULL };
  bam_tensor *x = bind_tensor(L, 1);
  int options = bind_is_options(L, 2) ? 2 : 3;
  bam_tensor *seed = options == 2 || lua_isnoneornil(L, 2) ? NULL : bind_tensor(L, 2);
  bool retain = false;
  if (!lua_isnoneornil(L, options)) {
    if (lua_type(L, options) != LUA_TTABLE)
      return bind_error(L, "backward: expected a table of options, got %s",
                        bind_describe(L, options));
    bind_check_options(L, options, "backward", names);
    if (lua_getfield(L, options, "retain") != LUA_TNIL)
      retain = bind_flag(L, -1, "backward: option retain");
  }
  return walk_back(L, x, seed, retain);
}

/* with_grad(enabled, f, ...): call f with recording on or off. */
static int autograd_with_grad(lua_State *L) {
  bam_context *context = bind_context(L);
  if (!bind_is_callable(L, 2))
    return bind_error(L, "expected a function, got %s", bind_describe(L, 2));
  bool was = context->no_grad;
  context->no_grad = !lua_toboolean(L, 1);
  int status = bind_callback(L, lua_gettop(L) - 2);
  context->no_grad = was;
  return status == LUA_OK ? lua_gettop(L) - 1 : bind_raise(L);
}

static int autograd_is_recording(lua_State *L) {
  lua_pushboolean(L, !bind_context(L)->no_grad);
  return 1;
}

/* record({ inputs }, { outputs }, backward): new handles of the outputs that are differentiable
   through the function, as a list. */
static int autograd_record(lua_State *L) {
  if (lua_type(L, 3) != LUA_TFUNCTION)
    return bind_error(L, "custom: expected a function as backward, got %s", bind_describe(L, 3));
  int n_inputs, n_outputs;
  bam_tensor **inputs = bind_push_tensors(L, 1, "custom", &n_inputs, NULL);
  bam_tensor **outputs = bind_push_tensors(L, 2, "custom", &n_outputs, NULL);
  lua_createtable(L, n_outputs, 0);
  for (int k = 0; k < n_outputs; k++) {
    bind_box *box = bind_push_box(L);
    bind_check(L, bam_tensor_alias(outputs[k], &box->tensor));
    outputs[k] = box->tensor;
    lua_rawseti(L, -2, k + 1); /* no script knows the table yet */
  }
  lua_pushvalue(L, 3);
  int function = luaL_ref(L, LUA_REGISTRYINDEX);
  bam_status status = bam_autograd_custom(bind_context(L), inputs, n_inputs, function, outputs,
                                          n_outputs);
  if (status != BAM_OK)
    luaL_unref(L, LUA_REGISTRYINDEX, function);
  bind_check(L, status);
  return 1;
}

/* check_nan(true or false) */
static int autograd_check_nan(lua_State *L) {
  bind_context(L)->check_nan = lua_toboolean(L, 1);
  return 0;
}

const luaL_Reg bind_autograd_functions[] = {
  { "backward", autograd_backward }, { "with_grad", autograd_with_grad },
  { "is_recording", autograd_is_recording },
  { "record", autograd_record },     { "check_nan", autograd_check_nan }, { NULL, NULL },
};
