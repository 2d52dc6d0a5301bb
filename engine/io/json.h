/* A pull parser for untrusted JSON (RFC 8259). It returns one event at a time and allocates nothing, so
   the caller decides what to keep and how much. The depth of nesting is limited. Duplicate keys are not
   detected: callers for whom they matter must check. */
#ifndef BAM_JSON_H
#define BAM_JSON_H

#include <locale.h>

#include "../core/context.h"

#define BAM_JSON_MAX_DEPTH 64 /* of nested arrays and objects */

typedef enum bam_json_kind {
  BAM_JSON_END, /* of the text, after its one value */
  BAM_JSON_NULL,
  BAM_JSON_FALSE,
  BAM_JSON_TRUE,
  BAM_JSON_INTEGER, /* within int64: `integer` */
  BAM_JSON_REAL,    /* any other number, including integers beyond int64: `real` */
  BAM_JSON_STRING,  /* `text` and `size`, see bam_json_string */
  BAM_JSON_KEY,     /* `text` and `size`; its value is the next event */
  BAM_JSON_ARRAY,   /* its elements follow, then BAM_JSON_CLOSE */
  BAM_JSON_OBJECT,  /* its keys and values follow, then BAM_JSON_CLOSE */
  BAM_JSON_CLOSE
} bam_json_kind;

/* The state of the parser, and its latest event. Lives on the caller's stack and needs no release. */
typedef struct bam_json {
  bam_context *context;
  const char *begin, *at, *end;
  locale_t c_locale;    /* static, not owned */
  uint64_t objects;     /* bit d: the container at depth d + 1 is an object */
  int depth, max_depth; /* open containers, and their limit */
  int expected;         /* the state, see json.c */
  bam_json_kind kind;
  bool has_escapes; /* the string contains escapes */
  int64_t integer;
  double real;
  const char *text; /* of a string: the source between its quotes, escapes not yet resolved */
  int64_t size;     /* bytes of that source, never fewer than the resolved string has */
} bam_json;

/* Begin to parse `size` bytes of text, which must outlive the parser. The text holds one value of any
   kind, nested at most `depth` deep. `depth` is at most BAM_JSON_MAX_DEPTH. */
void bam_json_begin(bam_json *json, bam_context *context, const char *text, int64_t size,
                    int depth);

/* Advance to the next event. Fails with BAM_ERROR_FILE, naming the byte, on malformed text, a number that
   overflows a double, invalid UTF-8, an unpaired surrogate, or nesting deeper than `depth`. Must not be
   called after BAM_JSON_END or a failure. */
bam_status bam_json_next(bam_json *json);

/* Skip the rest of the value that the latest event begins. Its last event is then the latest. */
bam_status bam_json_skip(bam_json *json);

/* Write the latest string or key to `out` with its escapes resolved, and return its length in bytes. `out`
   has room for json->size bytes, and may be json->text itself. The result may contain zero bytes. */
int64_t bam_json_string(const bam_json *json, char *out);

/* Whether the latest string or key equals `word`. */
bool bam_json_equals(const bam_json *json, const char *word);
bool bam_json_equals_bytes(const bam_json *json, const char *word, size_t length);

/* The name of a kind of value for messages: "an array", "null", "a number". */
const char *bam_json_kind_name(bam_json_kind kind);

/* Validate a whole text just after bam_json_begin. *values gets the number of values in it, not counting
   keys. */
bam_status bam_json_check(bam_json *json, int64_t *values);

#endif
