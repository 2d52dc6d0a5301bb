/* Failures of files and directories: BAM_ERROR_FILE with a message that names the path, the reason and
   what to do. */
#ifndef BAM_IO_FAILURE_H
#define BAM_IO_FAILURE_H

#include "../core/context.h"
#include "../core/quote.h"

/* What is being done: "cannot remove "models/x": ...". The strings are borrowed. */
typedef struct bam_task {
  bam_context *context;
  const char *verb, *path;
} bam_task;

/* What to do about an errno, to end a message with: "; use a shorter name", or "". */
const char *bam_path_advice(int error);

/* Fail because of an errno. */
bam_status bam_task_fail(const bam_task *task, int error);

/* Fail with a reason and what to do ("; ..." or ""). */
bam_status bam_task_fail_text(const bam_task *task, const char *reason, const char *what_to_do);

/* The same; the reason begins with the quoted name of something. */
bam_status bam_task_fail_about(const bam_task *task, const char *name, const char *reason,
                               const char *what_to_do);

/* bam_task_fail in one line. */
bam_status bam_fail_path(bam_context *context, const char *verb, const char *path, int error);

#endif
