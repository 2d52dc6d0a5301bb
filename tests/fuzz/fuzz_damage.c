/* Damage in files: bytes, ranges, numbers, tokens and lengths. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_input.h"
#include "random.h"

/* Replace `gone` bytes at `at` by `size` others, and adjust the end of the header. */
static void replace(size_t at, size_t gone, const void *data, size_t size) {
  if (at + gone > current.size || current.size - gone + size > INPUT_BYTES)
    return;
  memmove(current.data + at + size, current.data + at + gone, current.size - at - gone);
  memcpy(current.data + at, data, size);
  current.size = current.size - gone + size;
  if (at + gone <= current.header_end)
    current.header_end = current.header_end - gone + size;
  else if (at < current.header_end)
    current.header_end = at + size;
}

/* A random position in the file, usually in its header. */
static size_t somewhere(void) {
  return one_in(4) ? below(current.size) : below(current.header_end);
}

static void flip_bit(void) { current.data[somewhere()] ^= (unsigned char)(1u << below(8)); }

static void set_byte(void) { current.data[somewhere()] = (unsigned char)random_next(); }

static void truncate_input(void) {
  current.size = 1 + below(current.size);
  if (current.header_end > current.size)
    current.header_end = current.size;
}

static void insert_bytes(void) {
  unsigned char bytes[64];
  size_t n = 1 + below(sizeof bytes);
  for (size_t i = 0; i < n; i++)
    bytes[i] = (unsigned char)random_next();
  replace(somewhere(), 0, bytes, n);
}

static void delete_range(void) {
  size_t at = somewhere(), n = 1 + below(32);
  if (at + n < current.size)
    replace(at, n, "", 0);
}

/* Copy a random piece of the file to another position. */
static void copy_range(void) {
  unsigned char piece[256];
  size_t from = somewhere(), n = 1 + below(sizeof piece);
  n = n < current.size - from ? n : current.size - from;
  memcpy(piece, current.data + from, n);
  replace(somewhere(), one_in(2) ? n : 0, piece, n);
}

/* Replace the tail of the file by that of another valid file. */
static void splice_other(void) {
  static unsigned char head[INPUT_BYTES];
  size_t at = somewhere(), rest, header_end = current.header_end, begin = current.header_begin;
  memcpy(head, current.data, at);
  fuzz_make_valid(current.format);
  rest = somewhere();
  replace(0, rest, head, at);
  current.header_begin = begin;
  if (one_in(2) && header_end <= current.size)
    current.header_end = header_end;
}

static const char *const numbers[] = {
  "0",
  "1",
  "-1",
  "-0",
  "2",
  "7",
  "8",
  "9",
  "255",
  "65536",
  "2147483647",
  "2147483648",
  "4294967295",
  "4294967296",
  "4611686018427387904",
  "9223372036854775807",
  "9223372036854775808",
  "18446744073709551615",
  "18446744073709551616",
  "1e3",
  "1.0",
  "0.5",
  "1e400",
  "00",
  "007",
  "0x10",
};

static bool is_digit(size_t i) { return current.data[i] >= '0' && current.data[i] <= '9'; }

/* Replace a number by another, often off by one. */
static void edit_number(void) {
  size_t at = current.header_begin + below(current.header_end - current.header_begin), end;
  while (at < current.header_end && !is_digit(at))
    at++;
  for (end = at; end < current.header_end && end - at < 20 && is_digit(end);)
    end++;
  if (at >= current.header_end)
    return;
  char text[24] = { 0 };
  memcpy(text, current.data + at, end - at);
  if (one_in(2))
    snprintf(text, sizeof text, "%s", CHOOSE(numbers));
  else
    snprintf(text, sizeof text, "%" PRIu64,
             (uint64_t)strtoull(text, NULL, 10) + (one_in(2) ? 1 : UINT64_MAX));
  replace(at, end - at, text, strlen(text));
}

static const char *const tokens[] = {
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  "\"",
  "'",
  "(",
  ")",
  "\\",
  "\\u0000",
  "\\ud800",
  "\xff",
  "\xc3",
  "\x80",
  "null",
  "true",
  "{}",
  "[]",
  "\"\":",
  "\"a\":",
  "\"dtype\"",
  "\"shape\"",
  "\"data_offsets\"",
  "\"__metadata__\":{\"a\":\"b\"},",
  "\"dtype\":\"F8_E4M3\",",
  "\"BOOL\"",
  "\"U8\"",
  "\"F64\"",
  "'descr'",
  "'<f4'",
  "'|b1'",
  "'>f8'",
  "[('a', '<f4')]",
  "True",
  "False",
  "'shape': (1,), ",
  "(0,)",
  "[0,0]",
  "[[[[[[[[",
  "1,1,1,1,1,1,1,1,",
  " ",
  "\n",
  "\t",
};

static void edit_token(void) {
  const char *token = CHOOSE(tokens);
  size_t at = current.header_begin + below(current.header_end - current.header_begin);
  replace(at, one_in(2) ? strlen(token) : 0, token, strlen(token));
}

static void edit_length(void) {
  if (current.format == JSON)
    return;
  size_t at = current.format == NPY ? 6 + below(6) : below(8);
  if (at < current.size)
    current.data[at] = (unsigned char)(one_in(2) ? random_next()
                                                 : current.data[at] + 1 + below(2) * 254);
}

static void damage(void) {
  static void (*const kinds[])(void) = { flip_bit,     set_byte,   truncate_input, insert_bytes,
                                         delete_range, copy_range, splice_other,   edit_number,
                                         edit_number,  edit_token, edit_token,     edit_length };
  CHOOSE(kinds)();
  current.valid = false;
  if (!one_in(4) && current.header_end >= current.header_begin &&
      current.size >= current.header_begin)
    fuzz_fix_length(); /* so that damage inside the header is reached */
}

/* Whether the file still has a header to edit. */
static bool can_damage(void) {
  return current.size > 0 && current.header_begin < current.header_end &&
         current.header_end <= current.size;
}

void fuzz_damage(size_t times) {
  for (; times > 0 && can_damage(); times--)
    damage();
}
