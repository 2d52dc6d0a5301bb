/* Operations on single files: append, truncate, sync, delete, link, set aside. Each works on one kind of
   file and refuses all others, so that no foreign data is lost. None follows a symbolic link to write.
   Every error names the path, the reason and what to do. */
#ifndef BAM_CHANGE_H
#define BAM_CHANGE_H

#include <limits.h>

#include "../core/context.h"

/* Append `size` bytes to the regular file at `path` in one write, creating the file if necessary. If the
   disk is full, nothing is appended. Refuses a symbolic link. */
bam_status bam_file_append(bam_context *context, const char *path, const void *data, int64_t size);

/* Truncate the regular file at `path` to `size` bytes. Fails if it is shorter. Refuses a symbolic
   link. */
bam_status bam_file_truncate(bam_context *context, const char *path, int64_t size);

/* fsync the regular file at `path`. Fails if it does not exist. */
bam_status bam_file_sync(bam_context *context, const char *path);

/* Delete the regular file or link at `path`. Succeeds if nothing exists there. */
bam_status bam_file_remove(bam_context *context, const char *path);

/* Atomically create a symbolic link at `path` pointing to `target`. Replaces an existing link, and
   refuses to replace anything else. */
bam_status bam_symlink(bam_context *context, const char *target, const char *path);

/* Rename the file or directory at `path` to PATH.set-aside, or PATH.set-aside-2 and so on if that name is
   taken. `aside` gets the new path. */
bam_status bam_path_set_aside(bam_context *context, const char *path, char aside[PATH_MAX]);

/* Delete the leftovers of killed processes in `directory`: files, links and directories with temporary
   names (staged.h) whose lock nobody holds. *count gets how many were deleted. */
bam_status bam_remove_leftovers(bam_context *context, const char *directory, int64_t *count);

#endif
