/* Locks between processes, for scripts. A lock is released by its method `release`, at the end of its block
   (<close>), or when it is collected. */
#include "../../engine/io/lock.h"

#include "bind.h"

#define LOCK "bam.Lock"

static bam_lock **check_lock(lua_State *L) {
  bam_lock **handle = luaL_testudata(L, 1, LOCK);
  if (handle == NULL)
    bind_error(L, "expected a lock, got %s; call methods with a colon", bind_describe(L, 1));
  return handle;
}

static int lock_collect(lua_State *L) {
  bam_lock **handle = lua_touserdata(L, 1);
  bam_lock_release(*handle);
  *handle = NULL;
  return 0;
}

BIND_DOC(lock_class, "bam.Lock",
         "A lock between processes. It is also released by `<close>` and when it is collected.");

BIND_DOC(lock_release, "lock:release()", "Release the lock. Releasing it again is fine.");
static int lock_release(lua_State *L) {
  check_lock(L);
  return lock_collect(L);
}

static int lock_describe(lua_State *L) {
  lua_pushstring(L, *check_lock(L) != NULL ? "lock" : "lock (released)");
  return 1;
}

const bind_export bind_lock_methods[] = {
  BIND_TOPIC(lock_class),
  BIND_EXPORT(lock_release),
  { NULL, NULL },
};

BIND_DOC(lock_take, "lock(path)",
         "Take the lock of a file, which is created if missing. If another process holds it, "
         "return nil and who\n"
         "that is. A lock is released when its process ends, however it ends; the file stays. A "
         "symbolic link, or\n"
         "a file that is not a lock file, is an error and is not changed.\n"
         "@param path string\n"
         "@return bam.Lock? lock keep it as long as it is needed\n"
         "@return string? holder \"process 1234 on host h, since 2026-11-24 12:00:01 UTC\"");
static int lock_take(lua_State *L) {
  char holder[BAM_LOCK_TEXT];
  const char *path = bind_path(L, 1, "lock", "a file");
  bam_lock *none = NULL;
  bam_lock **handle = bind_push_owner(L, &none, sizeof none, LOCK, lock_collect);
  bind_set_type(L, bind_lock_methods, lock_release, lock_describe);
  bind_check_within(L, bam_lock_take(bind_context(L), path, handle, holder), "lock");
  if (*handle != NULL)
    return 1;
  lua_pushnil(L);
  lua_pushstring(L, holder);
  return 2;
}

const bind_export bind_lock_functions[] = {
  BIND_EXPORT(lock_take),
  { NULL, NULL },
};
