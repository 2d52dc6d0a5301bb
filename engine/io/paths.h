/* Queries about paths: glob patterns, stat, absolute paths. They change nothing on disk. Paths are bytes,
   not necessarily UTF-8. A path that does not exist is a result, not an error. */
#ifndef BAM_PATH_H
#define BAM_PATH_H

#include <glob.h>
#include <limits.h>

#include "../core/context.h"

/* The matches of a pattern: found.gl_pathv[0 .. count). */
typedef struct bam_paths {
  glob_t found;
  int64_t count;
} bam_paths;

/* Find the paths that match `pattern`, sorted by bytes. * ? and [...] are as in a shell; hidden files match
   only an explicit dot. A pattern that is the literal name of an existing path matches it, whatever
   characters it contains. Fails if a directory on the way is missing or unreadable. */
bam_status bam_path_glob(bam_context *context, const char *pattern, bam_paths *out);

/* Free the result of bam_path_glob. May be called twice, and on a zeroed struct. */
void bam_paths_release(bam_paths *paths);

typedef struct bam_path_info {
  const char *kind; /* "file", "directory" or "other" */
  int64_t size;     /* in bytes */
  double modified;  /* seconds since the Unix epoch */
  int64_t inode;
} bam_path_info;

/* stat `path`, following links. *found is false if it does not exist. */
bam_status bam_path_about(bam_context *context, const char *path, bam_path_info *out, bool *found);

/* Make `path` absolute, and resolve links, "." and "..". A part that does not exist is kept as
   written. */
bam_status bam_path_absolute(bam_context *context, const char *path, char out[PATH_MAX]);

#endif
