/* Byte pair encoding for scripts: the encoder and the trainer; the buffer of ids is in token_buffer.c. Each is a
   userdata that owns its C resources, so no error leaks them. While the engine works on an object it is busy: a
   finalizer of the script, which may run when memory is short, gets an error instead of an object in the middle
   of a change. */
#include "tokenizer.h"
#include "../../engine/text/bpe_train.h"

#define BPE "bam.bpe"
#define TRAINER "bam.bpe_trainer"

typedef struct bpe_handle {
  bool busy;
  bam_bpe *bpe;
  bam_vocab words; /* the vocabulary, until the encoder takes it */
  bam_pattern *pattern;
} bpe_handle;

typedef struct trainer_handle {
  bool busy;
  bam_trainer *trainer;
  bam_pattern *pattern; /* the pattern, until the trainer takes it */
} trainer_handle;

/* ---- objects ---- */

static bpe_handle *check_bpe(lua_State *L) {
  bpe_handle *handle = luaL_testudata(L, 1, BPE);
  if (handle == NULL)
    bind_error(L, "expected a " BPE ", got %s; call methods with a colon", bind_describe(L, 1));
  bind_check_object(L, handle->bpe != NULL, handle->busy, BPE);
  return handle;
}

static trainer_handle *check_trainer(lua_State *L) {
  trainer_handle *handle = luaL_testudata(L, 1, TRAINER);
  if (handle == NULL)
    bind_error(L, "expected a " TRAINER ", got %s; call methods with a colon", bind_describe(L, 1));
  bind_check_object(L, handle->trainer != NULL, handle->busy, TRAINER);
  return handle;
}

/* ---- the encoder ---- */

static int bpe_collect(lua_State *L) {
  bpe_handle *handle = lua_touserdata(L, 1);
  bam_bpe_release(handle->bpe);
  bam_vocab_release(&handle->words);
  bam_pattern_release(handle->pattern);
  handle->bpe = NULL;
  handle->pattern = NULL;
  return 0;
}

/* Read the strings of `words`, which must be distinct. */
static void read_words(lua_State *L, bam_vocab *words, const char *label) {
  int64_t count = bind_parts_list(L, "words");
  for (int64_t i = 0; i < count; i++) {
    size_t size;
    if (lua_rawgeti(L, -1, i + 1) != LUA_TSTRING)
      bind_error(L, "`words`: expected strings, got %s", bind_describe(L, -1));
    const char *word = lua_tolstring(L, -1, &size);
    bind_check_within(L, bam_vocab_reserve(words, 1, (int64_t)size), label);
    int64_t id = bam_vocab_add(words, word, (int64_t)size);
    if (id != i)
      bind_error(L, "%s: the ids %I and %I are the same word", label, (LUAI_UACINT)id,
                 (LUAI_UACINT)i);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static const luaL_Reg none[] = { { NULL, NULL } };

static const char *check_text(lua_State *L, const char *what, size_t *size) {
  if (lua_type(L, 2) != LUA_TSTRING)
    bind_error(L, "%s: expected a text, got %s", what, bind_describe(L, 2));
  return lua_tolstring(L, 2, size);
}

BIND_DOC(bpe_class, "bam.bpe", "An encoder and decoder for byte-pair encoding.");

BIND_DOC(bpe_encode, "bpe:encode(text, special)",
         "Encode a text.\n"
         "@param text string\n"
         "@param special? boolean recognize special tokens in the text\n"
         "@return integer[] ids");
static int bpe_encode(lua_State *L) {
  size_t size;
  bpe_handle *handle = check_bpe(L);
  const char *text = check_text(L, "encode", &size);
  lua_settop(L, 3);
  bind_buffer *found = bind_push_buffer(L);
  handle->busy = true;
  bam_status status = bam_bpe_encode(handle->bpe, text, (int64_t)size, lua_toboolean(L, 3),
                                     &found->ids);
  handle->busy = false;
  bind_check_within(L, status, "encode");
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
  bpe_handle *handle = check_bpe(L);
  const char *text = check_text(L, "append", &size);
  bind_buffer *buffer = bind_check_buffer(L, 3);
  int64_t before = buffer->ids.count;
  handle->busy = buffer->busy = true;
  bam_status status = bam_bpe_encode(handle->bpe, text, (int64_t)size, lua_toboolean(L, 4),
                                     &buffer->ids);
  handle->busy = buffer->busy = false;
  bind_check_within(L, status, "append");
  lua_pushinteger(L, buffer->ids.count - before);
  return 1;
}

BIND_DOC(bpe_cut, "bpe:cut(text)",
         "Split a text into the pieces that are encoded separately.\n"
         "@param text string\n"
         "@return string[] pieces");
static int bpe_cut(lua_State *L) {
  size_t size;
  bpe_handle *handle = check_bpe(L);
  const char *text = check_text(L, "cut", &size);
  lua_settop(L, 2);
  bind_buffer *sizes = bind_push_buffer(L);
  handle->busy = true;
  bam_status status = bam_bpe_cut(handle->bpe, text, (int64_t)size, &sizes->ids);
  handle->busy = false;
  bind_check_within(L, status, "cut");
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

/* Append the bytes of the word `id` to `text`. */
static void add_word(lua_State *L, luaL_Buffer *text, const bam_vocab *words, int64_t id) {
  int64_t size;
  if (id < 0 || id >= words->count)
    bind_error(L, "decode: token id %I is out of range 0 to %I", (LUAI_UACINT)id,
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
      add_word(L, &text, words, bind_get_id(L, 2, i, "decode"));
  } else {
    if (tensor->dtype != BAM_I32 && tensor->dtype != BAM_I64 && tensor->dtype != BAM_U8)
      return bind_error(L, "decode: token ids are integers, but the tensor is %s",
                        bam_dtype_name(tensor->dtype));
    bind_handle *whole = bind_push_handle(L), *row = bind_push_handle(L);
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
  bpe_handle *handle = check_bpe(L);
  const char *text = check_text(L, "find", &size);
  int64_t id = bam_vocab_find(bam_bpe_words(handle->bpe), text, (int64_t)size);
  if (id < 0)
    return 0;
  lua_pushinteger(L, id);
  return 1;
}

const bind_export bind_bpe_methods[] = {
  BIND_TOPIC(bpe_class), BIND_EXPORT(bpe_encode), BIND_EXPORT(bpe_append), BIND_EXPORT(bpe_decode),
  BIND_EXPORT(bpe_find), BIND_EXPORT(bpe_cut),    { NULL, NULL },
};

BIND_DOC(
  bpe_parts, "bam.BPEParts",
  "What an encoder consists of.\n"
  "@field label string prefix of error messages\n"
  "@field words string[] bytes of each token, in the order of ids\n"
  "@field merges integer[] pairs of ids, flat, in order of rank\n"
  "@field patterns string[] PCRE2 patterns that split text, one after another\n"
  "@field behaviors? string[] what each pattern does: \"Isolated\", \"Removed\", ...; \"~\" in "
  "front "
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
  const char *label = bind_parts_check(L, "bpe");
  bpe_handle *handle = bind_push_object(L, sizeof *handle, BPE, bind_bpe_methods, none,
                                        bpe_collect);
  handle->words.context = context;
  read_words(L, &handle->words, label);
  const int32_t *merges = bind_parts_ids(L, "merges", &n_merged);
  bam_bpe_parts parts = { .merges = (const int32_t(*)[2])merges, .n_merges = n_merged / 2 };
  parts.added = bind_parts_added(L, &parts.n_added);
  lua_getfield(L, 1, "whole_words");
  parts.whole_words = lua_toboolean(L, -1);
  bind_parts_patterns(L, label, &handle->pattern);
  parts.words = handle->words; /* the engine takes ownership of both, or of neither */
  parts.pattern = handle->pattern;
  bam_status status = bam_bpe_new(context, &parts, &handle->bpe);
  handle->words = parts.words;
  handle->pattern = parts.pattern;
  bind_check_within(L, status, label);
  lua_settop(L, 3);
  return 1;
}

/* ---- training ---- */

static int trainer_collect(lua_State *L) {
  trainer_handle *handle = lua_touserdata(L, 1);
  bam_trainer_release(handle->trainer);
  bam_pattern_release(handle->pattern);
  *handle = (trainer_handle){ .busy = false };
  return 0;
}

BIND_DOC(trainer_class, "bam.bpe_trainer",
         "A trainer of byte-pair encoding. After an error it cannot be used again.");

BIND_DOC(trainer_add, "trainer:add(text)",
         "Count the pieces of a text.\n"
         "@param text string");
static int trainer_add(lua_State *L) {
  size_t size;
  trainer_handle *handle = check_trainer(L);
  const char *text = check_text(L, "tokenizer.train", &size);
  handle->busy = true; /* stays set after an error: a failed trainer cannot be used again */
  bind_check_within(L, bam_trainer_add(handle->trainer, text, (int64_t)size), "tokenizer.train");
  handle->busy = false;
  return 0;
}

BIND_DOC(trainer_train, "trainer:train(vocab)",
         "Merge the most frequent pairs until the vocabulary is full. It can be called once.\n"
         "@param vocab integer\n"
         "@return string[] words bytes of each token\n"
         "@return integer[] merges pairs of ids, flat");
static int trainer_train(lua_State *L) {
  trainer_handle *handle = check_trainer(L);
  int64_t vocab = bind_integer(L, 2, "tokenizer.train: vocab"), n, size;
  handle->busy = true; /* for good: a trainer trains once */
  bind_check_within(L, bam_trainer_train(handle->trainer, vocab), "tokenizer.train");
  const bam_vocab *words = bam_trainer_words(handle->trainer);
  lua_createtable(L, (int)words->count, 0);
  for (int64_t i = 0; i < words->count; i++) {
    const char *word = bam_vocab_get(words, i, &size);
    lua_pushlstring(L, word, (size_t)size);
    lua_rawseti(L, -2, i + 1);
  }
  const int32_t(*merges)[2] = bam_trainer_merges(handle->trainer, &n);
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

BIND_DOC(
  trainer_parts, "bam.BPETrainerParts",
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
  const char *label = bind_parts_check(L, "bpe_trainer");
  trainer_handle *handle = bind_push_object(L, sizeof *handle, TRAINER, bind_trainer_methods, none,
                                            trainer_collect);
  bind_parts_patterns(L, label, &handle->pattern);
  const bam_expression *special = bind_parts_strings(L, "special", &n_special);
  bind_check_within(
    L, bam_trainer_new(context, handle->pattern, special, n_special, &handle->trainer), label);
  handle->pattern = NULL;
  lua_settop(L, 3);
  return 1;
}

const bind_export bind_tokenizer_functions[] = {
  BIND_TOPIC(bpe_parts),    BIND_EXPORT(bpe_new), BIND_TOPIC(trainer_parts),
  BIND_EXPORT(trainer_new), { NULL, NULL },
};
