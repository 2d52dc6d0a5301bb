/* The tensor userdata: its handle, metatable, properties, and the methods that are not ops. */
#include <string.h>

#include "bind.h"

/* ---- handles ---- */

/* Run Lua's collector if tensor memory has grown a lot since its last run. The collector does not see tensor bytes,
   so it would not run by itself and unreachable tensors would pile up. */
static void relieve_pressure(lua_State *L, bind_state *state) {
  const bam_context *context = state->context != NULL ? state->context : bind_context(L);
  const bam_memory *memory = &context->memory;
  if (memory->live_bytes < state->collect_at)
    return;
  lua_gc(L, LUA_GCCOLLECT);
  int64_t live = memory->live_bytes, room = 256LL << 20;
  state->collect_at = live + (live > room ? live : room);
}

bind_handle *bind_push_handle(lua_State *L) {
  bind_state *state = bind_get_state(L);
  relieve_pressure(L, state);
  bind_handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
  memset(handle, 0, sizeof *handle);
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->metatable_ref);
  lua_setmetatable(L, -2);
  bind_scope_enter(state, handle);
  return handle;
}

bind_handle *bind_test_handle(lua_State *L, int arg) {
  bind_handle *handle = lua_touserdata(L, arg);
  if (handle == NULL || !lua_getmetatable(L, arg))
    return NULL;
  bool ours = lua_topointer(L, -1) == bind_get_state(L)->metatable;
  lua_pop(L, 1);
  return ours ? handle : NULL;
}

/* Whether the scope that released the tensor is in a module of bam, such as that of a training step. */
static bool released_by_bam(const bind_handle *handle) {
  return strncmp(handle->released_by, "bam/", 4) == 0;
}

static bam_tensor *open_tensor(lua_State *L, const bind_handle *handle) {
  if (handle->tensor == NULL && handle->released_by != NULL && released_by_bam(handle))
    bind_error(L, "this tensor was released at the end of the step or evaluation that computed it; "
                  "x:keep() it, or write it into one that lasts: y:copy_(x)");
  if (handle->tensor == NULL && handle->released_by != NULL)
    bind_error(L,
               "this tensor was released by the scope at %s; return it from there or "
               "x:keep() it",
               handle->released_by);
  if (handle->tensor == NULL)
    bind_error(L, "this tensor was closed");
  return handle->tensor;
}

bam_tensor *bind_test_tensor(lua_State *L, int arg) {
  bind_handle *handle = bind_test_handle(L, arg);
  return handle == NULL ? NULL : open_tensor(L, handle);
}

int bind_fail_tensor(lua_State *L, int arg) {
  const char *doc = bind_running_doc(L);
  size_t length;
  const char *got = bind_describe(L, arg);
  if (doc == NULL)
    bind_error(L, "expected a tensor as argument %d, got %s", arg, got);
  const char *usage = lua_pushlstring(L, doc, strcspn(doc, "\n"));
  const char *name = bind_doc_name(usage, &length);
  const char *what = lua_pushlstring(L, name, length);
  if (arg == 1 && name > usage) /* "x:size(dim)" */
    bind_error(L, "%s: expected a tensor, got %s; call it with a colon: %s", what, got, usage);
  if (arg == 1 && strcmp(what, "backward") == 0)
    bind_error(L, "backward: expected a tensor, got %s; call it with a colon: x:backward()", got);
  bind_error(L, "%s: expected a tensor as argument %d, got %s", what, arg, got);
}

bam_tensor *bind_tensor(lua_State *L, int arg) {
  bam_tensor *tensor = bind_test_tensor(L, arg);
  if (tensor == NULL)
    bind_fail_tensor(L, arg);
  return tensor;
}

static bind_handle *self_handle(lua_State *L) {
  bind_handle *handle = bind_test_handle(L, 1);
  if (handle == NULL)
    bind_fail_tensor(L, 1);
  return handle;
}

/* __gc: the handle is unreachable. */
static int handle_collect(lua_State *L) {
  bind_handle *handle = bind_test_handle(L, 1);
  if (handle == NULL)
    return 0;
  bam_tensor *tensor = handle->tensor != NULL ? handle->tensor : handle->closing;
  bind_scope_leave(handle);
  handle->tensor = NULL;
  if (handle->closing != NULL)
    bind_handle_forget(bind_get_state(L), handle);
  bam_tensor_release(tensor);
  return 0;
}

/* x:close(), and __close. */
BIND_DOC(handle_close, "x:close()",
         "Release the tensor now. Using it afterwards is an error, closing it again is not. If an "
         "op is using it,\n"
         "as may happen in a finalizer, its memory is released right after that.");
static int handle_close(lua_State *L) {
  bind_handle_close(bind_get_state(L), self_handle(L));
  return 0;
}

BIND_DOC(handle_keep, "x:keep()",
         "Keep the tensor when the enclosing scopes end, with what the backward functions of "
         "custom ops and\n"
         "checkpoints before it need.\n"
         "@return tensor self");
static int handle_keep(lua_State *L) {
  bind_tensor(L, 1);
  bind_scope_keep(L, 1);
  lua_settop(L, 1);
  return 1;
}

/* ---- properties: each pushes one value ---- */

static void get_shape(lua_State *L, bam_tensor *x) {
  bind_push_sizes(L, x->shape.size, x->shape.ndim);
}
static void get_stride(lua_State *L, bam_tensor *x) {
  bind_push_sizes(L, x->stride, x->shape.ndim);
}
static void get_ndim(lua_State *L, bam_tensor *x) { lua_pushinteger(L, x->shape.ndim); }
static void get_dtype(lua_State *L, bam_tensor *x) { lua_pushstring(L, bam_dtype_name(x->dtype)); }
static void get_device(lua_State *L, bam_tensor *x) {
  lua_pushstring(L, bam_tensor_device(x)->name);
}
static void get_requires_grad(lua_State *L, bam_tensor *x) { lua_pushboolean(L, x->requires_grad); }
static void get_is_leaf(lua_State *L, bam_tensor *x) { lua_pushboolean(L, x->node == NULL); }

static void get_grad(lua_State *L, bam_tensor *x) {
  bind_handle *handle = x->grad != NULL ? bind_push_handle(L) : NULL;
  if (x->grad == NULL) /* a finalizer may have cleared it */
    lua_pushnil(L);
  else if (handle != NULL)
    handle->tensor = bam_tensor_retain(x->grad);
}

static const struct property {
  const char *name;
  void (*get)(lua_State *L, bam_tensor *x);
} properties[] = {
  { "device", get_device },   { "dtype", get_dtype },    { "grad", get_grad },
  { "is_leaf", get_is_leaf }, { "ndim", get_ndim },      { "requires_grad", get_requires_grad },
  { "shape", get_shape },     { "strides", get_stride },
};
#define N_PROPERTIES (sizeof properties / sizeof properties[0])

/* Raise an error about the name at index 2, which is neither a method nor a property. The metamethod __unknown, a
   function of Lua, knows what to write instead. */
static _Noreturn int fail_member(lua_State *L) {
  const char *hint = NULL;
  lua_settop(L, 2);
  if (luaL_getmetafield(L, 1, "__unknown") == LUA_TFUNCTION) {
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 1);
    hint = lua_tostring(L, -1);
  }
  bind_error(L, "a tensor has no method or property `%s`%s", lua_tostring(L, 2),
             hint != NULL ? hint : "");
}

/* Upvalues of __index: the method table, the table of properties (name -> light pointer). */
static int tensor_index(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lua_type(L, 2) == LUA_TSTRING && lua_rawget(L, bind_upvalue(1)) != LUA_TNIL)
    return 1;
  lua_settop(L, 2);
  bind_check_idle(L);
  if (lua_type(L, 2) != LUA_TSTRING)
    return bind_index_get(L);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, bind_upvalue(2)) == LUA_TNIL)
    return fail_member(L);
  const struct property *property = lua_touserdata(L, -1);
  property->get(L, bind_tensor(L, 1));
  return 1;
}

static int set_requires_grad(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  if (lua_type(L, 3) != LUA_TBOOLEAN)
    return bind_error(L, "requires_grad: expected true or false, got %s", bind_describe(L, 3));
  bind_check(L, bam_autograd_require(x, lua_toboolean(L, 3)));
  return 0;
}

static int tensor_newindex(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING)
    return bind_index_set(L);
  const char *name = lua_tostring(L, 2);
  if (strcmp(name, "requires_grad") == 0)
    return set_requires_grad(L);
  if (strcmp(name, "grad") != 0)
    return bind_error(L, "cannot set `%s` of a tensor; x.grad and x.requires_grad can be set",
                      name);
  bam_tensor *grad = lua_isnil(L, 3) ? NULL : bind_tensor(L, 3);
  bind_check(L, bam_autograd_set_grad(bind_tensor(L, 1), grad));
  return 0;
}

/* ---- methods ---- */

BIND_DOC(
  tensor_class, "tensor",
  "An n-dimensional array: a view of reference-counted storage on a device. Operators work element "
  "by\n"
  "element and broadcast; x[i] and x[{ 2, { 1, 3 } }] are views, x[mask] and x[positions] copies, "
  "#x is\n"
  "the first size. Every op of bam that takes a tensor first is also a method: x:sum(2) is "
  "bam.sum(x, 2).\n"
  "\n"
  "  local x = bam.randn(4, 8)\n"
  "  local y = (x * 2 + 1):sum(2)      -- shape (4)\n"
  "  local rows = x[{ { 1, 2 } }]      -- rows 1 and 2, a view\n"
  "  local positive = x[x:gt(0)]       -- a copy\n"
  "@field shape integer[] sizes of the dimensions\n"
  "@field strides integer[] elements between neighbors, by dimension\n"
  "@field dtype dtype element type\n"
  "@field device device where its storage is\n"
  "@field ndim integer number of dimensions\n"
  "@field requires_grad boolean does backward compute its gradient? May be assigned\n"
  "@field grad tensor? gradient that backward collected, or nil. May be assigned a tensor or nil\n"
  "@field is_leaf boolean was it made directly, not by a recorded op?");

BIND_DOC(tensor_item, "x:item()",
         "The only element, as a number or boolean. An error if there are more.\n"
         "@return number|boolean");
static int tensor_item(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  double value;
  int64_t integer;
  if (bam_tensor_count(x) != 1) {
    char text[BAM_SHAPE_TEXT];
    return bind_error(
      L, "item: a tensor of shape %s does not have exactly one element; index it first",
      bam_shape_text(&x->shape, text));
  }
  bind_check(L, bam_tensor_get(x, 0, &value, &integer));
  if (x->dtype == BAM_BOOL)
    lua_pushboolean(L, integer != 0);
  else if (bam_dtype_is_float(x->dtype))
    lua_pushnumber(L, value);
  else
    lua_pushinteger(L, integer);
  return 1;
}

#define MOST_TABLE_BYTES (4LL << 30)

/* Raise if x as nested lists would take more than MOST_TABLE_BYTES, counting 56 bytes per table and 16 per entry. */
static void check_table_size(lua_State *L, const bam_tensor *x) {
  int64_t entries = 1;
  double bytes = 0;
  for (int d = 0; d < x->shape.ndim && entries > 0; d++) {
    const int64_t size = x->shape.size[d];
    if (size > MOST_TABLE_BYTES / entries)
      bytes = (double)size * (double)entries * 16;
    if (bytes > MOST_TABLE_BYTES)
      break;
    bytes += (double)entries * 56 + (double)(entries * size) * 16;
    entries *= size;
  }
  char text[BAM_SHAPE_TEXT];
  if (bytes > MOST_TABLE_BYTES)
    bind_error(L,
               "totable: a tensor of shape %s takes more than %d MB of tables; convert it in parts",
               bam_shape_text(&x->shape, text), (int)(MOST_TABLE_BYTES >> 20));
}

/* Push dimensions `d` and later of x as nested lists. *at is the next element in row-major order. */
static void push_nested(lua_State *L, bam_tensor *x, int d, int64_t *at) {
  luaL_checkstack(L, 3, "too many dimensions");
  if (d == x->shape.ndim) {
    double value = 0;
    int64_t integer = 0;
    bind_check(L, bam_tensor_get(x, (*at)++, &value, &integer));
    if (x->dtype == BAM_BOOL)
      lua_pushboolean(L, integer != 0);
    else if (bam_dtype_is_float(x->dtype))
      lua_pushnumber(L, value);
    else
      lua_pushinteger(L, integer);
    return;
  }
  int64_t n = x->shape.size[d];
  lua_createtable(L, n < (1 << 24) ? (int)n : 0, 0);
  for (int64_t i = 0; i < n; i++) {
    push_nested(L, x, d + 1, at);
    lua_rawseti(L, -2, i + 1);
  }
}

BIND_DOC(tensor_totable, "x:totable()",
         "The elements as nested lists; of a 0-d tensor, the element itself.\n"
         "@return table|number|boolean");
static int tensor_totable(lua_State *L) {
  int64_t at = 0;
  bam_tensor *x = bind_tensor(L, 1);
  check_table_size(L, x);
  bind_handle *here = bind_push_handle(L);
  bind_check(L, bam_tensor_to(x, &bind_context(L)->cpu, &here->tensor));
  push_nested(L, here->tensor, 0, &at);
  return 1;
}

BIND_DOC(tensor_size, "x:size(dim)",
         "The size of one dimension: x:size(1) is #x, x:size(-1) the last.\n"
         "@param dim integer\n"
         "@return integer");
static int tensor_size(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  int dim;
  if (lua_isnoneornil(L, 2))
    return bind_error(L, "size: `dim` is missing: x:size(1); x.shape has all sizes");
  bind_check(L, bam_shape_dim(x->context, "size", bind_position(L, 2, "size: dimension"),
                              x->shape.ndim, &dim));
  lua_pushinteger(L, x->shape.size[dim]);
  return 1;
}

BIND_DOC(tensor_count, "x:count()",
         "The number of elements.\n"
         "@return integer");
static int tensor_count(lua_State *L) {
  lua_pushinteger(L, bam_tensor_count(bind_tensor(L, 1)));
  return 1;
}

BIND_DOC(tensor_is_contiguous, "x:is_contiguous()",
         "Are the elements stored back to back in row-major order?\n"
         "@return boolean");
static int tensor_is_contiguous(lua_State *L) {
  lua_pushboolean(L, bam_tensor_is_contiguous(bind_tensor(L, 1)));
  return 1;
}

BIND_DOC(tensor_detach, "x:detach()",
         "A tensor that shares the storage of x but is not part of the graph.\n"
         "@return tensor");
static int tensor_detach(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  bind_handle *handle = bind_push_handle(L);
  bind_check(L, bam_tensor_alias(x, &handle->tensor));
  return 1;
}

void bind_check_copy(lua_State *L, const char *name, bam_tensor *to, bam_tensor *from) {
  char ta[BAM_SHAPE_TEXT], tb[BAM_SHAPE_TEXT];
  if (!bam_shape_expands(&from->shape, &to->shape))
    bind_error(L, "%s: shape %s does not broadcast to %s", name, bam_shape_text(&from->shape, tb),
               bam_shape_text(&to->shape, ta));
  if (from->is_number && bam_tensor_count(to) > 0)
    bind_check(L, bam_tensor_check_number(name, from, to->dtype));
}

/* Overwrite the elements of the tensor at 1 with the value at 2. `name` is the method that was called. */
static int overwrite(lua_State *L, const char *name) {
  bam_tensor *x = bind_tensor(L, 1);
  bam_tensor *from = bind_tensor_or_number(L, 2, bam_tensor_device(x), name);
  bind_check(L, bam_autograd_check_write(name, x));
  if (from->requires_grad && !x->context->no_grad)
    return bind_error(L,
                      "%s: writing a differentiated value into a tensor loses its gradient; "
                      "build the result with bam.where, bam.stack or bam.concat, or detach the "
                      "value",
                      name);
  bind_check_copy(L, name, x, from);
  bind_check(L, bam_tensor_copy(x, from));
  lua_settop(L, 1);
  return 1;
}

BIND_DOC(tensor_copy_, "x:copy_(from)",
         "Overwrite the elements with those of another tensor, broadcast, or with a number.\n"
         "@param from tensor|number\n"
         "@return tensor self");
static int tensor_copy_(lua_State *L) { return overwrite(L, "copy_"); }

BIND_DOC(tensor_overwrite, "overwrite(x, from, name)",
         "x:copy_(from) for the method `name`, which errors name.\n"
         "@param x tensor\n"
         "@param from tensor|number\n"
         "@param name string\n"
         "@return tensor x");
static int tensor_overwrite(lua_State *L) { return overwrite(L, luaL_checkstring(L, 3)); }

BIND_DOC(
  tensor_closed, "closed(x)",
  "Why a tensor cannot be used: \"closed\", or \"released by the scope at ...\". Nil if it can.\n"
  "@param x tensor\n"
  "@return string?");
static int tensor_closed(lua_State *L) {
  const bind_handle *handle = self_handle(L);
  if (handle->tensor != NULL)
    lua_pushnil(L);
  else if (handle->released_by != NULL && released_by_bam(handle))
    lua_pushliteral(L, "released at the end of a step or evaluation");
  else if (handle->released_by != NULL)
    lua_pushfstring(L, "released by the scope at %s", handle->released_by);
  else
    lua_pushliteral(L, "closed");
  return 1;
}

const bind_export bind_tensor_functions[] = {
  BIND_EXPORT(tensor_overwrite),
  BIND_EXPORT(tensor_closed),
  { NULL, NULL },
};

static int tensor_len(lua_State *L) {
  bam_tensor *x = bind_tensor(L, 1);
  if (x->shape.ndim == 0)
    return bind_error(L, "#x: a 0-dimensional tensor has no length");
  lua_pushinteger(L, x->shape.size[0]);
  return 1;
}

static int tensor_no_order(lua_State *L) {
  return bind_error(L, "Lua turns the result of < and <= into one boolean; "
                       "use x:lt(y), x:le(y), x:gt(y), x:ge(y)");
}

BIND_DOC(tensor_same, "x:same(other)",
         "Are both views of the same memory, with equal shape, strides and dtype?\n"
         "@param other tensor\n"
         "@return boolean");
static int tensor_same(lua_State *L) {
  bam_tensor *a = bind_tensor(L, 1), *b = bind_tensor(L, 2);
  lua_pushboolean(L, a->storage == b->storage && a->offset == b->offset && a->dtype == b->dtype &&
                       bam_shape_equal(&a->shape, &b->shape) &&
                       memcmp(a->stride, b->stride, sizeof(int64_t) * (size_t)a->shape.ndim) == 0);
  return 1;
}

const bind_export bind_tensor_methods[] = {
  BIND_TOPIC(tensor_class),          BIND_EXPORT(tensor_item),  BIND_EXPORT(tensor_totable),
  BIND_EXPORT(tensor_size),          BIND_EXPORT(tensor_count), BIND_EXPORT(tensor_detach),
  BIND_EXPORT(tensor_is_contiguous), BIND_EXPORT(tensor_copy_), BIND_EXPORT(handle_keep),
  BIND_EXPORT(handle_close),         BIND_EXPORT(tensor_same),  { NULL, NULL },
};

static const struct {
  const char *event, *op;
} operators[] = {
  { "__add", "add" },        { "__sub", "sub" },          { "__mul", "mul" },
  { "__div", "div" },        { "__mod", "mod" },          { "__idiv", "floordiv" },
  { "__pow", "pow" },        { "__unm", "neg" },          { "__band", "logical_and" },
  { "__bor", "logical_or" }, { "__bxor", "logical_xor" }, { "__bnot", "logical_not" },
};

void bind_tensor_metatable(lua_State *L) {
  bind_state *state = bind_get_state(L);
  lua_newtable(L); /* methods */
  bind_set_exports(L, bind_tensor_methods, handle_close);
  lua_createtable(L, 0, N_PROPERTIES); /* properties */
  for (size_t i = 0; i < N_PROPERTIES; i++) {
    lua_pushlightuserdata(L, (void *)&properties[i]);
    lua_setfield(L, -2, properties[i].name);
  }
  luaL_newmetatable(L, BIND_TENSOR);
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "__methods");
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "__properties");
  lua_pushvalue(L, -3);
  lua_pushvalue(L, -3);
  bind_push_function(L, tensor_index, 2, true); /* methods can be looked up at any time */
  lua_setfield(L, -2, "__index");
  const luaL_Reg events[] = { { "__newindex", tensor_newindex }, { "__close", handle_close },
                              { "__len", tensor_len },           { "__lt", tensor_no_order },
                              { "__le", tensor_no_order },       { NULL, NULL } };
  bind_set_events(L, events, handle_close);
  lua_pushcfunction(L, handle_collect);
  lua_setfield(L, -2, "__gc");
  for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
    bind_push_operator(L, operators[i].op);
    lua_setfield(L, -2, operators[i].event);
  }
  lua_pushstring(L, "tensor"); /* what getmetatable(x) gives */
  lua_setfield(L, -2, "__metatable");
  state->metatable = lua_topointer(L, -1);
  state->metatable_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pop(L, 1);
}
