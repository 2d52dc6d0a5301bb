/* Hashes for scripts: of strings and of files. */
#include "../../engine/io/hash.h"

#include "bind.h"

static bam_hash hash_of_string(lua_State *L, const char *what) {
  size_t size;
  if (lua_type(L, 1) != LUA_TSTRING)
    bind_error(L, "%s: expected a string, got %s", what, bind_describe(L, 1));
  const char *text = lua_tolstring(L, 1, &size);
  return bam_hash_bytes(text, (int64_t)size);
}

static int push_digits(lua_State *L, bam_hash hash) {
  char text[BAM_HASH_TEXT];
  lua_pushstring(L, bam_hash_text(hash, text));
  return 1;
}

BIND_DOC(hash_string, "hash(text)",
         "The 128-bit XXH3 hash of a string. Collisions do not happen by accident, but can be "
         "constructed.\n"
         "@param text string\n"
         "@return string digits 32 hexadecimal digits");
static int hash_string(lua_State *L) { return push_digits(L, hash_of_string(L, "hash")); }

BIND_DOC(hash_integer, "hash64(text)",
         "The lower 64 bits of hash(text).\n"
         "@param text string\n"
         "@return integer");
static int hash_integer(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)hash_of_string(L, "hash64").low);
  return 1;
}

BIND_DOC(hash_file, "hash_file(path)",
         "The hash of the contents of a file of any size.\n"
         "@param path string\n"
         "@return string digits 32 hexadecimal digits");
static int hash_file(lua_State *L) {
  bam_hash hash;
  const char *path = bind_path(L, 1, "hash_file", "a file");
  bind_check_within(L, bam_hash_file(bind_context(L), path, &hash), "hash_file");
  return push_digits(L, hash);
}

BIND_DOC(hash_tensor, "hash_tensor(x)",
         "The hash of a tensor's elements in row-major order. Shape and dtype are not part of it.\n"
         "@param x tensor\n"
         "@return string digits 32 hexadecimal digits");
static int hash_tensor(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  bind_handle *here = bind_push_handle(L), *handle = bind_push_handle(L);
  bind_check_within(L, bam_tensor_to(x, &bind_context(L)->cpu, &here->tensor), "hash_tensor");
  bind_check_within(L, bam_tensor_contiguous(here->tensor, &handle->tensor), "hash_tensor");
  int64_t size = bam_tensor_count(x) * bam_dtype_size(x->dtype);
  return push_digits(L, bam_hash_bytes(bam_tensor_data(handle->tensor), size));
}

const bind_export bind_hash_functions[] = {
  BIND_EXPORT(hash_string), BIND_EXPORT(hash_integer),
  BIND_EXPORT(hash_file),   BIND_EXPORT(hash_tensor),
  { NULL, NULL },
};
