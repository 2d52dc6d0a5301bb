/* The border between Lua and the engine. A binding checks its arguments, makes empty boxes on the Lua stack,
   lets the engine fill them, and raises in one place (bind_check): at that moment no C local owns anything. */
#ifndef BAM_BIND_H
#define BAM_BIND_H

#include <lauxlib.h>
#include <lua.h>

#include "../../engine/autograd.h"

#define BIND_TENSOR "bam.Tensor"

/* Open the module "bam.core": the C half of `require "bam"`. Leaves its table. */
int luaopen_bam_core(lua_State *L);

/* The engine context of this Lua state. */
bam_context *bind_context(lua_State *L);

/* A tensor as Lua holds it. `tensor` is NULL when closed; boxes born in a scope form its list. */
typedef struct bind_box {
  bam_tensor *tensor;
  struct bind_scope *scope; /* NULL: lives until collected */
  struct bind_box *previous, *next;
  const char *released_by; /* the scope that released it, for the message; interned by Lua's registry */
} bind_box;

/* Push an empty box to be filled by the engine: `bind_check(L, bam_...(..., &box->tensor))`. */
bind_box *bind_push_box(lua_State *L);

/* Raise the context's message as a Lua error when status is a failure. */
void bind_check(lua_State *L, bam_status status);

/* The tensor at stack index `arg`, or an argument error. Borrowed: valid while the box stays on the stack. */
bam_tensor *bind_tensor(lua_State *L, int arg);

/* The same or NULL when there is no tensor at `arg`. Raises for a closed one. */
bam_tensor *bind_test_tensor(lua_State *L, int arg);

#endif
