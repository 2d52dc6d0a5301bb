/* JSON from files that nobody vouches for, on top of jansson. */
#ifndef BAM_JSON_H
#define BAM_JSON_H

#include <jansson.h>

#include "context.h"

/* Parse `size` bytes of UTF-8 that hold one JSON object or array and nothing else: a new reference
   in *out (json_decref). Fails with BAM_ERROR_FILE, naming the byte, for malformed text, duplicate keys,
   numbers beyond int64, NUL characters, or arrays and objects nested deeper than `depth`. */
bam_status bam_json_parse(bam_context *context, const char *text, int64_t size, int depth,
                          json_t **out);

/* The same for a record of data, of which only some fields matter: strings may hold NUL characters
   (see json_string_length), and integers of any size are real numbers. */
bam_status bam_json_parse_record(bam_context *context, const char *text, int64_t size, int depth,
                                 json_t **out);

#endif
