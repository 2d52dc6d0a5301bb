/* JSON for fuzz_files.c: made, read. */
#ifndef BAM_FUZZ_JSON_H
#define BAM_FUZZ_JSON_H

#include "fuzz_text.h"

/* A valid text of at most `room` bytes into `data`, how many into *size. */
void fuzz_json_make(unsigned char *data, size_t room, size_t *size);

/* Read a text in every way there is. data[size] is readable. */
bam_status fuzz_json_read(bam_context *context, const unsigned char *data, size_t size,
                          fuzz_finding *finding);

#endif
