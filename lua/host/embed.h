/* The Lua half of bam, inside the binary: embed.sh embeds the source of every file under lua/bam, so
   `require "bam"` works from any directory and without installation. Its bytecode, made by precompile.c, is embedded
   beside it and is what is run: loading it takes a seventh of the time of compiling the source. */
#ifndef BAM_EMBED_H
#define BAM_EMBED_H

#include <lua.h>

/* Inserts a searcher for the embedded modules directly after package.preload, and preloads
   - "bam.core", the C bindings;
   - "bam.embedded", a table with source(path), the text of "bam/nn/linear.lua" or nil, and
     modules(), the list of the names of the embedded modules, sorted by path. */
void host_embed_install(lua_State *L);

#endif
