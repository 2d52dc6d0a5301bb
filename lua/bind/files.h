/* What other bindings need of files.c. */
#ifndef BAM_BIND_FILES_H
#define BAM_BIND_FILES_H

#include <lua.h>

#include "../../engine/io/safetensors.h"

/* Is there a tensor that stays in its file (open_tensors) at `arg`? Its open file and its place there
   go into *file and *entry: valid while it stays on the stack. */
bool bind_test_stored(lua_State *L, int arg, const bam_safetensors **file, int64_t *entry);

#endif
