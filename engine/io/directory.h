/* Atomic writing of model directories. A model is written into a staged sibling directory, which is then
   renamed: whoever opens the path at any time finds the old model or the new one, complete. Only a
   killed process leaves a staged directory behind. Nothing here descends into subdirectories, follows
   a link to delete, or deletes a file that it has not checked. Every error names the path, the reason
   and what to do. */
#ifndef BAM_DIRECTORY_H
#define BAM_DIRECTORY_H

#include <dirent.h>
#include <limits.h>

#include "../core/context.h"

/* Whether `path` is a directory, or a link to one. */
bool bam_directory_exists(const char *path);

/* The names in a directory: entries[i]->d_name, sorted by bytes, without "." and "..". */
typedef struct bam_names {
  struct dirent **entries;
  int count;
} bam_names;

bam_status bam_directory_list(bam_context *context, const char *path, bam_names *out);

/* Free a list made by bam_directory_list. May be called twice, and on a zeroed struct. */
void bam_names_release(bam_names *names);

/* Create the directory `path` and its missing parents (mkdir -p), and sync them. Fails if a component
   exists and is not a directory. */
bam_status bam_directory_make(bam_context *context, const char *path);

/* Create an empty sibling of `path` with a temporary name (staged.h), and the missing parents. `staged`
   gets its path. If `path` is already a directory, the staged one is private until it is committed. If
   `path` is a link to a directory, the staged one is a sibling of the link's target. Fails, before the
   caller has written anything, if `path` exists and is not a directory. */
bam_status bam_directory_stage(bam_context *context, const char *path, char staged[PATH_MAX]);

/* Atomically move the staged directory to `path`. Its files must be synced to disk (bam_writer does it).
   A directory already at `path` is exchanged with it and then deleted; its permissions are kept. This is
   refused unless the old directory holds only regular files named *.json, *.safetensors or
   chat_template.jinja, and each of them is also in the staged directory or is a weight file of a
   checkpoint (model.safetensors, its index, model-00001-of-00002.safetensors).
   On failure nothing has changed, except in one case, which the message names: the new directory is in
   place, but the old one, now at `staged`, could not be deleted. */
bam_status bam_directory_commit(bam_context *context, const char *staged, const char *path);

/* Delete a directory made by bam_directory_stage, with its files. Fails, deleting nothing, if it holds
   anything but regular files. */
bam_status bam_directory_discard(bam_context *context, const char *staged);

/* Delete the directory `path` with its files. Fails, deleting nothing, if `path` is a link, or if the
   directory holds anything but regular files. */
bam_status bam_directory_remove(bam_context *context, const char *path);

#endif
