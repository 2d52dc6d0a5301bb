/* Creating tensors from Lua tables and numbers, or by rule (zeros, arange, eye). See random.c for random
   ones. */
#include <math.h>
#include <string.h>

#include "create.h"

/* Check that every number of `raw` (contiguous i64, f64 or bool, on the CPU) fits the dtype. */
static void check_numbers(lua_State *L, const char *what, bam_tensor *raw, bam_dtype dtype) {
  const int64_t n = bam_tensor_count(raw);
  if (!bam_dtype_is_integer(dtype) || raw->dtype == BAM_BOOL || raw->dtype == dtype)
    return;
  const int64_t *integers = bam_tensor_data(raw);
  const double *reals = bam_tensor_data(raw);
  for (int64_t i = 0; i < n; i++)
    if (raw->dtype == BAM_I64)
      bind_check(L, bam_number_check(raw->context, what, dtype, true, integers[i], 0));
    else
      bind_check(L, bam_number_check(raw->context, what, dtype, false, 0, reals[i]));
}

/* Convert `raw`, a CPU tensor, to the dtype and device of the options, and store the result in `handle`. */
static void move_and_convert(lua_State *L, const char *what, bam_tensor *raw, const bind_options *o,
                             bind_handle *handle) {
  check_numbers(L, what, raw, o->dtype);
  bind_handle *there = bind_push_handle(L);
  bind_check(L, bam_tensor_to(raw, o->device, &there->tensor));
  bind_check(L, bam_tensor_convert(there->tensor, o->dtype, &handle->tensor));
  lua_pop(L, 1);
}

/* ---- from tables ---- */

typedef enum { NOTHING, BOOLEANS, INTEGERS, FLOATS } content;

/* The result of scanning a nested table of numbers: its shape, taken from the first entries, and the kinds of
   its values. */
typedef struct {
  bam_shape shape;
  content content;
  bool has_options; /* among the entries of the outermost list */
} survey;

static content content_of(lua_State *L, content so_far) {
  int type = lua_type(L, -1);
  content here = NOTHING;
  if (type == LUA_TBOOLEAN)
    here = BOOLEANS;
  else if (type == LUA_TNUMBER)
    here = lua_isinteger(L, -1) ? INTEGERS : FLOATS;
  else
    bind_error(L, "tensor: expected numbers or booleans, found %s", bind_describe(L, -1));
  if ((so_far == BOOLEANS && here > BOOLEANS) || (here == BOOLEANS && so_far > BOOLEANS))
    bind_error(L, "tensor: booleans and numbers are mixed");
  return here > so_far ? here : so_far;
}

/* Scan the value on top, at depth d. The first path determines the shape; all others must match it. */
static void measure(lua_State *L, survey *s, int d, bool first) {
  luaL_checkstack(L, 4, "tensor: nested too deeply");
  if (lua_type(L, -1) != LUA_TTABLE) {
    if (d != s->shape.ndim && !first)
      bind_error(L, "tensor: found a number where the first entry has a list");
    s->content = content_of(L, s->content);
    return;
  }
  int64_t n = d == 0 ? bind_list_with_options(L, -1, "tensor", &s->has_options)
                     : bind_list(L, -1, "tensor");
  if (first) {
    if (d == BAM_MAX_DIMS)
      bind_error(L, "tensor: at most %d dimensions", BAM_MAX_DIMS);
    s->shape.size[d] = n;
    s->shape.ndim = d + 1;
  } else if (d >= s->shape.ndim) {
    bind_error(L, "tensor: found a list where the first entry has a number");
  } else if (s->shape.size[d] != n) {
    bind_error(L, "tensor: lists of different lengths in dimension %d: %I and %I", d + 1,
               (LUAI_UACINT)s->shape.size[d], (LUAI_UACINT)n);
  }
  for (int64_t i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    measure(L, s, d + 1, first && i == 1);
    lua_pop(L, 1);
  }
}

/* Copy the numbers of the value on top, at depth d, into `tensor` (contiguous i64, f64 or bool), in order.
   Checks everything again, because a finalizer may have changed the lists since they were scanned. */
static void copy_numbers(lua_State *L, bam_tensor *tensor, int d, int64_t *at) {
  const bool is_list = d < tensor->shape.ndim;
  const int number = tensor->dtype == BAM_BOOL ? LUA_TBOOLEAN : LUA_TNUMBER;
  if (lua_type(L, -1) != (is_list ? LUA_TTABLE : number) ||
      (!is_list && tensor->dtype == BAM_I64 && !lua_isinteger(L, -1)))
    bind_error(L, "tensor: the list was changed while it was being read");
  void *data = bam_tensor_data(tensor);
  if (is_list) {
    for (int64_t i = 1; i <= tensor->shape.size[d]; i++) {
      lua_rawgeti(L, -1, i);
      copy_numbers(L, tensor, d + 1, at);
      lua_pop(L, 1);
    }
  } else if (tensor->dtype == BAM_BOOL) {
    ((bool *)data)[(*at)++] = lua_toboolean(L, -1);
  } else if (tensor->dtype == BAM_I64) {
    ((int64_t *)data)[(*at)++] = lua_tointeger(L, -1);
  } else {
    ((double *)data)[(*at)++] = lua_tonumber(L, -1);
  }
}

BIND_DOC(tensor_options, "bam.TensorOptions",
         "Options of every function that makes a tensor. They may also stand in a list of sizes: "
         "zeros { 2, 3,\n"
         "dtype = \"f64\" }.\n"
         "@field dtype? dtype element type\n"
         "@field requires_grad? boolean collect a gradient in backward; false by default\n"
         "@field device? device where to allocate it; bam.device() by default");

BIND_DOC(bind_create_tensor, "tensor(values, options)",
         "A tensor from a number, a boolean or nested lists of them. Fractions give f32, integers "
         "i64 and\n"
         "booleans bool, unless `dtype` is set. A number that an integer dtype cannot hold (300 in "
         "u8, 1.5 in\n"
         "i64, NaN) is an error; x:to truncates and saturates instead.\n"
         "\n"
         "  local x = bam.tensor { { 1, 2 }, { 3, 4 } } -- i64, shape (2, 2)\n"
         "  local y = bam.tensor({ 1, 2 }, { dtype = \"f32\", requires_grad = true })\n"
         "@param values number|boolean|table\n"
         "@param options? bam.TensorOptions\n"
         "@return tensor");
int bind_create_tensor(lua_State *L) {
  bam_context *context = bind_context(L);
  if (bind_test_tensor(L, 1) != NULL)
    return bind_error(L, "tensor: this is a tensor already; x:clone() copies it");
  if (lua_type(L, 1) == LUA_TNUMBER && lua_type(L, 2) == LUA_TNUMBER)
    return bind_error(
      L,
      "tensor: expected a value or one list of values, and then options, got several numbers; "
      "write bam.tensor { %s, %s }",
      bind_describe(L, 1), bind_describe(L, 2));
  survey s = { .content = NOTHING };
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  measure(L, &s, 0, true);
  static const bam_dtype natural[] = { BAM_F32, BAM_BOOL, BAM_I64, BAM_F32 };
  static const bam_dtype exact[] = { BAM_F64, BAM_BOOL, BAM_I64, BAM_F64 };
  bind_options o = s.has_options ? bind_read_options_among(L, 1, 2, "tensor", natural[s.content])
                                 : bind_read_options(L, 2, "tensor", natural[s.content]);
  bind_handle *raw = bind_push_handle(L), *handle = bind_push_handle(L);
  bind_check(L, bam_tensor_new(context, &context->cpu, exact[s.content], &s.shape, &raw->tensor));
  int64_t at = 0;
  lua_pushvalue(L, 1);
  copy_numbers(L, raw->tensor, 0, &at);
  lua_pop(L, 1);
  move_and_convert(L, "tensor", raw->tensor, &o, handle);
  return bind_finish(L, handle, &o);
}

BIND_DOC(create_bytes, "bytes(text)",
         "The bytes of a string as a u8 tensor.\n"
         "@param text string\n"
         "@return tensor");
static int create_bytes(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING)
    return bind_error(L, "bytes: expected a string, got %s", bind_describe(L, 1));
  size_t length;
  const char *text = lua_tolstring(L, 1, &length);
  const bam_shape shape = { .ndim = 1, .size = { (int64_t)length } };
  bam_context *context = bind_context(L);
  bind_handle *raw = bind_push_handle(L), *handle = bind_push_handle(L);
  bind_check(L, bam_tensor_from(context, BAM_U8, &shape, text, &raw->tensor));
  bind_check(L, bam_tensor_to(raw->tensor, context->device, &handle->tensor));
  return 1;
}

/* ---- by rule ---- */

static int create_filled(lua_State *L, const char *what, double value) {
  bam_shape shape;
  bind_options o = bind_read_sizes(L, 1, what, &shape, BAM_F32);
  bind_handle *handle = bind_push_uninitialized(L, &o, &shape);
  bind_check(L, bam_tensor_fill(handle->tensor, value));
  return bind_finish(L, handle, &o);
}

BIND_DOC(create_zeros, "zeros(...)",
         "A tensor of zeros: zeros(2, 3) or zeros { 2, 3 }. f32 by default.\n"
         "@param ... integer|integer[]|bam.TensorOptions sizes, then options\n"
         "@return tensor");
static int create_zeros(lua_State *L) { return create_filled(L, "zeros", 0); }
BIND_DOC(create_ones, "ones(...)",
         "A tensor of ones: ones(2, 3) or ones { 2, 3 }. f32 by default.\n"
         "@param ... integer|integer[]|bam.TensorOptions sizes, then options\n"
         "@return tensor");
static int create_ones(lua_State *L) { return create_filled(L, "ones", 1); }

BIND_DOC(create_empty, "empty(...)",
         "An uninitialized tensor: write its elements before reading them. f32 by default.\n"
         "@param ... integer|integer[]|bam.TensorOptions sizes, then options\n"
         "@return tensor");
static int create_empty(lua_State *L) {
  bam_shape shape;
  bind_options o = bind_read_sizes(L, 1, "empty", &shape, BAM_F32);
  bind_handle *handle = bind_push_uninitialized(L, &o, &shape);
  if (o.dtype == BAM_BOOL) /* bytes other than 0 and 1 could not be saved and loaded */
    bind_check(L, bam_tensor_fill(handle->tensor, 0));
  return bind_finish(L, handle, &o);
}

BIND_DOC(create_full, "full(sizes, value, options)",
         "A tensor filled with one value: full({ 2, 3 }, 0.5). The dtype follows the value, as in "
         "tensor().\n"
         "@param sizes integer[]\n"
         "@param value number|boolean\n"
         "@param options? bam.TensorOptions\n"
         "@return tensor");
static int create_full(lua_State *L) {
  bam_shape shape;
  shape.ndim = bind_integers(L, 1, "full: sizes", shape.size);
  int type = lua_type(L, 2);
  bam_dtype natural = type == LUA_TBOOLEAN ? BAM_BOOL : lua_isinteger(L, 2) ? BAM_I64 : BAM_F32;
  bind_options o = bind_read_options(L, 3, "full", natural);
  bam_tensor *value = bind_tensor_or_number(L, 2, o.device, "full: value");
  if (value->is_number)
    bind_check(L, bam_tensor_check_number("full", value, o.dtype));
  bind_handle *handle = bind_push_uninitialized(L, &o, &shape);
  bind_check(L, bam_tensor_copy(handle->tensor, value));
  return bind_finish(L, handle, &o);
}

/* Convert evenly spaced numbers, in an i64 or f64 tensor on the CPU, to the requested dtype and device. */
static int finish_progression(lua_State *L, const char *what, bind_handle *raw,
                              const bind_options *o) {
  bind_handle *handle = bind_push_handle(L);
  move_and_convert(L, what, raw->tensor, o, handle);
  return bind_finish(L, handle, o);
}

static bind_handle *push_line(lua_State *L, bam_dtype dtype, int64_t n) {
  const bam_shape shape = { .ndim = 1, .size = { n } };
  bam_context *context = bind_context(L);
  bind_handle *raw = bind_push_handle(L);
  bind_check(L, bam_tensor_new(context, &context->cpu, dtype, &shape, &raw->tensor));
  return raw;
}

/* ---- arange ---- */

/* The number of elements first, first + step, ... up to `last`, which is included; step is not 0. A double,
   because there may be 2^64. */
static double count_integers(int64_t first, int64_t last, int64_t step) {
  const bool up = step > 0;
  const uint64_t size = up ? (uint64_t)step : 0 - (uint64_t)step;
  const uint64_t distance = up ? (uint64_t)last - (uint64_t)first
                               : (uint64_t)first - (uint64_t)last;
  return (up ? first > last : first < last) ? 0 : (double)(distance / size) + 1;
}

/* first + i * step, without overflow if only the product overflows. */
static double walk(double first, double step, double i) {
  double at = first + i * step;
  return isfinite(at) ? at : fma(i, step, first);
}

/* The tolerance within which an element counts as `last`. `first`, `last` and `step` have been rounded once
   each from decimal, and walk() rounds twice. Together that is less than 8 * 2^-53 max(|first|, |last|). */
static double end_slack(double first, double last) {
  return 0x1p-50 * fmax(fabs(first), fabs(last));
}

static bool within(double first, double last, double step, double i) {
  double at = walk(first, step, i), slack = end_slack(first, last);
  return step > 0 ? at <= last + slack : at >= last - slack;
}

/* The number of elements first, first + step, ... up to `last`, which is included. */
static double count_reals(double first, double last, double step) {
  double far = (last - first) / step;
  if (!isfinite(last - first))
    far = (last / 2 - first / 2) / step * 2;
  far = floor(far);
  if (!(far < 0x1p53)) /* beyond 2^53, i + 1 is not exact; no machine has the memory anyway */
    return far;
  if (within(first, last, step, far + 1))
    far++;
  else if (far >= 0 && !within(first, last, step, far))
    far--;
  return far + 1;
}

static int64_t check_count(lua_State *L, double count) {
  if (count > 1e12)
    bind_error(L, "arange: %f elements are too many", count);
  return count > 0 ? (int64_t)count : 0;
}

static int arange_integers(lua_State *L, const int64_t *range, const bind_options *o) {
  int64_t n = check_count(L, count_integers(range[0], range[1], range[2]));
  bind_handle *raw = push_line(L, BAM_I64, n);
  int64_t *data = bam_tensor_data(raw->tensor);
  for (int64_t i = 0; i < n; i++) /* unsigned: the product may wrap where the sum fits again */
    data[i] = (int64_t)((uint64_t)range[0] + (uint64_t)i * (uint64_t)range[2]);
  return finish_progression(L, "arange", raw, o);
}

static int arange_reals(lua_State *L, double first, double last, double step,
                        const bind_options *o) {
  int64_t n = check_count(L, count_reals(first, last, step));
  bind_handle *raw = push_line(L, BAM_F64, n);
  double *data = bam_tensor_data(raw->tensor);
  for (int64_t i = 0; i < n; i++)
    data[i] = walk(first, step, (double)i);
  if (n > 0 && fabs(data[n - 1] - last) <= end_slack(first, last))
    data[n - 1] = last;
  return finish_progression(L, "arange", raw, o);
}

BIND_DOC(create_arange, "arange(...)",
         "The numbers of a `for` loop, both ends included: arange(last), arange(first, last) or "
         "arange(first,\n"
         "last, step), where `first` and `step` are 1 by default. i64 if all arguments are "
         "integers, otherwise\n"
         "f32, computed as first + i * step in f64. A value within 2^-50 * max(|first|, |last|) of "
         "`last` counts\n"
         "as `last`: arange(0, 0.3, 0.1) has 4 elements.\n"
         "@param ... number|bam.TensorOptions one to three numbers, then options\n"
         "@return tensor");
static int create_arange(lua_State *L) {
  int n_args = 0;
  while (n_args < 3 && lua_type(L, n_args + 1) == LUA_TNUMBER)
    n_args++;
  if (n_args == 0)
    return bind_error(L, "arange: expected a number, got %s", bind_describe(L, 1));
  if (n_args < 3 && lua_type(L, n_args + 1) == LUA_TNIL)
    return bind_error(L, "arange: argument %d is nil; expected a number, or options", n_args + 1);
  double real[3] = { 1, 1, 1 }; /* first, last, step */
  int64_t whole[3] = { 1, 1, 1 };
  bool integers = true;
  for (int i = 1; i <= n_args; i++) {
    int at = n_args == 1 ? 1 : i - 1;
    integers = integers && lua_isinteger(L, i);
    real[at] = lua_tonumber(L, i);
    whole[at] = lua_tointeger(L, i);
    if (!isfinite(real[at]))
      return bind_error(L, "arange: the numbers must be finite, got %s", bind_describe(L, i));
  }
  if (real[2] == 0)
    return bind_error(L, "arange: the step is 0");
  bind_options o = bind_read_options(L, n_args + 1, "arange", integers ? BAM_I64 : BAM_F32);
  return integers ? arange_integers(L, whole, &o) : arange_reals(L, real[0], real[1], real[2], &o);
}

/* ---- linspace ---- */

/* linspace with integral ends and an integer dtype: computed exactly, then truncated. */
static void line_of_integers(int64_t *data, int64_t n, int64_t first, int64_t last) {
  const __int128 range = (__int128)last - first, steps = n > 1 ? n - 1 : 1;
  for (int64_t i = 0; i < n; i++)
    data[i] = (int64_t)((first * steps + i * range) / steps);
}

/* linspace in doubles. If last - first overflows, computes with scaled numbers. The last element is exactly
   `last`. */
static void line_of_reals(double *data, int64_t n, double first, double last, bool whole) {
  const double scale = isfinite(last - first) ? 1 : 0x1p-66, low = first * scale;
  const double step = n > 1 ? (last * scale - low) / (double)(n - 1) : 0;
  for (int64_t i = 0; i < n; i++)
    data[i] = (low + (double)i * step) / scale;
  if (n > 1)
    data[n - 1] = last;
  for (int64_t i = 0; whole && i < n; i++)
    data[i] = trunc(data[i]);
}

BIND_DOC(create_linspace, "linspace(first, last, count, options)",
         "`count` evenly spaced numbers, both ends included: first + i * (last - first) / (count - "
         "1), computed\n"
         "in f64 and rounded once; the last is exactly `last`. f32 by default; an integer dtype "
         "truncates\n"
         "fractions.\n"
         "@param first number\n"
         "@param last number\n"
         "@param count integer\n"
         "@param options? bam.TensorOptions\n"
         "@return tensor");
static int create_linspace(lua_State *L) {
  double first = bind_number(L, 1, "linspace: first"), last = bind_number(L, 2, "linspace: last");
  int64_t n = bind_integer(L, 3, "linspace: count");
  bind_options o = bind_read_options(L, 4, "linspace", BAM_F32);
  if (n < 0)
    return bind_error(L, "linspace: the count is negative: %I", (LUAI_UACINT)n);
  if (!isfinite(first) || !isfinite(last))
    return bind_error(L, "linspace: the ends must be finite, got %f and %f", first, last);
  const bool whole = bam_dtype_is_integer(o.dtype);
  const bool exact = whole && lua_isinteger(L, 1) && lua_isinteger(L, 2);
  bind_handle *raw = push_line(L, exact ? BAM_I64 : BAM_F64, n);
  void *data = bam_tensor_data(raw->tensor);
  if (exact)
    line_of_integers(data, n, lua_tointeger(L, 1), lua_tointeger(L, 2));
  else
    line_of_reals(data, n, first, last, whole);
  return finish_progression(L, "linspace", raw, &o);
}

BIND_DOC(create_eye, "eye(size, options)",
         "The identity matrix, [size, size]. f32 by default.\n"
         "@param size integer\n"
         "@param options? bam.TensorOptions\n"
         "@return tensor");
static int create_eye(lua_State *L) {
  int64_t n = bind_integer(L, 1, "eye: size");
  bind_options o = bind_read_options(L, 2, "eye", BAM_F32);
  const bam_shape shape = { .ndim = 2, .size = { n, n } };
  bam_context *context = bind_context(L);
  bind_handle *diagonal = bind_push_handle(L), *handle = bind_push_handle(L);
  bind_check_within(L, bam_tensor_zeros(context, o.device, o.dtype, &shape, &handle->tensor),
                    "eye");
  const bam_shape line = { .ndim = 1, .size = { n } };
  bind_check(L, bam_tensor_view(handle->tensor, &line, (int64_t[]){ n + 1 }, 0, &diagonal->tensor));
  bind_check(L, bam_tensor_fill(diagonal->tensor, 1));
  return bind_finish(L, handle, &o);
}

const bind_export bind_create_functions[] = {
  BIND_TOPIC(tensor_options),
  BIND_EXPORT(bind_create_tensor),
  BIND_EXPORT(create_zeros),
  BIND_EXPORT(create_ones),
  BIND_EXPORT(create_empty),
  BIND_EXPORT(create_full),
  BIND_EXPORT(create_arange),
  BIND_EXPORT(create_linspace),
  BIND_EXPORT(create_eye),
  BIND_EXPORT(create_bytes),
  { NULL, NULL },
};
