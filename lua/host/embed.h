/* The Lua side of bam, carried inside the binary: every lua/bam file (any depth) is embedded as
   source by embed.sh, so that `require "bam"` works wherever the binary is and runs from. */
#ifndef BAM_EMBED_H
#define BAM_EMBED_H

#include <lua.h>

/* Puts a searcher for the embedded modules right behind package.preload, and preloads
   - "bam.core", the C bindings;
   - "bam.embedded", a table with source(path), the text of "bam/nn/linear.lua" or nil, and
     modules(), the list of the names of the embedded modules, sorted by path. */
void host_embed_install(lua_State *L);

#endif
