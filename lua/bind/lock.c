/* Locks between processes, for scripts. A lock is let go at the end of its block (<close>), or when
   it is collected, or by its release. */
#include "../../engine/lock.h"

#include "bind.h"

#define LOCK "bam.Lock"

static bam_lock **check_lock(lua_State *L) {
  bam_lock **box = luaL_testudata(L, 1, LOCK);
  if (box == NULL)
    bind_error(L, "expected a lock, got %s; call methods with a colon", bind_describe(L, 1));
  return box;
}

static int lock_collect(lua_State *L) {
  bam_lock **box = lua_touserdata(L, 1);
  bam_lock_release(*box);
  *box = NULL;
  return 0;
}

static int lock_release(lua_State *L) {
  check_lock(L);
  return lock_collect(L);
}

static int lock_describe(lua_State *L) {
  lua_pushstring(L, *check_lock(L) != NULL ? "lock" : "lock (released)");
  return 1;
}

/* lock(path) gives a lock; or nil and who has it */
static int lock_take(lua_State *L) {
  static const luaL_Reg methods[] = { { "release", lock_release }, { NULL, NULL } };
  char holder[BAM_LOCK_TEXT];
  const char *path = bind_path(L, 1, "lock", "a file");
  bam_lock *none = NULL;
  bam_lock **box = bind_push_owner(L, &none, sizeof none, LOCK, lock_collect);
  bind_set_type(L, methods, lock_release, lock_describe);
  bind_check_within(L, bam_lock_take(bind_context(L), path, box, holder), "lock");
  if (*box != NULL)
    return 1;
  lua_pushnil(L);
  lua_pushstring(L, holder);
  return 2;
}

const luaL_Reg bind_lock_functions[] = { { "lock", lock_take }, { NULL, NULL } };
