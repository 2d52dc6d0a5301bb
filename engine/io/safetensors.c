/* Reading safetensors. The header is parsed twice: first to validate the JSON and count its tensors, so
   that limits are checked before anything is allocated, then to fill and check the entries one by one.
   Finally all entries together must cover the data without gaps or overlaps. Names stay in the header's
   text, with their escapes resolved in place. Callers prefix messages on the way out:
   path: tensor "name": reason. */
#include "safetensors.h"
#include "../core/quote.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "input_file.h"
#include "json.h"

#define HEADER_DEPTH 3 /* { tensor: { shape: [ */
#define METADATA "__metadata__"

struct bam_safetensors {
  bam_context *context;
  bam_input_file *input;
  char *header; /* its text, owned; names point into it */
  int64_t header_bytes;
  int64_t data_begin; /* offset of the data in the file */
  int64_t data_bytes;
  bam_safetensors_entry *entries;
  int64_t n_entries, entries_room;
  bam_metadata *metadata;
  int64_t n_metadata, metadata_room;
};

static const char *const dtype_names[BAM_DTYPES] = {
  [BAM_BOOL] = "BOOL", [BAM_U8] = "U8",     [BAM_I32] = "I32", [BAM_I64] = "I64",
  [BAM_F16] = "F16",   [BAM_BF16] = "BF16", [BAM_F32] = "F32", [BAM_F64] = "F64",
};

const char *bam_safetensors_dtype(bam_dtype dtype) { return dtype_names[dtype]; }

/* ---- one entry ---- */

/* Resolve the escapes of the latest string or key in place, and terminate it. NULL if it contains a zero
   byte. */
static char *take_string(const bam_json *json) {
  char *text = (char *)json->text; /* points into our own header */
  int64_t size = bam_json_string(json, text);
  text[size] = '\0'; /* overwrites its closing quote at the latest */
  return (int64_t)strlen(text) == size ? text : NULL;
}

static bam_status parse_dtype(bam_json *json, bam_safetensors_entry *entry) {
  char text[16] = "", quoted[BAM_QUOTE_TEXT];
  if (json->kind != BAM_JSON_STRING)
    return bam_fail(json->context, BAM_ERROR_FILE, "its dtype is missing or not a string");
  for (int i = 0; i < BAM_DTYPES; i++)
    if (bam_json_equals(json, dtype_names[i])) {
      entry->dtype = (bam_dtype)i;
      return BAM_OK;
    }
  if (json->size < (int64_t)sizeof text)
    text[bam_json_string(json, text)] = '\0';
  return bam_fail(
    json->context, BAM_ERROR_FILE,
    "dtype %s is not supported; convert it to BOOL, U8, I32, I64, F16, BF16, F32 or F64",
    bam_quote(*text != '\0' ? text : "...", quoted));
}

static bam_status parse_shape(bam_json *json, bam_safetensors_entry *entry) {
  bam_shape *shape = &entry->shape;
  int64_t ndim = 0;
  if (json->kind != BAM_JSON_ARRAY)
    return bam_fail(json->context, BAM_ERROR_FILE, "its shape is missing or not a list");
  for (;; ndim++) {
    BAM_TRY(bam_json_next(json));
    if (json->kind == BAM_JSON_CLOSE)
      break;
    if (json->kind != BAM_JSON_INTEGER || json->integer < 0)
      return bam_fail(json->context, BAM_ERROR_FILE,
                      "size %lld of its shape is not a nonnegative integer", (long long)ndim + 1);
    if (ndim < BAM_MAX_DIMS)
      shape->size[ndim] = json->integer;
  }
  shape->ndim = ndim < BAM_MAX_DIMS ? (int)ndim : BAM_MAX_DIMS;
  if (ndim > BAM_MAX_DIMS)
    return bam_fail(json->context, BAM_ERROR_FILE,
                    "it has %lld dimensions, more than the supported %d", (long long)ndim,
                    BAM_MAX_DIMS);
  return BAM_OK;
}

static bam_status parse_offsets(bam_json *json, bam_safetensors_entry *entry) {
  int64_t offsets[2];
  int n = 0;
  bool is_pair = json->kind == BAM_JSON_ARRAY;
  while (is_pair) {
    BAM_TRY(bam_json_next(json));
    if (json->kind == BAM_JSON_CLOSE)
      break;
    is_pair = json->kind == BAM_JSON_INTEGER && n < 2;
    if (is_pair)
      offsets[n++] = json->integer;
  }
  if (!is_pair || n < 2)
    return bam_fail(json->context, BAM_ERROR_FILE,
                    "its data_offsets are missing or not two integers");
  entry->begin = offsets[0];
  entry->end = offsets[1];
  return BAM_OK;
}

static bam_status check_offsets(const bam_safetensors *file, const bam_safetensors_entry *entry) {
  if (entry->begin >= 0 && entry->begin <= entry->end && entry->end <= file->data_bytes)
    return BAM_OK;
  return bam_fail(
    file->context, BAM_ERROR_FILE,
    "its data_offsets %lld to %lld are not within the %lld bytes of data; the file is "
    "damaged or truncated",
    (long long)entry->begin, (long long)entry->end, (long long)file->data_bytes);
}

static bam_status check_entry_size(bam_context *context, const bam_safetensors_entry *entry) {
  int64_t count;
  char text[BAM_SHAPE_TEXT];
  if (bam_shape_count(context, &entry->shape, &count) != BAM_OK)
    return BAM_ERROR_FILE; /* the message is already set */
  if (entry->end - entry->begin == count * bam_dtype_size(entry->dtype))
    return BAM_OK;
  return bam_fail(
    context, BAM_ERROR_FILE, "shape %s of %s needs %lld bytes, its data_offsets give %lld",
    bam_shape_text(&entry->shape, text), dtype_names[entry->dtype],
    (long long)(count * bam_dtype_size(entry->dtype)), (long long)(entry->end - entry->begin));
}

/* The fields of an entry. Each must occur exactly once. */
static const struct {
  const char *name;
  bam_status (*parse)(bam_json *json, bam_safetensors_entry *entry);
} fields[] = { { "dtype", parse_dtype },
               { "shape", parse_shape },
               { "data_offsets", parse_offsets } };
#define FIELDS (int)(sizeof fields / sizeof *fields)

static bam_status parse_field(bam_json *json, bam_safetensors_entry *entry, bool seen[FIELDS]) {
  for (int i = 0; i < FIELDS; i++)
    if (bam_json_equals(json, fields[i].name)) {
      if (seen[i])
        return bam_fail(json->context, BAM_ERROR_FILE, "it has a duplicate %s", fields[i].name);
      seen[i] = true;
      bam_status status = bam_json_next(json);
      return status == BAM_OK ? fields[i].parse(json, entry) : status;
    }
  return bam_fail(json->context, BAM_ERROR_FILE,
                  "it has fields besides dtype, shape and data_offsets; a newer format?");
}

/* Parse the entry whose value the latest event begins. */
static bam_status parse_entry(const bam_safetensors *file, bam_json *json,
                              bam_safetensors_entry *entry) {
  bool seen[FIELDS] = { false };
  bam_json nothing = { .context = file->context, .kind = BAM_JSON_NULL };
  if (json->kind != BAM_JSON_OBJECT)
    return bam_fail(file->context, BAM_ERROR_FILE, "its description is not an object");
  for (;;) {
    BAM_TRY(bam_json_next(json));
    if (json->kind == BAM_JSON_CLOSE)
      break;
    BAM_TRY(parse_field(json, entry, seen));
  }
  for (int i = 0; i < FIELDS; i++)
    if (!seen[i])
      BAM_TRY(fields[i].parse(&nothing, entry)); /* always fails, with "missing" */
  BAM_TRY(check_offsets(file, entry));
  return check_entry_size(file->context, entry);
}

static bam_status fail_in_tensor(bam_context *context, bam_status status, const char *name) {
  char quoted[BAM_QUOTE_TEXT], what[BAM_QUOTE_TEXT + 8] = "tensor ";
  return bam_fail_within(context, status, strcat(what, bam_quote(name, quoted)));
}

/* ---- all entries ---- */

/* Validate the header's JSON, and count its tensors and metadata strings. */
static bam_status count_entries(bam_safetensors *file, bam_json json) {
  bool in_metadata = false;
  bam_status status;
  while ((status = bam_json_next(&json)) == BAM_OK && json.kind != BAM_JSON_END) {
    bool is_name = json.kind == BAM_JSON_KEY && json.depth == 1;
    if (is_name)
      in_metadata = bam_json_equals(&json, METADATA);
    file->entries_room += is_name && !in_metadata;
    file->metadata_room += json.kind == BAM_JSON_KEY && json.depth == 2 && in_metadata;
  }
  return status;
}

/* Allocate `n` items of `item` bytes, after checking the limit; NULL if n is 0. */
static bam_status make_room(bam_safetensors *file, const char *what, int64_t n, size_t item,
                            void **items) {
  if (n > BAM_SAFETENSORS_MAX_ENTRIES)
    return bam_fail(
      file->context, BAM_ERROR_FILE,
      "its header describes %lld %s, above the limit of %d; split it into several files",
      (long long)n, what, BAM_SAFETENSORS_MAX_ENTRIES);
  *items = n > 0 ? bam_object_alloc(file->context, (size_t)n * item) : NULL;
  return n == 0 || *items != NULL ? BAM_OK : BAM_ERROR_MEMORY;
}

static bam_status add_metadata(bam_safetensors *file, bam_json *json) {
  char quoted[BAM_QUOTE_TEXT];
  const char *key = take_string(json);
  BAM_TRY(bam_json_next(json));
  if (key == NULL)
    return bam_fail(file->context, BAM_ERROR_FILE, METADATA " has a key that contains a zero byte");
  if (json->kind != BAM_JSON_STRING)
    return bam_fail(file->context, BAM_ERROR_FILE, METADATA " %s is not a string",
                    bam_quote(key, quoted));
  const char *value = take_string(json);
  if (value == NULL)
    return bam_fail(file->context, BAM_ERROR_FILE, METADATA " %s contains a zero byte",
                    bam_quote(key, quoted));
  assert(file->n_metadata < file->metadata_room);
  file->metadata[file->n_metadata++] = (bam_metadata){ key, value };
  return BAM_OK;
}

static bam_status parse_metadata(bam_safetensors *file, bam_json *json) {
  bam_status status = bam_json_next(json);
  if (status == BAM_OK && json->kind != BAM_JSON_OBJECT)
    return bam_fail(file->context, BAM_ERROR_FILE, METADATA " is not an object");
  if (file->n_metadata > 0)
    return bam_fail(file->context, BAM_ERROR_FILE, METADATA " occurs twice");
  while (status == BAM_OK && (status = bam_json_next(json)) == BAM_OK &&
         json->kind != BAM_JSON_CLOSE)
    status = add_metadata(file, json);
  return status;
}

static bam_status add_entry(bam_safetensors *file, bam_json *json) {
  assert(file->n_entries < file->entries_room);
  bam_safetensors_entry *entry = &file->entries[file->n_entries];
  *entry = (bam_safetensors_entry){ .name = take_string(json) };
  if (entry->name == NULL)
    return bam_fail(file->context, BAM_ERROR_FILE, "the name of tensor %lld contains a zero byte",
                    (long long)file->n_entries + 1);
  bam_status status = bam_json_next(json);
  if (status == BAM_OK)
    status = parse_entry(file, json, entry);
  if (status != BAM_OK)
    return fail_in_tensor(file->context, status, entry->name);
  file->n_entries++;
  return BAM_OK;
}

static bam_status parse_entries(bam_safetensors *file) {
  bam_json json;
  bam_json_begin(&json, file->context, file->header, file->header_bytes, HEADER_DEPTH);
  BAM_TRY(count_entries(file, json));
  BAM_TRY(
    make_room(file, "tensors", file->entries_room, sizeof *file->entries, (void **)&file->entries));
  BAM_TRY(make_room(file, "strings of metadata", file->metadata_room, sizeof *file->metadata,
                    (void **)&file->metadata));
  BAM_TRY(bam_json_next(&json)); /* the opening brace of the header */
  for (;;) {
    BAM_TRY(bam_json_next(&json));
    if (json.kind == BAM_JSON_CLOSE)
      return BAM_OK;
    BAM_TRY(bam_json_equals(&json, METADATA) ? parse_metadata(file, &json)
                                             : add_entry(file, &json));
  }
  return BAM_OK;
}

static int by_place(const void *a, const void *b) {
  const bam_safetensors_entry *x = a, *y = b;
  if (x->begin != y->begin)
    return x->begin < y->begin ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end); /* empty tensors first */
}

static int by_name(const void *a, const void *b) {
  const bam_safetensors_entry *x = a, *y = b;
  return strcmp(x->name, y->name);
}

static bam_status check_cover(bam_safetensors *file) {
  int64_t end = 0;
  if (file->n_entries > 0)
    qsort(file->entries, (size_t)file->n_entries, sizeof *file->entries, by_place);
  for (int64_t i = 0; i < file->n_entries; i++) {
    const bam_safetensors_entry *entry = &file->entries[i];
    if (entry->begin != end) {
      bam_fail(
        file->context, BAM_ERROR_FILE,
        "it begins at byte %lld of the data instead of byte %lld: tensors must follow each other "
        "without gaps or overlaps",
        (long long)entry->begin, (long long)end);
      return fail_in_tensor(file->context, BAM_ERROR_FILE, entry->name);
    }
    end = entry->end;
  }
  if (end != file->data_bytes)
    return bam_fail(file->context, BAM_ERROR_FILE,
                    "the tensors take %lld bytes, but %lld bytes of data follow the header",
                    (long long)end, (long long)file->data_bytes);
  return BAM_OK;
}

/* Sort the entries by name. Fails if a name occurs twice. */
static bam_status sort_names(bam_safetensors *file) {
  if (file->n_entries > 0)
    qsort(file->entries, (size_t)file->n_entries, sizeof *file->entries, by_name);
  for (int64_t i = 1; i < file->n_entries; i++)
    if (strcmp(file->entries[i - 1].name, file->entries[i].name) == 0) {
      bam_fail(file->context, BAM_ERROR_FILE, "the name occurs twice");
      return fail_in_tensor(file->context, BAM_ERROR_FILE, file->entries[i].name);
    }
  return BAM_OK;
}

static int by_key(const void *a, const void *b) {
  return strcmp(((const bam_metadata *)a)->key, ((const bam_metadata *)b)->key);
}

/* Check that no metadata key occurs twice. The order is kept. */
static bam_status check_metadata(const bam_safetensors *file) {
  size_t bytes = (size_t)file->n_metadata * sizeof(bam_metadata);
  bam_status status = BAM_OK;
  char quoted[BAM_QUOTE_TEXT];
  if (bytes == 0)
    return BAM_OK;
  bam_metadata *sorted = bam_object_alloc(file->context, bytes);
  if (sorted == NULL)
    return BAM_ERROR_MEMORY;
  memcpy(sorted, file->metadata, bytes);
  qsort(sorted, (size_t)file->n_metadata, sizeof *sorted, by_key);
  for (int64_t i = 1; i < file->n_metadata && status == BAM_OK; i++)
    if (strcmp(sorted[i - 1].key, sorted[i].key) == 0)
      status = bam_fail(file->context, BAM_ERROR_FILE, METADATA " %s occurs twice",
                        bam_quote(sorted[i].key, quoted));
  bam_object_free(file->context, sorted, bytes);
  return status;
}

/* ---- the file ---- */

static bam_status check_length(const bam_safetensors *file, uint64_t length) {
  int64_t bytes = bam_input_file_bytes(file->input);
  if (length > BAM_SAFETENSORS_MAX_HEADER || (int64_t)length > bytes - 8)
    return bam_fail(
      file->context, BAM_ERROR_FILE,
      "not a safetensors file, or truncated: it declares a header of %llu bytes, but %lld bytes "
      "follow (and %d are allowed)",
      (unsigned long long)length, (long long)bytes - 8, BAM_SAFETENSORS_MAX_HEADER);
  return BAM_OK;
}

static bam_status read_header(bam_safetensors *file) {
  bam_context *context = file->context;
  unsigned char count[8];
  uint64_t length = 0;
  if (bam_input_file_bytes(file->input) < 8)
    return bam_fail(context, BAM_ERROR_FILE,
                    "not a safetensors file: it has %lld bytes, at least 10 are needed",
                    (long long)bam_input_file_bytes(file->input));
  BAM_TRY(bam_input_file_read(file->input, 0, count, sizeof count));
  for (int i = 0; i < 8; i++)
    length |= (uint64_t)count[i] << (8 * i);
  BAM_TRY(check_length(file, length));
  file->data_begin = 8 + (int64_t)length;
  file->data_bytes = bam_input_file_bytes(file->input) - file->data_begin;
  file->header = bam_object_alloc(context, (size_t)length + 1);
  if (file->header == NULL)
    return BAM_ERROR_MEMORY;
  file->header_bytes = (int64_t)length;
  file->header[length] = '\0';
  BAM_TRY(bam_input_file_read(file->input, 8, file->header, (int64_t)length));
  if (file->header[0] != '{')
    return bam_fail(context, BAM_ERROR_FILE,
                    "not a safetensors file: its header does not begin with '{'");
  return BAM_OK;
}

bam_status bam_safetensors_parse(bam_context *context, bam_input_file *input,
                                 bam_safetensors **out) {
  bam_status status = BAM_OK;
  bam_safetensors *file = bam_object_alloc(context, sizeof *file);
  if (file == NULL) {
    bam_input_file_close(input);
    return BAM_ERROR_MEMORY;
  }
  *file = (bam_safetensors){ .context = context, .input = input };
  BAM_TRY_OR_DONE(read_header(file));
  BAM_TRY_OR_DONE(parse_entries(file));
  BAM_TRY_OR_DONE(check_cover(file));
  BAM_TRY_OR_DONE(sort_names(file));
  BAM_TRY_OR_DONE(check_metadata(file));
  *out = file;
  return BAM_OK;
done:
  bam_fail_input(input, status);
  bam_safetensors_close(file);
  return status;
}

bam_status bam_safetensors_open(bam_context *context, const char *path, bam_safetensors **out) {
  bam_input_file *input;
  bam_status status = bam_input_file_open(context, path, &input);
  return status == BAM_OK ? bam_safetensors_parse(context, input, out) : status;
}

void bam_safetensors_close(bam_safetensors *file) {
  if (file == NULL)
    return;
  bam_context *context = file->context;
  bam_object_free(context, file->entries, (size_t)file->entries_room * sizeof *file->entries);
  bam_object_free(context, file->metadata, (size_t)file->metadata_room * sizeof *file->metadata);
  bam_object_free(context, file->header, (size_t)file->header_bytes + 1);
  bam_input_file_close(file->input);
  bam_object_free(context, file, sizeof *file);
}

const bam_safetensors_entry *bam_safetensors_entries(const bam_safetensors *file, int64_t *count) {
  *count = file->n_entries;
  return file->entries;
}

int64_t bam_safetensors_find(const bam_safetensors *file, const char *name) {
  bam_safetensors_entry key = { .name = name };
  if (file->n_entries == 0)
    return -1;
  const bam_safetensors_entry *found = bsearch(&key, file->entries, (size_t)file->n_entries,
                                               sizeof key, by_name);
  return found != NULL ? found - file->entries : -1;
}

const bam_metadata *bam_safetensors_metadata(const bam_safetensors *file, int64_t *count) {
  *count = file->n_metadata;
  return file->metadata;
}

/* Prefix the message of a failure with the path and the name of entry `i`. */
static bam_status fail_in_entry(const bam_safetensors *file, bam_status status, int64_t i) {
  fail_in_tensor(file->context, status, file->entries[i].name);
  return bam_fail_input(file->input, status);
}

bam_status bam_safetensors_tensor(const bam_safetensors *file, int64_t i, bam_tensor **out) {
  const bam_safetensors_entry *entry = &file->entries[i];
  bam_status status = bam_input_file_tensor(file->input, file->data_begin + entry->begin,
                                            entry->dtype, &entry->shape, out);
  return status == BAM_OK ? BAM_OK : fail_in_entry(file, status, i);
}

bam_status bam_safetensors_rows(const bam_safetensors *file, int64_t i, int64_t from, int64_t count,
                                bam_tensor **out) {
  const bam_safetensors_entry *entry = &file->entries[i];
  assert(entry->shape.ndim > 0 && from >= 0 && count >= 0 && count <= entry->shape.size[0] - from);
  bam_shape shape = entry->shape;
  shape.size[0] = count;
  int64_t rows = entry->shape.size[0];
  int64_t row_bytes = rows > 0 ? (entry->end - entry->begin) / rows : 0;
  bam_status status = bam_input_file_tensor(
    file->input, file->data_begin + entry->begin + from * row_bytes, entry->dtype, &shape, out);
  return status == BAM_OK ? BAM_OK : fail_in_entry(file, status, i);
}

bam_status bam_safetensors_elements(const bam_safetensors *file, int64_t i, int64_t from,
                                    int64_t count, void *data) {
  const bam_safetensors_entry *entry = &file->entries[i];
  int64_t size = bam_dtype_size(entry->dtype);
  assert(from >= 0 && count >= 0 && count <= (entry->end - entry->begin) / size - from);
  bam_status status = bam_input_file_read(
    file->input, file->data_begin + entry->begin + from * size, data, count * size);
  return status == BAM_OK ? BAM_OK : fail_in_entry(file, status, i);
}
