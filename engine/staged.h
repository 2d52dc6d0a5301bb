/* Names of files, links and directories that are written beside their place and renamed:
     NAME.tmp-HOST-BOOT-PIDS-PID-N
   HOST is the machine's name, BOOT the beginning of its boot id, PIDS its namespace of process ids,
   PID the process that writes and N a number. So a name tells whether its writer can still be alive,
   also on a disk that several machines or containers share. */
#ifndef BAM_STAGED_H
#define BAM_STAGED_H

#include <limits.h>
#include <stdbool.h>

#define BAM_STAGED_TRIES 100 /* values of N */

/* The temporary name number `n` of this process for `name`, into `staged`. A long name loses its
   end. */
void bam_staged_name(const char *name, int n, char staged[NAME_MAX + 1]);

/* Does `name` end like a temporary name, whoever's? */
bool bam_staged_is(const char *name);

/* The length of what `name` is a temporary name for, which it begins with; -1 when it is none. */
int bam_staged_length(const char *name);

/* Is it a temporary name whose writer is known to be gone: a process of this machine that no longer
   runs, or one from before its last boot? What other machines or containers write is not. */
bool bam_staged_is_orphan(const char *name);

#endif
