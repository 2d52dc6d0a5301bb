/* Directories and small files for scripts, as needed to save and load a model directory. C resources are
   stored in userdata on the Lua stack, so no error leaks them. */
#include "../../engine/io/directory.h"
#include "../../engine/io/file.h"

#include <string.h>
#include <unistd.h>

#include "../../engine/io/atomic_file.h"
#include "../../engine/io/paths.h"
#include "bind.h"

#define MOST_BYTES (100 * 1000 * 1000) /* the default limit of read_file */

/* ---- directories ---- */

BIND_DOC(
  directory_is, "is_directory(path)",
  "Is there a directory, or a link to one, at this path? An error if the system cannot tell.\n"
  "@param path string\n"
  "@return boolean");
static int directory_is(lua_State *L) {
  bam_path_info info;
  bool found;
  const char *path = bind_path(L, 1, "is_directory", "a directory");
  bind_check_within(L, bam_path_about(bind_context(L), path, &info, &found), "is_directory");
  lua_pushboolean(L, found && strcmp(info.kind, "directory") == 0);
  return 1;
}

static int release_names(lua_State *L) {
  bam_names_release(lua_touserdata(L, 1));
  return 0;
}

BIND_DOC(directory_list, "list_directory(path)",
         "The names in a directory, sorted by bytes.\n"
         "@param path string\n"
         "@return string[]");
static int directory_list(lua_State *L) {
  const char *path = bind_path(L, 1, "list_directory", "a directory");
  const bam_names none = { NULL, 0 };
  bam_names *names = bind_push_owner(L, &none, sizeof none, "bam.names", release_names);
  bind_check_within(L, bam_directory_list(bind_context(L), path, names), "list_directory");
  lua_createtable(L, names->count, 0);
  for (int i = 0; i < names->count; i++) {
    lua_pushstring(L, names->entries[i]->d_name);
    lua_rawseti(L, -2, i + 1);
  }
  bam_names_release(names); /* at once, not when it is collected */
  return 1;
}

BIND_DOC(directory_make, "make_directory(path)",
         "Create a directory and its parents. An existing directory is fine.\n"
         "@param path string");
static int directory_make(lua_State *L) {
  const char *path = bind_path(L, 1, "make_directory", "a directory");
  bind_check_within(L, bam_directory_make(bind_context(L), path), "make_directory");
  return 0;
}

static int push_path(lua_State *L) {
  lua_pushstring(L, lua_touserdata(L, 1));
  return 1;
}

BIND_DOC(directory_stage, "stage_directory(path)",
         "Create an empty temporary directory next to `path`, to be filled and then committed or "
         "discarded.\n"
         "Parents of `path` are created too.\n"
         "@param path string final path\n"
         "@return string staged path to write into");
static int directory_stage(lua_State *L) {
  char staged[PATH_MAX];
  bam_context *context = bind_context(L);
  const char *path = bind_path(L, 1, "stage_directory", "a directory");
  bind_check_within(L, bam_directory_stage(context, path, staged), "stage_directory");
  lua_pushcfunction(L, push_path);
  lua_pushlightuserdata(L, staged);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK)
    return 1;
  bam_directory_discard(context, staged); /* its path is lost, so delete it */
  return bind_raise(L);
}

BIND_DOC(directory_commit, "commit_directory(staged, path)",
         "Atomically rename a staged directory to `path`. An existing directory is replaced and "
         "deleted, but only\n"
         "if all it contains are *.json and *.safetensors files that the new one has too, or "
         "weight shards of\n"
         "another number.\n"
         "@param staged string result of stage_directory\n"
         "@param path string");
static int directory_commit(lua_State *L) {
  const char *staged = bind_path(L, 1, "commit_directory", "a staged directory");
  const char *path = bind_path(L, 2, "commit_directory", "a directory");
  bind_check_within(L, bam_directory_commit(bind_context(L), staged, path), "commit_directory");
  return 0;
}

BIND_DOC(directory_discard, "discard_directory(staged)",
         "Delete a staged directory and its files.\n"
         "@param staged string result of stage_directory");
static int directory_discard(lua_State *L) {
  const char *staged = bind_path(L, 1, "discard_directory", "a staged directory");
  bind_check_within(L, bam_directory_discard(bind_context(L), staged), "discard_directory");
  return 0;
}

BIND_DOC(directory_remove, "remove_directory(path)",
         "Delete a directory and the files in it. An error if it contains anything else.\n"
         "@param path string");
static int directory_remove(lua_State *L) {
  const char *path = bind_path(L, 1, "remove_directory", "a directory");
  bind_check_within(L, bam_directory_remove(bind_context(L), path), "remove_directory");
  return 0;
}

/* ---- small files ---- */

static int close_file(lua_State *L) {
  int *file = lua_touserdata(L, 1);
  if (*file >= 0)
    close(*file);
  *file = -1;
  return 0;
}

/* Push the rest of a file. The file may grow during the read, but not beyond the limit. */
static void push_contents(lua_State *L, const char *path, int file, int64_t limit) {
  luaL_Buffer text;
  int64_t got, total = 0;
  luaL_buffinit(L, &text);
  do {
    char *room = luaL_prepbuffsize(&text, BAM_WRITER_BUFFER);
    bind_check_within(L, bam_file_read(bind_context(L), path, file, room, BAM_WRITER_BUFFER, &got),
                      "read_file");
    luaL_addsize(&text, (size_t)got);
    total += got;
    if (total > limit)
      bind_error(L, "read_file: the file grew beyond the limit of %I bytes while it was being read",
                 (LUAI_UACINT)limit);
  } while (got > 0);
  luaL_pushresult(&text);
}

BIND_DOC(file_read, "read_file(path, limit)",
         "The contents of a file.\n"
         "@param path string\n"
         "@param limit? integer maximal size in bytes; 100 million by default\n"
         "@return string");
static int file_read(lua_State *L) {
  const char *path = bind_path(L, 1, "read_file", "a file");
  int64_t limit = lua_isnoneornil(L, 2) ? MOST_BYTES : bind_integer(L, 2, "read_file: limit");
  const int none = -1;
  int *file = bind_push_owner(L, &none, sizeof none, "bam.descriptor", close_file);
  bind_check_within(L, bam_file_open(bind_context(L), path, limit, file), "read_file");
  push_contents(L, path, *file, limit);
  close(*file);
  *file = -1;
  return 1;
}

BIND_DOC(file_write, "write_file(path, text)",
         "Atomically write a file: readers see the old or the new contents, never a part.\n"
         "@param path string\n"
         "@param text string");
static int file_write(lua_State *L) {
  bam_context *context = bind_context(L);
  const char *path = bind_path(L, 1, "write_file", "a file");
  size_t size;
  if (lua_type(L, 2) != LUA_TSTRING)
    return bind_error(L, "write_file: expected a string to write, got %s", bind_describe(L, 2));
  const char *text = lua_tolstring(L, 2, &size);
  bam_writer writer;
  bam_status status = bam_writer_open(&writer, context, path);
  if (status == BAM_OK)
    status = bam_writer_bytes(&writer, text, (int64_t)size);
  if (status == BAM_OK)
    status = bam_writer_commit(&writer);
  bam_writer_abandon(&writer);
  bind_check_within(L, status, "write_file");
  return 0;
}

const bind_export bind_directory_functions[] = {
  BIND_EXPORT(directory_is),     BIND_EXPORT(directory_list),
  BIND_EXPORT(directory_make),   BIND_EXPORT(directory_stage),
  BIND_EXPORT(directory_commit), BIND_EXPORT(directory_discard),
  BIND_EXPORT(directory_remove), BIND_EXPORT(file_read),
  BIND_EXPORT(file_write),       { NULL, NULL },
};
