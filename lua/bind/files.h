/* The interface of files.c for other bindings. */
#ifndef BAM_BIND_FILES_H
#define BAM_BIND_FILES_H

#include <lua.h>

#include "../../engine/io/safetensors.h"

/* Whether `arg` is a stored tensor (open_tensors). *file and *entry get its open file and its entry there;
   borrowed while it stays on the stack. */
bool bind_test_stored(lua_State *L, int arg, const bam_safetensors **file, int64_t *entry);

#endif
