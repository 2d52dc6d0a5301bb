/* JSON for scripts: json_decode and json_encode. Decoding parses the text twice: first to validate it before
   anything is allocated, then to build values. Encoding reads tables raw, so it calls no metamethods. C
   resources are stored in userdata on the Lua stack, so no error leaks them. null is a unique userdata;
   arrays have a metatable, so that an empty array stays an array. */
#include "../../engine/io/json.h"
#include "../../engine/core/quote.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/core/utf8.h"
#include "bind.h"

#define MOST_DEPTH BAM_JSON_MAX_DEPTH
/* A value takes up to 80 bytes besides its text, so the limit bounds memory to about 1 GB. A tokenizer of
   262,144 words has 1.8 million values. */
#define MOST_VALUES 10000000
#define MOST_INDENT 16

/* ---- null and the mark of arrays, one each per Lua state ---- */

static const char null_key, array_key; /* their addresses are the registry keys */

static int null_tostring(lua_State *L) {
  lua_pushliteral(L, "null");
  return 1;
}

void bind_json_open(lua_State *L) {
  lua_newuserdatauv(L, 0, 0);
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, "json.null");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, null_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &null_key);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "json.array");
  lua_setfield(L, -2, "__name");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
}

static void push_null(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &null_key); }
static void push_array_mark(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key); }

/* ---- decoding ---- */

enum { TEXT_SLOT = 1, NULL_SLOT, MARK_SLOT }; /* the stack while decoding */

static void push_value(lua_State *L, bam_json *json);

/* Advance to the next event. Cannot fail, because the text has been validated. */
static void next_event(lua_State *L, bam_json *json) {
  bind_check_within(L, bam_json_next(json), "json.decode");
}

static void push_string(lua_State *L, const bam_json *json) {
  luaL_Buffer buffer;
  if (!json->has_escapes) {
    lua_pushlstring(L, json->text, (size_t)json->size);
    return;
  }
  char *text = luaL_buffinitsize(L, &buffer, (size_t)json->size);
  luaL_pushresultsize(&buffer, (size_t)bam_json_string(json, text));
}

/* Raise if the table below the key on top already has that key: the meaning of duplicate keys is ambiguous. */
static void check_key(lua_State *L, const bam_json *json) {
  char quoted[BAM_QUOTE_TEXT];
  lua_pushvalue(L, -1);
  if (lua_rawget(L, -3) != LUA_TNIL)
    bind_error(L, "json.decode: the key %s occurs twice in an object; the second is at byte %I",
               bam_quote(lua_tostring(L, -2), quoted), (LUAI_UACINT)(json->text - json->begin));
  lua_pop(L, 1);
}

static void push_object(lua_State *L, bam_json *json) {
  lua_newtable(L);
  for (next_event(L, json); json->kind == BAM_JSON_KEY; next_event(L, json)) {
    push_string(L, json);
    check_key(L, json);
    next_event(L, json);
    push_value(L, json);
    lua_rawset(L, -3);
  }
}

static void push_array(lua_State *L, bam_json *json) {
  lua_newtable(L);
  next_event(L, json);
  for (lua_Integer i = 1; json->kind != BAM_JSON_CLOSE; i++, next_event(L, json)) {
    push_value(L, json);
    lua_rawseti(L, -2, i);
  }
  lua_pushvalue(L, MARK_SLOT);
  lua_setmetatable(L, -2);
}

/* Push the value that the latest event begins. Recursion is bounded by the parser's limit on depth. */
static void push_value(lua_State *L, bam_json *json) {
  luaL_checkstack(L, 8, "JSON nested too deep");
  switch (json->kind) {
  case BAM_JSON_OBJECT: push_object(L, json); break;
  case BAM_JSON_ARRAY: push_array(L, json); break;
  case BAM_JSON_STRING: push_string(L, json); break;
  case BAM_JSON_INTEGER: lua_pushinteger(L, json->integer); break;
  case BAM_JSON_REAL: lua_pushnumber(L, json->real); break;
  case BAM_JSON_TRUE:
  case BAM_JSON_FALSE: lua_pushboolean(L, json->kind == BAM_JSON_TRUE); break;
  default: lua_pushvalue(L, NULL_SLOT);
  }
}

/* Raise unless the text is valid JSON with a bounded number of values. */
static void check_json(lua_State *L, const char *text, size_t size) {
  bam_json json;
  int64_t values;
  bam_json_begin(&json, bind_context(L), text, (int64_t)size, MOST_DEPTH);
  bind_check_within(L, bam_json_check(&json, &values), "json.decode");
  if (values > MOST_VALUES)
    bind_error(L, "json.decode: the text holds %I values, above the limit of %d; split it",
               (LUAI_UACINT)values, MOST_VALUES);
}

BIND_DOC(decode, "json_decode(text)",
         "Parse JSON. bam.json.decode is the public function.\n"
         "@param text string\n"
         "@return any");
static int decode(lua_State *L) {
  size_t size;
  bam_json json;
  if (lua_type(L, TEXT_SLOT) != LUA_TSTRING)
    return bind_error(L, "json.decode: expected a string of JSON, got %s",
                      bind_describe(L, TEXT_SLOT));
  const char *text = lua_tolstring(L, TEXT_SLOT, &size);
  lua_settop(L, TEXT_SLOT);
  check_json(L, text, size);
  push_null(L);
  push_array_mark(L);
  bam_json_begin(&json, bind_context(L), text, (int64_t)size, MOST_DEPTH);
  next_event(L, &json);
  push_value(L, &json);
  return 1;
}

/* ---- encoding: the output, and the position in the value ---- */

/* The text so far is a userdata in `slot`. */
typedef struct encoder {
  lua_State *L;
  char *text;
  size_t used, room;
  int slot, null_slot, mark_slot;
  int indent; /* 0: everything on one line */
} encoder;

/* The position of a value inside the one being encoded: a member of `outer`, under a key or at a position. */
typedef struct place {
  const struct place *outer; /* NULL: the whole value */
  const char *key;           /* NULL: at `position` */
  lua_Integer position;
  const void *table; /* identity of the table at this position, while it is being encoded */
  int depth;         /* number of enclosing tables */
} place;

static void append(encoder *e, const char *text, size_t size) {
  if (size > e->room - e->used) {
    size_t room = 2 * (e->used + size);
    char *grown = lua_newuserdatauv(e->L, room, 0);
    memcpy(grown, e->text, e->used);
    lua_replace(e->L, e->slot);
    e->text = grown;
    e->room = room;
  }
  memcpy(e->text + e->used, text, size);
  e->used += size;
}

static void append_text(encoder *e, const char *text) { append(e, text, strlen(text)); }

static void append_newline(encoder *e, int depth) {
  if (e->indent == 0)
    return;
  append(e, "\n", 1);
  for (int i = 0; i < depth * e->indent; i++)
    append(e, " ", 1);
}

static bool is_plain_name(const char *key) {
  size_t letters = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
  return letters > 0 && letters <= 40 && key[letters] == '\0' && strspn(key, "0123456789") == 0;
}

/* Push "layers[2].name". */
static void push_path(lua_State *L, const place *at) {
  char quoted[BAM_QUOTE_TEXT];
  luaL_checkstack(L, 4, "JSON nested too deep");
  if (at->outer == NULL) {
    lua_pushliteral(L, "");
    return;
  }
  push_path(L, at->outer);
  if (at->key == NULL)
    lua_pushfstring(L, "[%I]", (LUAI_UACINT)at->position);
  else if (is_plain_name(at->key))
    lua_pushfstring(L, "%s%s", at->outer->outer != NULL ? "." : "", at->key);
  else
    lua_pushfstring(L, "[%s]", bam_quote(at->key, quoted));
  lua_concat(L, 2);
}

/* Raise "json.encode: `layers[2].name` PROBLEM". */
static _Noreturn void fail(encoder *e, const place *at, const char *problem) {
  lua_State *L = e->L;
  luaL_checkstack(L, 4, "JSON nested too deep");
  push_path(L, at);
  const char *quote = at->outer != NULL ? "`" : "";
  const char *path = at->outer != NULL ? lua_tostring(L, -1) : "the value";
  bind_error(L, "json.encode: %s%s%s %s", quote, path, quote, problem);
}

/* ---- encoding numbers and strings ---- */

/* Write the shortest text that reads back as the same float. It always looks like a float (1.0, not 1), and has a
   point whatever the locale. */
static void write_float(encoder *e, double value) {
  char found[60], text[64];
  int digits = 14, n = 0;
  do
    snprintf(found, sizeof found, "%.*g", ++digits, value);
  while (digits < 17 && strtod(found, NULL) != value);
  bool integral = true;
  for (const char *c = found; *c != '\0'; c++) {
    bool known = strchr("+-0123456789e", *c) != NULL;
    if (known)
      text[n++] = *c;
    else if (text[n - 1] != '.')
      text[n++] = '.';
    integral = integral && known && *c != 'e';
  }
  append(e, text, (size_t)n);
  if (integral)
    append(e, ".0", 2);
}

static void write_number(encoder *e, const place *at) {
  char text[24];
  if (lua_isinteger(e->L, -1)) {
    snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(e->L, -1));
    append_text(e, text);
    return;
  }
  double value = lua_tonumber(e->L, -1);
  if (isnan(value))
    fail(e, at, "is NaN; JSON has only finite numbers; use json.null");
  if (isinf(value))
    fail(e, at, "is infinite; JSON has only finite numbers; use json.null");
  write_float(e, value);
}

/* Raise unless the text is UTF-8. `of` is "", or says that the text is a key of the table at `at`. */
static void check_text(encoder *e, const place *at, const char *text, size_t size, const char *of) {
  char problem[100];
  size_t step;
  for (size_t i = 0; i < size; i += step) {
    int64_t left = (int64_t)(size - i);
    step = (size_t)bam_utf8_character(text + i, left);
    if (step > 0)
      continue;
    snprintf(problem, sizeof problem, "%sis not UTF-8 at byte %zu; JSON holds text only", of,
             i + 1);
    fail(e, at, problem);
  }
}

static void write_string(encoder *e, const char *text, size_t size) {
  static const char controls[] = "\b\t\n\f\r\"\\", letters[] = "btnfr\"\\";
  char escape[8];
  append(e, "\"", 1);
  size_t done = 0;
  for (size_t i = 0; i < size; i++) {
    const char *found = text[i] != '\0' ? strchr(controls, text[i]) : NULL;
    if (found == NULL && (unsigned char)text[i] >= 0x20)
      continue;
    if (found != NULL)
      snprintf(escape, sizeof escape, "\\%c", letters[found - controls]);
    else
      snprintf(escape, sizeof escape, "\\u%04x", (unsigned)text[i]);
    append(e, text + done, i - done);
    append_text(e, escape);
    done = i + 1;
  }
  append(e, text + done, size - done);
  append(e, "\"", 1);
}

/* ---- encoding tables ---- */

static void write_value(encoder *e, place *at);

static void write_array(encoder *e, const place *at, lua_Integer count) {
  lua_State *L = e->L;
  append(e, "[", 1);
  for (lua_Integer i = 1; i <= count; i++) {
    if (i > 1)
      append(e, ",", 1);
    append_newline(e, at->depth + 1);
    place inner = { .outer = at, .position = i, .depth = at->depth + 1 };
    lua_rawgeti(L, -1, i);
    write_value(e, &inner);
    lua_pop(L, 1);
  }
  if (count > 0)
    append_newline(e, at->depth);
  append(e, "]", 1);
}

typedef struct {
  const char *text;
  size_t size;
} key_text;

static int by_bytes(const void *a, const void *b) {
  const key_text *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
  return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

/* Collect the keys of the table at `table`, sorted. Pushes the memory that holds them, and a list that keeps
   them alive, because a finalizer may change the table. */
static key_text *push_keys(lua_State *L, int table, lua_Integer *count) {
  lua_Integer n = 0, room = *count;
  key_text *keys = lua_newuserdatauv(L, (size_t)room * sizeof *keys, 0);
  lua_createtable(L, (int)room, 0);
  lua_pushnil(L);
  while (lua_next(L, table)) {
    lua_pop(L, 1);
    if (n == room || lua_type(L, -1) != LUA_TSTRING)
      bind_error(L, "json.encode: a table was changed while it was being encoded");
    keys[n].text = lua_tolstring(L, -1, &keys[n].size);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, ++n);
  }
  qsort(keys, (size_t)n, sizeof *keys, by_bytes);
  *count = n;
  return keys;
}

static void write_object(encoder *e, const place *at, lua_Integer count) {
  lua_State *L = e->L;
  int table = lua_gettop(L);
  const key_text *keys = push_keys(L, table, &count);
  append(e, "{", 1);
  for (lua_Integer i = 0; i < count; i++) {
    check_text(e, at, keys[i].text, keys[i].size, "has a key that ");
    if (i > 0)
      append(e, ",", 1);
    append_newline(e, at->depth + 1);
    write_string(e, keys[i].text, keys[i].size);
    append(e, ": ", e->indent > 0 ? 2 : 1);
    place inner = { .outer = at, .key = keys[i].text, .depth = at->depth + 1 };
    lua_pushlstring(L, keys[i].text, keys[i].size);
    lua_rawget(L, table);
    write_value(e, &inner);
    lua_pop(L, 1);
  }
  if (count > 0)
    append_newline(e, at->depth);
  append(e, "}", 1);
  lua_settop(L, table);
}

/* Classify the keys of the table on top: the number of keys, the number of names, and the last position. Raises
   for other keys. */
static void count_keys(encoder *e, const place *at, lua_Integer *count, lua_Integer *names,
                       lua_Integer *last) {
  lua_State *L = e->L;
  *count = *names = *last = 0;
  lua_pushnil(L);
  for (; lua_next(L, -2); lua_pop(L, 1)) {
    ++*count;
    if (lua_type(L, -2) == LUA_TSTRING)
      ++*names;
    else if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1)
      *last = lua_tointeger(L, -2) > *last ? lua_tointeger(L, -2) : *last;
    else {
      const char *key = bind_describe(L, -2);
      fail(e, at, lua_pushfstring(L, "has %s as a key; JSON has names, or positions 1 to n", key));
    }
  }
}

static bool has_array_mark(encoder *e) {
  lua_State *L = e->L;
  if (!lua_getmetatable(L, -1))
    return false;
  bool marked = lua_rawequal(L, -1, e->mark_slot);
  lua_pop(L, 1);
  return marked;
}

static void enter_table(encoder *e, place *at) {
  at->table = lua_topointer(e->L, -1);
  for (const place *p = at->outer; p != NULL; p = p->outer)
    if (p->table == at->table)
      fail(e, at, "is a table that contains itself; JSON has no cycles");
  if (at->depth >= MOST_DEPTH)
    fail(e, at, lua_pushfstring(e->L, "is nested deeper than %d; flatten it", MOST_DEPTH));
}

static void write_table(encoder *e, place *at) {
  lua_Integer count, names, last;
  enter_table(e, at);
  count_keys(e, at, &count, &names, &last);
  bool marked = has_array_mark(e);
  if (marked && names > 0)
    fail(e, at, "is marked by json.array, but has names as keys");
  if (names > 0 && names < count)
    fail(e, at, "has both names and positions as keys; JSON has objects and arrays");
  if (last > count - names)
    fail(e, at, "is a list with holes; put json.null there");
  if (marked || count > names)
    write_array(e, at, count);
  else
    write_object(e, at, count);
}

static _Noreturn void fail_kind(encoder *e, const place *at) {
  lua_State *L = e->L;
  const char *kind = luaL_typename(L, -1);
  if (bind_test_handle(L, -1) != NULL)
    fail(e, at, "is a tensor; encode x:totable(), or save it with bam.save");
  fail(e, at,
       lua_pushfstring(L,
                       "is %s%s; JSON holds tables, strings, numbers, true, false and "
                       "json.null",
                       lua_isnil(L, -1) ? "" : "a ", kind));
}

/* Append the value on top of the stack. Recursion ends at MOST_DEPTH. */
static void write_value(encoder *e, place *at) {
  lua_State *L = e->L;
  size_t size;
  luaL_checkstack(L, 8, "JSON nested too deep");
  switch (lua_type(L, -1)) {
  case LUA_TTABLE: write_table(e, at); break;
  case LUA_TNUMBER: write_number(e, at); break;
  case LUA_TBOOLEAN: append_text(e, lua_toboolean(L, -1) ? "true" : "false"); break;
  case LUA_TSTRING: {
    const char *text = lua_tolstring(L, -1, &size);
    check_text(e, at, text, size, "");
    write_string(e, text, size);
    break;
  }
  default:
    if (!lua_rawequal(L, -1, e->null_slot))
      fail_kind(e, at);
    append_text(e, "null");
  }
}

BIND_DOC(encode, "json_encode(value, indent)",
         "Write JSON. bam.json.encode is the public function.\n"
         "@param value any\n"
         "@param indent? integer spaces per level; 0 by default: everything on one line\n"
         "@return string");
static int encode(lua_State *L) {
  int64_t indent = lua_isnoneornil(L, 2) ? 0 : bind_integer(L, 2, "json.encode: indent");
  if (indent < 0 || indent > MOST_INDENT)
    return bind_error(L, "json.encode: indent: expected 0 to %d, got %I", MOST_INDENT,
                      (LUAI_UACINT)indent);
  lua_settop(L, 1);
  push_null(L);
  push_array_mark(L);
  encoder e = { .L = L,
                .room = 1000,
                .null_slot = 2,
                .mark_slot = 3,
                .slot = 4,
                .indent = (int)indent };
  e.text = lua_newuserdatauv(L, e.room, 0);
  lua_pushvalue(L, 1);
  write_value(&e, &(place){ .outer = NULL });
  lua_pushlstring(L, e.text, e.used);
  return 1;
}

const bind_export bind_json_functions[] = {
  BIND_EXPORT(decode),
  BIND_EXPORT(encode),
  { NULL, NULL },
};
