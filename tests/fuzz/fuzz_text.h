/* Text files for fuzz_files.c: made, compressed, read. Their names say what they are, as with the
   reader itself. */
#ifndef BAM_FUZZ_TEXT_H
#define BAM_FUZZ_TEXT_H

#include "../../engine/text/reader.h"

/* Where findings go. It does not come back. */
typedef void fuzz_finding(const char *what);

/* A name, and contents for it that can be read, not compressed yet: at most `room` bytes into
   `data`, how many into *size. */
const char *fuzz_text_make(unsigned char *data, size_t room, size_t *size);

/* Compress `data` as the name says, sometimes as several members or frames. Returns whether `room`
   bytes are enough; else it stays as it is. */
bool fuzz_text_pack(const char *name, unsigned char *data, size_t room, size_t *size);

/* Read all documents of a file that holds `data`. */
bam_status fuzz_text_read(bam_context *context, const char *name, const unsigned char *data,
                          size_t size, fuzz_finding *finding);

#endif
