/* Finds modules in the table that embed.sh put into the binary. It is read-only and sorted by module. */
#include "embed.h"
#include "../bind/bind.h"

#include <lauxlib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Each field is a distance in bytes from the start of the table. */
struct embedded_source {
  int32_t module; /* the name, such as "bam.nn.linear" */
  int32_t path;   /* "bam/nn/linear.lua" */
  int32_t start, end;
  int32_t code, code_end; /* the bytecode */
};

/* Both are defined by the output of embed.sh. */
extern const struct embedded_source bam_embedded_sources[];
extern const size_t bam_embedded_count;

static const char *at(int32_t distance) { return (const char *)bam_embedded_sources + distance; }

static int compare_module(const void *name, const void *source) {
  return strcmp(name, at(((const struct embedded_source *)source)->module));
}

static int search_embedded(lua_State *L) {
  const char *module = luaL_checkstring(L, 1);
  const struct embedded_source *found = bsearch(module, bam_embedded_sources, bam_embedded_count,
                                                sizeof *found, compare_module);
  if (found == NULL) {
    if (strncmp(module, "bam.", 4) != 0)
      return 0; /* for other modules keep the message of lua */
    lua_pushfstring(L, "no embedded module '%s'", module);
    return 1;
  }
  const char *chunk = lua_pushfstring(L, "=%s", at(found->path));
  const size_t size = (size_t)(found->code_end - found->code);
  if (luaL_loadbufferx(L, at(found->code), size, chunk, "b") != LUA_OK)
    return luaL_error(L, "error loading embedded module '%s':\n\t%s", module, lua_tostring(L, -1));
  lua_pushstring(L, at(found->path));
  return 2;
}

static int embedded_source_text(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  for (size_t i = 0; i < bam_embedded_count; i++) {
    const struct embedded_source *source = &bam_embedded_sources[i];
    if (strcmp(path, at(source->path)) != 0)
      continue;
    lua_pushlstring(L, at(source->start), (size_t)(source->end - source->start));
    return 1;
  }
  luaL_pushfail(L);
  return 1;
}

static int embedded_modules(lua_State *L) {
  lua_createtable(L, (int)bam_embedded_count, 0);
  for (size_t i = 0; i < bam_embedded_count; i++) {
    lua_pushstring(L, at(bam_embedded_sources[i].module));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static int open_embedded(lua_State *L) {
  static const luaL_Reg functions[] = { { "source", embedded_source_text },
                                        { "modules", embedded_modules },
                                        { NULL, NULL } };
  luaL_newlib(L, functions);
  return 1;
}

/* Inserts the function on top of the stack as searcher 2, and pops it. */
static void insert_searcher(lua_State *L) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  for (lua_Integer i = luaL_len(L, -1); i >= 2; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, 2);
  lua_pop(L, 3);
}

void host_embed_install(lua_State *L) {
  static const luaL_Reg preloaded[] = { { "bam.core", luaopen_bam_core },
                                        { "bam.embedded", open_embedded },
                                        { NULL, NULL } };
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  luaL_setfuncs(L, preloaded, 0);
  lua_pop(L, 1);
  lua_pushcfunction(L, search_embedded);
  insert_searcher(L);
}
