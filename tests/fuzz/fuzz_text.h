/* Generating, compressing and reading text files, for fuzz_files.c. As in the reader, the name decides the format. */
#ifndef BAM_FUZZ_TEXT_H
#define BAM_FUZZ_TEXT_H

#include "../../engine/text/reader.h"

/* Report a finding. Does not return. */
typedef void fuzz_finding(const char *what);

/* Choose a name and generate valid, uncompressed contents for it: at most `room` bytes in `data`. *size gets their
   size. Returns the name. */
const char *fuzz_text_make(unsigned char *data, size_t room, size_t *size);

/* Compress `data` in place according to the name, sometimes as several members or frames. Returns false, and leaves
   `data` unchanged, if the result exceeds `room` bytes. */
bool fuzz_text_pack(const char *name, unsigned char *data, size_t room, size_t *size);

/* Read all documents of a file with the contents `data`. */
bam_status fuzz_text_read(bam_context *context, const char *name, const unsigned char *data,
                          size_t size, fuzz_finding *finding);

#endif
