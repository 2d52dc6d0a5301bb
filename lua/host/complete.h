/* Tab completion of Lua code. */
#ifndef BAM_COMPLETE_H
#define BAM_COMPLETE_H

#include <lua.h>

/* A Lua function of one argument, the text before the cursor. Returns the sorted list of completions of the
   last word (for `bam.nn.Li`, names such as `Linear`), and the number of bytes of them already typed.
   After an opening bracket the list is empty, and the third result is the usage of the function before
   it, such as `bam.softmax(x, dim = -1)`; otherwise it is nil. Runs no user code: tables are read raw, and
   __index is followed only if it is a table. */
int host_complete(lua_State *L);

#endif
