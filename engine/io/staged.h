/* Staged files: files, links and directories that are written under a temporary name next to their
   final path and then renamed. The temporary name is
     NAME.tmp-0123456789abcdef
   with 16 random hexadecimal digits. The writer holds a flock on a staged file or directory, and the
   kernel releases it when the process ends, however it ends. So a staged file without a lock is a
   leftover of a dead process, on whatever machine or in whatever container it ran. Links cannot be
   locked: they are renamed at once, and created again if another process took them for leftovers. */
#ifndef BAM_STAGED_H
#define BAM_STAGED_H

#include <limits.h>
#include <stdbool.h>

#include "../core/context.h"

/* Write a new temporary name for `name` into `staged`. A long name is truncated. */
void bam_staged_name(const char *name, char staged[NAME_MAX + 1]);

/* The length of the original name that the temporary name `name` begins with, or -1 if `name` is not a
   temporary name. */
int bam_staged_length(const char *name);

/* Lock the newly created staged file or directory `name` in the open `directory`, through its descriptor
   `file`, until that is closed. On a file system without locks nothing is locked, and nothing is ever
   treated as a leftover. Returns an errno; ENOENT if another process deleted it as a leftover before it
   was locked. */
int bam_staged_lock(int directory, const char *name, int file);

/* Try to lock the possible leftover `name` in the open `directory`. Returns a descriptor, which the caller
   closes after deleting the leftover, or -1 if a process may hold it or it no longer exists. */
int bam_staged_lock_leftover(int directory, const char *name, bool is_directory);

/* Keep the locked descriptor of a staged directory open until bam_staged_forget or the end of the
   context. Returns an errno; then it is closed. */
int bam_staged_keep(bam_context *context, int file);

/* Close the kept descriptor of the staged directory open at `file`, if there is one. -1: close all. */
void bam_staged_forget(bam_context *context, int file);

#endif
