/* The document in a record, which is a line's JSON object. */
#ifndef BAM_TEXT_RECORD_H
#define BAM_TEXT_RECORD_H

#include "../json_record.h"

/* Find the string that `field` names in `record`: a field of the object, or one of objects within
   it, as in "doc.text". *text, of *size bytes, is borrowed from the record. Fails with
   BAM_ERROR_FILE when there is no such string, or when both a field called "doc.text" and a field
   "text" of "doc" are there. */
bam_status bam_record_find(bam_context *context, const json_t *record, const char *field,
                           const char **text, int64_t *size);

#endif
