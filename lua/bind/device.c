/* Devices: which there are, where new tensors go, waiting for one. */
#include <stdio.h>

#include "bind.h"

/* device() gives the name of the device where new tensors go; device("cuda") chooses it. */
static int device_default(lua_State *L) {
  bam_context *context = bind_context(L);
  if (!lua_isnoneornil(L, 1))
    context->device = bind_device(L, 1, "device");
  lua_pushstring(L, context->device->name);
  return 1;
}

static void push_device(lua_State *L, const char *name, const char *text, int64_t bytes) {
  lua_createtable(L, 0, 3);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, text);
  lua_setfield(L, -2, "description");
  if (bytes <= 0)
    return;
  lua_pushinteger(L, bytes);
  lua_setfield(L, -2, "memory");
}

/* Append the devices of one backend to the list on top; why there are none, to the table below. */
static void push_backend(lua_State *L, const bam_backend *backend) {
  char name[BAM_DEVICE_NAME], text[512] = "";
  int count = backend->count(text, sizeof text);
  if (count == 0) {
    lua_pushstring(L, text);
    lua_setfield(L, -3, backend->name);
  }
  for (int i = 0; i < count; i++) {
    int64_t bytes = 0;
    snprintf(name, sizeof name, "%s:%d", backend->name, i);
    backend->describe(i, text, sizeof text, &bytes);
    push_device(L, name, text, bytes);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  }
}

/* devices(): a list of { name, description, memory }; and, by backend, why it has none. */
static int device_list(lua_State *L) {
  char cpu[96], text[128];
  lua_settop(L, 0);
  lua_newtable(L);
  lua_newtable(L);
  bam_device_describe_cpu(cpu, sizeof cpu);
  snprintf(text, sizeof text, "this machine (%s, %d threads)", cpu, bind_context(L)->threads);
  push_device(L, "cpu", text, 0);
  lua_rawseti(L, -2, 1);
  for (int i = 0; bam_backends[i] != NULL; i++)
    push_backend(L, bam_backends[i]);
  lua_insert(L, 1);
  return 2;
}

/* synchronise(name): wait for all work on a device, by default the one where new tensors go. */
static int device_synchronise(lua_State *L) {
  bam_context *context = bind_context(L);
  bam_device *device = lua_isnoneornil(L, 1) ? context->device : bind_device(L, 1, "synchronise");
  bind_check_within(L, bam_device_synchronise(context, device), "synchronise");
  return 0;
}

/* tf32() tells whether devices may compute products of f32 from tf32; tf32(true) allows it. */
static int device_tf32(lua_State *L) {
  bam_context *context = bind_context(L);
  if (!lua_isnoneornil(L, 1)) {
    if (lua_type(L, 1) != LUA_TBOOLEAN)
      return bind_error(L, "tf32: expected true or false, got %s", bind_describe(L, 1));
    bam_context_allow_tf32(context, lua_toboolean(L, 1));
  }
  lua_pushboolean(L, context->tf32);
  return 1;
}

const luaL_Reg bind_device_functions[] = {
  { "device", device_default },
  { "devices", device_list },
  { "synchronise", device_synchronise },
  { "tf32", device_tf32 },
  { NULL, NULL },
};
