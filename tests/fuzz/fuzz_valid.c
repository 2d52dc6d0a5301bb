/* Valid files of all formats. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../../engine/io/safetensors.h"
#include "fuzz_input.h"
#include "fuzz_json.h"
#include "fuzz_text.h"
#include "random.h"

input current;

static void append(const void *data, size_t size) {
  if (size <= INPUT_BYTES - current.size) {
    memcpy(current.data + current.size, data, size);
    current.size += size;
  }
}

static void append_text(const char *text) { append(text, strlen(text)); }

static void append_number(uint64_t number) {
  char text[24];
  snprintf(text, sizeof text, "%" PRIu64, number);
  append_text(text);
}

static void append_data(size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    append(&(unsigned char){ (unsigned char)below(2) }, 1); /* valid for bools too */
}

void fuzz_fix_length(void) {
  if (current.format == TEXT || current.format == JSON)
    return;
  size_t length = current.header_end - current.header_begin;
  int bytes = current.format == SAFETENSORS ? 8 : current.header_begin == 10 ? 2 : 4;
  unsigned char *at = current.data + current.header_begin - bytes;
  for (int i = 0; i < bytes; i++)
    at[i] = (unsigned char)(i < 8 ? length >> (8 * i) : 0);
}

/* Choose the sizes of a small tensor. Returns the number of elements. */
static size_t random_shape(size_t *sizes, size_t *ndim) {
  size_t count = 1;
  *ndim = one_in(20) ? 8 : below(4);
  for (size_t d = 0; d < *ndim; d++) {
    sizes[d] = one_in(12) ? 0 : 1 + below(*ndim == 8 ? 2 : 6);
    count *= sizes[d];
  }
  return count;
}

static void append_sizes(const size_t *sizes, size_t ndim) {
  for (size_t d = 0; d < ndim; d++) {
    if (d > 0)
      append_text(",");
    append_number(sizes[d]);
  }
}

/* Append "name":{...} for a tensor at `offset` in the data. Returns the end of its data. */
static size_t append_entry(size_t number, size_t offset) {
  static const char *const names[] = { "w", "model.layers.0.mlp", "\\u00e9\\n", "a\\\"b",
                                       "\xc3\xa9" };
  size_t sizes[8], ndim;
  bam_dtype dtype = (bam_dtype)below(BAM_DTYPES);
  size_t end = offset + random_shape(sizes, &ndim) * (size_t)bam_dtype_size(dtype);
  append_text("\"");
  append_text(CHOOSE(names));
  append_number(number);
  append_text("\":{\"dtype\":\"");
  append_text(bam_safetensors_dtype(dtype));
  append_text("\",\"shape\":[");
  append_sizes(sizes, ndim);
  append_text("],\"data_offsets\":[");
  append_number(offset);
  append_text(",");
  append_number(end);
  append_text("]}");
  return end;
}

static void make_safetensors(void) {
  size_t entries = below(6), end = 0;
  append("\0\0\0\0\0\0\0", 8);
  current.header_begin = 8;
  append_text("{");
  if (one_in(2))
    append_text(entries > 0 ? "\"__metadata__\":{\"format\":\"pt\"}," : "\"__metadata__\":{}");
  for (size_t i = 0; i < entries; i++) {
    end = append_entry(i, end);
    if (i + 1 < entries)
      append_text(",");
  }
  append_text("}");
  while (one_in(2))
    append_text(" ");
  current.header_end = current.size;
  append_data(end);
}

static void make_npy(void) {
  static const struct {
    const char *descr;
    size_t size;
  } types[] = { { "<f2", 2 }, { "<f4", 4 }, { "<f8", 8 }, { ">f4", 4 }, { ">f8", 8 }, { "<i4", 4 },
                { "<i8", 8 }, { ">i8", 8 }, { "|u1", 1 }, { "|b1", 1 }, { ">f2", 2 } };
  size_t sizes[8], ndim, count = random_shape(sizes, &ndim), type = below(11);
  unsigned char version = (unsigned char)(1 + below(3));
  append_text("\x93NUMPY");
  append((unsigned char[]){ version, 0, 0, 0, 0, 0 }, version == 1 ? 4 : 6);
  current.header_begin = current.size;
  append_text("{'descr': '");
  append_text(types[type].descr);
  append_text("', 'fortran_order': ");
  append_text(one_in(2) ? "True, 'shape': (" : "False, 'shape': (");
  append_sizes(sizes, ndim);
  append_text(ndim == 1 ? ",), }" : "), }");
  while (current.size % 64 != 63 && !one_in(30))
    append_text(" ");
  append_text("\n");
  current.header_end = current.size;
  append_data(count * types[type].size);
}

static void make_json(void) {
  fuzz_json_make(current.data, INPUT_BYTES, &current.size);
  current.header_begin = 0;
  current.header_end = current.size;
}

static void make_text(void) {
  current.name = fuzz_text_make(current.data, INPUT_BYTES, &current.size);
  current.header_begin = 0; /* all bytes are equally likely to be damaged */
  current.header_end = current.size;
}

void fuzz_make_valid(format kind) {
  static void (*const makers[])(void) = { make_safetensors, make_npy, make_json, make_text };
  current.format = kind;
  current.valid = true;
  current.size = 0;
  makers[kind]();
  fuzz_fix_length();
}
