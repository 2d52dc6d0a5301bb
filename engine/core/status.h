/* How the engine reports failure. Every function that can fail returns a bam_status, writes its message
   into the context, and returns results through out-parameters. The engine never exits, aborts or
   prints. */
#ifndef BAM_STATUS_H
#define BAM_STATUS_H

typedef enum bam_status {
  BAM_OK = 0,
  BAM_ERROR_ARGUMENT, /* the caller passed something wrong; nothing was changed */
  BAM_ERROR_MEMORY,   /* out of memory; nothing was changed, so releasing tensors and retrying may
                         work */
  BAM_ERROR_FILE,     /* a file is missing, unreadable, damaged or cannot be written */
  BAM_ERROR_HOST,     /* a function of the host language (a custom op, a hook) failed */
  BAM_ERROR_DEVICE    /* a device failed; the results of its running kernels are lost */
} bam_status;

/* Evaluate `call`; if it fails, return its status. For functions with nothing to clean up. */
#define BAM_TRY(call)                \
  do {                               \
    const bam_status tried = (call); \
    if (tried != BAM_OK)             \
      return tried;                  \
  } while (0)

/* The same for functions with cleanup code. The function declares `bam_status status = BAM_OK;` at its
   top; on failure this jumps to its one label, `done: ...release...; return status;`. */
#define BAM_TRY_OR_DONE(call) \
  do {                        \
    status = (call);          \
    if (status != BAM_OK)     \
      goto done;              \
  } while (0)

#endif
