/* Locks between processes. A lock is a file on which the holder has a flock. The kernel releases it when
   the process ends, however it ends, so there are no stale locks. The file itself stays; while the lock
   is held it contains one line that names the holder. */
#ifndef BAM_LOCK_H
#define BAM_LOCK_H

#include "../core/context.h"

typedef struct bam_lock bam_lock;

/* Try to take the lock file at `path`, creating it if necessary; its directory must exist. Never waits.
   *out gets a lock that the caller releases, or NULL if another process, or another lock of this one,
   holds it. `holder` then names the holder: "process 1234 on host h, since 2026-11-24 12:00:01 UTC".
   Fails with BAM_ERROR_FILE if the file is not a regular file (a symbolic link is not), contains
   anything but a holder's line, cannot be written, or is on a file system without locks. */
#define BAM_LOCK_TEXT 200
bam_status bam_lock_take(bam_context *context, const char *path, bam_lock **out,
                         char holder[BAM_LOCK_TEXT]);

/* Release the lock. NULL is allowed. */
void bam_lock_release(bam_lock *lock);

#endif
