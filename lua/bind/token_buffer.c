/* Growable lists of token ids for scripts, and helpers shared by all userdata of byte pair encoding. */
#include <string.h>

#include "tokenizer.h"

#define BUFFER "bam.token_buffer"

/* ---- objects ---- */

void *bind_push_object(lua_State *L, size_t size, const char *type, const bind_export *methods,
                       const luaL_Reg *metamethods, lua_CFunction gc) {
  void *handle = lua_newuserdatauv(L, size, 0);
  memset(handle, 0, size);
  luaL_newmetatable(L, type);
  if (lua_getfield(L, -1, "__gc") == LUA_TNIL) {
    lua_pop(L, 1);
    bind_set_events(L, metamethods, NULL);
    lua_newtable(L);
    bind_set_exports(L, methods, NULL);
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, type);
    lua_setfield(L, -2, "__metatable");
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
  } else
    lua_pop(L, 1);
  lua_setmetatable(L, -2);
  return handle;
}

void bind_check_object(lua_State *L, bool made, bool busy, const char *type) {
  if (!made)
    bind_error(L, "this %s was collected", type);
  if (busy)
    bind_error(L, "this %s is in use; a finalizer cannot use it", type);
}

/* ---- token buffers ---- */

bind_buffer *bind_check_buffer(lua_State *L, int arg) {
  bind_buffer *handle = luaL_testudata(L, arg, BUFFER);
  if (handle == NULL)
    bind_error(L, "expected a token buffer, got %s", bind_describe(L, arg));
  bind_check_object(L, handle->ids.context != NULL, handle->busy, BUFFER);
  return handle;
}

static int buffer_collect(lua_State *L) {
  bind_buffer *handle = lua_touserdata(L, 1);
  bam_tokens_release(&handle->ids);
  handle->ids.context = NULL;
  return 0;
}

BIND_DOC(buffer_class, "bam.token_buffer", "A growing list of token ids.");

BIND_DOC(buffer_push, "buffer:push(id)",
         "Append an id.\n"
         "@param id integer 0 to 2^31 - 1");
static int buffer_push(lua_State *L) {
  bind_buffer *handle = bind_check_buffer(L, 1);
  int64_t id = bind_integer(L, 2, "push");
  if (id < 0 || id > INT32_MAX)
    return bind_error(L, "push: expected a token id from 0 to %d, got %I", INT32_MAX,
                      (LUAI_UACINT)id);
  handle->busy = true;
  bam_status status = bam_tokens_reserve(&handle->ids, 1);
  handle->busy = false;
  bind_check_within(L, status, "push");
  bam_tokens_push(&handle->ids, (int32_t)id);
  return 0;
}

BIND_DOC(buffer_take, "buffer:take()",
         "Return the ids as an i32 tensor and empty the buffer.\n"
         "@return tensor");
static int buffer_take(lua_State *L) {
  bind_buffer *handle = bind_check_buffer(L, 1);
  bind_handle *tensor = bind_push_handle(L);
  handle->busy = true;
  bam_status status = bam_tokens_take(&handle->ids, &tensor->tensor);
  handle->busy = false;
  bind_check_within(L, status, "take");
  return 1;
}

static int buffer_length(lua_State *L) {
  lua_pushinteger(L, bind_check_buffer(L, 1)->ids.count);
  return 1;
}

static int buffer_text(lua_State *L) {
  lua_pushfstring(L, "token buffer of %I", (LUAI_UACINT)bind_check_buffer(L, 1)->ids.count);
  return 1;
}

const bind_export bind_buffer_methods[] = {
  BIND_TOPIC(buffer_class),
  BIND_EXPORT(buffer_push),
  BIND_EXPORT(buffer_take),
  { NULL, NULL },
};

static const luaL_Reg buffer_metamethods[] = {
  { "__len", buffer_length },
  { "__tostring", buffer_text },
  { NULL, NULL },
};

bind_buffer *bind_push_buffer(lua_State *L) {
  bind_buffer *handle = bind_push_object(L, sizeof *handle, BUFFER, bind_buffer_methods,
                                         buffer_metamethods, buffer_collect);
  handle->ids.context = bind_context(L);
  return handle;
}

BIND_DOC(buffer_new, "token_buffer()",
         "A growing list of token ids; #buffer is its length.\n"
         "@return bam.token_buffer");
static int buffer_new(lua_State *L) {
  bind_push_buffer(L);
  return 1;
}

const bind_export bind_buffer_functions[] = {
  BIND_EXPORT(buffer_new),
  { NULL, NULL },
};
