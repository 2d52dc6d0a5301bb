/* Paths for scripts: asking about them, and small changes to what is there. */
#include "../../engine/path.h"

#include "../../engine/change.h"
#include "../../engine/staged.h"
#include "bind.h"

/* ---- asking ---- */

static int release_paths(lua_State *L) {
  bam_paths_release(lua_touserdata(L, 1));
  return 0;
}

/* glob(pattern) gives { path, ... } */
static int path_glob(lua_State *L) {
  const char *pattern = bind_path(L, 1, "glob", "files, perhaps with * in it");
  const bam_paths none = { .count = 0 };
  bam_paths *paths = bind_push_owner(L, &none, sizeof none, "bam.paths", release_paths);
  bind_check_within(L, bam_path_glob(bind_context(L), pattern, paths), "glob");
  lua_newtable(L);
  for (int64_t i = 0; i < paths->count; i++) {
    lua_pushstring(L, paths->found.gl_pathv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  bam_paths_release(paths); /* now, not when it is collected */
  return 1;
}

/* file_info(path) gives { kind, size, modified, inode }, or nil */
static int path_info(lua_State *L) {
  bam_path_info info;
  bool found;
  const char *path = bind_path(L, 1, "file_info", "a file");
  bind_check_within(L, bam_path_about(bind_context(L), path, &info, &found), "file_info");
  if (!found)
    return 0;
  lua_createtable(L, 0, 4);
  lua_pushstring(L, info.kind);
  lua_setfield(L, -2, "kind");
  lua_pushinteger(L, info.size);
  lua_setfield(L, -2, "size");
  lua_pushnumber(L, info.modified);
  lua_setfield(L, -2, "modified");
  lua_pushinteger(L, info.inode);
  lua_setfield(L, -2, "inode");
  return 1;
}

/* absolute(path) */
static int path_absolute(lua_State *L) {
  char absolute[PATH_MAX];
  const char *path = bind_path(L, 1, "absolute", "a file");
  bind_check_within(L, bam_path_absolute(bind_context(L), path, absolute), "absolute");
  lua_pushstring(L, absolute);
  return 1;
}

/* ---- changing ---- */

/* link(target, path) */
static int path_link(lua_State *L) {
  const char *target = bind_path(L, 1, "link", "what to link to");
  const char *path = bind_path(L, 2, "link", "a link");
  bind_check_within(L, bam_change_link(bind_context(L), target, path), "link");
  return 0;
}

/* append_file(path, text) */
static int path_append(lua_State *L) {
  size_t size;
  const char *path = bind_path(L, 1, "append_file", "a file");
  if (lua_type(L, 2) != LUA_TSTRING)
    return bind_error(L, "append_file: expected a string to append, got %s", bind_describe(L, 2));
  const char *text = lua_tolstring(L, 2, &size);
  bam_status status = bam_change_append(bind_context(L), path, text, (int64_t)size);
  bind_check_within(L, status, "append_file");
  return 0;
}

/* truncate_file(path, size) */
static int path_truncate(lua_State *L) {
  const char *path = bind_path(L, 1, "truncate_file", "a file");
  int64_t size = bind_integer(L, 2, "truncate_file: size");
  bind_check_within(L, bam_change_truncate(bind_context(L), path, size), "truncate_file");
  return 0;
}

/* remove_file(path) */
static int path_remove(lua_State *L) {
  const char *path = bind_path(L, 1, "remove_file", "a file");
  bind_check_within(L, bam_change_remove(bind_context(L), path), "remove_file");
  return 0;
}

/* staged_for(name) gives the name that a temporary name stands for, nil when it is none */
static int path_staged_for(lua_State *L) {
  const char *name = bind_path(L, 1, "staged_for", "a name");
  int length = bam_staged_length(name);
  if (length < 0)
    return 0;
  lua_pushlstring(L, name, (size_t)length);
  return 1;
}

/* set_aside(path) gives the new path */
static int path_set_aside(lua_State *L) {
  char aside[PATH_MAX];
  const char *path = bind_path(L, 1, "set_aside", "a file or directory");
  bind_check_within(L, bam_change_set_aside(bind_context(L), path, aside), "set_aside");
  lua_pushstring(L, aside);
  return 1;
}

/* sync_file(path) */
static int path_sync(lua_State *L) {
  const char *path = bind_path(L, 1, "sync_file", "a file");
  bind_check_within(L, bam_change_sync(bind_context(L), path), "sync_file");
  return 0;
}

/* remove_staged(directory) gives a count */
static int path_remove_staged(lua_State *L) {
  int64_t count;
  const char *directory = bind_path(L, 1, "remove_staged", "a directory");
  bind_check_within(L, bam_change_clean(bind_context(L), directory, &count), "remove_staged");
  lua_pushinteger(L, count);
  return 1;
}

const luaL_Reg bind_path_functions[] = {
  { "glob", path_glob },
  { "file_info", path_info },
  { "absolute", path_absolute },
  { "link", path_link },
  { "append_file", path_append },
  { "truncate_file", path_truncate },
  { "remove_file", path_remove },
  { "remove_staged", path_remove_staged },
  { "staged_for", path_staged_for },
  { "set_aside", path_set_aside },
  { "sync_file", path_sync },
  { NULL, NULL },
};
