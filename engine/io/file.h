/* Reading small files, such as JSON and scripts, from start to end. The caller sets a limit on the size,
   so a wrong path cannot exhaust memory. Every error names the path, the reason and what to do. For
   large files and random access see input_file.h. */
#ifndef BAM_FILE_H
#define BAM_FILE_H

#include "../core/context.h"

/* Open the regular file at `path` for reading. *file gets a descriptor, which the caller closes. Fails if
   the file has more than `limit` bytes. Never blocks on a pipe. */
bam_status bam_file_open(bam_context *context, const char *path, int64_t limit, int *file);

/* Read up to `size` more bytes from a file opened by bam_file_open. *got is the number read, 0 at the end
   of the file. */
bam_status bam_file_read(bam_context *context, const char *path, int file, void *data, int64_t size,
                         int64_t *got);

#endif
