/* Devices for scripts: listing them, choosing the default, synchronizing, tf32. */
#include <stdio.h>

#include "../../engine/core/devices.h"
#include "bind.h"

BIND_DOC(
  device_default, "device(name)",
  "Select the device on which new tensors are allocated. Without an argument, only return it.\n"
  "@param name? device\n"
  "@return device");
static int device_default(lua_State *L) {
  bam_context *context = bind_context(L);
  if (!lua_isnoneornil(L, 1))
    context->device = bind_device(L, 1, "device");
  lua_pushstring(L, context->device->name);
  return 1;
}

BIND_DOC(device_computes, "computes(dtype, device)",
         "Does a device compute in a dtype? Others can be stored there, copied and converted.\n"
         "@param dtype dtype\n"
         "@param device? device the selected one by default\n"
         "@return boolean");
static int device_computes(lua_State *L) {
  const bam_dtype dtype = bind_dtype(L, 1, "computes");
  const bam_device *device = lua_isnoneornil(L, 2) ? bind_context(L)->device
                                                   : bind_device(L, 2, "computes");
  lua_pushboolean(L, device->kernels[dtype] != NULL);
  return 1;
}

BIND_DOC(device_multiplies_fp8, "multiplies_fp8(device)",
         "Does a device multiply operands of FP8?\n"
         "@param device? device the selected one by default\n"
         "@return boolean");
static int device_multiplies_fp8(lua_State *L) {
  const bam_device *device = lua_isnoneornil(L, 1) ? bind_context(L)->device
                                                   : bind_device(L, 1, "multiplies_fp8");
  lua_pushboolean(L, device->fp8 != NULL);
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

/* Append the devices of one backend to the list on top, or, if there are none, the reason to the table below
   it. */
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

BIND_DOC(device_info, "bam.DeviceInfo",
         "A device as bam.devices() lists it.\n"
         "@field name device\n"
         "@field description string\n"
         "@field memory? integer bytes");

BIND_DOC(device_list, "devices()",
         "List the devices of this machine. The second result says why a backend has none: `cuda = "
         "\"...\"`.\n"
         "@return bam.DeviceInfo[]\n"
         "@return table<string, string> reasons by backend");
static int device_list(lua_State *L) {
  char text[128];
  lua_settop(L, 0);
  lua_newtable(L);
  lua_newtable(L);
  snprintf(text, sizeof text, "this machine (%s, %d threads)", bam_device_describe_cpu(),
           bind_context(L)->threads);
  push_device(L, "cpu", text, 0);
  lua_rawseti(L, -2, 1);
  for (int i = 0; bam_backends[i] != NULL; i++)
    push_backend(L, bam_backends[i]);
  lua_insert(L, 1);
  return 2;
}

BIND_DOC(device_synchronize, "synchronize(device)",
         "Wait until all work on a device is done. Errors of that work are raised here.\n"
         "@param device? device bam.device() by default");
static int device_synchronize(lua_State *L) {
  bam_context *context = bind_context(L);
  bam_device *device = lua_isnoneornil(L, 1) ? context->device : bind_device(L, 1, "synchronize");
  bind_check_within(L, bam_device_synchronize(context, device), "synchronize");
  return 0;
}

BIND_DOC(device_tf32, "tf32(allow)",
         "Allow or forbid tf32 for f32 matrix products on devices: 10 bits of mantissa, several "
         "times as fast.\n"
         "Forbidden by default. Without an argument, only return the setting.\n"
         "@param allow? boolean\n"
         "@return boolean");
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

const bind_export bind_device_functions[] = {
  BIND_EXPORT(device_computes),
  BIND_EXPORT(device_default),
  BIND_TOPIC(device_info),
  BIND_EXPORT(device_list),
  BIND_EXPORT(device_multiplies_fp8),
  BIND_EXPORT(device_synchronize),
  BIND_EXPORT(device_tf32),
  { NULL, NULL },
};
