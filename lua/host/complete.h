/* What Tab can add to a piece of Lua. */
#ifndef BAM_COMPLETE_H
#define BAM_COMPLETE_H

#include <lua.h>

/* A Lua function of one argument, the text before the cursor. Returns the list of the names that
   the last word in it may become, sorted (of `bam.nn.Li` only `Linear` and its like), and how many
   bytes of such a name are typed already. After an opening bracket the list is empty, and the third
   result is how the function before it is called: `bam.softmax(x, dim = -1)`; else that is nil. Runs
   no code of the user: it reads tables raw, and follows __index only where that is a table. */
int host_complete(lua_State *L);

#endif
