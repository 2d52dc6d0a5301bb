/* The whole line is validated first, so the search meets no malformed JSON. The name of the field is tried
   literally, and then as a path with dots between names. */
#include "record.h"
#include "../core/quote.h"

#include <stdio.h>
#include <string.h>

#include "../io/atomic_file.h"

/* The result of a search: the parser at the first event of the value, if it was found. */
typedef struct place {
  bool found;
  bam_json json;
} place;

/* Advance to the next key of the current object; false at its end. The value of the previous key must have
   been consumed. */
static bool next_key(bam_json *json) {
  return bam_json_next(json) == BAM_OK && json->kind == BAM_JSON_KEY;
}

/* Skip the value of the latest key. */
static bool skip_value(bam_json *json) {
  return bam_json_next(json) == BAM_OK && bam_json_skip(json) == BAM_OK;
}

/* Write the latest key, quoted, into `quoted`. */
static void quote_key(const bam_json *json, char quoted[BAM_QUOTE_TEXT]) {
  char name[2 * BAM_QUOTE_TEXT];
  if (json->size >= (int64_t)sizeof name)
    strcpy(name, "a long name");
  else
    name[bam_json_string(json, name)] = '\0';
  bam_quote(name, quoted);
}

/* List the names of the fields of the object that `json` begins, as many as fit. */
static void list_fields(bam_json json, char *text, size_t size) {
  char quoted[BAM_QUOTE_TEXT];
  size_t used = 0;
  snprintf(text, size, "none");
  while (next_key(&json)) {
    const char *comma = used > 0 ? ", " : "";
    quote_key(&json, quoted);
    if (used + strlen(comma) + strlen(quoted) + sizeof ", ..." > size) {
      snprintf(text + used, size - used, "%s...", comma);
      return;
    }
    used += (size_t)snprintf(text + used, size - used, "%s%s", comma, quoted);
    if (!skip_value(&json))
      return;
  }
}

static bam_status fail_missing(bam_context *context, const bam_json *object, const char *name) {
  char quoted[BAM_QUOTE_TEXT], names[400];
  list_fields(*object, names, sizeof names);
  return bam_fail(context, BAM_ERROR_FILE, "the object has no field %s; it has %s",
                  bam_quote(name, quoted), names);
}

/* Find the field called `name` (`length` bytes) in the object that `json` begins. */
static bam_status find_field(bam_json json, const char *name, size_t length, place *out) {
  char quoted[BAM_QUOTE_TEXT];
  *out = (place){ .found = false };
  while (next_key(&json)) {
    bool is_it = bam_json_equals_bytes(&json, name, length);
    if (is_it && out->found) {
      quote_key(&json, quoted);
      return bam_fail(json.context, BAM_ERROR_FILE, "the field %s occurs twice", quoted);
    }
    bam_status status = bam_json_next(&json);
    if (status == BAM_OK && is_it)
      *out = (place){ true, json };
    if (status == BAM_OK)
      status = bam_json_skip(&json);
    if (status != BAM_OK)
      return status;
  }
  return BAM_OK;
}

/* Follow the dotted `path`. *parent gets the innermost object reached, *rest the part of the path that names
   its field, and *out that field. */
static bam_status walk(bam_json object, const char *path, bam_json *parent, const char **rest,
                       place *out) {
  for (;;) {
    const char *dot = strchr(path, '.');
    size_t length = dot != NULL ? (size_t)(dot - path) : strlen(path);
    *parent = object;
    *rest = path;
    bam_status status = find_field(object, path, length, out);
    if (status != BAM_OK || dot == NULL)
      return status;
    if (!out->found || out->json.kind != BAM_JSON_OBJECT) {
      out->found = false;
      return BAM_OK;
    }
    object = out->json;
    path = dot + 1;
  }
}

/* Find the value of `field`, a name or a dotted path, in the object that `json` begins. */
static bam_status find_value(bam_json json, const char *field, bam_json *out) {
  char quoted[BAM_QUOTE_TEXT];
  place plain, nested = { .found = false };
  bam_json parent = json;
  const char *rest = field;
  bam_status status = find_field(json, field, strlen(field), &plain);
  bool is_path = strchr(field, '.') != NULL;
  if (status == BAM_OK && is_path)
    status = walk(json, field, &parent, &rest, &nested);
  if (status != BAM_OK)
    return status;
  if (plain.found && nested.found)
    return bam_fail(json.context, BAM_ERROR_FILE,
                    "the object has both a field %s and one within another field; rename one",
                    bam_quote(field, quoted));
  *out = plain.found ? plain.json : nested.json;
  if (plain.found || nested.found)
    return BAM_OK;
  return fail_missing(json.context, &parent, rest == field ? field : rest);
}

bam_status bam_record_find(bam_context *context, const char *line, int64_t size, const char *field,
                           bam_json *out) {
  char quoted[BAM_QUOTE_TEXT];
  bam_json json, checked;
  int64_t values;
  bam_json_begin(&json, context, line, size, BAM_JSON_MAX_DEPTH);
  checked = json;
  BAM_TRY(bam_json_check(&checked, &values));
  BAM_TRY(bam_json_next(&json));
  if (json.kind != BAM_JSON_OBJECT)
    return bam_fail(context, BAM_ERROR_FILE, "expected an object with the field %s, got %s",
                    bam_quote(field, quoted), bam_json_kind_name(json.kind));
  BAM_TRY(find_value(json, field, out));
  if (out->kind != BAM_JSON_STRING)
    return bam_fail(context, BAM_ERROR_FILE, "the field %s is %s, not a string",
                    bam_quote(field, quoted), bam_json_kind_name(out->kind));
  return BAM_OK;
}

bool bam_record_is(bam_context *context, const char *line, int64_t size) {
  bam_json json, checked;
  int64_t values;
  bam_json_begin(&json, context, line, size, BAM_JSON_MAX_DEPTH);
  checked = json;
  return bam_json_check(&checked, &values) == BAM_OK && bam_json_next(&json) == BAM_OK &&
         json.kind == BAM_JSON_OBJECT && next_key(&json);
}
