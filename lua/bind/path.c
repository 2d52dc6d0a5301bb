/* Paths for scripts: queries, and operations on single files. */
#include "../../engine/io/paths.h"

#include "../../engine/io/file_ops.h"
#include "../../engine/io/staged.h"
#include "bind.h"

/* ---- queries ---- */

static int release_paths(lua_State *L) {
  bam_paths_release(lua_touserdata(L, 1));
  return 0;
}

BIND_DOC(path_glob, "glob(pattern)",
         "The paths that match a shell pattern (`*`, `?`, `[...]`), sorted by bytes. A pattern "
         "that is itself a\n"
         "path matches that path. A directory that is missing or cannot be read is an error.\n"
         "@param pattern string\n"
         "@return string[]");
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
  bam_paths_release(paths); /* at once, not when it is collected */
  return 1;
}

BIND_DOC(path_info_class, "bam.FileInfo",
         "A result of file_info.\n"
         "@field kind \"file\"|\"directory\"|\"other\"\n"
         "@field size integer bytes\n"
         "@field modified number seconds since 1970\n"
         "@field inode integer");

BIND_DOC(
  path_info, "file_info(path)",
  "The kind, size and time of the file at a path, following links. nil if it does not exist.\n"
  "@param path string\n"
  "@return bam.FileInfo?");
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

BIND_DOC(path_absolute, "absolute(path)",
         "The absolute path without links, \".\" and \"..\". Components that do not exist are kept "
         "as written.\n"
         "@param path string\n"
         "@return string");
static int path_absolute(lua_State *L) {
  char absolute[PATH_MAX];
  const char *path = bind_path(L, 1, "absolute", "a file");
  bind_check_within(L, bam_path_absolute(bind_context(L), path, absolute), "absolute");
  lua_pushstring(L, absolute);
  return 1;
}

/* ---- operations ---- */

BIND_DOC(path_link, "link(target, path)",
         "Atomically create a symbolic link at `path`. An existing link is replaced; anything else "
         "at `path` is\n"
         "an error.\n"
         "@param target string path as seen from the link\n"
         "@param path string");
static int path_link(lua_State *L) {
  const char *target = bind_path(L, 1, "link", "what to link to");
  const char *path = bind_path(L, 2, "link", "a link");
  bind_check_within(L, bam_symlink(bind_context(L), target, path), "link");
  return 0;
}

BIND_DOC(path_append, "append_file(path, text)",
         "Append to a file, which is created if missing, in one write. If the disk is full, "
         "nothing is appended.\n"
         "@param path string\n"
         "@param text string");
static int path_append(lua_State *L) {
  size_t size;
  const char *path = bind_path(L, 1, "append_file", "a file");
  if (lua_type(L, 2) != LUA_TSTRING)
    return bind_error(L, "append_file: expected a string to append, got %s", bind_describe(L, 2));
  const char *text = lua_tolstring(L, 2, &size);
  bam_status status = bam_file_append(bind_context(L), path, text, (int64_t)size);
  bind_check_within(L, status, "append_file");
  return 0;
}

BIND_DOC(path_truncate, "truncate_file(path, size)",
         "Truncate a file to its first `size` bytes. An error if it is shorter.\n"
         "@param path string\n"
         "@param size integer");
static int path_truncate(lua_State *L) {
  const char *path = bind_path(L, 1, "truncate_file", "a file");
  int64_t size = bind_integer(L, 2, "truncate_file: size");
  bind_check_within(L, bam_file_truncate(bind_context(L), path, size), "truncate_file");
  return 0;
}

BIND_DOC(path_remove, "remove_file(path)",
         "Delete a file or link. A missing one is fine.\n"
         "@param path string");
static int path_remove(lua_State *L) {
  const char *path = bind_path(L, 1, "remove_file", "a file");
  bind_check_within(L, bam_file_remove(bind_context(L), path), "remove_file");
  return 0;
}

BIND_DOC(path_staged_for, "staged_for(name)",
         "The final name of a temporary name such as \"step-00000004.tmp-0123456789abcdef\"; nil "
         "if it is not "
         "one.\n"
         "@param name string without a directory\n"
         "@return string?");
static int path_staged_for(lua_State *L) {
  const char *name = bind_path(L, 1, "staged_for", "a name");
  int length = bam_staged_length(name);
  if (length < 0)
    return 0;
  lua_pushlstring(L, name, (size_t)length);
  return 1;
}

BIND_DOC(path_set_aside, "set_aside(path)",
         "Rename a file or directory to PATH.set-aside, or to PATH.set-aside-2 and so on.\n"
         "@param path string\n"
         "@return string aside new path");
static int path_set_aside(lua_State *L) {
  char aside[PATH_MAX];
  const char *path = bind_path(L, 1, "set_aside", "a file or directory");
  bind_check_within(L, bam_path_set_aside(bind_context(L), path, aside), "set_aside");
  lua_pushstring(L, aside);
  return 1;
}

BIND_DOC(path_sync, "sync_file(path)",
         "Wait until the contents of a file are on disk.\n"
         "@param path string");
static int path_sync(lua_State *L) {
  const char *path = bind_path(L, 1, "sync_file", "a file");
  bind_check_within(L, bam_file_sync(bind_context(L), path), "sync_file");
  return 0;
}

BIND_DOC(path_remove_staged, "remove_staged(directory)",
         "Delete unfinished temporary files and directories (NAME.tmp- and 16 digits) of processes "
         "that have\n"
         "ended.\n"
         "@param directory string\n"
         "@return integer count how many were deleted");
static int path_remove_staged(lua_State *L) {
  int64_t count;
  const char *directory = bind_path(L, 1, "remove_staged", "a directory");
  bind_check_within(L, bam_remove_leftovers(bind_context(L), directory, &count), "remove_staged");
  lua_pushinteger(L, count);
  return 1;
}

const bind_export bind_path_functions[] = {
  BIND_EXPORT(path_glob),
  BIND_TOPIC(path_info_class),
  BIND_EXPORT(path_info),
  BIND_EXPORT(path_absolute),
  BIND_EXPORT(path_link),
  BIND_EXPORT(path_append),
  BIND_EXPORT(path_truncate),
  BIND_EXPORT(path_remove),
  BIND_EXPORT(path_remove_staged),
  BIND_EXPORT(path_staged_for),
  BIND_EXPORT(path_set_aside),
  BIND_EXPORT(path_sync),
  { NULL, NULL },
};
