/* Errors of files and directories: BAM_ERROR_FILE with a message of one form,
     cannot VERB "PATH": REASON; WHAT TO DO
   The reason is an errno or a text. Paths are quoted (core/quote.h). */
#ifndef BAM_IO_FAILURE_H
#define BAM_IO_FAILURE_H

#include "../core/context.h"
#include "../core/quote.h"

/* The operation that a message names: cannot remove "models/x": ... The strings are borrowed. */
typedef struct bam_task {
  bam_context *context;
  const char *verb, *path;
} bam_task;

/* Advice on an errno to append to a message ("; use a shorter name"), or "". */
const char *bam_path_advice(int error);

/* Fail with the text of an errno and its advice. */
bam_status bam_task_fail(const bam_task *task, int error);

/* Fail with a reason and advice ("; ..." or ""). */
bam_status bam_task_fail_text(const bam_task *task, const char *reason, const char *what_to_do);

/* Like bam_task_fail_text, with the reason prefixed by the quoted `name`. */
bam_status bam_task_fail_about(const bam_task *task, const char *name, const char *reason,
                               const char *what_to_do);

/* bam_task_fail without a bam_task. */
bam_status bam_fail_path(bam_context *context, const char *verb, const char *path, int error);

#endif
