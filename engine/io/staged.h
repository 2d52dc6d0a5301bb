/* Files, links and directories that are written beside their place and renamed. Their names are
     NAME.tmp-0123456789abcdef
   with 16 random hexadecimal digits. Who writes a file or fills a directory holds a lock of the system
   on it (flock), which goes when the process ends, however it ends: so what nobody holds was left by a
   process that is gone, on whatever machine or in whatever container it ran. A link is made and renamed
   at once, and made again if somebody has taken it for such a leftover. */
#ifndef BAM_STAGED_H
#define BAM_STAGED_H

#include <limits.h>
#include <stdbool.h>

#include "../core/context.h"

/* A new temporary name for `name`, into `staged`. A long name loses its end. */
void bam_staged_name(const char *name, char staged[NAME_MAX + 1]);

/* The length of what `name` is a temporary name for, which it begins with; -1 when it is none. */
int bam_staged_length(const char *name);

/* Lock what was just made under the temporary `name` in the opened `directory`, and is opened at
   `file`, until that is closed. On a file system without locks nothing is locked, and nothing is ever
   taken for a leftover. Returns an errno; ENOENT when somebody was faster and took it for one. */
int bam_staged_lock(int directory, const char *name, int file);

/* Try to lock the file or directory with the temporary `name` in the opened `directory`: a descriptor,
   to be closed when it is deleted; -1 when it may be somebody's, or has gone. */
int bam_staged_lock_leftover(int directory, const char *name, bool is_directory);

/* Keep the locked descriptor of a staged directory open until bam_staged_forget or the end of the
   context. Returns an errno; then it is closed. */
int bam_staged_keep(bam_context *context, int file);

/* Close what is kept of the directory that is opened at `file`, if anything is; -1: of all. */
void bam_staged_forget(bam_context *context, int file);

#endif
