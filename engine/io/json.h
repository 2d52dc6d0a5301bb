/* JSON (RFC 8259) from files that nobody vouches for: a reader that hands out a text's events one by
   one and allocates nothing, so that whoever reads decides what to keep and how much. */
#ifndef BAM_JSON_H
#define BAM_JSON_H

#include <locale.h>

#include "../core/context.h"

#define BAM_JSON_MAX_DEPTH 64 /* of arrays and objects inside each other */

typedef enum bam_json_kind {
  BAM_JSON_END, /* of the text, after its one value */
  BAM_JSON_NULL,
  BAM_JSON_FALSE,
  BAM_JSON_TRUE,
  BAM_JSON_INTEGER, /* within int64: `integer` */
  BAM_JSON_REAL,    /* any other number, also an integer beyond int64: `real` */
  BAM_JSON_STRING,  /* `text` and `size`, see bam_json_string */
  BAM_JSON_KEY,     /* the same; its value is the next event */
  BAM_JSON_ARRAY,   /* its elements follow, then BAM_JSON_CLOSE */
  BAM_JSON_OBJECT,  /* its keys and values follow, then BAM_JSON_CLOSE */
  BAM_JSON_CLOSE
} bam_json_kind;

/* A text being read, and its latest event. Lives on the caller's stack; needs no release. */
typedef struct bam_json {
  bam_context *context;
  const char *begin, *at, *end;
  locale_t c_locale;    /* static, not owned */
  uint64_t objects;     /* bit d: the container at depth d + 1 is an object */
  int depth, max_depth; /* how many containers are open; how many may be */
  int expected;         /* what may come next, see json.c */
  bam_json_kind kind;
  bool has_escapes; /* in the string */
  int64_t integer;
  double real;
  const char *text; /* of a string: what stands between its quotes */
  int64_t size;     /* its bytes, escapes and all: at least as many as the string has */
} bam_json;

/* Begin to read `size` bytes of UTF-8 that hold one value of any kind. `depth` is at most
   BAM_JSON_MAX_DEPTH. */
void bam_json_begin(bam_json *json, bam_context *context, const char *text, int64_t size, int depth);

/* Go to the next event. Fails with BAM_ERROR_FILE, naming the byte, for what is not JSON: malformed
   text, a number beyond a double, UTF-8 that is none, half a surrogate pair, or nesting deeper than
   `depth`. Keys may be there twice: who reads them sees to that. After BAM_JSON_END or a failure
   there is no next one. */
bam_status bam_json_next(bam_json *json);

/* After the first event of a value: go to its last. Its end is then the latest event. */
bam_status bam_json_skip(bam_json *json);

/* Write the string or key, without escapes, to `out`, which has room for json->size bytes and may be
   where it is read from. Returns how many it has; there may be zero bytes among them. */
int64_t bam_json_string(const bam_json *json, char *out);

/* Is the string or key `word`, or the `length` bytes at `word`? */
bool bam_json_equals(const bam_json *json, const char *word);
bool bam_json_equals_bytes(const bam_json *json, const char *word, size_t length);

/* "an array", "null", "a number": the kind of the value that the latest event begins. */
const char *bam_json_kind_name(bam_json_kind kind);

/* Read a whole text, which bam_json_begin has begun: how many values there are, keys not counted,
   goes into *values. Nothing is wrong with what passes. */
bam_status bam_json_check(bam_json *json, int64_t *values);

#endif
