/* Declarations shared by the bindings of byte pair encoding: objects, buffers of token ids, and reading the table
   that describes an encoder. Pointers returned by these functions are in memory pushed onto the stack. */
#ifndef BAM_BIND_TOKENIZER_H
#define BAM_BIND_TOKENIZER_H

#include "../../engine/text/bpe.h"
#include "bind.h"

/* ---- objects: token_buffer.c ---- */

/* Push an object of `size` zero bytes. Its metatable is made once. __gc is set last, so a metatable interrupted by
   an error is recognized as incomplete. */
void *bind_push_object(lua_State *L, size_t size, const char *type, const bind_export *methods,
                       const luaL_Reg *metamethods, lua_CFunction gc);

/* Raise unless an object is complete (`made`) and not in use (`busy`). */
void bind_check_object(lua_State *L, bool made, bool busy, const char *type);

/* ---- buffers of token ids: token_buffer.c ---- */

typedef struct {
  bool busy; /* in use by the engine: a finalizer must not touch it */
  bam_tokens ids;
} bind_buffer;

/* Push an empty buffer. */
bind_buffer *bind_push_buffer(lua_State *L);

/* The buffer at `arg`. Raises if it is not a buffer, or is in use. */
bind_buffer *bind_check_buffer(lua_State *L, int arg);

/* The token id at position `i` of the list at stack index `list`. `name` is for messages. */
int32_t bind_get_id(lua_State *L, int list, int64_t i, const char *name);

/* ---- the table at 1: tokenizer_parts.c ---- */

/* Raise unless the argument at 1 is a table with a string `label`, the prefix of error messages. Returns the
   label. */
const char *bind_parts_check(lua_State *L, const char *what);

/* Push the list in field `name`, and return its length. */
int64_t bind_parts_list(lua_State *L, const char *name);

/* Read the list of `n` strings in field `name`. The list and its strings stay on the stack. */
bam_expression *bind_parts_strings(lua_State *L, const char *name, int *n);

/* Read the list of `n` token ids in field `name`. */
int32_t *bind_parts_ids(lua_State *L, const char *name, int64_t *n);

/* Read the list `added` of `n` added tokens. */
bam_special_token *bind_parts_added(lua_State *L, int64_t *n);

/* Compile the expressions of the list `patterns` and of the optional list `recent_patterns`. */
void bind_parts_patterns(lua_State *L, const char *label, bam_pattern **out);

#endif
