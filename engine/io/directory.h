/* Directories that hold models. A model is written into a staged
   directory beside its place and appears there in one step: whoever opens the path finds the old
   model or the new one, whole. Only a killed process leaves a staged directory behind. Nothing here
   walks into subdirectories, follows a link to delete, or deletes what it has not looked at. Every
   error names the path, the reason and what to do. */
#ifndef BAM_DIRECTORY_H
#define BAM_DIRECTORY_H

#include <dirent.h>
#include <limits.h>

#include "../core/context.h"

/* Is there a directory at `path`, or a link to one? */
bool bam_directory_exists(const char *path);

/* The names in a directory: entries[i]->d_name, sorted by bytes, without "." and "..". */
typedef struct bam_names {
  struct dirent **entries;
  int count;
} bam_names;

bam_status bam_directory_list(bam_context *context, const char *path, bam_names *out);

/* Free what bam_directory_list gave. Legal again, and on zeros. */
void bam_names_release(bam_names *names);

/* Make the directory `path` and those that it is in, as far as they are missing, and sync what they
   are made in. Fails when anything else is in the way. */
bam_status bam_directory_make(bam_context *context, const char *path);

/* Make an empty directory beside `path`, with a temporary name (staged.h), and what `path` is in. Its
   path goes into `staged`. It is private where `path` is a directory already. Where `path` is a link to a
   directory, it is beside the directory that the link points to.
   Fails when something at `path` is not a directory, before anybody has written much. */
bam_status bam_directory_stage(bam_context *context, const char *path, char staged[PATH_MAX]);

/* Let the staged directory, whose files must be on the disk (bam_writer sees to that), appear at
   `path`. A directory at `path` changes places with it, its permissions are kept, and it is
   deleted. That is refused unless it holds regular files only, all called *.json, *.safetensors or
   chat_template.jinja, and each is also in the staged one or is a model's weights by its name (model.safetensors, its
   index, model-00001-of-00002.safetensors). On failure nothing has changed, but for one case which the
   message tells: the new directory is in place, and the old one, now at `staged`, could not be
   deleted. */
bam_status bam_directory_commit(bam_context *context, const char *staged, const char *path);

/* Delete a directory that bam_directory_stage made, and its files. One that holds anything but
   regular files stays as it is, and is an error. */
bam_status bam_directory_discard(bam_context *context, const char *staged);

/* Delete the directory `path`, which is not a link, and the files in it. One that holds anything
   but regular files stays as it is, and is an error. */
bam_status bam_directory_remove(bam_context *context, const char *path);

#endif
