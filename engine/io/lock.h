/* Locks between processes: each is a file, and who holds a lock of the system on that file holds
   it. The system lets go when a process ends, however it ends, so no lock is ever left behind; the
   file is, and tells who holds it. */
#ifndef BAM_LOCK_H
#define BAM_LOCK_H

#include "../core/context.h"

typedef struct bam_lock bam_lock;

/* Take the lock of the file at `path`, which is made when it is missing; its directory must be
   there. In *out a lock, to be released; or NULL when another process, or another lock of this one,
   has it. `holder` then says who: "process 1234 on host h, since 2026-11-24 12:00:01 UTC". Fails
   with BAM_ERROR_FILE for what is not a regular file (a symbolic link is not), holds anything but
   such a line, cannot be written, or is on a file system without locks. Never waits. */
#define BAM_LOCK_TEXT 200
bam_status bam_lock_take(bam_context *context, const char *path, bam_lock **out,
                         char holder[BAM_LOCK_TEXT]);

/* Let go. NULL is legal. */
void bam_lock_release(bam_lock *lock);

#endif
