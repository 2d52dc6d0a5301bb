/* The depth is checked before jansson sees the text, because its parser recurses and has a limit of
   its own. */
#include "json_record.h"

#include "file.h"

/* Byte at which nesting exceeds `depth`, or -1. Malformed text may be misjudged here; the parser
   rejects it. */
static int64_t find_too_deep(const char *text, int64_t size, int depth) {
  bool in_string = false;
  int level = 0;
  for (int64_t i = 0; i < size; i++) {
    char c = text[i];
    if (in_string && c == '\\')
      i++;
    else if (c == '"')
      in_string = !in_string;
    else if (!in_string && (c == '{' || c == '[')) {
      if (++level > depth)
        return i;
    } else if (!in_string && (c == '}' || c == ']'))
      level--;
  }
  return -1;
}

static bam_status parse(bam_context *context, const char *text, int64_t size, int depth,
                        size_t flags, json_t **out) {
  int64_t deep = find_too_deep(text, size, depth);
  if (deep >= 0)
    return bam_fail(context, BAM_ERROR_FILE, "JSON nested deeper than %d at byte %lld", depth,
                    (long long)deep + 1);
  json_error_t error;
  json_t *value = json_loadb(text, (size_t)size, flags, &error);
  if (value == NULL) {
    char quoted[BAM_QUOTE_TEXT];
    if (json_error_code(&error) == json_error_out_of_memory)
      return bam_fail(context, BAM_ERROR_MEMORY, "out of memory while parsing %lld bytes of JSON",
                      (long long)size);
    return bam_fail(context, BAM_ERROR_FILE, "malformed JSON at byte %d: %s", error.position,
                    bam_quote(error.text, quoted));
  }
  *out = value;
  return BAM_OK;
}

bam_status bam_json_parse_record(bam_context *context, const char *text, int64_t size, int depth,
                                 json_t **out) {
  const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
  return parse(context, text, size, depth, flags, out);
}
