/* Asking about paths: what a pattern finds, what is at one, where it leads. */
#ifndef BAM_PATH_H
#define BAM_PATH_H

#include <glob.h>
#include <limits.h>

#include "../core/context.h"

/* Paths that a pattern found: found.gl_pathv[0 .. count). */
typedef struct bam_paths {
  glob_t found;
  int64_t count;
} bam_paths;

/* The paths that match `pattern`, sorted by bytes: * ? and [...] as in a shell, hidden files only
   where the pattern has the dot. A pattern that is itself a path finds that, whatever characters
   are in it. Fails when a directory on the way is missing or cannot be read. */
bam_status bam_path_glob(bam_context *context, const char *pattern, bam_paths *out);

/* Free what bam_path_glob gave. Legal again, and on zeros. */
void bam_paths_release(bam_paths *paths);

typedef struct bam_path_info {
  const char *kind; /* "file", "directory" or "other" */
  int64_t size;     /* in bytes */
  double modified;  /* seconds since 1970 */
  int64_t inode;
} bam_path_info;

/* What is at `path`, or what a link there leads to. *found is false when there is nothing. */
bam_status bam_path_about(bam_context *context, const char *path, bam_path_info *out, bool *found);

/* `path` from the root, without links, "." and ".."; what is not there is taken as written. */
bam_status bam_path_absolute(bam_context *context, const char *path, char out[PATH_MAX]);

#endif
