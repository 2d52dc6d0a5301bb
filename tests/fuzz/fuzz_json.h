/* Generating and parsing JSON, for fuzz_files.c. */
#ifndef BAM_FUZZ_JSON_H
#define BAM_FUZZ_JSON_H

#include "fuzz_text.h"

/* Generate a valid text of at most `room` bytes in `data`. *size gets its size. */
void fuzz_json_make(unsigned char *data, size_t room, size_t *size);

/* Parse a text in every possible way. data[size] must be readable. */
bam_status fuzz_json_read(bam_context *context, const unsigned char *data, size_t size,
                          fuzz_finding *finding);

#endif
