/* Reading small files, see file.h. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failure.h"

bam_status bam_file_open(bam_context *context, const char *path, int64_t limit, int *file) {
  bam_task t = { context, "read", path };
  struct stat info;
  char reason[100];
  /* O_NONBLOCK: opening a pipe that nobody writes to must not wait */
  int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (opened < 0)
    return bam_task_fail(&t, errno);
  bam_status status = BAM_OK;
  if (fstat(opened, &info) != 0)
    BAM_TRY_OR_DONE(bam_task_fail(&t, errno));
  if (S_ISDIR(info.st_mode))
    BAM_TRY_OR_DONE(bam_task_fail_text(&t, "it is a directory", "; name a file in it"));
  if (!S_ISREG(info.st_mode))
    BAM_TRY_OR_DONE(
      bam_task_fail_text(&t, "it is a pipe or device", "; copy its contents to a file first"));
  snprintf(reason, sizeof reason, "it has %lld bytes, above the limit of %lld",
           (long long)info.st_size, (long long)limit);
  if (info.st_size > limit)
    BAM_TRY_OR_DONE(bam_task_fail_text(&t, reason, "; is it the right file? else raise the limit"));
  *file = opened;
  return BAM_OK;
done:
  close(opened);
  return status;
}

bam_status bam_file_read(bam_context *context, const char *path, int file, void *data, int64_t size,
                         int64_t *got) {
  *got = TEMP_FAILURE_RETRY(read(file, data, (size_t)size));
  return *got >= 0 ? BAM_OK : bam_task_fail(&(bam_task){ context, "read", path }, errno);
}
