/* Byte pair encoding for scripts: the encoder, its trainer, and the buffer of token ids. Each is a
   userdata with methods. What C holds lies in these userdata, so no error leaks. While the engine
   works on one it is busy: a script's finaliser, which may run when memory is short, gets an error
   instead of an object in the middle of a change. */
#include <string.h>

#include "../../engine/text/bpe.h"
#include "../../engine/text/bpe_train.h"
#include "bind.h"

#define BPE "bam.bpe"
#define TRAINER "bam.bpe_trainer"
#define BUFFER "bam.token_buffer"

typedef struct bpe_box {
  bool busy;
  bam_bpe *bpe;
  bam_vocab words;      /* what it will be made of, until it is */
  bam_pattern *pattern;
} bpe_box;

typedef struct trainer_box {
  bool busy;
  bam_trainer *trainer;
  bam_pattern *pattern; /* until there is a trainer */
} trainer_box;

typedef struct buffer_box {
  bool busy;
  bam_tokens ids;
} buffer_box;

static void check(lua_State *L, bam_status status, const char *what) {
  if (status != BAM_OK)
    bind_check(L, bam_fail_within(bind_context(L), status, what));
}

/* ---- objects ---- */

/* Push a box of `size` zero bytes. Its metatable is made once; __gc comes last, so that it is there
   in full or not at all. */
static void *push_object(lua_State *L, size_t size, const char *type, const bind_export *methods,
                         const luaL_Reg *metamethods, lua_CFunction gc) {
  void *box = lua_newuserdatauv(L, size, 0);
  memset(box, 0, size);
  luaL_newmetatable(L, type);
  if (lua_getfield(L, -1, "__gc") == LUA_TNIL) {
    lua_pop(L, 1);
    bind_set_events(L, metamethods, NULL);
    lua_newtable(L);
    bind_set_exports(L, methods, NULL);
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, type);
    lua_setfield(L, -2, "__metatable");
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
  } else
    lua_pop(L, 1);
  lua_setmetatable(L, -2);
  return box;
}

/* The object at `arg`, which `made` says is whole and not in use. */
static void check_object(lua_State *L, bool made, bool busy, const char *type) {
  if (!made)
    bind_error(L, "this %s was collected", type);
  if (busy)
    bind_error(L, "this %s is in use; a finaliser cannot use it", type);
}

static bpe_box *check_bpe(lua_State *L) {
  bpe_box *box = luaL_testudata(L, 1, BPE);
  if (box == NULL)
    bind_error(L, "expected a " BPE ", got %s; call methods with a colon", bind_describe(L, 1));
  check_object(L, box->bpe != NULL, box->busy, BPE);
  return box;
}

static trainer_box *check_trainer(lua_State *L) {
  trainer_box *box = luaL_testudata(L, 1, TRAINER);
  if (box == NULL)
    bind_error(L, "expected a " TRAINER ", got %s; call methods with a colon",
               bind_describe(L, 1));
  check_object(L, box->trainer != NULL, box->busy, TRAINER);
  return box;
}

static buffer_box *check_buffer(lua_State *L, int arg) {
  buffer_box *box = luaL_testudata(L, arg, BUFFER);
  if (box == NULL)
    bind_error(L, "expected a token buffer, got %s", bind_describe(L, arg));
  check_object(L, box->ids.context != NULL, box->busy, BUFFER);
  return box;
}

/* ---- lists in tables ---- */

/* Push the list in field `name` of the table at 1: its length. */
static int64_t push_list(lua_State *L, const char *name) {
  if (lua_getfield(L, 1, name) != LUA_TTABLE)
    bind_error(L, "`%s`: expected a list, got %s", name, bind_describe(L, -1));
  return bind_list(L, -1, name);
}

/* The strings of a list, in memory pushed on the stack. They and the list stay there too. */
static bam_expression *push_strings(lua_State *L, const char *name, int *n) {
  int64_t count = push_list(L, name);
  int list = lua_gettop(L);
  if (count > 100000)
    bind_error(L, "`%s`: a list of %I is too long", name, (LUAI_UACINT)count);
  luaL_checkstack(L, (int)count + 8, "too many strings");
  bam_expression *strings = lua_newuserdatauv(L, (size_t)count * sizeof *strings, 0);
  for (int i = 0; i < (int)count; i++) {
    size_t size;
    if (lua_rawgeti(L, list, i + 1) != LUA_TSTRING)
      bind_error(L, "`%s`: expected strings, got %s", name, bind_describe(L, -1));
    const char *text = lua_tolstring(L, -1, &size);
    strings[i] = (bam_expression){ .text = text, .size = (int64_t)size };
  }
  *n = (int)count;
  return strings;
}

/* Read `recent`, a list of the first and last character of each range, in order. */
static void read_ranges(lua_State *L, bam_code_ranges *ranges) {
  int64_t n = push_list(L, "recent"), before = -1;
  if (n % 2 != 0 || n / 2 > BAM_CODE_RANGES)
    bind_error(L, "`recent`: expected up to %d pairs, got a list of %I", BAM_CODE_RANGES,
               (LUAI_UACINT)n);
  for (int64_t i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    int64_t code = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;
    if (code <= before - (i % 2 == 0) || code > 0x10ffff)
      bind_error(L, "`recent`: expected characters in order, got %s", bind_describe(L, -1));
    if (i % 2 == 0)
      bam_code_ranges_add(ranges, (uint32_t)before, (uint32_t)code);
    before = code;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Read the list `behaviors`, if there is one: for each pattern a name, "~" before it to invert. */
static void read_behaviors(lua_State *L, bam_expression *patterns, int n) {
  static const char *const names[] = { "Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                       "MergedWithNext" };
  int given;
  if (lua_getfield(L, 1, "behaviors") == LUA_TNIL)
    return;
  const bam_expression *behaviors = push_strings(L, "behaviors", &given);
  if (given != n)
    bind_error(L, "`behaviors`: expected %d names, got %d", n, given);
  for (int i = 0; i < n; i++) {
    const char *name = behaviors[i].text;
    int k = 0;
    patterns[i].invert = name[0] == '~';
    while (k < 5 && strcmp(names[k], name + patterns[i].invert) != 0)
      k++;
    if (k == 5)
      bind_error(L, "`behaviors`: there is no behavior %s", name);
    patterns[i].behavior = (bam_behavior)k;
  }
}

/* Compile the expressions of the lists `patterns` and, where there is one, `recent_patterns`. */
static void compile_patterns(lua_State *L, const char *label, bam_pattern **out) {
  int n, n_recent = 0;
  bam_expression *patterns = push_strings(L, "patterns", &n), *recent_forms = NULL;
  read_behaviors(L, patterns, n);
  bam_code_ranges recent = { .count = 0 };
  if (lua_getfield(L, 1, "recent_patterns") != LUA_TNIL) {
    read_ranges(L, &recent);
    recent_forms = push_strings(L, "recent_patterns", &n_recent);
    if (n_recent != n)
      bind_error(L, "`recent_patterns`: expected %d patterns, got %d", n, n_recent);
  }
  check(L, bam_pattern_compile(bind_context(L), patterns, n, &recent, recent_forms, out), label);
}

/* Pop an integer from 0 to 2^31 - 1, which comes from position `i` of a list. */
static int32_t pop_id(lua_State *L, int64_t i, const char *name) {
  int whole = 0;
  lua_Integer id = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
  if (!whole || id < 0 || id > INT32_MAX)
    bind_error(L, "%s: expected token ids, which count from 0, got %s at position %I", name,
               bind_describe(L, -1), (LUAI_UACINT)i);
  lua_pop(L, 1);
  return (int32_t)id;
}

/* The id at position `i` of a list. */
static int32_t get_id(lua_State *L, int list, int64_t i, const char *name) {
  lua_rawgeti(L, list, i);
  return pop_id(L, i, name);
}

/* ---- token buffers ---- */

static int buffer_collect(lua_State *L) {
  buffer_box *box = lua_touserdata(L, 1);
  bam_tokens_release(&box->ids);
  box->ids.context = NULL;
  return 0;
}

BIND_DOC(buffer_class, "bam.token_buffer",
         "A growing list of token ids.");

BIND_DOC(buffer_push, "buffer:push(id)",
         "Append an id.\n"
         "@param id integer 0 to 2^31 - 1");
static int buffer_push(lua_State *L) {
  buffer_box *box = check_buffer(L, 1);
  int64_t id = bind_integer(L, 2, "push");
  if (id < 0 || id > INT32_MAX)
    return bind_error(L, "push: expected a token id from 0 to %d, got %I", INT32_MAX,
                      (LUAI_UACINT)id);
  box->busy = true;
  bam_status status = bam_tokens_reserve(&box->ids, 1);
  box->busy = false;
  check(L, status, "push");
  bam_tokens_push(&box->ids, (int32_t)id);
  return 0;
}

BIND_DOC(buffer_take, "buffer:take()",
         "Return the ids as an i32 tensor and empty the buffer.\n"
         "@return tensor");
static int buffer_take(lua_State *L) {
  buffer_box *box = check_buffer(L, 1);
  bind_box *tensor = bind_push_box(L);
  box->busy = true;
  bam_status status = bam_tokens_take(&box->ids, &tensor->tensor);
  box->busy = false;
  check(L, status, "take");
  return 1;
}

static int buffer_length(lua_State *L) {
  lua_pushinteger(L, check_buffer(L, 1)->ids.count);
  return 1;
}

static int buffer_text(lua_State *L) {
  lua_pushfstring(L, "token buffer of %I", (LUAI_UACINT)check_buffer(L, 1)->ids.count);
  return 1;
}

const bind_export bind_buffer_methods[] = {
  BIND_TOPIC(buffer_class),
  BIND_EXPORT(buffer_push),
  BIND_EXPORT(buffer_take),
  { NULL, NULL },
};

static const luaL_Reg buffer_metamethods[] = {
  { "__len", buffer_length }, { "__tostring", buffer_text }, { NULL, NULL },
};

/* Push an empty buffer. */
static buffer_box *push_buffer(lua_State *L) {
  buffer_box *box = push_object(L, sizeof *box, BUFFER, bind_buffer_methods, buffer_metamethods,
                                buffer_collect);
  box->ids.context = bind_context(L);
  return box;
}

BIND_DOC(buffer_new, "token_buffer()",
         "A growing list of token ids; #buffer is its length.\n"
         "@return bam.token_buffer");
static int buffer_new(lua_State *L) {
  push_buffer(L);
  return 1;
}

/* ---- the encoder ---- */

static int bpe_collect(lua_State *L) {
  bpe_box *box = lua_touserdata(L, 1);
  bam_bpe_release(box->bpe);
  bam_vocab_release(&box->words);
  bam_pattern_release(box->pattern);
  box->bpe = NULL;
  box->pattern = NULL;
  return 0;
}

/* Read the strings of `words`, each of which must be new. */
static void read_words(lua_State *L, bam_vocab *words, const char *label) {
  int64_t count = push_list(L, "words");
  for (int64_t i = 0; i < count; i++) {
    size_t size;
    if (lua_rawgeti(L, -1, i + 1) != LUA_TSTRING)
      bind_error(L, "`words`: expected strings, got %s", bind_describe(L, -1));
    const char *word = lua_tolstring(L, -1, &size);
    check(L, bam_vocab_reserve(words, 1, (int64_t)size), label);
    int64_t id = bam_vocab_add(words, word, (int64_t)size);
    if (id != i)
      bind_error(L, "%s: the ids %I and %I are the same word", label, (LUAI_UACINT)id,
                 (LUAI_UACINT)i);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* The ids of a list, `n` of them, in memory pushed on the stack. */
static int32_t *push_ids(lua_State *L, const char *name, int64_t *n) {
  *n = push_list(L, name);
  int list = lua_gettop(L);
  int32_t *ids = lua_newuserdatauv(L, (size_t)*n * sizeof *ids, 0);
  for (int64_t i = 0; i < *n; i++)
    ids[i] = get_id(L, list, i + 1, name);
  lua_remove(L, list);
  return ids;
}

/* The flag `name` of the record on top. */
static bool get_flag(lua_State *L, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, -2);
  bool flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

/* The added token in the record at position `i` of `list`. */
static bam_added get_added(lua_State *L, int list, int64_t i) {
  if (lua_rawgeti(L, list, i) != LUA_TTABLE)
    bind_error(L, "`added`: expected tables, got %s", bind_describe(L, -1));
  lua_pushliteral(L, "id");
  lua_rawget(L, -2);
  bam_added added = { .id = pop_id(L, i, "added"),
                      .special = get_flag(L, "special"),
                      .normalized = get_flag(L, "normalized"),
                      .lstrip = get_flag(L, "lstrip"),
                      .rstrip = get_flag(L, "rstrip") };
  lua_pop(L, 1);
  return added;
}

/* The added tokens of the list `added`, `n` of them, in memory pushed on the stack. */
static bam_added *push_added(lua_State *L, int64_t *n) {
  *n = push_list(L, "added");
  int list = lua_gettop(L);
  bam_added *added = lua_newuserdatauv(L, (size_t)*n * sizeof *added, 0);
  for (int64_t i = 0; i < *n; i++)
    added[i] = get_added(L, list, i + 1);
  lua_remove(L, list);
  return added;
}

/* Raise unless the argument is a table; what its field `label` has begins the messages. */
static const char *check_parts(lua_State *L, const char *what) {
  if (lua_type(L, 1) != LUA_TTABLE)
    bind_error(L, "%s: expected a table, got %s", what, bind_describe(L, 1));
  lua_settop(L, 1);
  if (lua_getfield(L, 1, "label") != LUA_TSTRING)
    bind_error(L, "%s: `label`: expected a string, got %s", what, bind_describe(L, -1));
  return lua_tostring(L, 2);
}

static const luaL_Reg none[] = { { NULL, NULL } };

static const char *check_text(lua_State *L, const char *what, size_t *size) {
  if (lua_type(L, 2) != LUA_TSTRING)
    bind_error(L, "%s: expected a text, got %s", what, bind_describe(L, 2));
  return lua_tolstring(L, 2, size);
}

BIND_DOC(bpe_class, "bam.bpe",
         "An encoder and decoder for byte-pair encoding.");

BIND_DOC(bpe_encode, "bpe:encode(text, special)",
         "Encode a text.\n"
         "@param text string\n"
         "@param special? boolean recognize special tokens in the text\n"
         "@return integer[] ids");
static int bpe_encode(lua_State *L) {
  size_t size;
  bpe_box *box = check_bpe(L);
  const char *text = check_text(L, "encode", &size);
  lua_settop(L, 3);
  buffer_box *found = push_buffer(L);
  box->busy = true;
  bam_status status = bam_bpe_encode(box->bpe, text, (int64_t)size, lua_toboolean(L, 3),
                                     &found->ids);
  box->busy = false;
  check(L, status, "encode");
  int64_t n = found->ids.count;
  lua_createtable(L, n < INT32_MAX ? (int)n : 0, 0);
  for (int64_t i = 0; i < n; i++) {
    lua_pushinteger(L, ((const int32_t *)found->ids.storage->data)[i]);
    lua_rawseti(L, -2, i + 1);
  }
  bam_tokens_release(&found->ids); /* now, not when it is collected */
  return 1;
}

BIND_DOC(bpe_append, "bpe:append(text, buffer, special)",
         "Encode a text and append the ids to a buffer.\n"
         "@param text string\n"
         "@param buffer bam.token_buffer\n"
         "@param special? boolean recognize special tokens in the text\n"
         "@return integer count number of ids appended");
static int bpe_append(lua_State *L) {
  size_t size;
  bpe_box *box = check_bpe(L);
  const char *text = check_text(L, "append", &size);
  buffer_box *buffer = check_buffer(L, 3);
  int64_t before = buffer->ids.count;
  box->busy = buffer->busy = true;
  bam_status status = bam_bpe_encode(box->bpe, text, (int64_t)size, lua_toboolean(L, 4),
                                     &buffer->ids);
  box->busy = buffer->busy = false;
  check(L, status, "append");
  lua_pushinteger(L, buffer->ids.count - before);
  return 1;
}

BIND_DOC(bpe_cut, "bpe:cut(text)",
         "Split a text into the pieces that are encoded separately.\n"
         "@param text string\n"
         "@return string[] pieces");
static int bpe_cut(lua_State *L) {
  size_t size;
  bpe_box *box = check_bpe(L);
  const char *text = check_text(L, "cut", &size);
  lua_settop(L, 2);
  buffer_box *sizes = push_buffer(L);
  box->busy = true;
  bam_status status = bam_bpe_cut(box->bpe, text, (int64_t)size, &sizes->ids);
  box->busy = false;
  check(L, status, "cut");
  lua_createtable(L, (int)(sizes->ids.count / 2), 0);
  for (int64_t i = 0; i < sizes->ids.count; i += 2) {
    const int32_t *piece = (const int32_t *)sizes->ids.storage->data + i;
    lua_pushlstring(L, text + piece[0], (size_t)piece[1]);
    lua_rawseti(L, -2, i / 2 + 1);
    text += piece[0] + piece[1];
  }
  bam_tokens_release(&sizes->ids); /* now, not when it is collected */
  return 1;
}

/* Append the word `id` to the text in the making. */
static void add_word(lua_State *L, luaL_Buffer *text, const bam_vocab *words, int64_t id) {
  int64_t size;
  if (id < 0 || id >= words->count)
    bind_error(L, "decode: no token has the id %I; there are 0 to %I", (LUAI_UACINT)id,
               (LUAI_UACINT)words->count - 1);
  const char *word = bam_vocab_get(words, id, &size);
  luaL_addlstring(text, word, (size_t)size);
}

BIND_DOC(bpe_decode, "bpe:decode(ids)",
         "The bytes of a list or tensor of token ids.\n"
         "@param ids integer[]|tensor\n"
         "@return string");
static int bpe_decode(lua_State *L) {
  luaL_Buffer text;
  const bam_vocab *words = bam_bpe_words(check_bpe(L)->bpe);
  bam_tensor *tensor = bind_test_tensor(L, 2);
  if (tensor == NULL && lua_type(L, 2) != LUA_TTABLE)
    return bind_error(L, "decode: expected a list of token ids or a tensor of them, got %s",
                      bind_describe(L, 2));
  if (tensor == NULL) {
    int64_t n = bind_list(L, 2, "decode");
    luaL_buffinit(L, &text);
    for (int64_t i = 1; i <= n; i++)
      add_word(L, &text, words, get_id(L, 2, i, "decode"));
  } else {
    if (tensor->dtype != BAM_I32 && tensor->dtype != BAM_I64 && tensor->dtype != BAM_U8)
      return bind_error(L, "decode: token ids are integers, but the tensor is %s",
                        bam_dtype_name(tensor->dtype));
    bind_box *whole = bind_push_box(L), *row = bind_push_box(L);
    bind_check(L, bam_tensor_convert(tensor, BAM_I64, &whole->tensor));
    bind_check(L, bam_tensor_contiguous(whole->tensor, &row->tensor));
    luaL_buffinit(L, &text);
    for (int64_t i = 0; i < bam_tensor_count(row->tensor); i++)
      add_word(L, &text, words, ((const int64_t *)bam_tensor_data(row->tensor))[i]);
  }
  luaL_pushresult(&text);
  return 1;
}

BIND_DOC(bpe_find, "bpe:find(bytes)",
         "The id of the token with these bytes, or nil.\n"
         "@param bytes string\n"
         "@return integer?");
static int bpe_find(lua_State *L) {
  size_t size;
  bpe_box *box = check_bpe(L);
  const char *text = check_text(L, "find", &size);
  int64_t id = bam_vocab_find(bam_bpe_words(box->bpe), text, (int64_t)size);
  if (id < 0)
    return 0;
  lua_pushinteger(L, id);
  return 1;
}

const bind_export bind_bpe_methods[] = {
  BIND_TOPIC(bpe_class),
  BIND_EXPORT(bpe_encode),
  BIND_EXPORT(bpe_append),
  BIND_EXPORT(bpe_decode),
  BIND_EXPORT(bpe_find),
  BIND_EXPORT(bpe_cut),
  { NULL, NULL },
};

BIND_DOC(bpe_parts, "bam.BPEParts",
         "What an encoder consists of.\n"
         "@field label string prefix of error messages\n"
         "@field words string[] bytes of each token, in the order of ids\n"
         "@field merges integer[] pairs of ids, flat, in order of rank\n"
         "@field patterns string[] PCRE2 patterns that split text, one after another\n"
         "@field behaviors? string[] what each pattern does: \"Isolated\", \"Removed\", ...; \"~\" in front "
         "inverts it\n"
         "@field recent? integer[] first and last character of ranges that PCRE2's Unicode tables lack\n"
         "@field recent_patterns? string[] patterns for texts with such characters\n"
         "@field whole_words boolean look a piece up as a whole before merging\n"
         "@field added { id: integer, special?: boolean, normalized?: boolean, lstrip?: boolean, rstrip?: "
         "boolean }[]");

BIND_DOC(bpe_new, "bpe(parts)",
         "An encoder for byte-pair encoding. bam.tokenizer is the public module.\n"
         "@param parts bam.BPEParts\n"
         "@return bam.bpe");
static int bpe_new(lua_State *L) {
  int64_t n_merged;
  bam_context *context = bind_context(L);
  const char *label = check_parts(L, "bpe");
  bpe_box *box = push_object(L, sizeof *box, BPE, bind_bpe_methods, none, bpe_collect);
  box->words.context = context;
  read_words(L, &box->words, label);
  const int32_t *merges = push_ids(L, "merges", &n_merged);
  bam_bpe_parts parts = { .merges = (const int32_t (*)[2])merges, .n_merges = n_merged / 2 };
  parts.added = push_added(L, &parts.n_added);
  lua_getfield(L, 1, "whole_words");
  parts.whole_words = lua_toboolean(L, -1);
  compile_patterns(L, label, &box->pattern);
  parts.words = box->words; /* the engine takes both, or neither */
  parts.pattern = box->pattern;
  bam_status status = bam_bpe_new(context, &parts, &box->bpe);
  box->words = parts.words;
  box->pattern = parts.pattern;
  check(L, status, label);
  lua_settop(L, 3);
  return 1;
}

/* ---- training ---- */

static int trainer_collect(lua_State *L) {
  trainer_box *box = lua_touserdata(L, 1);
  bam_trainer_release(box->trainer);
  bam_pattern_release(box->pattern);
  *box = (trainer_box){ .busy = false };
  return 0;
}

BIND_DOC(trainer_class, "bam.bpe_trainer",
         "A trainer of byte-pair encoding. After an error it cannot be used again.");

BIND_DOC(trainer_add, "trainer:add(text)",
         "Count the pieces of a text.\n"
         "@param text string");
static int trainer_add(lua_State *L) {
  size_t size;
  trainer_box *box = check_trainer(L);
  const char *text = check_text(L, "tokenizer.train", &size);
  box->busy = true; /* and stays so on failure: a trainer that failed is of no use */
  check(L, bam_trainer_add(box->trainer, text, (int64_t)size), "tokenizer.train");
  box->busy = false;
  return 0;
}

BIND_DOC(trainer_train, "trainer:train(vocab)",
         "Merge the most frequent pairs until the vocabulary is full. It can be called once.\n"
         "@param vocab integer\n"
         "@return string[] words bytes of each token\n"
         "@return integer[] merges pairs of ids, flat");
static int trainer_train(lua_State *L) {
  trainer_box *box = check_trainer(L);
  int64_t vocab = bind_integer(L, 2, "tokenizer.train: vocab"), n, size;
  box->busy = true; /* for good: it trains once */
  check(L, bam_trainer_train(box->trainer, vocab), "tokenizer.train");
  const bam_vocab *words = bam_trainer_words(box->trainer);
  lua_createtable(L, (int)words->count, 0);
  for (int64_t i = 0; i < words->count; i++) {
    const char *word = bam_vocab_get(words, i, &size);
    lua_pushlstring(L, word, (size_t)size);
    lua_rawseti(L, -2, i + 1);
  }
  const int32_t (*merges)[2] = bam_trainer_merges(box->trainer, &n);
  lua_createtable(L, 2 * (int)n, 0);
  for (int64_t i = 0; i < 2 * n; i++) {
    lua_pushinteger(L, merges[i / 2][i % 2]);
    lua_rawseti(L, -2, i + 1);
  }
  return 2;
}

const bind_export bind_trainer_methods[] = {
  BIND_TOPIC(trainer_class),
  BIND_EXPORT(trainer_add),
  BIND_EXPORT(trainer_train),
  { NULL, NULL },
};

BIND_DOC(trainer_parts, "bam.BPETrainerParts",
         "Settings of a trainer.\n"
         "@field label string prefix of error messages\n"
         "@field patterns string[] PCRE2 patterns that split text, one after another\n"
         "@field behaviors? string[] what each pattern does\n"
         "@field recent? integer[] first and last character of ranges that PCRE2's Unicode tables lack\n"
         "@field recent_patterns? string[] patterns for texts with such characters\n"
         "@field special string[] special tokens");

BIND_DOC(trainer_new, "bpe_trainer(parts)",
         "A trainer for byte-pair encoding. bam.tokenizer.train is the public function.\n"
         "@param parts bam.BPETrainerParts\n"
         "@return bam.bpe_trainer");
static int trainer_new(lua_State *L) {
  int n_special;
  bam_context *context = bind_context(L);
  const char *label = check_parts(L, "bpe_trainer");
  trainer_box *box =
    push_object(L, sizeof *box, TRAINER, bind_trainer_methods, none, trainer_collect);
  compile_patterns(L, label, &box->pattern);
  const bam_expression *special = push_strings(L, "special", &n_special);
  check(L, bam_trainer_new(context, box->pattern, special, n_special, &box->trainer), label);
  box->pattern = NULL;
  lua_settop(L, 3);
  return 1;
}

const bind_export bind_tokenizer_functions[] = {
  BIND_TOPIC(bpe_parts),
  BIND_EXPORT(bpe_new),
  BIND_TOPIC(trainer_parts),
  BIND_EXPORT(trainer_new),
  BIND_EXPORT(buffer_new),
  { NULL, NULL },
};
