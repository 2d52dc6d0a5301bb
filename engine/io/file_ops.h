/* Small changes to what is on the disk: appending, cutting, linking, deleting. Each refuses what it
   is not made for, so that nothing of anybody else's is lost. Every error names the path, the
   reason and what to do. */
#ifndef BAM_CHANGE_H
#define BAM_CHANGE_H

#include <limits.h>

#include "../core/context.h"

/* Append `size` bytes to the regular file at `path`, or make it, in one write: whole, or not at all
   where the disk is full. A symbolic link at `path` is refused. */
bam_status bam_file_append(bam_context *context, const char *path, const void *data,
                             int64_t size);

/* Truncate the regular file at `path` to `size` bytes. Fails if it is shorter; a symbolic link is
   refused. */
bam_status bam_file_truncate(bam_context *context, const char *path, int64_t size);

/* Wait until the regular file at `path` is on the disk. Fails when there is none. */
bam_status bam_file_sync(bam_context *context, const char *path);

/* Delete the regular file or link at `path`; when there is nothing, that is fine. */
bam_status bam_file_remove(bam_context *context, const char *path);

/* Let a symbolic link to `target` appear at `path`, in one step. Only a link is replaced. */
bam_status bam_symlink(bam_context *context, const char *target, const char *path);

/* Rename the file or directory at `path` to PATH.set-aside, or PATH.set-aside-2 and so on where there
   is one already. Its new path goes into `aside`. */
bam_status bam_path_set_aside(bam_context *context, const char *path, char aside[PATH_MAX]);

/* Delete what killed processes left in `directory`: files, links and directories of files with
   temporary names (staged.h) that nobody writes. How many goes into *count. */
bam_status bam_remove_leftovers(bam_context *context, const char *directory, int64_t *count);

#endif
