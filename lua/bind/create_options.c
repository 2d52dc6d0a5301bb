/* The options { dtype =, requires_grad =, device = } and the sizes of the functions that create tensors. */
#include <string.h>

#include "create.h"

static const char *const option_names[] = { "dtype", "requires_grad", "device", NULL };

/* Read the options in the table at `arg`, whose names have already been checked. */
static bind_options get_options(lua_State *L, int arg, const char *what, bam_dtype dtype) {
  bind_options o = { .dtype = dtype, .device = bind_context(L)->device };
  const int top = lua_gettop(L);
  if (lua_getfield(L, arg, "dtype") != LUA_TNIL)
    o.dtype = bind_dtype(L, -1, what);
  const char *name = lua_pushfstring(L, "%s: option requires_grad", what);
  if (lua_getfield(L, arg, "requires_grad") != LUA_TNIL)
    o.requires_grad = bind_flag(L, -1, name);
  if (lua_getfield(L, arg, "device") != LUA_TNIL)
    o.device = bind_device(L, -1, what);
  lua_settop(L, top);
  return o;
}

/* The end of a message about a value that stands where options are expected: the option that it may be meant for. */
static const char *option_hint(lua_State *L, int arg) {
  if (lua_type(L, arg) == LUA_TBOOLEAN)
    return lua_pushfstring(L, "; write { requires_grad = %s }",
                           lua_toboolean(L, arg) ? "true" : "false");
  if (lua_type(L, arg) != LUA_TSTRING)
    return "";
  const char *text = lua_tostring(L, arg);
  if (strncmp(text, "cpu", 3) == 0 || strncmp(text, "cuda", 4) == 0)
    return lua_pushfstring(L, "; write { device = \"%s\" }", text);
  const char *dtype = bind_dtype_name(text);
  return dtype == NULL ? "" : lua_pushfstring(L, "; write { dtype = \"%s\" }", dtype);
}

bind_options bind_read_options(lua_State *L, int arg, const char *what, bam_dtype dtype) {
  if (lua_isnoneornil(L, arg))
    return (bind_options){ .dtype = dtype, .device = bind_context(L)->device };
  if (lua_type(L, arg) != LUA_TTABLE)
    bind_error(L, "%s: expected a table of options, got %s%s", what, bind_describe(L, arg),
               option_hint(L, arg));
  bind_check_options(L, arg, what, option_names);
  return get_options(L, arg, what, dtype);
}

bind_options bind_read_options_among(lua_State *L, int list, int arg, const char *what,
                                     bam_dtype dtype) {
  bind_check_options_among(L, list, what, option_names);
  if (!lua_isnoneornil(L, arg))
    bind_error(L, "%s: options are given both in the list and after it; give them once", what);
  return get_options(L, list, what, dtype);
}

int bind_finish(lua_State *L, bind_handle *handle, const bind_options *o) {
  if (o->requires_grad)
    bind_check(L, bam_autograd_require(handle->tensor, true));
  return 1;
}

/* Read the numbers from argument *arg on as sizes, and advance *arg past them. nil does not end the sizes, it
   is an error: otherwise zeros(2, config.typo) would silently make a smaller tensor. */
static void read_numbers(lua_State *L, int *arg, const char *what, bam_shape *shape) {
  for (; lua_type(L, *arg) == LUA_TNUMBER; (*arg)++) {
    if (shape->ndim == BAM_MAX_DIMS)
      bind_error(L, "%s: at most %d dimensions", what, BAM_MAX_DIMS);
    shape->size[shape->ndim++] = bind_integer(L, *arg, what);
  }
  if (lua_type(L, *arg) == LUA_TNIL)
    bind_error(L, "%s: argument %d is nil; expected a size, or options", what, *arg);
}

bind_options bind_read_sizes(lua_State *L, int first, const char *what, bam_shape *shape,
                             bam_dtype dtype) {
  int arg = first, top = lua_gettop(L);
  bool has_options = false;
  shape->ndim = 0;
  if (lua_type(L, arg) == LUA_TTABLE && !bind_is_options(L, arg))
    shape->ndim = bind_integers_with_options(L, arg++, what, shape->size, &has_options);
  else
    read_numbers(L, &arg, what, shape);
  if (arg < top || (arg == top && lua_type(L, arg) != LUA_TTABLE && !lua_isnil(L, arg)))
    bind_error(L, "%s: expected sizes and then options, got %s as argument %d%s", what,
               bind_describe(L, arg), arg, option_hint(L, arg));
  bind_options o = has_options ? bind_read_options_among(L, first, arg, what, dtype)
                               : bind_read_options(L, arg, what, dtype);
  int64_t count;
  bam_context *context = bind_context(L);
  if (bam_shape_count(context, shape, &count) != BAM_OK)
    bind_error(L, "%s: %s", what, context->message);
  return o;
}

bind_handle *bind_push_uninitialized(lua_State *L, const bind_options *o, const bam_shape *shape) {
  bind_handle *handle = bind_push_handle(L);
  bind_check(L, bam_tensor_new(bind_context(L), o->device, o->dtype, shape, &handle->tensor));
  return handle;
}
