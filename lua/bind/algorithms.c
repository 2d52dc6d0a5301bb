/* The algorithms of matrix products for scripts, where a device's library has several for one product. */
#include <string.h>

#include "../../engine/core/devices.h"
#include "bind.h"

#define DIGITS (2 * sizeof((bam_algorithm *)0)->bytes)

static bam_device *device_or_default(lua_State *L, int arg, const char *what) {
  return lua_isnoneornil(L, arg) ? bind_context(L)->device : bind_device(L, arg, what);
}

BIND_DOC(algorithms_library, "product_library(device)",
         "The name and version of the library that computes matrix products on a device; nil if "
         "they have one\n"
         "implementation.\n"
         "@param device? device the selected one by default\n"
         "@return string?");
static int algorithms_library(lua_State *L) {
  char text[64];
  bam_device *device = device_or_default(L, 1, "product_library");
  bind_check_within(L, bam_device_library(bind_context(L), device, text, sizeof text),
                    "product_library");
  if (text[0] == '\0')
    return 0;
  lua_pushstring(L, text);
  return 1;
}

/* ---- from the device ---- */

static void push_digits(lua_State *L, const uint8_t *bytes) {
  char text[DIGITS];
  for (size_t i = 0; i < DIGITS; i++)
    text[i] = "0123456789abcdef"[bytes[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
  lua_pushlstring(L, text, sizeof text);
}

static void push_algorithm(lua_State *L, const bam_algorithm *a) {
  lua_createtable(L, 0, 6);
  lua_pushstring(L, a->product);
  lua_setfield(L, -2, "product");
  lua_pushinteger(L, a->rank);
  lua_setfield(L, -2, "rank");
  lua_pushnumber(L, a->ms);
  lua_setfield(L, -2, "ms");
  lua_pushnumber(L, a->first_ms);
  lua_setfield(L, -2, "first_ms");
  lua_pushboolean(L, a->used);
  lua_setfield(L, -2, "used");
  if (a->rank == 0)
    return;
  push_digits(L, a->bytes);
  lua_setfield(L, -2, "algorithm");
}

BIND_DOC(algorithms_entry, "bam.Algorithm",
         "How one product is computed, as product_algorithms() lists it.\n"
         "@field product string its types, sizes, layout and alignment\n"
         "@field rank integer among the library's proposals; 0: a plain kernel, since no proposal "
         "repeats its bits\n"
         "@field algorithm? string the library's own words, 128 hexadecimal digits\n"
         "@field ms number measured; 0 if it was not\n"
         "@field first_ms number of the library's first proposal\n"
         "@field used boolean since the list was set");

BIND_DOC(algorithms_list, "product_algorithms(device, from)",
         "The known algorithms of products on a device: those that were set, then those that were "
         "measured.\n"
         "@param device? device the selected one by default\n"
         "@param from? integer the first one to return, 1 by default\n"
         "@return bam.Algorithm[]");
static int algorithms_list(lua_State *L) {
  int64_t count = 0;
  const bam_device *device = device_or_default(L, 1, "product_algorithms");
  const int64_t from = lua_isnoneornil(L, 2) ? 1 : bind_integer(L, 2, "product_algorithms: from");
  const bam_algorithm *list = device->algorithms != NULL
                                ? device->algorithms(device->stream, &count)
                                : NULL;
  if (from < 1)
    return bind_error(L, "product_algorithms: from: expected an integer of at least 1, got %I",
                      (LUAI_UACINT)from);
  lua_newtable(L);
  for (int64_t i = from - 1; i < count; i++) {
    push_algorithm(L, &list[i]);
    lua_rawseti(L, -2, (lua_Integer)(i - from + 2));
  }
  return 1;
}

/* ---- to the device ---- */

static int digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_digits(const char *text, uint8_t *bytes) {
  for (size_t i = 0; i < DIGITS; i++) {
    if (digit(text[i]) < 0)
      return false;
    bytes[i / 2] = (uint8_t)(bytes[i / 2] << 4 | digit(text[i]));
  }
  return true;
}

static double read_ms(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  const double ms = lua_tonumber(L, -1); /* 0 for anything else */
  lua_pop(L, 1);
  return ms;
}

/* Read the entry on top, number i; its strings are the table's, which is on the stack. */
static void read_algorithm(lua_State *L, bam_algorithm *a, lua_Integer i) {
  size_t length = 0, digits = 0;
  int is_integer = 0;
  if (!lua_istable(L, -1))
    bind_error(L, "set_product_algorithms: entry %I is not a table", (LUAI_UACINT)i);
  a->ms = read_ms(L, "ms");
  a->first_ms = read_ms(L, "first_ms");
  lua_getfield(L, -1, "product");
  lua_getfield(L, -2, "algorithm");
  lua_getfield(L, -3, "rank");
  const lua_Integer rank = lua_tointegerx(L, -1, &is_integer);
  const char *product = lua_type(L, -3) == LUA_TSTRING ? lua_tolstring(L, -3, &length) : NULL;
  const char *text = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &digits) : NULL;
  if (product == NULL || length >= sizeof a->product)
    bind_error(L, "set_product_algorithms: entry %I: `product` is not a product's name",
               (LUAI_UACINT)i);
  if (!is_integer || rank < 0 || rank > INT32_MAX)
    bind_error(L, "set_product_algorithms: entry %I: `rank` is not a rank", (LUAI_UACINT)i);
  if (rank > 0 && (text == NULL || digits != DIGITS || !read_digits(text, a->bytes)))
    bind_error(L, "set_product_algorithms: entry %I: `algorithm` is not 128 hexadecimal digits",
               (LUAI_UACINT)i);
  memcpy(a->product, product, length);
  a->rank = (int)rank;
  lua_pop(L, 3);
}

BIND_DOC(algorithms_set, "set_product_algorithms(list, measure, device)",
         "Compute products on a device by these algorithms, which product_algorithms() of the same "
         "library and kind of\n"
         "device returned. For other products take the library's first proposal, or measure "
         "several when the product first\n"
         "comes. Raises an error if products have one implementation there.\n"
         "@param list table[]\n"
         "@param measure boolean\n"
         "@param device? device the selected one by default");
static int algorithms_set(lua_State *L) {
  bam_device *device = device_or_default(L, 3, "set_product_algorithms");
  if (!lua_istable(L, 1) || lua_type(L, 2) != LUA_TBOOLEAN)
    return bind_error(L, "set_product_algorithms: expected a list and a boolean, got %s and %s",
                      bind_describe(L, 1), bind_describe(L, 2));
  const lua_Integer count = (lua_Integer)lua_rawlen(L, 1);
  bam_algorithm *list = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *list, 0);
  memset(list, 0, (size_t)(count + 1) * sizeof *list);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, 1, i);
    read_algorithm(L, &list[i - 1], i);
    lua_pop(L, 1);
  }
  bind_check_within(
    L, bam_device_set_algorithms(bind_context(L), device, list, count, lua_toboolean(L, 2)),
    "set_product_algorithms");
  return 0;
}

const bind_export bind_algorithm_functions[] = {
  BIND_TOPIC(algorithms_entry),
  BIND_EXPORT(algorithms_library),
  BIND_EXPORT(algorithms_list),
  BIND_EXPORT(algorithms_set),
  { NULL, NULL },
};
