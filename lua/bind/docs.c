/* Documentation for scripts. C functions and types are documented where they are defined (BIND_DOC), ops in their
   descriptors. core.docs() returns it as data; lua/bam/doc makes help(), docs/api and bam.d.lua from it. */
#include <math.h>
#include <string.h>

#include "../../engine/ops/ops.h"
#include "bind.h"

const bind_export *const bind_parts[] = {
  bind_create_functions,    bind_random_functions,
  bind_files_functions,     bind_autograd_functions,
  bind_scope_functions,     bind_device_functions,
  bind_system_functions,    bind_optim_functions,
  bind_tokenizer_functions, bind_buffer_functions,
  bind_text_functions,      bind_json_functions,
  bind_hash_functions,      bind_directory_functions,
  bind_path_functions,      bind_lock_functions,
  bind_signals_functions,   bind_terminal_functions,
  bind_tensor_functions,    bind_ops_functions,
  bind_docs_functions,      bind_profile_functions,
  bind_fields_functions,    bind_algorithm_functions,
  bind_capture_functions,   NULL,
};

static const struct {
  const char *name;
  const bind_export *methods;
} types[] = {
  { "tensor", bind_tensor_methods },           { "bam.StoredTensor", bind_stored_methods },
  { "bam.TextReader", bind_reader_methods },   { "bam.Lock", bind_lock_methods },
  { "bam.Capture", bind_capture_methods },     { "bam.bpe", bind_bpe_methods },
  { "bam.bpe_trainer", bind_trainer_methods }, { "bam.token_buffer", bind_buffer_methods },
};

const char *bind_doc_name(const char *doc, size_t *length) {
  const char *end = strpbrk(doc, "(\n"), *start = end;
  while (start > doc && start[-1] != ':')
    start--;
  *length = (size_t)(end - start);
  return start;
}

/* Append the documentation in `list` to the list on top. */
static void append_docs(lua_State *L, const bind_export *list) {
  for (; list->doc != NULL; list++) {
    lua_pushstring(L, list->doc);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  }
}

static void set_string(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

/* Set the field `default` of the table on top to the default of an optional attribute, as written in Lua. */
static void set_default(lua_State *L, const bam_attr_spec *spec) {
  const bool counts = spec->kind == BAM_ATTR_DIM &&
                      spec->initial >= 0; /* 0-based here, 1-based in scripts */
  switch (spec->kind) {
  case BAM_ATTR_BOOL: lua_pushboolean(L, spec->initial != 0); break;
  case BAM_ATTR_INT:
  case BAM_ATTR_DIM: lua_pushinteger(L, (lua_Integer)spec->initial + counts); break;
  case BAM_ATTR_FLOAT: lua_pushnumber(L, spec->initial); break;
  default: return;
  }
  lua_setfield(L, -2, "default");
}

static void push_attribute(lua_State *L, const bam_attr_spec *spec) {
  static const char *const kinds[] = {
    [BAM_ATTR_INT] = "int",     [BAM_ATTR_FLOAT] = "float",       [BAM_ATTR_BOOL] = "bool",
    [BAM_ATTR_DTYPE] = "dtype", [BAM_ATTR_DEVICE] = "device",     [BAM_ATTR_DIM] = "dim",
    [BAM_ATTR_DIMS] = "dims",   [BAM_ATTR_POSITION] = "position", [BAM_ATTR_SIZES] = "sizes",
  };
  lua_createtable(L, 0, 4);
  set_string(L, "name", spec->name);
  set_string(L, "kind", kinds[spec->kind]);
  lua_pushboolean(L, spec->required);
  lua_setfield(L, -2, "required");
  if (!spec->required && !isnan(spec->initial))
    set_default(L, spec);
}

static void push_op(lua_State *L, const bam_op *op) {
  lua_createtable(L, 0, 5);
  set_string(L, "name", op->name);
  set_string(L, "help", op->help);
  lua_pushinteger(L, op->outputs > 0 ? op->outputs : 1);
  lua_setfield(L, -2, "outputs");
  lua_newtable(L);
  for (int i = 0; op->inputs[i] != NULL; i++) {
    lua_pushstring(L, op->inputs[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "inputs");
  lua_newtable(L);
  for (int i = 0; i < bam_op_attr_count(op); i++) {
    push_attribute(L, &op->attrs[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "attributes");
}

BIND_DOC(
  docs_collect, "docs()",
  "Everything that is documented in C. `functions` has the texts of bam.core: a call such as\n"
  "\"glob(pattern)\" in the first line, then help with @param and @return lines of LuaCATS. "
  "`types` has\n"
  "lists of such texts by type, `ops` a record per op, in the order of engine/ops/list.h.\n"
  "@return { functions: string[], types: table<string, string[]>, ops: table[] }");
static int docs_collect(lua_State *L) {
  const bam_op *op;
  lua_createtable(L, 0, 3);
  lua_newtable(L);
  for (const bind_export *const *part = bind_parts; *part != NULL; part++)
    append_docs(L, *part);
  lua_setfield(L, -2, "functions");
  lua_newtable(L);
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    lua_newtable(L);
    append_docs(L, types[i].methods);
    lua_setfield(L, -2, types[i].name);
  }
  lua_setfield(L, -2, "types");
  lua_newtable(L);
  for (int i = 0; (op = bam_op_at(i)) != NULL; i++) {
    push_op(L, op);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "ops");
  return 1;
}

const bind_export bind_docs_functions[] = {
  BIND_EXPORT(docs_collect),
  { NULL, NULL },
};
