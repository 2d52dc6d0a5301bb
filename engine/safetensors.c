/* Reading safetensors. The parse goes from the outside in: sizes, JSON, each entry on its own, then
   all entries together, which must cover the data without gaps or overlaps. Messages are completed
   on the way out: path: tensor "name": reason. */
#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "json.h"

#define HEADER_DEPTH 3 /* { tensor: { shape: [ */

struct bam_safetensors {
  bam_context *context;
  bam_mapping *mapping;
  json_t *header;     /* owns the names */
  int64_t data_begin; /* where the data begins in the file */
  int64_t data_bytes;
  bam_safetensors_entry *entries;
  int64_t n_entries;
  size_t entries_bytes;
  bam_metadata *metadata;
  int64_t n_metadata;
  size_t metadata_bytes;
};

static const char *const dtype_names[BAM_DTYPES] = {
  [BAM_BOOL] = "BOOL", [BAM_U8] = "U8",     [BAM_I32] = "I32", [BAM_I64] = "I64",
  [BAM_F16] = "F16",   [BAM_BF16] = "BF16", [BAM_F32] = "F32", [BAM_F64] = "F64",
};

const char *bam_safetensors_dtype(bam_dtype dtype) { return dtype_names[dtype]; }

/* ---- one entry ---- */

static bam_status parse_dtype(bam_context *context, json_t *value, bam_dtype *dtype) {
  const char *name = json_string_value(value);
  if (name == NULL)
    return bam_fail(context, BAM_ERROR_FILE, "its dtype is missing or not a string");
  for (int i = 0; i < BAM_DTYPES; i++)
    if (strcmp(name, dtype_names[i]) == 0) {
      *dtype = (bam_dtype)i;
      return BAM_OK;
    }
  char quoted[BAM_QUOTE_TEXT];
  return bam_fail(
    context, BAM_ERROR_FILE,
    "dtype %s is not supported; convert it to BOOL, U8, I32, I64, F16, BF16, F32 or F64",
    bam_quote(name, quoted));
}

static bam_status parse_shape(bam_context *context, json_t *value, bam_shape *shape) {
  if (!json_is_array(value))
    return bam_fail(context, BAM_ERROR_FILE, "its shape is missing or not a list");
  if (json_array_size(value) > BAM_MAX_DIMS)
    return bam_fail(context, BAM_ERROR_FILE,
                    "it has %zu dimensions, of which at most %d are supported",
                    json_array_size(value), BAM_MAX_DIMS);
  shape->ndim = (int)json_array_size(value);
  for (int d = 0; d < shape->ndim; d++) {
    json_t *size = json_array_get(value, (size_t)d);
    shape->size[d] = json_integer_value(size);
    if (!json_is_integer(size) || shape->size[d] < 0)
      return bam_fail(context, BAM_ERROR_FILE, "size %d of its shape is not a count", d + 1);
  }
  return BAM_OK;
}

static bam_status parse_offsets(bam_context *context, json_t *value, int64_t data_bytes,
                                bam_safetensors_entry *entry) {
  json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
  if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end))
    return bam_fail(context, BAM_ERROR_FILE, "its data_offsets are missing or not two integers");
  entry->begin = json_integer_value(begin);
  entry->end = json_integer_value(end);
  if (entry->begin < 0 || entry->begin > entry->end || entry->end > data_bytes)
    return bam_fail(
      context, BAM_ERROR_FILE,
      "its data_offsets %lld to %lld are not within the %lld bytes of data; the file is "
      "damaged or cut short",
      (long long)entry->begin, (long long)entry->end, (long long)data_bytes);
  return BAM_OK;
}

static bam_status check_entry_size(bam_context *context, const bam_safetensors_entry *entry) {
  int64_t count;
  char text[BAM_SHAPE_TEXT];
  if (bam_shape_count(context, &entry->shape, &count) != BAM_OK)
    return BAM_ERROR_FILE; /* the message is there */
  if (entry->end - entry->begin == count * bam_dtype_size(entry->dtype))
    return BAM_OK;
  return bam_fail(
    context, BAM_ERROR_FILE, "shape %s of %s needs %lld bytes, its data_offsets give %lld",
    bam_shape_text(&entry->shape, text), dtype_names[entry->dtype],
    (long long)(count * bam_dtype_size(entry->dtype)), (long long)(entry->end - entry->begin));
}

static bam_status parse_entry(const bam_safetensors *file, json_t *value,
                              bam_safetensors_entry *entry) {
  bam_context *context = file->context;
  bam_status status = BAM_OK;
  if (!json_is_object(value))
    return bam_fail(context, BAM_ERROR_FILE, "it is not described by an object");
  BAM_TRY(parse_dtype(context, json_object_get(value, "dtype"), &entry->dtype));
  BAM_TRY(parse_shape(context, json_object_get(value, "shape"), &entry->shape));
  BAM_TRY(parse_offsets(context, json_object_get(value, "data_offsets"), file->data_bytes, entry));
  if (json_object_size(value) != 3)
    status = bam_fail(context, BAM_ERROR_FILE,
                      "it has fields besides dtype, shape and data_offsets; a newer format?");
  else
    status = check_entry_size(context, entry);
done:
  return status;
}

static bam_status fail_in_tensor(bam_context *context, bam_status status, const char *name) {
  char quoted[BAM_QUOTE_TEXT], what[BAM_QUOTE_TEXT + 8] = "tensor ";
  return bam_fail_within(context, status, strcat(what, bam_quote(name, quoted)));
}

/* ---- all entries ---- */

/* Room for one item of `item` bytes per member of `object`; NULL for none. */
static bam_status make_room(bam_context *context, json_t *object, size_t item, void **items,
                            size_t *bytes) {
  if (json_object_size(object) == 0)
    return BAM_OK;
  void *room = bam_object_alloc(context, json_object_size(object) * item);
  if (room == NULL)
    return BAM_ERROR_MEMORY;
  *items = room;
  *bytes = json_object_size(object) * item;
  return BAM_OK;
}

static bam_status parse_metadata(bam_safetensors *file, json_t *object) {
  if (!json_is_object(object))
    return bam_fail(file->context, BAM_ERROR_FILE, "__metadata__ is not an object");
  bam_status status = make_room(file->context, object, sizeof *file->metadata,
                                (void **)&file->metadata, &file->metadata_bytes);
  if (status != BAM_OK)
    return status;
  const char *key;
  json_t *value;
  json_object_foreach(object, key, value) {
    char quoted[BAM_QUOTE_TEXT];
    if (!json_is_string(value))
      return bam_fail(file->context, BAM_ERROR_FILE, "__metadata__ %s is not a string",
                      bam_quote(key, quoted));
    file->metadata[file->n_metadata++] = (bam_metadata){ key, json_string_value(value) };
  }
  return BAM_OK;
}

static bam_status parse_entries(bam_safetensors *file) {
  bam_status status = make_room(file->context, file->header, sizeof *file->entries,
                                (void **)&file->entries, &file->entries_bytes);
  const char *name;
  json_t *value;
  if (status != BAM_OK)
    return status;
  json_object_foreach(file->header, name, value) {
    bam_safetensors_entry *entry = &file->entries[file->n_entries];
    if (strcmp(name, "__metadata__") == 0) {
      status = parse_metadata(file, value);
    } else if ((status = parse_entry(file, value, entry)) != BAM_OK) {
      fail_in_tensor(file->context, status, name);
    } else {
      entry->name = name;
      file->n_entries++;
    }
    if (status != BAM_OK)
      return status;
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
        "it begins at byte %lld of the data, where byte %lld is next: tensors must follow each "
        "other without gaps or overlaps",
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

/* ---- the file ---- */

static bam_status read_header(bam_safetensors *file) {
  const bam_mapping *mapping = file->mapping;
  uint64_t length = 0;
  if (mapping->bytes < 8)
    return bam_fail(file->context, BAM_ERROR_FILE,
                    "not a safetensors file: it has %lld bytes, the shortest has 10",
                    (long long)mapping->bytes);
  for (int i = 0; i < 8; i++)
    length |= (uint64_t)mapping->data[i] << (8 * i);
  if (length > BAM_SAFETENSORS_MAX_HEADER || (int64_t)length > mapping->bytes - 8)
    return bam_fail(
      file->context, BAM_ERROR_FILE,
      "not a safetensors file, or cut short: a header of %llu bytes is announced, %lld "
      "bytes follow (and %d are allowed)",
      (unsigned long long)length, (long long)mapping->bytes - 8, BAM_SAFETENSORS_MAX_HEADER);
  if (length == 0 || mapping->data[8] != '{')
    return bam_fail(file->context, BAM_ERROR_FILE,
                    "not a safetensors file: its header does not begin with '{'");
  file->data_begin = 8 + (int64_t)length;
  file->data_bytes = mapping->bytes - file->data_begin;
  return bam_json_parse(file->context, (const char *)mapping->data + 8, (int64_t)length,
                        HEADER_DEPTH, &file->header);
}

bam_status bam_safetensors_parse(bam_context *context, bam_mapping *mapping,
                                 bam_safetensors **out) {
  bam_status status = BAM_OK;
  bam_safetensors *file = bam_object_alloc(context, sizeof *file);
  if (file == NULL)
    return BAM_ERROR_MEMORY;
  *file = (bam_safetensors){ .context = context, .mapping = bam_mapping_retain(mapping) };
  BAM_TRY(read_header(file));
  BAM_TRY(parse_entries(file));
  BAM_TRY(check_cover(file));
  if (file->n_entries > 0)
    qsort(file->entries, (size_t)file->n_entries, sizeof *file->entries, by_name);
  *out = file;
  file = NULL;
done:
  bam_safetensors_close(file);
  return status;
}

bam_status bam_safetensors_open(bam_context *context, const char *path, bam_safetensors **out) {
  bam_mapping *mapping;
  bam_status status = bam_mapping_open(context, path, &mapping);
  if (status != BAM_OK)
    return status;
  status = bam_safetensors_parse(context, mapping, out);
  bam_mapping_release(mapping); /* the handle holds its own reference */
  char quoted[BAM_QUOTE_TEXT];
  return status == BAM_OK ? BAM_OK : bam_fail_within(context, status, bam_quote(path, quoted));
}

void bam_safetensors_close(bam_safetensors *file) {
  if (file == NULL)
    return;
  bam_context *context = file->context;
  bam_object_free(context, file->entries, file->entries_bytes);
  bam_object_free(context, file->metadata, file->metadata_bytes);
  json_decref(file->header);
  bam_mapping_release(file->mapping);
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
  const bam_safetensors_entry *found =
    bsearch(&key, file->entries, (size_t)file->n_entries, sizeof key, by_name);
  return found != NULL ? found - file->entries : -1;
}

const bam_metadata *bam_safetensors_metadata(const bam_safetensors *file, int64_t *count) {
  *count = file->n_metadata;
  return file->metadata;
}

bam_status bam_safetensors_tensor(const bam_safetensors *file, int64_t i, bam_tensor **out) {
  const bam_safetensors_entry *entry = &file->entries[i];
  bam_status status = bam_mapping_tensor(file->mapping, file->data_begin + entry->begin,
                                         entry->dtype, &entry->shape, out);
  return status == BAM_OK ? BAM_OK : fail_in_tensor(file->context, status, entry->name);
}
