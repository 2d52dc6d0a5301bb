/* Every registered op as a Lua function: inputs first, then attributes by position, then optionally one table
   of attributes by name: softmax(x, -1), softmax(x, { dim = -1 }). Their documentation is in docs.c. */
#include <math.h>
#include <string.h>

#include "../../engine/ops/ops.h"
#include "bind.h"

#define MAX_ATTRS 12

/* The state of reading the arguments of one call. */
typedef struct {
  lua_State *L;
  const bam_op *op;
  const char *name; /* for messages: that of the op, or of the method written with it */
  int next, top;    /* the next argument, and the number of arguments */
  int list; /* the list of inputs if it contains attributes: concat { x, y, dim = 2 }; else 0 */
  bam_device *device;
} reader;

static const char *what(reader *r, const char *name) {
  return lua_pushfstring(r->L, "%s: argument %d (%s)", r->name, r->next, name);
}

/* ---- inputs ---- */

/* Move the number in a handle to a device. If a double holds it exactly, it is passed as a kernel argument by
   fill: a copy would need a slot of pinned memory. */
static void move_number(lua_State *L, bind_handle *handle, bam_device *device, double number) {
  bam_tensor *here = handle->tensor, *there = NULL;
  bool exact = here->dtype != BAM_I64 || fabs(number) <= 0x1p53;
  bam_status status;
  if (here->dtype == BAM_BOOL || !exact) {
    status = bam_tensor_to(here, device, &there);
  } else {
    status = bam_tensor_new(here->context, device, here->dtype, &here->shape, &there);
    if (status == BAM_OK)
      status = bam_tensor_fill(there, number);
  }
  handle->tensor = there;
  bam_tensor_release(here);
  bind_check(L, status);
}

bam_tensor *bind_tensor_or_number(lua_State *L, int arg, bam_device *device, const char *name) {
  bam_tensor *tensor = bind_test_tensor(L, arg);
  if (tensor != NULL)
    return tensor;
  int type = lua_type(L, arg);
  if (type != LUA_TNUMBER && type != LUA_TBOOLEAN)
    bind_error(L, "%s: expected a tensor or a number, got %s", name, bind_describe(L, arg));
  bam_context *context = bind_context(L);
  const bam_shape scalar = { .ndim = 0 };
  double number = lua_tonumber(L, arg);
  int64_t integer = lua_tointeger(L, arg);
  float single = (float)number;
  bool boolean = lua_toboolean(L, arg);
  bind_handle *handle = bind_push_handle(L); /* kernels see it as a 0-d tensor */
  bam_status status;
  if (type == LUA_TBOOLEAN)
    status = bam_tensor_from(context, BAM_BOOL, &scalar, &boolean, &handle->tensor);
  else if (lua_isinteger(L, arg))
    status = bam_tensor_from(context, BAM_I64, &scalar, &integer, &handle->tensor);
  else if ((double)single == number || number != number)
    status = bam_tensor_from(context, BAM_F32, &scalar, &single, &handle->tensor);
  else
    status = bam_tensor_from(context, BAM_F64, &scalar, &number, &handle->tensor);
  bind_check(L, status);
  if (!device->is_host)
    move_number(L, handle, device, number);
  handle->tensor->is_number = true;
  return handle->tensor;
}

static bool is_optional(const char *name) { return name[strlen(name) - 1] == '?'; }

/* The end of a message about the first input: as a method, an op is called with a colon. Not if a tensor follows, as in
   nil * x. */
static const char *colon_hint(reader *r, const char *name) {
  return r->next > 1 || (r->top > 1 && bind_test_handle(r->L, 2) != NULL)
           ? ""
           : lua_pushfstring(r->L, "; call a method with a colon: %s:%s()", name, r->name);
}

/* A new tensor of the next argument, a number given for the input `name`, or raise. */
static bam_tensor *read_number(reader *r, const char *name) {
  lua_State *L = r->L;
  const int type = lua_type(L, r->next);
  if (r->next > r->top)
    bind_error(L, "%s: argument %d (%s) is missing: a tensor%s", r->name, r->next, name,
               colon_hint(r, name));
  if (type != LUA_TNUMBER && type != LUA_TBOOLEAN)
    bind_error(L, "%s: expected a tensor or a number, got %s%s", what(r, name),
               bind_describe(L, r->next), colon_hint(r, name));
  return bind_tensor_or_number(L, r->next, r->device, what(r, name));
}

/* Read the named inputs into inputs[], and return their number. Handles made for plain numbers stay on the stack
   above the arguments. */
static int read_inputs(reader *r, bam_tensor **inputs) {
  lua_State *L = r->L;
  int n = 0;
  for (; r->op->inputs[n] != NULL; n++) {
    const char *name = r->op->inputs[n];
    inputs[n] = NULL;
    if (is_optional(name)) {
      if (r->next <= r->top && lua_isnil(L, r->next))
        r->next++;
      else if (r->next <= r->top && bind_test_tensor(L, r->next) != NULL)
        inputs[n] = bind_tensor(L, r->next++);
      continue;
    }
    inputs[n] = r->next > r->top ? NULL : bind_test_tensor(L, r->next);
    if (inputs[n] == NULL)
      inputs[n] = read_number(r, name);
    r->next++;
  }
  return n;
}

/* Read the inputs of an op that takes a list of tensors, into memory on the stack. */
static int read_list(reader *r, bam_tensor ***inputs) {
  int n;
  bool has_attrs;
  *inputs = bind_push_tensors(r->L, r->next, r->name, &n, &has_attrs);
  if (n == 0)
    bind_error(r->L, "%s: the list of tensors is empty", r->name);
  r->list = has_attrs ? r->next : 0;
  r->next++;
  return n;
}

/* ---- attributes ---- */

static void check_dims(reader *r, const char *name, bam_attr *attr) {
  for (int i = 0; i < attr->count; i++) {
    if (attr->list[i] == 0)
      bind_error(r->L, "%s: dimensions count from 1 (or from -1 at the end), got 0", name);
    attr->list[i] -= attr->list[i] > 0;
  }
}

/* The float at `arg`. Refuses an integer that a double would round, except math.maxinteger, which means
   "no bound". */
static double read_float(lua_State *L, int arg, const char *name) {
  const double value = bind_number(L, arg, name);
  const lua_Integer integer = lua_tointeger(L, arg);
  if (lua_isinteger(L, arg) && integer != LUA_MAXINTEGER &&
      (value >= 0x1p63 || (lua_Integer)value != integer))
    bind_error(L, "%s: %I is not exact as a float", name, (LUAI_UACINT)integer);
  return value;
}

static void read_attr(reader *r, int arg, const bam_attr_spec *spec, const char *name,
                      bam_attr *attr) {
  lua_State *L = r->L;
  attr->given = true;
  switch (spec->kind) {
  case BAM_ATTR_INT: attr->i = bind_integer(L, arg, name); break;
  case BAM_ATTR_FLOAT: attr->f = read_float(L, arg, name); break;
  case BAM_ATTR_BOOL: attr->i = bind_flag(L, arg, name); break;
  case BAM_ATTR_DTYPE: attr->i = bind_dtype(L, arg, name); break;
  case BAM_ATTR_DEVICE: attr->i = bind_device(L, arg, name)->number; break;
  case BAM_ATTR_DIM:
  case BAM_ATTR_POSITION: attr->i = bind_position(L, arg, name); break;
  case BAM_ATTR_DIMS:
    attr->count = bind_integers(L, arg, name, attr->list);
    check_dims(r, name, attr);
    break;
  case BAM_ATTR_SIZES: attr->count = bind_integers(L, arg, name, attr->list); break;
  }
}

/* Whether attribute `i` is a list given as separate arguments, which the last attribute of an op may be:
   x:reshape(2, -1), x:permute(2, 1). */
static bool spelled_out(reader *r, int i) {
  const bam_attr_spec *spec = &r->op->attrs[i];
  return (spec->kind == BAM_ATTR_SIZES || spec->kind == BAM_ATTR_DIMS) && spec[1].name == NULL &&
         lua_type(r->L, r->next) == LUA_TNUMBER;
}

static void read_rest(reader *r, const bam_attr_spec *spec, bam_attr *attr) {
  bam_attr one;
  int count = 0;
  int64_t list[BAM_MAX_DIMS] = { 0 };
  for (; r->next <= r->top && lua_type(r->L, r->next) == LUA_TNUMBER; r->next++) {
    if (count == BAM_MAX_DIMS)
      bind_error(r->L, "%s: at most %d numbers", r->name, BAM_MAX_DIMS);
    read_attr(r, r->next, spec, what(r, spec->name), &one);
    list[count++] = one.list[0];
  }
  attr->given = true;
  attr->count = count;
  memcpy(attr->list, list, sizeof list);
}

/* Read the attributes named in the table at `arg`. With `among` it also has list entries. */
static void read_named(reader *r, int arg, bool among, bam_attr *attrs) {
  lua_State *L = r->L;
  const char *names[MAX_ATTRS + 1] = { NULL };
  const int n_attrs = bam_op_attr_count(r->op);
  for (int i = 0; i < n_attrs; i++)
    names[i] = r->op->attrs[i].name;
  if (among)
    bind_check_options_among(L, arg, r->name, names);
  else
    bind_check_options(L, arg, r->name, names);
  for (int i = 0; i < n_attrs; i++) {
    if (lua_getfield(L, arg, names[i]) != LUA_TNIL) {
      if (attrs[i].given)
        bind_error(L, "%s: `%s` is given twice", r->name, names[i]);
      const char *name = lua_pushfstring(L, "%s: option %s", r->name, names[i]);
      read_attr(r, lua_gettop(L) - 1, &r->op->attrs[i], name, &attrs[i]);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
}

static bool takes_list(const bam_attr_spec *spec) {
  return spec->kind == BAM_ATTR_SIZES || spec->kind == BAM_ATTR_DIMS;
}

/* Whether the last argument is a table of attributes by name. An empty table is one, unless a list may be
   expected at that position. */
static bool at_options(reader *r, const bam_attr_spec *spec) {
  if (r->next != r->top || lua_type(r->L, r->next) != LUA_TTABLE)
    return false;
  return bind_is_options(r->L, r->next) || !takes_list(spec);
}

/* Read a list attribute, which may contain named attributes too: x:sum { 1, keepdim = true }. */
static void read_list_attr(reader *r, int i, bam_attr *attrs) {
  bool has_attrs;
  const char *name = what(r, r->op->attrs[i].name);
  attrs[i].given = true;
  attrs[i].count = bind_integers_with_options(r->L, r->next, name, attrs[i].list, &has_attrs);
  if (r->op->attrs[i].kind == BAM_ATTR_DIMS)
    check_dims(r, name, &attrs[i]);
  if (has_attrs)
    read_named(r, r->next, true, attrs);
}

/* Read the next argument as attribute `i`. */
static void read_positional(reader *r, int i, bam_attr *attrs) {
  const bam_attr_spec *spec = &r->op->attrs[i];
  const bool is_dim = spec->kind == BAM_ATTR_DIM || spec->kind == BAM_ATTR_DIMS;
  if (lua_isnil(r->L, r->next) && is_dim && r->next == r->top) /* a variable that is not there */
    bind_error(r->L, "%s is nil; leave it out for the default", what(r, spec->name));
  if (lua_isnil(r->L, r->next))
    return;
  if (attrs[i].given)
    bind_error(r->L, "%s: `%s` is given twice", r->name, spec->name);
  if (takes_list(spec) && lua_type(r->L, r->next) == LUA_TTABLE)
    read_list_attr(r, i, attrs);
  else
    read_attr(r, r->next, spec, what(r, spec->name), &attrs[i]);
}

/* Whether the next argument is a device in place of an omitted dtype: x:to("cuda"). */
static bool at_device(reader *r, const bam_attr_spec *spec) {
  if (spec->kind != BAM_ATTR_DTYPE || spec[1].kind != BAM_ATTR_DEVICE || spec[1].name == NULL ||
      lua_type(r->L, r->next) != LUA_TSTRING)
    return false;
  const char *name = lua_tostring(r->L, r->next);
  return strncmp(name, "cpu", 3) == 0 || strncmp(name, "cuda", 4) == 0;
}

static void read_attrs(reader *r, bam_attr *attrs) {
  lua_State *L = r->L;
  int n = bam_op_attr_count(r->op);
  bam_op_default_attrs(r->op, attrs);
  for (int i = 0; i < n && r->next <= r->top; i++) {
    if (at_options(r, &r->op->attrs[i]))
      break;
    i += at_device(r, &r->op->attrs[i]);
    if (spelled_out(r, i)) {
      read_rest(r, &r->op->attrs[i], &attrs[i]);
    } else {
      read_positional(r, i, attrs);
      r->next++;
    }
  }
  if (n > 0 && at_options(r, &r->op->attrs[n - 1]))
    read_named(r, r->next++, false, attrs);
  if (r->list > 0)
    read_named(r, r->list, true, attrs);
  if (r->next <= r->top)
    bind_error(L, "%s: %d arguments are too many; see help(\"%s\")", r->name, r->top, r->name);
  for (int i = 0; i < n; i++)
    if (r->op->attrs[i].required && !attrs[i].given)
      bind_error(L, "%s: `%s` is missing", r->name, r->op->attrs[i].name);
}

/* ---- calling ---- */

/* bind_check, with `name` in place of the op's name at the beginning of the message. */
static void check_applied(lua_State *L, bam_status status, const bam_op *op, const char *name) {
  const size_t length = strlen(op->name);
  const char *message = bind_context(L)->message;
  if (status != BAM_OK && strncmp(message, op->name, length) == 0 && message[length] == ':')
    bind_error(L, "%s%s", name, lua_pushstring(L, message + length));
  bind_check(L, status);
}

void bind_apply(lua_State *L, const char *name, const bam_op *op, bam_tensor *const *inputs, int n,
                const bam_attr *attrs) {
  int n_outputs = op->outputs > 0 ? op->outputs : 1;
  bind_handle *handles[BAM_MAX_OUTPUTS];
  bam_tensor *outputs[BAM_MAX_OUTPUTS];
  luaL_checkstack(L, n_outputs + 4, "too many results");
  for (int k = 0; k < n_outputs; k++)
    handles[k] = bind_push_handle(L);
  bam_status status = bam_op_apply(bind_context(L), op, inputs, n, attrs, outputs);
  for (int k = 0; k < n_outputs && status == BAM_OK; k++)
    handles[k]->tensor = outputs[k];
  check_applied(L, status, op, name);
  bind_graph_note(L, lua_gettop(L) - n_outputs + 1, n_outputs);
}

/* The device of the first tensor among the arguments, on which plain numbers are created. */
static bam_device *find_device(lua_State *L, int top) {
  for (int i = 1; i <= top; i++) {
    bind_handle *handle = bind_test_handle(L, i);
    if (handle != NULL && handle->tensor != NULL)
      return bam_tensor_device(handle->tensor);
  }
  return bind_context(L)->device;
}

/* Call an op. Upvalues: the op, and the name of the method for which it is called, if it is. */
static int call_op(lua_State *L) {
  const bam_op *op = lua_touserdata(L, bind_upvalue(1));
  const char *name = lua_tostring(L, bind_upvalue(2));
  reader r = { .L = L,
               .op = op,
               .name = name != NULL ? name : op->name,
               .next = 1,
               .top = lua_gettop(L) };
  bam_tensor *named[BAM_MAX_INPUT_NAMES], **inputs = named;
  bam_attr attrs[MAX_ATTRS];
  r.device = find_device(L, r.top);
  int n = op->inputs[0][0] == '.' ? read_list(&r, &inputs) : read_inputs(&r, inputs);
  read_attrs(&r, attrs);
  bind_apply(L, r.name, op, inputs, n, attrs);
  return op->outputs > 0 ? op->outputs : 1;
}

/* Call an operator: two operands, no attributes. Lua passes a unary operand twice. */
static int call_operator(lua_State *L) {
  const bam_op *op = lua_touserdata(L, bind_upvalue(1));
  int n = op->inputs[1] != NULL ? 2 : 1;
  lua_settop(L, n);
  return call_op(L);
}

/* ---- registration ---- */

void bind_register_ops(lua_State *L) {
  const bam_op *op;
  for (int i = 0; (op = bam_op_at(i)) != NULL; i++) {
    lua_pushlightuserdata(L, (void *)op);
    bind_push_function(L, call_op, 1, false);
    lua_setfield(L, -2, op->name);
  }
}

void bind_push_operator(lua_State *L, const char *name) {
  lua_pushlightuserdata(L, (void *)bam_op_find(name));
  bind_push_function(L, call_operator, 1, false);
}

BIND_DOC(ops_named, "op_named(op, name)",
         "The op with another name in its errors, for a method that is written with it.\n"
         "@param op string\n"
         "@param name string\n"
         "@return function");
static int ops_named(lua_State *L) {
  const bam_op *op = bam_op_find(luaL_checkstring(L, 1));
  luaL_checkstring(L, 2);
  if (op == NULL)
    return bind_error(L, "op_named: no op is called %s", lua_tostring(L, 1));
  lua_settop(L, 2);
  lua_pushlightuserdata(L, (void *)op);
  lua_replace(L, 1);
  bind_push_function(L, call_op, 2, false);
  return 1;
}

const bind_export bind_ops_functions[] = {
  BIND_EXPORT(ops_named),
  { NULL, NULL },
};
