/* x[i], x[{ 2, {1, 3} }], x[mask], x[positions] and assignment to them. A list
   mixes, one entry per dimension:
     3          a position; the dimension disappears       {1, 3}   an inclusive range
     {}         the whole dimension                        {1, 9, 2} a range with a step
     tensor     positions (integers) or a mask (bool) along that dimension
   Positions count from 1, or from -1 at the end. Reading is recorded by autograd. */
#include <inttypes.h>
#include <string.h>

#include "../../engine/ops/assign.h"
#include "../../engine/ops/ops.h"
#include "bind.h"

/* ---- parts of an index: each function pushes the result of an op on the tensor ---- */

/* Whether ipairs is reading position after position. */
static bool is_ipairs(lua_State *L) {
  lua_Debug caller;
  if (!lua_getstack(L, 1, &caller))
    return false;
  lua_getinfo(L, "Sn", &caller);
  return *caller.what == 'C' && caller.name != NULL && strcmp(caller.name, "for iterator") == 0;
}

/* Raise unless x has the position `at` (0-based, or negative) in dimension `dim`, which messages number `number`. */
static void check_position(lua_State *L, const bam_tensor *x, int dim, int64_t at, int number) {
  const int64_t size = x->shape.size[dim];
  if (at >= -size && at < size)
    return;
  if (at == size && is_ipairs(L))
    bind_error(L,
               "index: ipairs(x) reads on until it finds nil, which a tensor does not have; write "
               "`for i, row in pairs(x) do` or `for i = 1, #x do`");
  bind_error(L, "index: position %I is out of range: dimension %d has %I positions",
             (LUAI_UACINT)(at < 0 ? at : at + 1), number, (LUAI_UACINT)size);
}

static void push_select(lua_State *L, bam_tensor *x, int dim, int64_t position) {
  bam_attr attrs[2] = { { .given = true, .i = dim }, { .given = true, .i = position } };
  bind_apply(L, "index", &bam_op_select, &x, 1, attrs);
}

static void push_narrow(lua_State *L, bam_tensor *x, int dim, int64_t start, int64_t length) {
  bam_attr attrs[3] = { { .given = true, .i = dim },
                        { .given = true, .i = start },
                        { .given = true, .i = length } };
  bind_apply(L, "index", &bam_op_narrow, &x, 1, attrs);
}

/* Raise if x is 0-dimensional. */
static void need_dimension(lua_State *L, const bam_tensor *x) {
  if (x->shape.ndim == 0)
    bind_error(L, "index: a 0-dimensional tensor has no positions; x:item() is its value");
}

/* Push index_select along `dim`, which must exist. The shape of `positions`, of any number of dimensions,
   replaces that dimension. */
static void push_positions(lua_State *L, bam_tensor *x, int dim, bam_tensor *positions) {
  bam_attr along = { .given = true, .i = dim },
           flat = { .given = true, .count = 1, .list = { -1 } };
  if (positions->shape.ndim == 1) {
    bind_apply(L, "index", &bam_op_index_select, (bam_tensor *[]){ x, positions }, 2, &along);
    return;
  }
  const bam_shape *from = &x->shape, *at = &positions->shape;
  bam_attr sizes = { .given = true, .count = from->ndim - 1 + at->ndim };
  if (sizes.count > BAM_MAX_DIMS)
    bind_error(L, "index: the result would have %d dimensions", sizes.count);
  memcpy(sizes.list, from->size, sizeof(int64_t) * (size_t)dim);
  memcpy(sizes.list + dim, at->size, sizeof(int64_t) * (size_t)at->ndim);
  memcpy(sizes.list + dim + at->ndim, from->size + dim + 1,
         sizeof(int64_t) * (size_t)(from->ndim - dim - 1));
  bind_apply(L, "index", &bam_op_reshape, &positions, 1, &flat);
  bam_tensor *list = bind_tensor(L, lua_gettop(L));
  bind_apply(L, "index", &bam_op_index_select, (bam_tensor *[]){ x, list }, 2, &along);
  bam_tensor *chosen = bind_tensor(L, lua_gettop(L));
  bind_apply(L, "index", &bam_op_reshape, &chosen, 1, &sizes);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* Push every step-th position from `start`: narrow, then index by positions. */
static void push_stepped(lua_State *L, bam_tensor *x, int dim, int64_t start, int64_t length,
                         int64_t step) {
  const int64_t n = length > 0 ? (length - 1) / step + 1 : 0;
  const bam_shape shape = { .ndim = 1, .size = { n } };
  bind_handle *here = bind_push_handle(L), *handle = bind_push_handle(L);
  bind_check(L, bam_tensor_new(x->context, &x->context->cpu, BAM_I64, &shape, &here->tensor));
  int64_t *data = bam_tensor_data(here->tensor);
  for (int64_t i = 0; i < n; i++)
    data[i] = start + i * step + 1;
  bind_check(L, bam_tensor_to(here->tensor, bam_tensor_device(x), &handle->tensor));
  push_positions(L, x, dim, handle->tensor);
  lua_remove(L, -2);
  lua_remove(L, -2);
}

/* ---- ranges ---- */

typedef struct {
  int64_t start, length, step; /* 0-based */
} range;

/* The list {first, last, step} on top as a range of a dimension of `size` positions. */
static range read_range(lua_State *L, int dim, int64_t size) {
  int64_t list[BAM_MAX_DIMS] = { 1, size, 1 };
  int n = bind_integers(L, lua_gettop(L), "index: range", list);
  if (n == 0)
    return (range){ 0, size, 1 };
  if (n == 1 || n > 3)
    bind_error(L, "index: a range is {first, last} or {first, last, step}; {} is all");
  int64_t first = list[0] < 0 ? list[0] + size + 1 : list[0];
  int64_t last = list[1] < 0 ? list[1] + size + 1 : list[1];
  int64_t step = n == 3 ? list[2] : 1;
  if (step < 1)
    bind_error(L, "index: the step of a range must be positive; x:flip() reverses");
  if (first < 1 || last > size || last < first - 1)
    bind_error(L, "index: range {%I, %I} is out of range: dimension %d has %I positions%s",
               (LUAI_UACINT)list[0], (LUAI_UACINT)list[1], dim + 1, (LUAI_UACINT)size,
               list[0] == 0 ? ", counted from 1; the end is included" : "");
  return (range){ first - 1, last - first + 1, step };
}

/* ---- x[{ ... }] ---- */

/* The target of entry `i` of a list: dimension `dim` of `x`. Earlier entries may have removed dimensions. */
typedef struct {
  bam_tensor *x;
  int i, dim;
  bool views_only; /* refuse entries that would copy */
} place;

static void push_position(lua_State *L, const place *p) {
  const int64_t at = bind_position(L, lua_gettop(L), "index");
  check_position(L, p->x, p->dim, at, p->i);
  push_select(L, p->x, p->dim, at);
}

static void push_range(lua_State *L, const place *p) {
  range r = read_range(L, p->i - 1, p->x->shape.size[p->dim]);
  if (r.step == 1)
    push_narrow(L, p->x, p->dim, r.start, r.length);
  else if (p->views_only)
    bind_error(L, "index: assigning through a range with a step; assign to x[positions] instead");
  else
    push_stepped(L, p->x, p->dim, r.start, r.length, r.step);
}

/* Push the positions of dimension p->dim where `mask`, of its size, is true. */
static void push_mask(lua_State *L, const place *p, bam_tensor *mask) {
  int64_t size = p->x->shape.size[p->dim];
  char text[BAM_SHAPE_TEXT];
  if (mask->shape.ndim != 1 || mask->shape.size[0] != size)
    bind_error(L, "index: the mask at entry %d has shape %s; dimension %d has %I positions", p->i,
               bam_shape_text(&mask->shape, text), p->i, (LUAI_UACINT)size);
  bind_handle *positions = bind_push_handle(L);
  bind_check(L, bam_mask_positions("index", mask, &positions->tensor));
  push_positions(L, p->x, p->dim, positions->tensor);
}

/* Apply the entry on top of the stack, and push the result. Returns the number of dimensions that replace
   p->dim. */
static int push_entry(lua_State *L, const place *p) {
  bam_tensor *tensor = bind_test_tensor(L, -1);
  if (lua_type(L, -1) == LUA_TNUMBER) {
    push_position(L, p);
    return 0;
  }
  if (lua_type(L, -1) == LUA_TTABLE)
    push_range(L, p);
  else if (tensor == NULL || p->views_only)
    bind_error(L, "index: entry %d is %s; expected a position, a range {first, last} or %s", p->i,
               bind_describe(L, -1), p->views_only ? "{}" : "a tensor of positions");
  else if (tensor->dtype == BAM_BOOL)
    push_mask(L, p, tensor);
  else {
    push_positions(L, p->x, p->dim, tensor);
    return tensor->shape.ndim;
  }
  return 1;
}

/* Apply the entries of the list at `list`, which is on top of the stack, to x. Leaves the result on top. With
   `views_only`, entries that would copy are an error. */
static void push_list_index(lua_State *L, bam_tensor *x, int list, bool views_only) {
  const int64_t n = bind_list(L, list, "index");
  int dim = 0;
  if (n > x->shape.ndim) {
    char text[BAM_SHAPE_TEXT];
    bind_error(L, "index: %I entries for a tensor of shape %s", (LUAI_UACINT)n,
               bam_shape_text(&x->shape, text));
  }
  bind_handle *handle = bind_push_handle(L);
  handle->tensor = bam_tensor_retain(x);
  for (int i = 1; i <= n; i++) {
    const place p = { bind_tensor(L, lua_gettop(L)), i, dim, views_only };
    lua_rawgeti(L, list, i);
    dim += push_entry(L, &p);
    lua_replace(L, list + 1);
    lua_settop(L, list + 1);
  }
}

/* ---- x[key] ---- */

static _Noreturn int bad_key(lua_State *L) {
  bind_error(L, "index: expected a position, a list, or a tensor of positions or booleans, got %s",
             bind_describe(L, 2));
}

/* Push the view of x at the position at index 2, of the first dimension. */
static void push_first(lua_State *L, bam_tensor *x) {
  const int64_t at = bind_position(L, 2, "index");
  check_position(L, x, 0, at, 1);
  push_select(L, x, 0, at);
}

int bind_index_get(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  bam_tensor *key = bind_test_tensor(L, 2);
  lua_settop(L, 2);
  if (lua_type(L, 2) == LUA_TNUMBER) {
    need_dimension(L, x);
    push_first(L, x);
  } else if (key != NULL && key->dtype == BAM_BOOL) {
    bind_apply(L, "index", &bam_op_masked_select, (bam_tensor *[]){ x, key }, 2, NULL);
  } else if (key != NULL) {
    need_dimension(L, x);
    push_positions(L, x, 0, key);
  } else if (lua_type(L, 2) == LUA_TTABLE) {
    push_list_index(L, x, 2, false);
  } else {
    return bad_key(L);
  }
  return 1;
}

/* ---- x[key] = value ---- */

static bam_tensor *read_value(lua_State *L, bam_tensor *x) {
  bam_tensor *value;
  if (lua_type(L, 3) == LUA_TTABLE) { /* a list of numbers */
    lua_pushcfunction(L, bind_create_tensor);
    lua_pushvalue(L, 3);
    lua_createtable(L, 0, 1); /* created in x's dtype, which every number must fit */
    lua_pushstring(L, bam_dtype_name(x->dtype));
    lua_setfield(L, -2, "dtype");
    lua_call(L, 2, 1);
    lua_replace(L, 3);
    lua_settop(L, 3);
  }
  value = bind_tensor_or_number(L, 3, bam_tensor_device(x), "index: value");
  if (value->is_number)
    bind_check(L, bam_tensor_check_number("index: value", value, x->dtype));
  if (value->requires_grad && !x->context->no_grad)
    bind_error(L, "index: writing a differentiated value into a tensor loses its gradient; "
                  "build the result with bam.where, bam.stack or bam.concat, or detach the value");
  return value;
}

int bind_index_set(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  bam_tensor *key = bind_test_tensor(L, 2);
  lua_settop(L, 3);
  bam_tensor *value = read_value(L, x);
  if (lua_gettop(L) > 3)
    lua_replace(L, 3); /* the tensor made of a number */
  bind_check(L, bam_autograd_check_write("index", x));
  if (key != NULL && key->dtype == BAM_BOOL) {
    bind_check(L, bam_masked_assign(x, key, value));
    return 0;
  }
  if (key != NULL) {
    bind_check(L, bam_index_assign(x, 0, key, value));
    return 0;
  }
  if (lua_type(L, 2) == LUA_TTABLE) {
    lua_insert(L, 2); /* value below the list: x, value, list */
    push_list_index(L, x, 3, true);
  } else if (lua_type(L, 2) == LUA_TNUMBER && x->shape.ndim > 0) {
    push_first(L, x);
  } else {
    return bad_key(L);
  }
  bam_tensor *view = bind_tensor(L, lua_gettop(L));
  bind_check_copy(L, "index: value", view, value);
  bind_check(L, bam_tensor_copy(view, value));
  return 0;
}
