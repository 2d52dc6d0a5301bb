/* What tracebacks need to know of the bindings. */
#ifndef BAM_BIND_TRACES_H
#define BAM_BIND_TRACES_H

#include <stdbool.h>

#include "raise.h"

/* Key of the registry: true if tracebacks show bam's own frames too. Set by core.trace_all. */
#define BAM_TRACE_ALL "bam.trace_all"

/* Its address is the key in the registry of the message handler that notes where an error comes from before bam.scope
   and with_grad, which must clean up, pass it on. Set by the program. An address needs no memory to look up. */
extern const char bind_note_error;

/* Whether the value at `index` is a function of bam.core, as scripts call it. */
bool bind_is_binding(lua_State *L, int index);

#endif
