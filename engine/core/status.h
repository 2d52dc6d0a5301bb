/* How the engine reports failure: every fallible function returns a bam_status, writes
   its message into the context, and hands results out through out-parameters. It never
   exits, aborts or prints. */
#ifndef BAM_STATUS_H
#define BAM_STATUS_H

typedef enum bam_status {
  BAM_OK = 0,
  BAM_ERROR_ARGUMENT, /* the caller passed something wrong; nothing was changed */
  BAM_ERROR_MEMORY,   /* no memory; nothing was changed, releasing something and retrying may
                         work */
  BAM_ERROR_FILE,     /* a file is missing, unreadable, damaged or cannot be written */
  BAM_ERROR_HOST,     /* a function of the host language (a custom op, a hook) failed */
  BAM_ERROR_DEVICE    /* a device failed; what was being computed is lost */
} bam_status;

/* Evaluate `call`; if it fails, return its status at once: for functions with nothing to clean up. */
#define BAM_TRY(call)                     \
  do {                                    \
    const bam_status tried = (call);      \
    if (tried != BAM_OK)                  \
      return tried;                       \
  } while (0)

/* The same for a function that cleans up: it declares `bam_status status = BAM_OK;` at its top, and on
   failure control goes to its one label, `done: ...release...; return status;`. */
#define BAM_TRY_OR_DONE(call)     \
  do {                            \
    status = (call);              \
    if (status != BAM_OK)         \
      goto done;                  \
  } while (0)

#endif
