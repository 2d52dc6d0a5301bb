/* Finds the document in a record: a string field of the JSON object on one line. */
#ifndef BAM_TEXT_RECORD_H
#define BAM_TEXT_RECORD_H

#include "../io/json.h"

/* Find the string `field` in the record of `size` bytes at `line`. `field` is the name of a field, or a path
   into nested objects, such as "doc.text". *out is left at the string (bam_json_string), which points into
   the line. Fails with BAM_ERROR_FILE if the line is not JSON, if there is no such string, or if there
   are two: a duplicate field, or both a field "doc.text" and a field "text" in "doc". Allocates
   nothing. */
bam_status bam_record_find(bam_context *context, const char *line, int64_t size, const char *field,
                           bam_json *out);

/* Whether the line is a JSON object with at least one field. */
bool bam_record_is(bam_context *context, const char *line, int64_t size);

#endif
