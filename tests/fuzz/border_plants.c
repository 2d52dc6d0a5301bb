/* Faults that can be planted in bam.core, one at a time, as its function `planted`. The fuzzer must find each of them
   (tests/fuzz/run.sh); otherwise it would miss real ones too. */
#include <string.h>

#include "../../lua/bind/bind.h"
#include "border.h"

/* planted(x): reads past the end of a tensor of exactly two dimensions. */
static int plant_overflow(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  if (x->shape.ndim == 2 && x->storage->bytes > 0)
    lua_pushinteger(L, ((volatile char *)bam_tensor_data(x))[x->storage->bytes]);
  return 0;
}

/* planted(x): one reference too many. */
static int plant_leak(lua_State *L) {
  bam_tensor_retain(bind_tensor(L, 1));
  return 0;
}

/* planted(x): changes x, then fails. */
static int plant_change(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  if (bam_tensor_count(x) > 0 && bam_tensor_is_contiguous(x))
    ((char *)bam_tensor_data(x))[0] ^= 1;
  return bind_error(L, "planted: no");
}

/* planted(x, f): uses the tensor after f, without holding a reference. */
static int plant_borrow(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_pushvalue(L, 2);
  lua_call(L, 0, 0);
  lua_pushinteger(L, x->shape.ndim);
  return 1;
}

static int plant_hang(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  for (volatile bool more = true; more;)
    ;
  return 0;
}

static int plant_message(lua_State *L) {
  lua_pushstring(L, "bam/planted.lua:1: attempt to index a nil value (local 'planted')");
  return lua_error(L);
}

static const luaL_Reg plants[] = { { "overflow", plant_overflow },
                                   { "leak", plant_leak },
                                   { "change", plant_change },
                                   { "borrow", plant_borrow },
                                   { "hang", plant_hang },
                                   { "message", plant_message },
                                   { NULL, NULL } };

lua_CFunction border_find_plant(const char *name) {
  for (const luaL_Reg *plant = plants; plant->name != NULL; plant++)
    if (strcmp(plant->name, name) == 0)
      return plant->func;
  return NULL;
}
