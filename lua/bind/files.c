/* Files of tensors for scripts: save, load and open_tensors (safetensors), save_npy and load_npy. C resources
   are stored in userdata on the Lua stack, so no error leaks them. */
#include <stdlib.h>
#include <string.h>

#include "../../engine/io/npy.h"
#include "../../engine/io/safetensors.h"
#include "bind.h"
#include "files.h"

#define STORED "bam.StoredTensor"

/* The string at `index`, without zero bytes, or raise. `role` says what was expected. */
static const char *check_text(lua_State *L, int index, const char *what, const char *role) {
  size_t length;
  if (lua_type(L, index) != LUA_TSTRING)
    bind_error(L, "%s: expected %s, got %s", what, role, bind_describe(L, index));
  const char *text = lua_tolstring(L, index, &length);
  if (strlen(text) != length)
    bind_error(L, "%s: %s cannot contain a zero byte", what, role);
  return text;
}

static void check_table(lua_State *L, int index, const char *what, const char *role) {
  if (lua_type(L, index) != LUA_TTABLE)
    bind_error(L, "%s: expected %s, got %s", what, role, bind_describe(L, index));
}

static const char *check_path(lua_State *L, const char *what) {
  return check_text(L, 1, what, "the path of a file");
}

/* ---- save ---- */

/* Push the keys and the values of the table at `table` as two lists, because a finalizer may change the table
   while it is being read. Returns their number. */
static int push_entries(lua_State *L, int table) {
  int n = 0, keys = lua_gettop(L) + 1;
  lua_newtable(L);
  lua_newtable(L);
  lua_pushnil(L);
  for (; lua_next(L, table); n++) {
    lua_rawseti(L, keys + 1, n + 1);
    lua_pushvalue(L, -1);
    lua_rawseti(L, keys, n + 1);
  }
  return n;
}

/* The string at position `i` of a list. Borrowed from the list. */
static const char *listed_text(lua_State *L, int list, int i, const char *role) {
  lua_rawgeti(L, list, i);
  const char *text = check_text(L, -1, "save", role);
  lua_pop(L, 1);
  return text;
}

/* Read the table of tensors at index 2 into an array in memory pushed onto the stack. */
static bam_named_tensor *read_tensors(lua_State *L, int *n) {
  int names = lua_gettop(L) + 1;
  *n = push_entries(L, 2);
  bam_named_tensor *tensors = lua_newuserdatauv(L, (size_t)*n * sizeof *tensors, 0);
  for (int i = 0; i < *n; i++) {
    tensors[i].name = listed_text(L, names, i + 1, "a string as the name of each tensor");
    lua_rawgeti(L, names + 1, i + 1);
    tensors[i].tensor = bind_test_tensor(L, -1);
    if (tensors[i].tensor == NULL)
      bind_error(L, "save: `%s` is %s, not a tensor", tensors[i].name, bind_describe(L, -1));
    lua_pop(L, 1);
  }
  return tensors;
}

static int by_key(const void *a, const void *b) {
  return strcmp(((const bam_metadata *)a)->key, ((const bam_metadata *)b)->key);
}

/* Read the table of strings at index 3 into an array, sorted by key, in memory pushed onto the stack. */
static bam_metadata *read_metadata(lua_State *L, int *n) {
  *n = 0;
  if (lua_isnil(L, 3))
    return NULL;
  check_table(L, 3, "save", "a table of strings as metadata");
  int keys = lua_gettop(L) + 1;
  *n = push_entries(L, 3);
  bam_metadata *metadata = lua_newuserdatauv(L, (size_t)*n * sizeof *metadata, 0);
  for (int i = 0; i < *n; i++) {
    metadata[i].key = listed_text(L, keys, i + 1, "strings as the keys of metadata");
    metadata[i].value = listed_text(L, keys + 1, i + 1,
                                    "strings as the values of metadata (use tostring)");
  }
  if (*n > 0)
    qsort(metadata, (size_t)*n, sizeof *metadata, by_key);
  return metadata;
}

BIND_DOC(files_save, "save(path, tensors, metadata)",
         "Atomically write tensors to a safetensors file.\n"
         "\n"
         "  bam.save(\"model.safetensors\", model:state(), { step = \"100\" })\n"
         "  model:load_state(bam.load \"model.safetensors\")\n"
         "@param path string\n"
         "@param tensors table<string, tensor>\n"
         "@param metadata? table<string, string>");
static int files_save(lua_State *L) {
  int n, n_metadata;
  const char *path = check_path(L, "save");
  check_table(L, 2, "save", "a table of tensors by name");
  lua_settop(L, 3);
  const bam_named_tensor *tensors = read_tensors(L, &n);
  const bam_metadata *metadata = read_metadata(L, &n_metadata);
  bam_status status = bam_safetensors_write(bind_context(L), path, tensors, n, metadata,
                                            n_metadata);
  bind_check_within(L, status, "save");
  return 0;
}

/* ---- load ---- */

static int close_file(lua_State *L) {
  bam_safetensors **handle = lua_touserdata(L, 1);
  bam_safetensors_close(*handle);
  *handle = NULL;
  return 0;
}

/* Push a userdata that owns an open file and closes it when collected. */
static bam_safetensors **push_file_handle(lua_State *L) {
  bam_safetensors *none = NULL;
  return bind_push_owner(L, &none, sizeof none, "bam.safetensors", close_file);
}

/* Read the tensor of entry `i`, and set it in the table at `table`. */
static void load_entry(lua_State *L, const bam_safetensors *file, int64_t i, int table) {
  int64_t n;
  bind_handle *handle = bind_push_handle(L);
  bind_check_within(L, bam_safetensors_tensor(file, i, &handle->tensor), "load");
  lua_setfield(L, table, bam_safetensors_entries(file, &n)[i].name);
}

static _Noreturn void fail_unknown(lua_State *L, const bam_safetensors *file, const char *path,
                                   const char *name) {
  int64_t n;
  const bam_safetensors_entry *entries = bam_safetensors_entries(file, &n);
  const char **names = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *names, 0);
  for (int64_t i = 0; i < n; i++)
    names[i] = entries[i].name;
  names[n] = NULL;
  const char *near = bind_nearest(name, names);
  bind_error(L, "load: no tensor `%s` in %s%s%s%s", name, path, near ? "; did you mean `" : "",
             near ? near : "", near ? "`?" : "");
}

/* Load the tensors listed at index 2 into the table at `table`. */
static void load_listed(lua_State *L, const bam_safetensors *file, const char *path, int table) {
  if (lua_type(L, 2) != LUA_TTABLE)
    bind_error(L, "load: expected a list of tensor names, got %s", bind_describe(L, 2));
  const int64_t count = bind_list(L, 2, "load: names of tensors");
  for (lua_Integer k = 1; k <= count; k++) {
    lua_rawgeti(L, 2, k);
    const char *name = check_text(L, -1, "load", "strings in the list of tensor names");
    int64_t i = bam_safetensors_find(file, name);
    if (i < 0)
      fail_unknown(L, file, path, name);
    load_entry(L, file, i, table);
    lua_pop(L, 1);
  }
}

static void push_metadata(lua_State *L, const bam_safetensors *file) {
  int64_t n;
  const bam_metadata *metadata = bam_safetensors_metadata(file, &n);
  lua_newtable(L);
  for (int64_t i = 0; i < n; i++) {
    lua_pushstring(L, metadata[i].value);
    lua_setfield(L, -2, metadata[i].key);
  }
}

BIND_DOC(files_load, "load(path, names)",
         "Read a safetensors file, or only the tensors listed.\n"
         "@param path string\n"
         "@param names? string[] all tensors by default\n"
         "@return table<string, tensor> tensors by name\n"
         "@return table<string, string> metadata");
static int files_load(lua_State *L) {
  const char *path = check_path(L, "load");
  lua_settop(L, 2);
  bam_safetensors **file = push_file_handle(L);
  bind_check_within(L, bam_safetensors_open(bind_context(L), path, file), "load");
  lua_newtable(L);
  if (!lua_isnil(L, 2))
    load_listed(L, *file, path, 4);
  else {
    int64_t n;
    bam_safetensors_entries(*file, &n);
    for (int64_t i = 0; i < n; i++)
      load_entry(L, *file, i, 4);
  }
  push_metadata(L, *file);
  bam_safetensors_close(*file); /* at once, not when it is collected */
  *file = NULL;
  return 2;
}

/* ---- stored tensors: read on demand ---- */

/* Entry `entry` of an open file, whose userdata is the user value. */
typedef struct stored {
  bam_safetensors **file;
  int64_t entry;
} stored;

static stored *test_stored(lua_State *L, int arg) { return luaL_testudata(L, arg, STORED); }

/* The open file of a stored tensor. */
static const bam_safetensors *file_of(lua_State *L, const stored *x) {
  if (*x->file == NULL) /* in a finalizer, when the state is closing */
    bind_error(L, "the file of a stored tensor is closed: the program is ending");
  return *x->file;
}

static const bam_safetensors_entry *entry_of(lua_State *L, const stored *x) {
  int64_t n;
  return &bam_safetensors_entries(file_of(L, x), &n)[x->entry];
}

bool bind_test_stored(lua_State *L, int arg, const bam_safetensors **file, int64_t *entry) {
  const stored *x = test_stored(L, arg);
  if (x == NULL)
    return false;
  *file = file_of(L, x);
  *entry = x->entry;
  return true;
}

BIND_DOC(stored_class, "bam.StoredTensor",
         "A tensor in an open file, read on demand.\n"
         "@field shape integer[]\n"
         "@field dtype dtype");

BIND_DOC(stored_read, "stored:read(first, last)",
         "Read the tensor, or the positions `first` to `last` of its first dimension.\n"
         "@param first? integer\n"
         "@param last? integer\n"
         "@return tensor");
static int stored_read(lua_State *L) {
  const stored *x = luaL_checkudata(L, 1, STORED);
  const bam_safetensors *file = file_of(L, x);
  const bam_shape *shape = &entry_of(L, x)->shape;
  if (lua_isnoneornil(L, 2)) {
    bind_handle *handle = bind_push_handle(L);
    bind_check(L, bam_safetensors_tensor(file, x->entry, &handle->tensor));
    return 1;
  }
  int64_t first = bind_integer(L, 2, "read: first"), last = bind_integer(L, 3, "read: last");
  if (shape->ndim == 0 || first < 1 || last < first - 1 || last > shape->size[0])
    bind_error(L, "read: positions %I to %I are out of range: the stored tensor has %I",
               (LUAI_UACINT)first, (LUAI_UACINT)last,
               (LUAI_UACINT)(shape->ndim > 0 ? shape->size[0] : 0));
  bind_handle *handle = bind_push_handle(L);
  bind_check(L, bam_safetensors_rows(file, x->entry, first - 1, last - first + 1, &handle->tensor));
  return 1;
}

BIND_DOC(stored_slice, "stored:slice(dim, first, last)",
         "Read the whole tensor and return a slice of it, as x:slice does.\n"
         "@param dim integer\n"
         "@param first integer\n"
         "@param last integer\n"
         "@return tensor");

BIND_DOC(stored_totable, "stored:totable()",
         "Read the tensor as nested lists, as x:totable does.\n"
         "@return table|number|boolean");

/* stored:NAME(...): read the tensor and call its method NAME, which is the upvalue. */
static int stored_method(lua_State *L) {
  const stored *x = luaL_checkudata(L, 1, STORED);
  const int count = lua_gettop(L);
  bind_handle *handle = bind_push_handle(L);
  bind_check(L, bam_safetensors_tensor(file_of(L, x), x->entry, &handle->tensor));
  lua_replace(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_gettable(L, 1);
  lua_insert(L, 1);
  lua_call(L, count, LUA_MULTRET);
  return lua_gettop(L);
}

static int stored_length(lua_State *L) {
  const bam_shape *shape = &entry_of(L, luaL_checkudata(L, 1, STORED))->shape;
  lua_pushinteger(L, shape->ndim > 0 ? shape->size[0] : 0);
  return 1;
}

static int stored_describe(lua_State *L) {
  char text[BAM_SHAPE_TEXT];
  const bam_safetensors_entry *entry = entry_of(L, luaL_checkudata(L, 1, STORED));
  lua_pushfstring(L, "stored tensor %s %s", bam_dtype_name(entry->dtype),
                  bam_shape_text(&entry->shape, text));
  return 1;
}

const bind_export bind_stored_methods[] = {
  BIND_TOPIC(stored_class),   BIND_EXPORT(stored_read), BIND_TOPIC(stored_slice),
  BIND_TOPIC(stored_totable), { NULL, NULL },
};

/* __index of stored tensors: the fields shape and dtype, and the methods read, slice and totable. */
static int stored_index(lua_State *L) {
  const bam_safetensors_entry *entry = entry_of(L, luaL_checkudata(L, 1, STORED));
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strcmp(key, "shape") == 0) {
    lua_createtable(L, entry->shape.ndim, 0);
    for (int d = 0; d < entry->shape.ndim; d++) {
      lua_pushinteger(L, entry->shape.size[d]);
      lua_rawseti(L, -2, d + 1);
    }
  } else if (strcmp(key, "dtype") == 0)
    lua_pushstring(L, bam_dtype_name(entry->dtype));
  else if (strcmp(key, "read") == 0)
    lua_pushcfunction(L, stored_read);
  else if (strcmp(key, "slice") == 0 || strcmp(key, "totable") == 0) {
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, stored_method, 1);
  } else
    lua_pushnil(L);
  return 1;
}

/* Push the metatable of stored tensors. */
static void push_stored_type(lua_State *L) {
  static const luaL_Reg metamethods[] = { { "__index", stored_index },
                                          { "__len", stored_length },
                                          { "__tostring", stored_describe },
                                          { NULL, NULL } };
  luaL_newmetatable(L, STORED);
  luaL_setfuncs(L, metamethods, 0); /* every time: the first attempt may have run out of memory */
  lua_pushliteral(L, STORED);
  lua_setfield(L, -2, "__metatable");
}

BIND_DOC(files_open_tensors, "open_tensors(path, what)",
         "Open a safetensors file without reading its tensors. Reading one fails if the file was "
         "changed in the\n"
         "meantime.\n"
         "@param path string\n"
         "@param what? string prefix of error messages\n"
         "@return table<string, bam.StoredTensor> tensors by name\n"
         "@return table<string, string> metadata");
static int files_open_tensors(lua_State *L) {
  int64_t n;
  const char *what = luaL_optstring(L, 2, "open_tensors");
  const char *path = check_path(L, what);
  bam_safetensors **file = push_file_handle(L);
  int handle = lua_gettop(L);
  bind_check_within(L, bam_safetensors_open(bind_context(L), path, file), what);
  const bam_safetensors_entry *entries = bam_safetensors_entries(*file, &n);
  push_stored_type(L);
  lua_newtable(L);
  for (int64_t i = 0; i < n; i++) {
    stored *x = lua_newuserdatauv(L, sizeof *x, 1);
    *x = (stored){ file, i };
    lua_pushvalue(L, handle);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, handle + 1);
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, entries[i].name);
  }
  push_metadata(L, *file);
  return 2;
}

/* ---- npy ---- */

BIND_DOC(files_save_npy, "save_npy(path, x)",
         "Write a tensor to a NumPy file.\n"
         "@param path string\n"
         "@param x tensor");
static int files_save_npy(lua_State *L) {
  const char *path = check_path(L, "save_npy");
  bam_tensor *tensor = bind_test_tensor(L, 2);
  if (tensor == NULL)
    return bind_error(L, "save_npy: expected a tensor, got %s", bind_describe(L, 2));
  bind_check_within(L, bam_npy_write(bind_context(L), path, tensor), "save_npy");
  return 0;
}

BIND_DOC(files_load_npy, "load_npy(path)",
         "Read a tensor from a NumPy file.\n"
         "@param path string\n"
         "@return tensor");
static int files_load_npy(lua_State *L) {
  const char *path = check_path(L, "load_npy");
  bind_handle *handle = bind_push_handle(L);
  bind_check_within(L, bam_npy_read(bind_context(L), path, &handle->tensor), "load_npy");
  return 1;
}

const bind_export bind_files_functions[] = {
  BIND_EXPORT(files_save),     BIND_EXPORT(files_load),     BIND_EXPORT(files_open_tensors),
  BIND_EXPORT(files_save_npy), BIND_EXPORT(files_load_npy), { NULL, NULL },
};
