/* Reading and writing npy files. The header's dictionary is parsed strictly: three keys in any order,
   each exactly once, with Python literals for str, bool and tuple of int as values. */
#include "npy.h"
#include "../core/quote.h"

#include <stdio.h>
#include <string.h>

#include "atomic_file.h"
#include "input_file.h"

#define MOST_HEADER 1000000 /* NumPy itself reads 10,000 bytes */
#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6

typedef struct npy_header {
  bool has_descr, has_order, has_shape;
  bam_dtype dtype;
  bool swapped; /* big-endian data */
  bool fortran;
  bam_shape shape;
} npy_header;

/* The unparsed rest of the header. */
typedef struct cursor {
  bam_context *context;
  const char *at, *end;
} cursor;

static const struct {
  const char *code;
  bam_dtype dtype;
} codes[] = {
  { "f2", BAM_F16 }, { "f4", BAM_F32 }, { "f8", BAM_F64 },  { "i4", BAM_I32 },
  { "i8", BAM_I64 }, { "u1", BAM_U8 },  { "b1", BAM_BOOL },
};
#define CODES (int)(sizeof codes / sizeof codes[0])

/* ---- the dictionary ---- */

static void skip_spaces(cursor *c) {
  while (c->at < c->end && (*c->at == ' ' || *c->at == '\n'))
    c->at++;
}

/* Skip spaces, then `character` if it is next. */
static bool take(cursor *c, char character) {
  skip_spaces(c);
  if (c->at == c->end || *c->at != character)
    return false;
  c->at++;
  return true;
}

static bool take_word(cursor *c, const char *word) {
  size_t length = strlen(word);
  skip_spaces(c);
  if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0)
    return false;
  c->at += length;
  return true;
}

static bam_status malformed(const cursor *c, const char *expected) {
  char near[24], quoted[BAM_QUOTE_TEXT];
  size_t left = (size_t)(c->end - c->at), length = left < sizeof near ? left : sizeof near - 1;
  memcpy(near, c->at, length);
  near[length] = '\0';
  return bam_fail(c->context, BAM_ERROR_FILE, "malformed npy header: %s expected at %s", expected,
                  bam_quote(near, quoted));
}

/* A Python string without escapes, into `text`. */
static bam_status parse_string(cursor *c, char *text, size_t size) {
  skip_spaces(c);
  char quote = c->at < c->end ? *c->at : '\0';
  if (quote != '\'' && quote != '"')
    return malformed(c, "a string");
  const char *begin = c->at + 1;
  const char *end = memchr(begin, quote, (size_t)(c->end - begin));
  if (end == NULL || (size_t)(end - begin) >= size || memchr(begin, '\\', (size_t)(end - begin)))
    return malformed(c, "a shorter string");
  memcpy(text, begin, (size_t)(end - begin));
  text[end - begin] = '\0';
  c->at = end + 1;
  return BAM_OK;
}

static bam_status parse_descr(cursor *c, npy_header *header) {
  char text[64], quoted[BAM_QUOTE_TEXT];
  skip_spaces(c);
  if (c->at < c->end && *c->at == '[')
    return bam_fail(c->context, BAM_ERROR_FILE,
                    "a structured dtype is not supported; save each field as a file of its own");
  BAM_TRY(parse_string(c, text, sizeof text));
  bool has_order = text[0] != '\0' && strchr("<>=|", text[0]) != NULL;
  for (int i = 0; i < CODES; i++)
    if (has_order && strcmp(text + 1, codes[i].code) == 0) {
      header->dtype = codes[i].dtype;
      header->swapped = text[0] == '>' && bam_dtype_size(header->dtype) > 1;
      header->has_descr = true;
      return BAM_OK;
    }
  return bam_fail(
    c->context, BAM_ERROR_FILE,
    "dtype %s is not supported; convert the array to float16, float32, float64, int32, "
    "int64, uint8 or bool",
    bam_quote(text, quoted));
}

static bam_status parse_order(cursor *c, npy_header *header) {
  header->fortran = take_word(c, "True");
  header->has_order = header->fortran || take_word(c, "False");
  return header->has_order ? BAM_OK : malformed(c, "True or False");
}

static bam_status parse_size(cursor *c, int64_t *size) {
  skip_spaces(c);
  const char *begin = c->at;
  int64_t n = 0;
  for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
    if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *c->at - '0', &n))
      return bam_fail(c->context, BAM_ERROR_FILE, "a size in the npy header overflows 64 bits");
  if (c->at == begin)
    return malformed(c, "a size");
  *size = n;
  return BAM_OK;
}

/* A tuple: () or (3,) or (3, 4) or (3, 4,); (3) is a number in Python. */
static bam_status parse_shape(cursor *c, npy_header *header) {
  bam_shape *shape = &header->shape;
  bool comma = false;
  if (!take(c, '('))
    return malformed(c, "a tuple");
  while (!take(c, ')')) {
    if (shape->ndim > 0 && !comma)
      return malformed(c, "a comma");
    if (shape->ndim == BAM_MAX_DIMS)
      return bam_fail(c->context, BAM_ERROR_FILE,
                      "the array has more than %d dimensions; reshape it", BAM_MAX_DIMS);
    BAM_TRY(parse_size(c, &shape->size[shape->ndim]));
    shape->ndim++;
    comma = take(c, ',');
  }
  if (shape->ndim == 1 && !comma)
    return malformed(c, "a comma before the )");
  header->has_shape = true;
  return BAM_OK;
}

static bam_status parse_member(cursor *c, npy_header *header) {
  char key[32], quoted[BAM_QUOTE_TEXT];
  BAM_TRY(parse_string(c, key, sizeof key));
  if (!take(c, ':'))
    return malformed(c, "a colon");
  if (strcmp(key, "descr") == 0 && !header->has_descr)
    return parse_descr(c, header);
  if (strcmp(key, "fortran_order") == 0 && !header->has_order)
    return parse_order(c, header);
  if (strcmp(key, "shape") == 0 && !header->has_shape)
    return parse_shape(c, header);
  return bam_fail(c->context, BAM_ERROR_FILE, "the npy header has a duplicate or unknown key %s",
                  bam_quote(key, quoted));
}

static bam_status parse_dictionary(cursor *c, npy_header *header) {
  bool comma = true;
  if (!take(c, '{'))
    return malformed(c, "a dictionary");
  while (!take(c, '}')) {
    BAM_TRY(comma ? parse_member(c, header) : malformed(c, "a comma"));
    comma = take(c, ',');
  }
  skip_spaces(c);
  if (c->at != c->end)
    return malformed(c, "the end");
  if (!header->has_descr || !header->has_order || !header->has_shape)
    return bam_fail(c->context, BAM_ERROR_FILE, "the npy header lacks %s",
                    !header->has_descr   ? "descr"
                    : !header->has_order ? "fortran_order"
                                         : "shape");
  return BAM_OK;
}

/* ---- the file ---- */

/* Find the start and length of the header's text from the first bytes of the file. */
static bam_status find_header(const bam_input_file *input, bam_context *context, int64_t *start,
                              int64_t *length) {
  unsigned char data[12] = { 0 };
  int64_t bytes = bam_input_file_bytes(input);
  BAM_TRY(bam_input_file_read(input, 0, data,
                              bytes < (int64_t)sizeof data ? bytes : (int64_t)sizeof data));
  if (bytes < 10 || memcmp(data, MAGIC, MAGIC_BYTES) != 0)
    return bam_fail(context, BAM_ERROR_FILE, "not an npy file: it does not begin with \\x93NUMPY");
  int major = data[6], minor = data[7];
  if (major < 1 || major > 3 || minor != 0)
    return bam_fail(context, BAM_ERROR_FILE, "npy version %d.%d is not supported; save as 1.0",
                    major, minor);
  *start = major == 1 ? 10 : 12;
  *length = data[8] | data[9] << 8;
  if (major > 1)
    *length |= (int64_t)data[10] << 16 | (int64_t)data[11] << 24;
  if (bytes < *start || *length > bytes - *start)
    return bam_fail(context, BAM_ERROR_FILE,
                    "its header is truncated: %lld bytes are declared, %lld follow",
                    (long long)*length, (long long)(bytes - *start));
  if (*length > MOST_HEADER)
    return bam_fail(context, BAM_ERROR_FILE, "its header has %lld bytes, above the limit of %d",
                    (long long)*length, MOST_HEADER);
  return BAM_OK;
}

/* Read the header at [start, start + length). */
static bam_status read_header(const bam_input_file *input, bam_context *context, int64_t start,
                              int64_t length, npy_header *header) {
  size_t room = (size_t)length + 1; /* never an allocation of 0 bytes */
  char *text = bam_object_alloc(context, room);
  if (text == NULL)
    return BAM_ERROR_MEMORY;
  bam_status status = BAM_OK;
  cursor c = { context, text, text + length };
  BAM_TRY_OR_DONE(bam_input_file_read(input, start, text, length));
  BAM_TRY_OR_DONE(parse_dictionary(&c, header));
done:
  bam_object_free(context, text, room);
  return status;
}

static bam_status check_size(bam_context *context, const npy_header *header, int64_t there) {
  int64_t count;
  if (bam_shape_count(context, &header->shape, &count) != BAM_OK)
    return BAM_ERROR_FILE; /* the message is already set */
  int64_t needed = count * bam_dtype_size(header->dtype);
  char text[BAM_SHAPE_TEXT];
  if (needed == there)
    return BAM_OK;
  return bam_fail(
    context, BAM_ERROR_FILE, "shape %s of %s needs %lld bytes of data, the file has %lld%s",
    bam_shape_text(&header->shape, text), bam_dtype_name(header->dtype), (long long)needed,
    (long long)there, there < needed ? "; it is truncated" : "; save one array per file");
}

static void swap_bytes(bam_tensor *tensor) {
  int64_t size = bam_dtype_size(tensor->dtype), bytes = bam_tensor_count(tensor) * size;
  unsigned char *data = bam_tensor_data(tensor);
  for (int64_t i = 0; i < bytes; i += size)
    for (int64_t low = i, high = i + size - 1; low < high; low++, high--) {
      unsigned char byte = data[low];
      data[low] = data[high];
      data[high] = byte;
    }
}

/* Replace *tensor with its transpose: a view with the dimensions reversed. */
static bam_status transpose(bam_tensor **tensor) {
  bam_tensor *whole = *tensor;
  bam_shape shape = whole->shape;
  int64_t stride[BAM_MAX_DIMS];
  for (int d = 0; d < shape.ndim; d++) {
    shape.size[d] = whole->shape.size[shape.ndim - 1 - d];
    stride[d] = whole->stride[shape.ndim - 1 - d];
  }
  bam_status status = bam_tensor_view(whole, &shape, stride, whole->offset, tensor);
  bam_tensor_release(whole);
  return status;
}

/* Fortran order is C order of the reversed shape. */
static bam_shape stored_shape(const npy_header *header) {
  bam_shape shape = header->shape;
  for (int d = 0; d < shape.ndim && header->fortran; d++)
    shape.size[d] = header->shape.size[shape.ndim - 1 - d];
  return shape;
}

bam_status bam_npy_parse(bam_context *context, const bam_input_file *input, bam_tensor **out) {
  bam_status status = BAM_OK;
  npy_header header = { .has_descr = false };
  bam_tensor *tensor = NULL;
  int64_t start = 0, length = 0;
  BAM_TRY_OR_DONE(find_header(input, context, &start, &length));
  BAM_TRY_OR_DONE(read_header(input, context, start, length, &header));
  BAM_TRY_OR_DONE(check_size(context, &header, bam_input_file_bytes(input) - start - length));
  bam_shape stored = stored_shape(&header);
  BAM_TRY_OR_DONE(bam_input_file_tensor(input, start + length, header.dtype, &stored, &tensor));
  if (header.swapped)
    swap_bytes(tensor);
  if (header.fortran)
    status = transpose(&tensor);
  if (status == BAM_OK)
    *out = tensor;
done:
  return status == BAM_OK ? BAM_OK : bam_fail_input(input, status);
}

bam_status bam_npy_read(bam_context *context, const char *path, bam_tensor **out) {
  bam_input_file *input;
  bam_status status = bam_input_file_open(context, path, &input);
  if (status != BAM_OK)
    return status;
  status = bam_npy_parse(context, input, out);
  bam_input_file_close(input);
  return status;
}

/* ---- writing ---- */

static const char *find_code(bam_dtype dtype) {
  for (int i = 0; i < CODES; i++)
    if (codes[i].dtype == dtype)
      return codes[i].code;
  return NULL;
}

/* Write the magic, version 1.0, length and dictionary, padded with spaces so that the data starts at a
   multiple of 64. Returns the size in bytes. */
static int make_header(const bam_tensor *tensor, char text[512]) {
  char shape[BAM_SHAPE_TEXT];
  bam_shape_text(&tensor->shape, shape);
  if (tensor->shape.ndim == 1)
    memcpy(shape + strlen(shape) - 1, ",)", 3);
  int n = snprintf(text + 10, 400, "{'descr': '%c%s', 'fortran_order': False, 'shape': %s, }",
                   bam_dtype_size(tensor->dtype) > 1 ? '<' : '|', find_code(tensor->dtype), shape);
  int total = (10 + n + 1 + 63) / 64 * 64;
  memset(text + 10 + n, ' ', (size_t)(total - 10 - n));
  text[total - 1] = '\n';
  memcpy(text, MAGIC "\x01\x00", MAGIC_BYTES + 2);
  text[8] = (char)((total - 10) & 0xff);
  text[9] = (char)((total - 10) >> 8);
  return total;
}

bam_status bam_npy_write(bam_context *context, const char *path, bam_tensor *tensor) {
  char header[512];
  if (find_code(tensor->dtype) == NULL)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "the npy format has no %s; convert the tensor to f32 first",
                    bam_dtype_name(tensor->dtype));
  int length = make_header(tensor, header);
  bam_writer writer;
  bam_status status = bam_writer_open(&writer, context, path);
  if (status == BAM_OK)
    status = bam_writer_bytes(&writer, header, length);
  if (status == BAM_OK)
    status = bam_writer_tensor(&writer, tensor);
  if (status == BAM_OK)
    status = bam_writer_commit(&writer);
  bam_writer_abandon(&writer);
  return status;
}
