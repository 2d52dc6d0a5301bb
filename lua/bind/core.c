/* The module "bam.core": the state that connects a Lua state with an engine context, the engine's callbacks,
   and the assembly of the module from its parts. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/core/version.h"
#include "extent.h"
#include "signals.h"

static const char state_key; /* its address is the registry key */

/* The state found last, and the registry that it is in: every binding asks for it several times. A registry's address
   stays valid here, as a Lua state makes its bind_state before anything asks for it. */
static _Thread_local struct {
  const void *registry;
  bind_state *state;
} found;

static void remember(lua_State *L, bind_state *state) {
  found.registry = lua_topointer(L, LUA_REGISTRYINDEX);
  found.state = state;
}

bind_state *bind_get_state(lua_State *L) {
  if (lua_topointer(L, LUA_REGISTRYINDEX) != found.registry) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
    remember(L, lua_touserdata(L, -1));
    lua_pop(L, 1);
  }
  found.state->L = L;
  return found.state;
}

bam_context *bind_context(lua_State *L) {
  bam_context *context = bind_get_state(L)->context;
  if (context == NULL) /* a finalizer of the script may run after ours, when the state closes */
    bind_error(L, "bam is closed: the program is ending");
  return context;
}

/* Write the innermost script line ("train.lua:12"), skipping C functions and embedded modules. */
static void script_line(lua_State *L, char *text, size_t size) {
  lua_Debug ar;
  text[0] = '\0';
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline > 0 && strncmp(ar.source, "=bam/", 5) != 0) {
      snprintf(text, size, "%s:%d", ar.short_src, ar.currentline);
      return;
    }
  }
}

int bind_error(lua_State *L, const char *format, ...) {
  char where[LUA_IDSIZE + 20];
  va_list arguments;
  va_start(arguments, format);
  script_line(L, where, sizeof where);
  if (where[0] != '\0')
    lua_pushfstring(L, "%s: ", where);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  if (where[0] != '\0')
    lua_concat(L, 2);
  bind_raise(L);
}

void bind_check(lua_State *L, bam_status status) {
  char message[BAM_MESSAGE_SIZE]; /* a copy: an error in a finalizer may overwrite the original */
  if (status == BAM_OK)
    return;
  memcpy(message, bind_context(L)->message, sizeof message);
  bind_error(L, "%s", message);
}

void bind_check_within(lua_State *L, bam_status status, const char *what) {
  if (status != BAM_OK)
    bind_check(L, bam_fail_within(bind_context(L), status, what));
}

void *bind_push_owner(lua_State *L, const void *empty, size_t size, const char *type,
                      lua_CFunction gc) {
  void *handle = lua_newuserdatauv(L, size, 0);
  memcpy(handle, empty, size);
  luaL_newmetatable(L, type);
  /* set every time: the first attempt may have run out of memory before setting it */
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  return handle;
}

void bind_set_type(lua_State *L, const bind_export *methods, lua_CFunction close,
                   lua_CFunction describe) {
  const luaL_Reg events[] = { { "__close", close }, { "__tostring", describe }, { NULL, NULL } };
  lua_getmetatable(L, -1);
  bind_set_events(L, events, close);
  lua_newtable(L);
  bind_set_exports(L, methods, close);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

/* ---- the engine's callbacks; none may raise through the engine ---- */

static int collect_protected(lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT);
  return 0;
}

/* Runs finalizers on the main thread, because the coroutine that called the engine may have ended. */
static void host_collect(void *data) {
  bind_state *state = data;
  lua_State *caller = state->L;
  lua_State *thread = state->thread;
  const bool no_grad = state->context->no_grad; /* of the op that is waiting */
  int active = state->active;
  if (state->collecting || !lua_checkstack(state->main, 2))
    return;
  state->collecting = true;
  lua_pushcfunction(state->main, collect_protected);
  if (lua_pcall(state->main, 0, 0, 0) != LUA_OK)
    lua_pop(state->main, 1);
  state->collecting = false;
  state->active = active;
  state->L = caller;
  state->thread = thread;
  state->context->no_grad = no_grad;
}

/* One call of a custom op's backward function. Its arguments are the gradients of the outputs, nil where there
   is none. */
typedef struct {
  bam_function function;
  bam_tensor *const *grads_out;
  bam_tensor **grads_in;
  int n_out, n_in;
} backward_call;

/* Lua counts the expected results of a call in 16 bits: take all results, then adjust them to n_in. */
static int backward_protected(lua_State *L) {
  backward_call *call = lua_touserdata(L, 1);
  luaL_checkstack(L, call->n_out + call->n_in + 4, "too many gradients");
  bind_graph_push_backward(L, call->function);
  for (int k = 0; k < call->n_out; k++)
    if (call->grads_out[k] != NULL) {
      bind_handle *handle = bind_push_handle(L);
      handle->tensor = bam_tensor_retain(call->grads_out[k]);
    } else {
      lua_pushnil(L);
    }
  lua_call(L, call->n_out, LUA_MULTRET);
  luaL_checkstack(L, call->n_in + 4, "too many gradients");
  lua_settop(L, 1 + call->n_in);
  for (int i = 0; i < call->n_in; i++) {
    bind_handle *handle = bind_test_handle(L, 2 + i);
    if (handle == NULL && !lua_isnil(L, 2 + i))
      return luaL_error(L, "backward of a custom op: gradient %d is a %s, not a tensor", i + 1,
                        luaL_typename(L, 2 + i));
    if (handle != NULL && handle->tensor == NULL)
      return luaL_error(L, "backward of a custom op: gradient %d was closed or released by a scope",
                        i + 1);
  }
  for (int i = 0; i < call->n_in; i++) { /* nothing raises from here on */
    bind_handle *handle = bind_test_handle(L, 2 + i);
    call->grads_in[i] = handle != NULL ? bam_tensor_retain(handle->tensor) : NULL;
  }
  return 0;
}

static bam_status host_backward(void *data, bam_function function, bam_tensor *const *grads_out,
                                int n_out, bam_tensor **grads_in, int n_in) {
  bind_state *state = data;
  lua_State *L = state->L;
  backward_call call = { function, grads_out, grads_in, n_out, n_in };
  if (!lua_checkstack(L, 4))
    return bam_fail(state->context, BAM_ERROR_HOST, "stack overflow in a custom backward");
  lua_pushcfunction(L, backward_protected);
  lua_pushlightuserdata(L, &call);
  bind_extent mode = { .L = L, .kind = BIND_GRAD_MODE, .no_grad = state->context->no_grad };
  bind_extent_link(state, &mode);             /* also for coroutines that the function resumes */
  bind_pause pause = bind_begin_pause(state); /* the engine holds references to all it needs */
  int failed = lua_pcall(L, 1, 0, 0) != LUA_OK;
  bind_end_pause(state, pause);
  bind_extent_unlink(state, &mode);
  state->thread = L; /* back in the engine, whose mode it is */
  state->context->no_grad = mode.no_grad;
  state->L = L;
  if (!failed)
    return BAM_OK;
  const char *message = lua_tostring(L, -1);
  bam_status status = bam_fail(state->context, BAM_ERROR_HOST, "%s",
                               message != NULL ? message : "error object in a custom backward");
  lua_pop(L, 1);
  return status;
}

static void host_release(void *data, bam_function function) {
  bind_graph_forget(((bind_state *)data)->main, function);
}

static void host_where(void *data, char *text, size_t size) {
  script_line(((bind_state *)data)->L, text, size);
}

/* ---- opening ---- */

static int close_state(lua_State *L) {
  bind_state *state = lua_touserdata(L, 1);
  bind_signals_restore();
  bam_context_destroy(state->context);
  state->context = NULL;
  return 0;
}

/* Create the types of userdata that scripts see. */
static void make_types(lua_State *L) {
  static const char *const types[] = { "bam.Lock", "bam.TextReader", "bam.bpe", "bam.bpe_trainer",
                                       "bam.token_buffer" };
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    luaL_newmetatable(L, types[i]);
    lua_pop(L, 1);
  }
}

static void make_state(lua_State *L) {
  bind_state *state = lua_newuserdatauv(L, sizeof *state, 0);
  memset(state, 0, sizeof *state);
  state->collect_at = 256 << 20;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, close_state);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  if (bam_context_create(NULL, &state->context) != BAM_OK)
    luaL_error(L, "out of memory");
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  state->main = lua_tothread(L, -1);
  lua_pop(L, 1);
  state->L = state->thread = L;
  state->context->host = (bam_host){ .state = state,
                                     .collect = host_collect,
                                     .backward = host_backward,
                                     .release = host_release,
                                     .where = host_where };
  bind_graph_open(L);
  bind_extent_open(L);
  bind_scope_open(L);
  bind_json_open(L);
  make_types(L);
  remember(L, state);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
}

static int open_core(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key) == LUA_TNIL)
    make_state(L);
  bind_sizes_open(L);
  lua_settop(L, 0);
  lua_newtable(L);
  lua_pushstring(L, BAM_VERSION);
  lua_setfield(L, 1, "release");
  for (const bind_export *const *part = bind_parts; *part != NULL; part++)
    bind_set_exports(L, *part, NULL);
  lua_pushcfunction(L, bind_scope_call);
  lua_setfield(L, 1, "scope");
  lua_pushcfunction(L, bind_with_grad);
  lua_setfield(L, 1, "with_grad");
  lua_newtable(L);
  bind_register_ops(L);
  lua_setfield(L, 1, "ops");
  bind_tensor_metatable(L); /* leaves the method table */
  lua_setfield(L, 1, "methods");
  return 1;
}

/* Objects that exist once per Lua state are created with the collector stopped: a finalizer that requires bam
   would create them twice. */
int luaopen_bam_core(lua_State *L) {
  const bool collects = lua_gc(L, LUA_GCISRUNNING);
  lua_gc(L, LUA_GCSTOP);
  lua_pushcfunction(L, open_core);
  const int status = lua_pcall(L, 0, 1, 0);
  if (collects)
    lua_gc(L, LUA_GCRESTART);
  return status == LUA_OK ? 1 : lua_error(L);
}
