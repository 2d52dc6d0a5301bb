/* Differentiation from Lua: backward, no_grad, custom ops, the NaN check. */
#include "bind.h"

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
    lua_getfield(L, options, "retain");
    retain = lua_toboolean(L, -1);
  }
  bind_check(L, bam_autograd_backward(x, seed, retain));
  return 0;
}

/* with_grad(enabled, f, ...): call f with recording on or off. */
static int autograd_with_grad(lua_State *L) {
  bam_context *context = bind_context(L);
  if (!bind_is_callable(L, 2))
    return bind_error(L, "expected a function, got %s", bind_describe(L, 2));
  bool was = context->no_grad;
  context->no_grad = !lua_toboolean(L, 1);
  int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
  context->no_grad = was;
  return status == LUA_OK ? lua_gettop(L) - 1 : lua_error(L);
}

static int autograd_is_recording(lua_State *L) {
  lua_pushboolean(L, !bind_context(L)->no_grad);
  return 1;
}

/* Read a list of tensors at `arg` into a userdata array on the stack. */
static int read_tensors(lua_State *L, int arg, bam_tensor ***list) {
  int n = (int)lua_rawlen(L, arg);
  *list = lua_newuserdatauv(L, sizeof **list * (size_t)(n > 0 ? n : 1), 0);
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, arg, i + 1);
    (*list)[i] = bind_test_tensor(L, -1);
    if ((*list)[i] == NULL)
      bind_error(L, "custom: value %d is %s, not a tensor", i + 1, bind_describe(L, -1));
    lua_pop(L, 1);
  }
  return n;
}

/* record({ inputs }, { outputs }, backward): new handles of the outputs that are differentiable
   through the function, as a list. */
static int autograd_record(lua_State *L) {
  bam_context *context = bind_context(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  bam_tensor **inputs, **outputs;
  int n_inputs = read_tensors(L, 1, &inputs), n_outputs = read_tensors(L, 2, &outputs);
  lua_createtable(L, n_outputs, 0);
  for (int k = 0; k < n_outputs; k++) {
    bind_box *box = bind_push_box(L);
    bind_check(L, bam_tensor_alias(outputs[k], &box->tensor));
    outputs[k] = box->tensor;
    lua_rawseti(L, -2, k + 1);
  }
  lua_pushvalue(L, 3);
  int function = luaL_ref(L, LUA_REGISTRYINDEX);
  bam_status status = bam_autograd_custom(context, inputs, n_inputs, function, outputs, n_outputs);
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
