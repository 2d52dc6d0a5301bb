/* What bam.scope and with_grad change while a function runs. */
#ifndef BAM_BIND_EXTENT_H
#define BAM_BIND_EXTENT_H

#include "bind.h"

typedef enum { BIND_SCOPE, BIND_GRAD_MODE } bind_extent_kind;

typedef struct bind_extent {
  lua_State *L; /* the coroutine that entered it */
  bind_extent_kind kind;
  bool is_linked;
  bool no_grad;              /* of BIND_GRAD_MODE */
  bind_handle *handles;      /* of BIND_SCOPE: the tensors created in it */
  const char *name;          /* the script line where a scope began; anchored in the registry */
  struct bind_extent *older; /* in state->extents, newest first */
} bind_extent;

/* Make the type of extents in the registry. */
void bind_extent_open(lua_State *L);

/* The innermost extent of a kind around the code that runs in L, or NULL. */
bind_extent *bind_extent_find(const bind_state *state, lua_State *L, bind_extent_kind kind);

/* Let the modes of L count from now on: it is the coroutine that runs. */
void bind_extent_select(bind_state *state, lua_State *L);

/* Begin an extent of the running C function, in `room`, a variable of it, or in a coroutine in a userdata, which ends
   it when the coroutine is closed or collected. Takes the place of argument 1. */
bind_extent *bind_extent_begin(lua_State *L, bind_extent_kind kind, bind_extent *room);

/* Call the function at 2 with what is above it, in an extent whose place is 1. It may yield. Then `end` is called with
   its results, or the error, from 3 on. */
int bind_extent_call(lua_State *L, bind_extent *e, lua_KFunction end);

/* Add an extent to state->extents, and remove it. An extent that has been removed may be removed again. */
void bind_extent_link(bind_state *state, bind_extent *e);
void bind_extent_unlink(bind_state *state, bind_extent *e);

/* Release the tensors that are still in a scope. */
void bind_scope_release(bind_extent *scope);

#endif
