/* Reading small files. Every error names the path, the reason and what to do. */
#ifndef BAM_FILE_H
#define BAM_FILE_H

#include "../core/context.h"

/* Open the regular file at `path` for reading: a descriptor in *file, to be closed. Fails when it
   has more than `limit` bytes; never waits for a pipe. */
bam_status bam_file_open(bam_context *context, const char *path, int64_t limit, int *file);

/* Read up to `size` further bytes of a file opened so: how many goes into *got, 0 at its end. */
bam_status bam_file_read(bam_context *context, const char *path, int file, void *data,
                         int64_t size, int64_t *got);

#endif
