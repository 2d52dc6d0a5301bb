/* The document in a record, which is a line's JSON object. */
#ifndef BAM_TEXT_RECORD_H
#define BAM_TEXT_RECORD_H

#include "../io/json.h"

/* Find the string that `field` names in the record of `size` bytes at `line`: a field of the object, or
   one of objects within it, as in "doc.text". *out is then at the string (bam_json_string), whose
   text is the line's. Fails with BAM_ERROR_FILE when the line is not JSON, when there is no such
   string, or two of them: a field twice, or both a field called "doc.text" and a field "text" of
   "doc". Allocates nothing. */
bam_status bam_record_find(bam_context *context, const char *line, int64_t size, const char *field,
                           bam_json *out);

/* Is the line a JSON object with fields? */
bool bam_record_is(bam_context *context, const char *line, int64_t size);

#endif
