/* Reading the argument table of core.bpe and core.bpe_trainer, field by field. */
#include <string.h>

#include "tokenizer.h"

/* ---- lists in tables ---- */

int64_t bind_parts_list(lua_State *L, const char *name) {
  if (lua_getfield(L, 1, name) != LUA_TTABLE)
    bind_error(L, "`%s`: expected a list, got %s", name, bind_describe(L, -1));
  return bind_list(L, -1, name);
}

bam_expression *bind_parts_strings(lua_State *L, const char *name, int *n) {
  int64_t count = bind_parts_list(L, name);
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
  int64_t n = bind_parts_list(L, "recent"), before = -1;
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
  const bam_expression *behaviors = bind_parts_strings(L, "behaviors", &given);
  if (given != n)
    bind_error(L, "`behaviors`: expected %d names, got %d", n, given);
  for (int i = 0; i < n; i++) {
    const char *name = behaviors[i].text;
    int k = 0;
    patterns[i].invert = name[0] == '~';
    while (k < 5 && strcmp(names[k], name + patterns[i].invert) != 0)
      k++;
    if (k == 5)
      bind_error(L, "`behaviors`: unknown behavior %s", name);
    patterns[i].behavior = (bam_behavior)k;
  }
}

void bind_parts_patterns(lua_State *L, const char *label, bam_pattern **out) {
  int n, n_recent = 0;
  bam_expression *patterns = bind_parts_strings(L, "patterns", &n), *recent_forms = NULL;
  read_behaviors(L, patterns, n);
  bam_code_ranges recent = { .count = 0 };
  if (lua_getfield(L, 1, "recent_patterns") != LUA_TNIL) {
    read_ranges(L, &recent);
    recent_forms = bind_parts_strings(L, "recent_patterns", &n_recent);
    if (n_recent != n)
      bind_error(L, "`recent_patterns`: expected %d patterns, got %d", n, n_recent);
  }
  bind_check_within(
    L, bam_pattern_compile(bind_context(L), patterns, n, &recent, recent_forms, out), label);
}

/* Pop a token id, an integer from 0 to 2^31 - 1, read from position `i` of a list. */
static int32_t pop_id(lua_State *L, int64_t i, const char *name) {
  int whole = 0;
  lua_Integer id = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
  if (!whole || id < 0 || id > INT32_MAX)
    bind_error(L, "%s: expected token ids, which count from 0, got %s at position %I", name,
               bind_describe(L, -1), (LUAI_UACINT)i);
  lua_pop(L, 1);
  return (int32_t)id;
}

int32_t bind_get_id(lua_State *L, int list, int64_t i, const char *name) {
  lua_rawgeti(L, list, i);
  return pop_id(L, i, name);
}

int32_t *bind_parts_ids(lua_State *L, const char *name, int64_t *n) {
  *n = bind_parts_list(L, name);
  int list = lua_gettop(L);
  int32_t *ids = lua_newuserdatauv(L, (size_t)*n * sizeof *ids, 0);
  for (int64_t i = 0; i < *n; i++)
    ids[i] = bind_get_id(L, list, i + 1, name);
  lua_remove(L, list);
  return ids;
}

/* ---- added tokens ---- */

/* The boolean field `name` of the table on top. */
static bool get_flag(lua_State *L, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, -2);
  bool flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

/* Read the added token at position `i` of `list`. */
static bam_special_token get_added(lua_State *L, int list, int64_t i) {
  if (lua_rawgeti(L, list, i) != LUA_TTABLE)
    bind_error(L, "`added`: expected tables, got %s", bind_describe(L, -1));
  lua_pushliteral(L, "id");
  lua_rawget(L, -2);
  bam_special_token added = { .id = pop_id(L, i, "added"),
                              .special = get_flag(L, "special"),
                              .normalized = get_flag(L, "normalized"),
                              .lstrip = get_flag(L, "lstrip"),
                              .rstrip = get_flag(L, "rstrip") };
  lua_pop(L, 1);
  return added;
}

bam_special_token *bind_parts_added(lua_State *L, int64_t *n) {
  *n = bind_parts_list(L, "added");
  int list = lua_gettop(L);
  bam_special_token *added = lua_newuserdatauv(L, (size_t)*n * sizeof *added, 0);
  for (int64_t i = 0; i < *n; i++)
    added[i] = get_added(L, list, i + 1);
  lua_remove(L, list);
  return added;
}

const char *bind_parts_check(lua_State *L, const char *what) {
  if (lua_type(L, 1) != LUA_TTABLE)
    bind_error(L, "%s: expected a table, got %s", what, bind_describe(L, 1));
  lua_settop(L, 1);
  if (lua_getfield(L, 1, "label") != LUA_TSTRING)
    bind_error(L, "%s: `label`: expected a string, got %s", what, bind_describe(L, -1));
  return lua_tostring(L, 2);
}
