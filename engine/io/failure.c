/* Error messages for files and directories, see failure.h. */
#include "failure.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *bam_path_advice(int error) {
  switch (error) {
  case ENOSPC:
  case EDQUOT: return "; free some space or choose another path";
  case EACCES:
  case EPERM: return "; change the permissions or choose another path";
  case EROFS: return "; choose another path";
  case EFBIG: return "; raise the limit (ulimit -f) or choose another path";
  case ENOENT:
  case ENOTDIR: return "; check the name, and the directory that it is relative to";
  case ENAMETOOLONG: return "; use a shorter name";
  case EBUSY: return "; is it a mount point? use a directory inside it";
  case EMFILE:
  case ENFILE: return "; close other files first";
  case ENOMEM: return "; release memory first";
  default: return "";
  }
}

bam_status bam_task_fail_text(const bam_task *task, const char *reason, const char *what_to_do) {
  char quoted[BAM_QUOTE_TEXT];
  return bam_fail(task->context, BAM_ERROR_FILE, "cannot %s %s: %s%s", task->verb,
                  bam_quote(task->path, quoted), reason, what_to_do);
}

bam_status bam_task_fail(const bam_task *task, int error) {
  return bam_task_fail_text(task, strerror(error), bam_path_advice(error));
}

bam_status bam_task_fail_about(const bam_task *task, const char *name, const char *reason,
                               const char *what_to_do) {
  char text[2 * BAM_QUOTE_TEXT], quoted[BAM_QUOTE_TEXT];
  snprintf(text, sizeof text, "%s %s", bam_quote(name, quoted), reason);
  return bam_task_fail_text(task, text, what_to_do);
}

bam_status bam_fail_path(bam_context *context, const char *verb, const char *path, int error) {
  return bam_task_fail(&(bam_task){ context, verb, path }, error);
}
