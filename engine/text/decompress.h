/* The bytes of a file, decompressed on the way: one whose name ends in .gz or .zst (or .GZ) is read as that,
   with several members or frames one after the other, any other as it is. Memory is bounded
   whatever the file says, at most about 130 MB for a .zst that asks for its largest window. */
#ifndef BAM_SOURCE_H
#define BAM_SOURCE_H

#include "../core/context.h"

typedef struct bam_decompressor bam_decompressor;

/* Open the regular file at `path`: a source in *out, to be closed. Fails with BAM_ERROR_FILE,
   naming the path, for what is missing, unreadable or no regular file, and for an empty .gz or
   .zst. */
bam_status bam_decompressor_open(bam_context *context, const char *path, bam_decompressor **out);

/* Up to `size` (at least 1) further bytes into `data`: how many goes into *got, 0 at the end only.
   The message of a failure does not name the file; reading cannot go on after one. */
bam_status bam_decompressor_read(bam_decompressor *source, void *data, int64_t size, int64_t *got);

/* Close and free. NULL is legal. */
void bam_decompressor_close(bam_decompressor *source);

/* The length of `path` without a .gz or .zst at its end. */
int64_t bam_compressed_stem(const char *path);

#endif
