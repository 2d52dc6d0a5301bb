/* What the functions that make tensors share: their options and sizes. */
#ifndef BAM_BIND_CREATE_H
#define BAM_BIND_CREATE_H

#include "bind.h"

/* { dtype =, requires_grad =, device = } */
typedef struct {
  bam_dtype dtype;
  bool requires_grad;
  bam_device *device;
} bind_options;

/* The options at `arg`, or the defaults if there is nothing. `what` is the function. */
bind_options bind_read_options(lua_State *L, int arg, const char *what, bam_dtype dtype);

/* Sizes given as numbers or as one list from argument `first` on, then perhaps options. */
bind_options bind_read_sizes(lua_State *L, int first, const char *what, bam_shape *shape,
                             bam_dtype dtype);

/* Push a handle with an uninitialised tensor of these sizes, to be filled. */
bind_handle *bind_push_uninitialised(lua_State *L, const bind_options *o, const bam_shape *shape);

/* Make the finished tensor in the handle on top the result: the 1 is for `return`. */
int bind_finish(lua_State *L, bind_handle *handle, const bind_options *o);

#endif
