/* One record of data as a tree of jansson's: for documents of JSON lines. */
#ifndef BAM_JSON_RECORD_H
#define BAM_JSON_RECORD_H

#include <jansson.h>

#include "context.h"

/* Parse `size` bytes of UTF-8 that hold one JSON object or array and nothing else: a new reference in
   *out (json_decref). Strings may hold NUL characters (see json_string_length), and integers of any
   size are real numbers. Fails with BAM_ERROR_FILE, naming the byte, for malformed text, duplicate
   keys, or arrays and objects nested deeper than `depth`. */
bam_status bam_json_parse_record(bam_context *context, const char *text, int64_t size, int depth,
                                 json_t **out);

#endif
