/* Reading the options and sizes of the functions that create tensors (create_options.c). */
#ifndef BAM_BIND_CREATE_H
#define BAM_BIND_CREATE_H

#include "bind.h"

/* { dtype =, requires_grad =, device = } */
typedef struct {
  bam_dtype dtype;
  bool requires_grad;
  bam_device *device;
} bind_options;

/* Read the options at `arg`, or the defaults if it is absent. `what` is the function. */
bind_options bind_read_options(lua_State *L, int arg, const char *what, bam_dtype dtype);

/* Read the options inside the list at `list`, as in zeros { 2, dtype = "f64" }. Then `arg` must not hold
   options. */
bind_options bind_read_options_among(lua_State *L, int list, int arg, const char *what,
                                     bam_dtype dtype);

/* Read sizes from argument `first` on, given as numbers or as one list, and the options after or in them. */
bind_options bind_read_sizes(lua_State *L, int first, const char *what, bam_shape *shape,
                             bam_dtype dtype);

/* Push a handle with an uninitialized tensor of this shape, for the caller to fill. */
bind_handle *bind_push_uninitialized(lua_State *L, const bind_options *o, const bam_shape *shape);

/* Finish the tensor in the handle on top as the function's result. Returns 1, for `return`. */
int bind_finish(lua_State *L, bind_handle *handle, const bind_options *o);

#endif
