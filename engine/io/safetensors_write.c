/* Writing safetensors: the header is built first, because it holds the offset of every tensor; then the
   header and the tensors are streamed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/assert.h"
#include "../core/quote.h"
#include "../core/utf8.h"
#include "atomic_file.h"
#include "safetensors.h"

static int by_size_then_name(const void *a, const void *b) {
  const bam_named_tensor *x = a, *y = b;
  int64_t sx = bam_dtype_size(x->tensor->dtype), sy = bam_dtype_size(y->tensor->dtype);
  if (sx != sy)
    return sx > sy ? -1 : 1;
  return strcmp(x->name, y->name);
}

/* ---- the header's text ---- */

/* The header's text. A first pass with `text` NULL only counts its bytes; a second pass writes them. */
typedef struct header {
  char *text;
  size_t used;
} header;

static void put(header *h, const char *text, size_t size) {
  if (h->text != NULL)
    memcpy(h->text + h->used, text, size);
  h->used += size;
}

static void put_text(header *h, const char *text) { put(h, text, strlen(text)); }

static void put_number(header *h, int64_t number) {
  char text[24];
  snprintf(text, sizeof text, "%lld", (long long)number);
  put_text(h, text);
}

static void put_string(header *h, const char *text) {
  static const char controls[] = "\b\t\n\f\r\"\\", letters[] = "btnfr\"\\";
  char escape[8];
  put_text(h, "\"");
  for (const char *c = text; *c != '\0'; c++) {
    const char *found = strchr(controls, *c);
    if (found != NULL)
      snprintf(escape, sizeof escape, "\\%c", letters[found - controls]);
    else if ((unsigned char)*c < 0x20)
      snprintf(escape, sizeof escape, "\\u%04x", (unsigned)*c);
    else
      snprintf(escape, sizeof escape, "%c", *c);
    put_text(h, escape);
  }
  put_text(h, "\"");
}

static void put_metadata(header *h, const bam_metadata *metadata, int64_t n) {
  const char *format = "pt";
  for (int64_t i = 0; i < n; i++)
    if (strcmp(metadata[i].key, "format") == 0)
      format = metadata[i].value;
  put_text(h, "{\"__metadata__\":{\"format\":");
  put_string(h, format);
  for (int64_t i = 0; i < n; i++) {
    if (strcmp(metadata[i].key, "format") == 0)
      continue;
    put_text(h, ",");
    put_string(h, metadata[i].key);
    put_text(h, ":");
    put_string(h, metadata[i].value);
  }
  put_text(h, "}");
}

/* Describe a tensor whose data is [begin, end). */
static void put_tensor(header *h, const bam_named_tensor *named, int64_t begin, int64_t end) {
  const bam_tensor *tensor = named->tensor;
  put_text(h, ",");
  put_string(h, named->name);
  put_text(h, ":{\"dtype\":");
  put_string(h, bam_safetensors_dtype(tensor->dtype));
  put_text(h, ",\"shape\":[");
  for (int d = 0; d < tensor->shape.ndim; d++) {
    put_text(h, d > 0 ? "," : "");
    put_number(h, tensor->shape.size[d]);
  }
  put_text(h, "],\"data_offsets\":[");
  put_number(h, begin);
  put_text(h, ",");
  put_number(h, end);
  put_text(h, "]}");
}

static int64_t count_bytes(const bam_tensor *tensor) {
  return bam_tensor_count(tensor) * bam_dtype_size(tensor->dtype);
}

static void put_header(header *h, const bam_named_tensor *tensors, int64_t n,
                       const bam_metadata *metadata, int64_t n_metadata) {
  int64_t offset = 0;
  put_metadata(h, metadata, n_metadata);
  for (int64_t i = 0; i < n; i++) {
    int64_t end = offset + count_bytes(tensors[i].tensor);
    put_tensor(h, &tensors[i], offset, end);
    offset = end;
  }
  put_text(h, "}");
}

/* ---- checking the arguments ---- */

static bool is_utf8(const char *text) {
  int64_t size = (int64_t)strlen(text);
  return bam_utf8_prefix(text, size) == size;
}

static bam_status check_metadata(bam_context *context, const bam_metadata *metadata, int64_t n) {
  char quoted[BAM_QUOTE_TEXT];
  for (int64_t i = 0; i < n; i++)
    if (!is_utf8(metadata[i].key) || !is_utf8(metadata[i].value))
      return bam_fail(context, BAM_ERROR_ARGUMENT, "metadata %s is not UTF-8 text",
                      bam_quote(metadata[i].key, quoted));
  return BAM_OK;
}

static bam_status check_tensor(bam_context *context, const bam_named_tensor *named,
                               int64_t *total) {
  char quoted[BAM_QUOTE_TEXT];
  bam_quote(named->name, quoted);
  if (strcmp(named->name, "__metadata__") == 0)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "a tensor cannot be named %s, which is reserved for metadata; rename it",
                    quoted);
  if (!is_utf8(named->name))
    return bam_fail(context, BAM_ERROR_ARGUMENT, "tensor name %s is not UTF-8 text; rename it",
                    quoted);
  if (__builtin_add_overflow(*total, count_bytes(named->tensor), total))
    return bam_fail(context, BAM_ERROR_ARGUMENT, "the tensors exceed 2^63 bytes");
  return BAM_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const bam_named_tensor *)a)->name, ((const bam_named_tensor *)b)->name);
}

/* Sort the tensors by name and check them. */
static bam_status check_tensors(bam_context *context, bam_named_tensor *tensors, int64_t n) {
  char quoted[BAM_QUOTE_TEXT];
  int64_t total = 0;
  bam_status status = BAM_OK;
  if (n == 0)
    return BAM_OK;
  bam_assert(tensors != NULL);
  qsort(tensors, (size_t)n, sizeof *tensors, by_name);
  for (int64_t i = 0; i < n && status == BAM_OK; i++) {
    status = check_tensor(context, &tensors[i], &total);
    if (status == BAM_OK && i > 0 && strcmp(tensors[i - 1].name, tensors[i].name) == 0)
      status = bam_fail(context, BAM_ERROR_ARGUMENT, "two tensors are named %s; rename one",
                        bam_quote(tensors[i].name, quoted));
  }
  return status;
}

/* ---- the file ---- */

/* Write the length, the header, and spaces up to a multiple of 8, so that the data is aligned. */
static bam_status write_header(bam_writer *writer, const header *h) {
  size_t length = h->used, padded = (length + 7) / 8 * 8;
  if (padded > BAM_SAFETENSORS_MAX_HEADER)
    return bam_fail(writer->context, BAM_ERROR_ARGUMENT,
                    "the names and metadata take %zu bytes; a safetensors header may have %d",
                    length, BAM_SAFETENSORS_MAX_HEADER);
  unsigned char count[8];
  for (int i = 0; i < 8; i++)
    count[i] = (unsigned char)(padded >> (8 * i));
  BAM_TRY(bam_writer_bytes(writer, count, 8));
  BAM_TRY(bam_writer_bytes(writer, h->text, (int64_t)length));
  return bam_writer_bytes(writer, "        ", (int64_t)(padded - length));
}

static bam_status write_file(bam_context *context, const char *path, const header *h,
                             const bam_named_tensor *tensors, int64_t n) {
  bam_writer writer;
  bam_status status = bam_writer_open(&writer, context, path);
  if (status == BAM_OK)
    status = write_header(&writer, h);
  for (int64_t i = 0; i < n && status == BAM_OK; i++)
    status = bam_writer_tensor(&writer, tensors[i].tensor);
  if (status == BAM_OK)
    status = bam_writer_commit(&writer);
  bam_writer_abandon(&writer);
  return status;
}

/* Write the file; the tensors are already in file order. */
static bam_status write_sorted(bam_context *context, const char *path,
                               const bam_named_tensor *tensors, int64_t n,
                               const bam_metadata *metadata, int64_t n_metadata) {
  header counted = { NULL, 0 };
  put_header(&counted, tensors, n, metadata, n_metadata);
  header h = { bam_object_alloc(context, counted.used), 0 };
  if (h.text == NULL)
    return BAM_ERROR_MEMORY;
  put_header(&h, tensors, n, metadata, n_metadata);
  bam_status status = write_file(context, path, &h, tensors, n);
  bam_object_free(context, h.text, counted.used);
  return status;
}

bam_status bam_safetensors_write(bam_context *context, const char *path,
                                 const bam_named_tensor *tensors, int64_t n,
                                 const bam_metadata *metadata, int64_t n_metadata) {
  bam_status status = BAM_OK;
  bam_named_tensor *sorted = NULL;
  size_t bytes = (size_t)n * sizeof *sorted;
  if (n > 0) {
    sorted = bam_object_alloc(context, bytes);
    if (sorted == NULL)
      return BAM_ERROR_MEMORY;
    memcpy(sorted, tensors, bytes);
  }
  BAM_TRY_OR_DONE(check_tensors(context, sorted, n));
  BAM_TRY_OR_DONE(check_metadata(context, metadata, n_metadata));
  if (n > 0)
    qsort(sorted, (size_t)n, sizeof *sorted, by_size_then_name);
  BAM_TRY_OR_DONE(write_sorted(context, path, sorted, n, metadata, n_metadata));
done:
  bam_object_free(context, sorted, bytes);
  return status;
}
