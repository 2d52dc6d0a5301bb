/* Writing safetensors: the header is built first, because it says where every tensor will be; then
   header and tensors are streamed. */
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "json.h"
#include "safetensors.h"

static int by_size_then_name(const void *a, const void *b) {
  const bam_named_tensor *x = a, *y = b;
  int64_t sx = bam_dtype_size(x->tensor->dtype), sy = bam_dtype_size(y->tensor->dtype);
  if (sx != sy)
    return sx > sy ? -1 : 1;
  return strcmp(x->name, y->name);
}

static bam_status out_of_memory(bam_context *context) {
  return bam_fail(context, BAM_ERROR_MEMORY, "out of memory for the header of a safetensors file");
}

/* Put "key": value into an object. `value` is taken over; NULL: there was no memory for it. */
static bam_status put(bam_context *context, json_t *object, const char *key, json_t *value) {
  return json_object_set_new(object, key, value) == 0 ? BAM_OK : out_of_memory(context);
}

/* Is `text` what JSON can hold? */
static bool is_utf8(const char *text) {
  json_t *value = json_string(text);
  bool valid = value != NULL;
  json_decref(value);
  return valid;
}

static bam_status put_metadata(bam_context *context, json_t *header, const bam_metadata *metadata,
                               int64_t n) {
  json_t *object = json_object();
  bam_status status = put(context, header, "__metadata__", object);
  if (status == BAM_OK)
    status = put(context, object, "format", json_string("pt"));
  for (int64_t i = 0; i < n && status == BAM_OK; i++) {
    char quoted[BAM_QUOTE_TEXT];
    if (!is_utf8(metadata[i].key) || !is_utf8(metadata[i].value))
      return bam_fail(context, BAM_ERROR_ARGUMENT, "metadata %s is not UTF-8 text",
                      bam_quote(metadata[i].key, quoted));
    status = put(context, object, metadata[i].key, json_string(metadata[i].value));
  }
  return status;
}

static bam_status check_name(bam_context *context, json_t *header, const char *name) {
  char quoted[BAM_QUOTE_TEXT];
  bam_quote(name, quoted);
  if (strcmp(name, "__metadata__") == 0)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "a tensor cannot be called %s, which is kept for text; rename it", quoted);
  if (!is_utf8(name))
    return bam_fail(context, BAM_ERROR_ARGUMENT, "tensor name %s is not UTF-8 text; rename it",
                    quoted);
  if (json_object_get(header, name) != NULL)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "two tensors are called %s; rename one", quoted);
  return BAM_OK;
}

/* Describe a tensor that begins at byte *offset of the data, and move *offset to its end. */
static bam_status put_tensor(bam_context *context, json_t *header, const bam_named_tensor *named,
                             int64_t *offset) {
  bam_status status = check_name(context, header, named->name);
  if (status != BAM_OK)
    return status;
  const bam_tensor *tensor = named->tensor;
  int64_t end;
  if (__builtin_add_overflow(*offset, bam_tensor_count(tensor) * bam_dtype_size(tensor->dtype),
                             &end))
    return bam_fail(context, BAM_ERROR_ARGUMENT, "the tensors exceed 2^63 bytes");
  json_t *shape = json_array();
  for (int d = 0; d < tensor->shape.ndim; d++)
    if (json_array_append_new(shape, json_integer(tensor->shape.size[d])) != 0) {
      json_decref(shape);
      return out_of_memory(context);
    }
  json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", bam_safetensors_dtype(tensor->dtype),
                            "shape", shape, "data_offsets", (json_int_t)*offset, (json_int_t)end);
  *offset = end;
  return put(context, header, named->name, entry);
}

/* The header's text in *text, to be freed. */
static bam_status make_header(bam_context *context, const bam_named_tensor *tensors, int64_t n,
                              const bam_metadata *metadata, int64_t n_metadata, char **text) {
  json_t *header = json_object();
  int64_t offset = 0;
  bam_status status = put_metadata(context, header, metadata, n_metadata);
  for (int64_t i = 0; i < n && status == BAM_OK; i++)
    status = put_tensor(context, header, &tensors[i], &offset);
  if (status == BAM_OK && (*text = json_dumps(header, JSON_COMPACT)) == NULL)
    status = out_of_memory(context);
  json_decref(header);
  return status;
}

/* The length, the header, and spaces up to a multiple of 8, which align the data. */
static bam_status write_header(bam_writer *writer, const char *text) {
  size_t length = strlen(text), padded = (length + 7) / 8 * 8;
  if (padded > BAM_SAFETENSORS_MAX_HEADER)
    return bam_fail(
      writer->context, BAM_ERROR_ARGUMENT,
      "the names and metadata take %zu bytes, of which a safetensors file may have %d", length,
      BAM_SAFETENSORS_MAX_HEADER);
  unsigned char count[8];
  for (int i = 0; i < 8; i++)
    count[i] = (unsigned char)(padded >> (8 * i));
  bam_status status = bam_writer_bytes(writer, count, 8);
  if (status == BAM_OK)
    status = bam_writer_bytes(writer, text, (int64_t)length);
  if (status == BAM_OK)
    status = bam_writer_bytes(writer, "        ", (int64_t)(padded - length));
  return status;
}

static bam_status write_file(bam_context *context, const char *path, const char *header,
                             const bam_named_tensor *tensors, int64_t n) {
  bam_writer writer;
  bam_status status = bam_writer_open(&writer, context, path);
  if (status == BAM_OK)
    status = write_header(&writer, header);
  for (int64_t i = 0; i < n && status == BAM_OK; i++)
    status = bam_writer_tensor(&writer, tensors[i].tensor);
  if (status == BAM_OK)
    status = bam_writer_commit(&writer);
  bam_writer_abandon(&writer);
  return status;
}

bam_status bam_safetensors_write(bam_context *context, const char *path,
                                 const bam_named_tensor *tensors, int64_t n,
                                 const bam_metadata *metadata, int64_t n_metadata) {
  bam_status status = BAM_OK;
  bam_named_tensor *sorted = NULL;
  size_t bytes = (size_t)n * sizeof *sorted;
  char *header = NULL;
  if (n > 0) {
    sorted = bam_object_alloc(context, bytes);
    if (sorted == NULL)
      return BAM_ERROR_MEMORY;
    memcpy(sorted, tensors, bytes);
    qsort(sorted, (size_t)n, sizeof *sorted, by_size_then_name);
  }
  BAM_TRY(make_header(context, sorted, n, metadata, n_metadata, &header));
  BAM_TRY(write_file(context, path, header, sorted, n));
done:
  free(header);
  bam_object_free(context, sorted, bytes);
  return status;
}
