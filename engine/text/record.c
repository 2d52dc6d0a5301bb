/* A field's name is tried as it is first, and then as names with dots between them. */
#include "record.h"

#include <stdio.h>
#include <string.h>

#include "../file.h"

/* The names of an object's fields, as many as there is room for. */
static void list_fields(const json_t *object, char *text, size_t size) {
  char quoted[BAM_QUOTE_TEXT];
  const char *name;
  json_t *value;
  size_t used = 0;
  snprintf(text, size, "none");
  json_object_foreach((json_t *)object, name, value) {
    const char *comma = used > 0 ? ", " : "";
    bam_quote(name, quoted);
    if (used + strlen(comma) + strlen(quoted) + sizeof ", ..." > size) {
      snprintf(text + used, size - used, "%s...", comma);
      return;
    }
    used += (size_t)snprintf(text + used, size - used, "%s%s", comma, quoted);
  }
}

static const char *type_name(const json_t *value) {
  switch (json_typeof(value)) {
  case JSON_OBJECT: return "an object";
  case JSON_ARRAY: return "an array";
  case JSON_STRING: return "a string";
  case JSON_NULL: return "null";
  case JSON_TRUE:
  case JSON_FALSE: return "a boolean";
  default: return "a number";
  }
}

static bam_status fail_missing(bam_context *context, const json_t *object, const char *name) {
  char quoted[BAM_QUOTE_TEXT], names[400];
  list_fields(object, names, sizeof names);
  return bam_fail(context, BAM_ERROR_FILE, "the object has no field %s; it has %s",
                  bam_quote(name, quoted), names);
}

/* Walk along `path`, whose names have dots between them: *parent is the last object on the way, and
   *rest the part of the path that names its field. Returns that field, or NULL. */
static const json_t *walk(const json_t *object, const char *path, const json_t **parent,
                          const char **rest) {
  for (;;) {
    const char *dot = strchr(path, '.');
    size_t length = dot != NULL ? (size_t)(dot - path) : strlen(path);
    *parent = object;
    *rest = path;
    const json_t *value = json_object_getn(object, path, length);
    if (dot == NULL || !json_is_object(value))
      return dot == NULL ? value : NULL;
    object = value;
    path = dot + 1;
  }
}

/* The value that `field` names, in *out. */
static bam_status find_value(bam_context *context, const json_t *record, const char *field,
                             const json_t **out) {
  char quoted[BAM_QUOTE_TEXT];
  const json_t *parent = record, *nested = NULL;
  const char *rest = field;
  const json_t *plain = json_object_get(record, field);
  if (strchr(field, '.') != NULL)
    nested = walk(record, field, &parent, &rest);
  if (plain != NULL && nested != NULL)
    return bam_fail(context, BAM_ERROR_FILE,
                    "the object has both a field %s and one within another field; rename one",
                    bam_quote(field, quoted));
  *out = plain != NULL ? plain : nested;
  return *out != NULL ? BAM_OK : fail_missing(context, parent, parent == record ? field : rest);
}

bam_status bam_record_find(bam_context *context, const json_t *record, const char *field,
                           const char **text, int64_t *size) {
  char quoted[BAM_QUOTE_TEXT];
  const json_t *value = NULL;
  if (!json_is_object(record))
    return bam_fail(context, BAM_ERROR_FILE, "expected an object with the field %s, got %s",
                    bam_quote(field, quoted), type_name(record));
  bam_status status = find_value(context, record, field, &value);
  if (status != BAM_OK)
    return status;
  if (!json_is_string(value))
    return bam_fail(context, BAM_ERROR_FILE, "the field %s is %s, not a string",
                    bam_quote(field, quoted), type_name(value));
  *text = json_string_value(value);
  *size = (int64_t)json_string_length(value);
  return BAM_OK;
}
