/* Sequential reading of files with transparent decompression. The name decides: .gz and .zst (in either
   case) are decompressed, including files of several members or frames; other files are read as they
   are. Memory is bounded whatever the file contains: about 130 MB for a .zst with the largest window. */
#ifndef BAM_SOURCE_H
#define BAM_SOURCE_H

#include "../core/context.h"

typedef struct bam_decompressor bam_decompressor;

/* Open the regular file at `path`. *out gets a decompressor, which the caller closes. Fails with
   BAM_ERROR_FILE, naming the path, if the file is missing, unreadable or not a regular file, or is an
   empty .gz or .zst. */
bam_status bam_decompressor_open(bam_context *context, const char *path, bam_decompressor **out);

/* Read up to `size` (at least 1) more bytes into `data`. *got is the number read, 0 only at the end of the
   file. Error messages do not name the file. After an error the decompressor must only be closed. */
bam_status bam_decompressor_read(bam_decompressor *source, void *data, int64_t size, int64_t *got);

/* Close and free. NULL is allowed. */
void bam_decompressor_close(bam_decompressor *source);

/* The length of `path` without a trailing .gz or .zst. */
int64_t bam_compressed_stem(const char *path);

#endif
