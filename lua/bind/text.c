/* Text for scripts: the document reader, and training windows. A reader is closed when it fails, at the end of its
   block (<close>), or when it is collected. */
#include <string.h>

#include "../../engine/text/decompress.h"
#include "../../engine/text/reader.h"
#include "../../engine/text/windows.h"
#include "bind.h"
#include "files.h"

/* ---- the reader ---- */

#define READER "bam.TextReader"

/* If a finalizer closes a reader during a read, the reader is closed after the read. */
typedef struct reader_handle {
  bam_reader *reader; /* NULL: closed */
  bool busy, closing;
} reader_handle;

static reader_handle *check_reader(lua_State *L) {
  reader_handle *handle = luaL_testudata(L, 1, READER);
  if (handle == NULL)
    bind_error(L, "expected a text reader, got %s; call methods with a colon", bind_describe(L, 1));
  return handle;
}

static void let_go(reader_handle *handle) {
  handle->closing = handle->busy;
  if (handle->busy)
    return;
  bam_reader_close(handle->reader);
  handle->reader = NULL;
}

BIND_DOC(reader_close, "reader:close()", "Close the file. Closing again is fine.");
static int reader_close(lua_State *L) {
  let_go(check_reader(L));
  return 0;
}

static int reader_collect(lua_State *L) {
  let_go(lua_touserdata(L, 1));
  return 0;
}

BIND_DOC(reader_class, "bam.TextReader",
         "A reader of the documents of a text file. After an error it is closed.");

BIND_DOC(
  reader_next, "reader:next()",
  "The next non-empty document, or nil at the end.\n"
  "@return string? text any bytes\n"
  "@return integer? line line number of its beginning\n"
  "@return true? continues a document of more than 16 MB comes in parts, and this is not the last");
static int reader_next(lua_State *L) {
  reader_handle *handle = check_reader(L);
  bam_document document;
  bool found;
  if (handle->reader == NULL)
    return bind_error(L, "next: the text reader is closed");
  handle->busy = true;
  bam_status status = bam_reader_next(handle->reader, &document, &found);
  handle->busy = false;
  if (status == BAM_OK && found)
    lua_pushlstring(L, document.text, (size_t)document.size);
  if (status != BAM_OK || handle->closing)
    let_go(handle);
  bind_check(L, status);
  if (!found)
    return 0;
  lua_pushinteger(L, document.line);
  if (!document.continues)
    return 2;
  lua_pushboolean(L, true);
  return 3;
}

BIND_DOC(reader_skipped, "reader:skipped()",
         "How many records were skipped, and what was wrong with the first one.\n"
         "@return integer count\n"
         "@return string? fault with path and line");
static int reader_skipped(lua_State *L) {
  const reader_handle *handle = check_reader(L);
  const char *fault;
  if (handle->reader == NULL)
    return bind_error(L, "skipped: the text reader is closed");
  int64_t count = bam_reader_skipped(handle->reader, &fault);
  lua_pushinteger(L, count);
  if (count == 0)
    return 1;
  lua_pushstring(L, fault);
  return 2;
}

static int reader_describe(lua_State *L) {
  lua_pushstring(L, check_reader(L)->reader != NULL ? "text reader" : "text reader (closed)");
  return 1;
}

const bind_export bind_reader_methods[] = {
  BIND_TOPIC(reader_class),    BIND_EXPORT(reader_next), BIND_EXPORT(reader_close),
  BIND_EXPORT(reader_skipped), { NULL, NULL },
};

/* Push an empty handle for a reader. */
static reader_handle *push_reader(lua_State *L) {
  const reader_handle none = { .reader = NULL };
  reader_handle *handle = bind_push_owner(L, &none, sizeof none, READER, reader_collect);
  bind_set_type(L, bind_reader_methods, reader_close, reader_describe);
  return handle;
}

/* The string option `name`: one line without zero bytes, or `preset` if it is absent. */
static const char *read_option(lua_State *L, const char *name, const char *preset) {
  size_t length;
  if (lua_isnoneornil(L, 2) || lua_getfield(L, 2, name) == LUA_TNIL)
    return preset;
  if (lua_type(L, -1) != LUA_TSTRING)
    bind_error(L, "text_open: option %s: expected a string, got %s", name, bind_describe(L, -1));
  const char *text = lua_tolstring(L, -1, &length);
  if (length == 0 || length > 1000 || strlen(text) != length || strchr(text, '\n') != NULL)
    bind_error(L, "text_open: option %s: expected 1 to 1000 bytes of one line", name);
  return text;
}

static bam_text_format read_format(lua_State *L) {
  const char *format = read_option(L, "format", NULL);
  if (format == NULL)
    return BAM_TEXT_AUTO;
  if (strcmp(format, "jsonl") != 0 && strcmp(format, "text") != 0)
    bind_error(L, "text_open: option format: expected \"jsonl\" or \"text\", got %s",
               bind_describe(L, -1));
  return strcmp(format, "jsonl") == 0 ? BAM_TEXT_JSONL : BAM_TEXT_PLAIN;
}

static bool read_skips_bad(lua_State *L) {
  if (lua_isnil(L, 2) || lua_getfield(L, 2, "skip_bad") == LUA_TNIL)
    return false;
  if (lua_type(L, -1) != LUA_TBOOLEAN)
    bind_error(L, "text_open: option skip_bad: expected true or false, got %s",
               bind_describe(L, -1));
  return lua_toboolean(L, -1);
}

BIND_DOC(
  text_options, "bam.TextOptions",
  "Options of text_open.\n"
  "@field field? string field of a JSON object that holds the document; \"text\" by default, "
  "\"doc.text\" "
  "is nested\n"
  "@field separator? string line that ends a document of plain text; \"<|endoftext|>\" by default\n"
  "@field format? \"jsonl\"|\"text\" what the file contains\n"
  "@field skip_bad? boolean count and skip JSON lines without a document instead of stopping");

BIND_DOC(text_open, "text_open(path, options)",
         "Open a text file to read its documents one after another, in bounded memory: JSON lines "
         "(.jsonl,\n"
         ".ndjson, .json) with a document per line, or plain text with separator lines between "
         "documents, either\n"
         "of them also as .gz or .zst. Errors name the path and the line. A file whose name and "
         "contents disagree\n"
         "is an error unless `format` is set.\n"
         "@param path string\n"
         "@param options? bam.TextOptions\n"
         "@return bam.TextReader");
static int text_open(lua_State *L) {
  static const char *const names[] = { "field", "separator", "format", "skip_bad", NULL };
  const char *path = bind_path(L, 1, "text_open", "a text file");
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    if (lua_type(L, 2) != LUA_TTABLE)
      bind_error(L, "text_open: expected a table of options, got %s", bind_describe(L, 2));
    bind_check_options(L, 2, "text_open", names);
  }
  const bam_reader_options options = {
    .field = read_option(L, "field", "text"),
    .separator = read_option(L, "separator", "<|endoftext|>"),
    .format = read_format(L),
    .skips_bad = read_skips_bad(L),
  };
  reader_handle *handle = push_reader(L);
  bam_status status = bam_reader_open(bind_context(L), path, &options, &handle->reader);
  bind_check_within(L, status, "text_open");
  return 1;
}

BIND_DOC(text_name, "text_name(path)",
         "The format and compression that the name of a text file indicates, ignoring case.\n"
         "@param path string\n"
         "@return \"jsonl\"|\"json\"|\"text\" format\n"
         "@return \"\"|\".gz\"|\".zst\" packing");
static int text_name(lua_State *L) {
  static const char *const
    formats[] = { [BAM_NAME_OTHER] = "text", [BAM_NAME_JSONL] = "jsonl", [BAM_NAME_JSON] = "json" };
  const char *path = bind_path(L, 1, "text_name", "a text file");
  size_t packing = strlen(path) - (size_t)bam_compressed_stem(path);
  lua_pushstring(L, formats[bam_text_name_of(path)]);
  lua_pushstring(L, packing == 0 ? "" : packing == 3 ? ".gz" : ".zst");
  return 2;
}

/* ---- windows ---- */

/* The tensor or stored tensor at `arg`. */
static bam_row check_row(lua_State *L, int arg, const char *role) {
  bam_row row = { .tensor = bind_test_tensor(L, arg) };
  if (row.tensor == NULL && !bind_test_stored(L, arg, &row.file, &row.entry))
    bind_error(L, "pack_windows: expected a tensor of %s, got %s", role, bind_describe(L, arg));
  return row;
}

/* Read the list of integers at `arg` into memory pushed onto the stack. */
static int64_t *read_starts(lua_State *L, int arg, int64_t *count) {
  if (lua_type(L, arg) != LUA_TTABLE)
    bind_error(L, "pack_windows: expected a list of the starts of windows, got %s",
               bind_describe(L, arg));
  *count = bind_list(L, arg, "pack_windows: where windows begin");
  int64_t *starts = lua_newuserdatauv(L, (size_t)*count * sizeof *starts, 0);
  for (int64_t i = 0; i < *count; i++) {
    lua_rawgeti(L, arg, i + 1);
    starts[i] = bind_integer(L, -1, "pack_windows: where windows begin");
    lua_pop(L, 1);
  }
  return starts;
}

BIND_DOC(
  text_pack_windows, "pack_windows(tokens, documents, starts, time)",
  "Training windows of a token stream: four i64 tensors [B, T] with a row per start. Beyond the "
  "end of the\n"
  "stream ids are 0 and targets -100.\n"
  "@param tokens tensor|bam.StoredTensor i32 [n]\n"
  "@param documents tensor|bam.StoredTensor i64: offsets, from 0, at which documents start\n"
  "@param starts integer[] offsets, from 0, at which windows start\n"
  "@param time integer T, tokens per window\n"
  "@return tensor ids\n"
  "@return tensor targets the token after each\n"
  "@return tensor documents from 1 in each row, increased where a document starts and at the end\n"
  "@return tensor positions from 0 in each document, or from the start of the row");
static int text_pack_windows(lua_State *L) {
  int64_t count, time = bind_integer(L, 4, "pack_windows: time");
  int64_t *starts = read_starts(L, 3, &count);
  bam_row tokens = check_row(L, 1, "tokens"), documents = check_row(L, 2, "documents");
  bind_handle *handles[4];
  for (int i = 0; i < 4; i++)
    handles[i] = bind_push_handle(L);
  bam_windows windows;
  bam_status status = bam_windows_pack(bind_context(L), &tokens, &documents, starts, count, time,
                                       &windows);
  bind_check_within(L, status, "pack_windows");
  handles[0]->tensor = windows.ids;
  handles[1]->tensor = windows.targets;
  handles[2]->tensor = windows.documents;
  handles[3]->tensor = windows.positions;
  return 4;
}

const bind_export bind_text_functions[] = {
  BIND_TOPIC(text_options),       BIND_EXPORT(text_open), BIND_EXPORT(text_name),
  BIND_EXPORT(text_pack_windows), { NULL, NULL },
};
