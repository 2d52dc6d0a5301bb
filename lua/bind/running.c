/* Running bindings and finalizers. Whenever C calls Lua, Lua may collect garbage and run finalizers of the script;
   the engine also makes Lua collect when memory is short. A finalizer may close tensors that a running
   binding is using. Three rules keep this safe:
   - Scripts call every binding through run_binding, which counts the running bindings.
   - If a tensor is closed meanwhile, scripts can no longer use it, but it is released only when no binding is
     running. A tensor from bind_tensor stays valid until the binding returns, as long as its handle is on the
     stack or in a table that scripts cannot reach (bind_push_tensors).
   - While the engine collects, its state is inconsistent, so only closing is allowed.
   A failing binding leaves through bind_raise, which decrements the count. An error raised by Lua itself (out of
   memory, in a metamethod) leaves the count too high until the next binding recounts; until then closed
   tensors are not released. */
#include <string.h>

#include "extent.h"
#include "traces.h"

/* ---- the count ---- */

static void release_closed(bind_state *state) {
  while (state->closed != NULL) {
    bind_handle *handle = state->closed;
    bam_tensor *tensor = handle->closing;
    bind_handle_forget(state, handle);
    bam_tensor_release(tensor);
  }
}

/* A wrapped function: the first upvalue of run_binding. */
typedef struct {
  bind_state *state;
  lua_CFunction function;
  bool at_any_time; /* callable even while the engine collects */
  const char *doc;  /* its documentation, or NULL */
} binding;

static _Noreturn void refuse(lua_State *L) {
  bind_error(
    L, "memory is short and garbage is being collected; a finalizer can only close objects now");
}

void bind_check_idle(lua_State *L) {
  if (bind_get_state(L)->collecting)
    refuse(L);
}

static int run_binding(lua_State *L);

/* Recount the running bindings. On the main thread, outside a finalizer run for the engine, all of them are on this
   stack. */
static void recount(lua_State *L, bind_state *state) {
  lua_Debug ar;
  int running = 0;
  if (L != state->main || state->collecting)
    return;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "f", &ar);
    running += lua_tocfunction(L, -1) == run_binding;
    lua_pop(L, 1);
  }
  state->active = running - state->paused;
  if (state->active == 0)
    release_closed(state);
}

static int run_binding(lua_State *L) {
  const binding *b = lua_touserdata(L, lua_upvalueindex(1));
  bind_state *state = b->state;
  if (state->active > 0)
    recount(L, state);
  if (state->thread != L)
    bind_extent_select(state, L);
  const int active = state->active++;
  if (state->collecting && !b->at_any_time)
    refuse(L);
  const int results = b->function(L);
  state->active = active;
  if (active == 0)
    release_closed(state);
  return results;
}

bool bind_is_binding(lua_State *L, int index) {
  const lua_CFunction f = lua_tocfunction(L, index);
  return f == run_binding || f == bind_scope_call || f == bind_with_grad;
}

int bind_begin_running(lua_State *L) {
  bind_state *state = bind_get_state(L);
  if (state->active > 0)
    recount(L, state);
  if (state->thread != L)
    bind_extent_select(state, L);
  const int active = state->active++;
  bind_check_idle(L);
  return active;
}

void bind_end_running(lua_State *L, int active) {
  bind_state *state = bind_get_state(L);
  state->active = active;
  if (active == 0)
    release_closed(state);
}

static void push_documented(lua_State *L, lua_CFunction function, int upvalues, bool at_any_time,
                            const char *doc) {
  binding *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (binding){ bind_get_state(L), function, at_any_time, doc };
  lua_insert(L, -(upvalues + 1));
  lua_pushcclosure(L, run_binding, upvalues + 1);
}

void bind_push_function(lua_State *L, lua_CFunction function, int upvalues, bool at_any_time) {
  push_documented(L, function, upvalues, at_any_time, NULL);
}

const char *bind_running_doc(lua_State *L) {
  lua_Debug ar;
  const char *doc = NULL;
  if (!lua_getstack(L, 0, &ar))
    return NULL;
  lua_getinfo(L, "f", &ar);
  if (lua_tocfunction(L, -1) == run_binding && lua_getupvalue(L, -1, 1) != NULL) {
    doc = ((const binding *)lua_touserdata(L, -1))->doc;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return doc;
}

void bind_set_exports(lua_State *L, const bind_export *list, lua_CFunction closer) {
  size_t length;
  for (; list->doc != NULL; list++)
    if (list->function != NULL) {
      const char *name = bind_doc_name(list->doc, &length);
      lua_pushlstring(L, name, length);
      push_documented(L, list->function, 0, list->function == closer, list->doc);
      lua_rawset(L, -3);
    }
}

void bind_set_events(lua_State *L, const luaL_Reg *list, lua_CFunction closer) {
  for (; list->name != NULL; list++) {
    bind_push_function(L, list->func, 0, list->func == closer);
    lua_setfield(L, -2, list->name);
  }
}

int bind_raise(lua_State *L) {
  bind_state *state = bind_get_state(L);
  if (state->active > 0)
    state->active--;
  if (state->active == 0)
    release_closed(state);
  lua_error(L);
}

bind_pause bind_begin_pause(bind_state *state) {
  const bind_pause pause = { state->active, state->paused };
  state->active--;
  state->paused++;
  return pause;
}

void bind_end_pause(bind_state *state, bind_pause pause) {
  state->active = pause.active;
  state->paused = pause.paused;
}

int bind_callback(lua_State *L, int arguments) {
  bind_state *state = bind_get_state(L);
  bind_pause pause = bind_begin_pause(state);
  int status = lua_pcall(L, arguments, LUA_MULTRET, 0);
  bind_end_pause(state, pause);
  state->L = L;
  return status;
}

/* ---- closing ---- */

void bind_handle_forget(bind_state *state, bind_handle *handle) {
  if (handle->closing == NULL)
    return;
  if (handle->previous != NULL)
    handle->previous->next = handle->next;
  else
    state->closed = handle->next;
  if (handle->next != NULL)
    handle->next->previous = handle->previous;
  handle->closing = NULL;
}

void bind_handle_close(bind_state *state, bind_handle *handle) {
  bind_scope_leave(handle);
  if (handle->tensor == NULL)
    return;
  handle->closing = handle->tensor;
  handle->tensor = NULL;
  handle->previous = NULL;
  handle->next = state->closed;
  if (handle->next != NULL)
    handle->next->previous = handle;
  state->closed = handle;
}

/* ---- tensors of a list ---- */

bam_tensor **bind_push_tensors(lua_State *L, int arg, const char *what, int *n, bool *has_options) {
  const int most = 1 << 20;
  if (lua_type(L, arg) != LUA_TTABLE)
    bind_error(L, "%s: expected a list of tensors as argument %d, got %s%s", what, arg,
               bind_describe(L, arg),
               bind_test_handle(L, arg) != NULL ? "; put them in braces: { x, y }" : "");
  const int64_t count = has_options != NULL ? bind_list_with_options(L, arg, what, has_options)
                                            : bind_list(L, arg, what);
  if (count > most)
    bind_error(L, "%s: a list of %I tensors is too long; the limit is %d", what, (LUAI_UACINT)count,
               most);
  *n = (int)count;
  lua_createtable(L, *n, 0); /* keeps the handles alive even if the list changes */
  bam_tensor **tensors = lua_newuserdatauv(L, (size_t)(count > 0 ? count : 1) * sizeof *tensors, 0);
  for (int i = 0; i < *n; i++) {
    lua_rawgeti(L, arg, i + 1);
    tensors[i] = bind_test_tensor(L, -1);
    if (tensors[i] == NULL)
      bind_error(L, "%s: entry %d of the list is %s, not a tensor", what, i + 1,
                 bind_describe(L, -1));
    lua_rawseti(L, -3, i + 1);
  }
  return tensors;
}
