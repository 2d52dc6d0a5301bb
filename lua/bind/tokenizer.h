/* What the files of byte pair encoding share: objects, buffers of token ids, and the table that an encoder is made
   of. Pointers that these functions return lie in memory pushed on the stack. */
#ifndef BAM_BIND_TOKENIZER_H
#define BAM_BIND_TOKENIZER_H

#include "../../engine/text/bpe.h"
#include "bind.h"

/* ---- objects: token_buffer.c ---- */

/* Push an object of `size` zero bytes. Its metatable is made once; __gc comes last, so that it is there
   in full or not at all. */
void *bind_push_object(lua_State *L, size_t size, const char *type, const bind_export *methods,
                       const luaL_Reg *metamethods, lua_CFunction gc);

/* Raise unless an object is whole (`made`) and not in use (`busy`). */
void bind_check_object(lua_State *L, bool made, bool busy, const char *type);

/* ---- buffers of token ids: token_buffer.c ---- */

typedef struct {
  bool busy; /* the engine works on it: a finaliser must not use it */
  bam_tokens ids;
} bind_buffer;

/* Push an empty buffer. */
bind_buffer *bind_push_buffer(lua_State *L);

/* The buffer at `arg`, which is not in use, or an argument error. */
bind_buffer *bind_check_buffer(lua_State *L, int arg);

/* The token id at position `i` of the list at stack index `list`. `name` is for messages. */
int32_t bind_get_id(lua_State *L, int list, int64_t i, const char *name);

/* ---- the table at 1: tokenizer_parts.c ---- */

/* Raise unless there is a table at 1, with a `label`, which begins messages and is returned. */
const char *bind_parts_check(lua_State *L, const char *what);

/* Push the list in field `name`: its length. */
int64_t bind_parts_list(lua_State *L, const char *name);

/* The `n` strings of a list. They and the list stay on the stack too. */
bam_expression *bind_parts_strings(lua_State *L, const char *name, int *n);

/* The `n` token ids of a list. */
int32_t *bind_parts_ids(lua_State *L, const char *name, int64_t *n);

/* The `n` added tokens of the list `added`. */
bam_special_token *bind_parts_added(lua_State *L, int64_t *n);

/* Compile the expressions of the lists `patterns` and, if there is one, `recent_patterns`. */
void bind_parts_patterns(lua_State *L, const char *label, bam_pattern **out);

#endif
