/* The Lua half of bam, inside the binary: embed.sh embeds the source of every file under lua/bam, so
   `require "bam"` works from any directory and without installation. precompile.c compiles them to bytecode when the
   program is built: that is what require loads, in a seventh of the time that compiling takes. The sources remain for
   help, tracebacks and fingerprints. */
#ifndef BAM_EMBED_H
#define BAM_EMBED_H

#include <lua.h>

/* Inserts a searcher for the embedded modules directly after package.preload, and preloads
   - "bam.core", the C bindings;
   - "bam.embedded", a table with source(path), the text of "bam/nn/linear.lua" or nil, and
     modules(), the list of the names of the embedded modules, sorted by path. */
void host_embed_install(lua_State *L);

#endif
