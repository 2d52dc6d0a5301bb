/* Random JSON texts with nesting, escapes and overflowing numbers. */
#include "fuzz_json.h"

#include <stdlib.h>
#include <string.h>

#include "../../engine/io/json.h"
#include "random.h"

static volatile unsigned sink; /* keeps reads from being optimized away */

/* A text being generated. */
typedef struct content {
  unsigned char *data;
  size_t room, size;
  bool cut; /* truncated: there was not enough room */
} content;

/* ---- generating ---- */

static void append(content *c, const char *text) {
  size_t size = strlen(text);
  if (size > c->room - c->size) {
    c->cut = true;
    return;
  }
  memcpy(c->data + c->size, text, size);
  c->size += size;
}

/* Append a value, nested at most `depth` deep. */
static void append_value(content *c, int depth) {
  static const char *const values[] = {
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-12",
    "1.5e-3",
    "1E+2",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1000000000000000019884624838656",
    "\"\"",
    "\"a\\n\"",
    "\"\\u0000\"",
    "\"\\ud83d\\ude00\"",
    "\"\xc3\xa9\"",
    "\"\\\"\\\\\\/\"",
  };
  static const char *const spaces[] = { "", "", " ", "\n\t\r" };
  bool is_object = one_in(2);
  if (depth == 0 || one_in(3)) {
    append(c, CHOOSE(values));
    return;
  }
  append(c, is_object ? "{" : "[");
  for (size_t i = 0, n = below(5); i < n; i++) {
    append(c, i > 0 ? "," : "");
    append(c, CHOOSE(spaces));
    if (is_object) {
      append(c, one_in(4) ? "\"\\u0061\\n\"" : "\"key\"");
      append(c, one_in(2) ? ":" : " : ");
    }
    append_value(c, depth - 1);
    append(c, CHOOSE(spaces));
  }
  append(c, is_object ? "}" : "]");
}

void fuzz_json_make(unsigned char *data, size_t room, size_t *size) {
  content c = { data, room, 0, false };
  append_value(&c, (int)below(7));
  if (c.cut) {
    c = (content){ data, room, 0, false };
    append(&c, "[]");
  }
  *size = c.size;
}

/* ---- reading ---- */

/* Resolve a string in a block of the minimum size allowed by the contract. */
static void read_string(const bam_json *json, fuzz_finding *finding) {
  char *text = malloc((size_t)json->size);
  int64_t n = bam_json_string(json, text);
  if (n > json->size || (!json->has_escapes && n != json->size))
    finding("a string longer than its text");
  sink += bam_json_equals(json, "a\n");
  for (int64_t i = 0; i < n; i++)
    sink += (unsigned char)text[i];
  free(text);
}

/* Parse a text. Events must be balanced, and agree with bam_json_check and bam_json_skip. */
bam_status fuzz_json_read(bam_context *context, const unsigned char *data, size_t size,
                          fuzz_finding *finding) {
  const char *text = (const char *)data;
  bam_json json, checked;
  int64_t values = 0, counted;
  bam_json_begin(&checked, context, text, (int64_t)size, BAM_JSON_MAX_DEPTH);
  bam_json_begin(&json, context, text, (int64_t)size, BAM_JSON_MAX_DEPTH);
  bam_status status, expected = bam_json_check(&checked, &counted);
  while ((status = bam_json_next(&json)) == BAM_OK && json.kind != BAM_JSON_END) {
    if (json.kind == BAM_JSON_STRING || json.kind == BAM_JSON_KEY)
      read_string(&json, finding);
    values += json.kind != BAM_JSON_KEY && json.kind != BAM_JSON_CLOSE;
    if (json.depth < 0 || json.depth > BAM_JSON_MAX_DEPTH || json.at > json.end)
      finding("a reader of JSON beyond its bounds");
  }
  if (status != expected || (status == BAM_OK && (values != counted || json.depth != 0)))
    finding("two readings of JSON differ");
  bam_json_begin(&json, context, text, (int64_t)size, BAM_JSON_MAX_DEPTH);
  if (bam_json_next(&json) == BAM_OK && bam_json_skip(&json) == BAM_OK &&
      (bam_json_next(&json) == BAM_OK) != (status == BAM_OK))
    finding("skipping a value of JSON went elsewhere");
  return status;
}
