/* flock on an opened file. A lock on a file that has meanwhile been deleted or replaced is worth
   nothing, as others will open another one: so after locking the path must still lead to the file
   that was locked, else all begins again. */
#include "../core/quote.h"
#include "failure.h"
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "atomic_file.h"
#include "paths.h"

#define MOST_TRIES 100

struct bam_lock {
  bam_context *context;
  int file;
};

static bam_status fail(bam_context *context, const char *path, const char *reason) {
  char quoted[BAM_QUOTE_TEXT];
  return bam_fail(context, BAM_ERROR_FILE, "cannot lock %s: %s", bam_quote(path, quoted), reason);
}

static bam_status fail_errno(bam_context *context, const char *path, int error) {
  if (error == ENOLCK || error == ENOSYS || error == EINVAL || error == EOPNOTSUPP)
    return fail(context, path, "its file system has no locks; use one on a local disk");
  return bam_fail_path(context, "lock", path, error);
}

/* Open the regular file at `path`, or make it. A link is not followed: it may lead to anybody's file. */
static bam_status open_file(bam_context *context, const char *path, int *file) {
  struct stat info;
  /* O_NONBLOCK: opening a pipe must not wait */
  int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;
  *file = open(path, flags, 0666);
  if (*file < 0 && errno == ELOOP)
    return fail(context, path, "it is a symbolic link; name another");
  if (*file < 0)
    return fail_errno(context, path, errno);
  if (fstat(*file, &info) != 0)
    return fail_errno(context, path, errno);
  if (!S_ISREG(info.st_mode))
    return fail(context, path, "it is no regular file; name another");
  return BAM_OK;
}

/* Does the path still lead to the opened file? */
static bool is_there(const char *path, int file) {
  struct stat opened, named;
  return fstat(file, &opened) == 0 && lstat(path, &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

/* ---- who holds it ---- */

/* The one line that a lock's file holds, for messages of others: who has it. */
static void make_holder(char text[BAM_LOCK_TEXT]) {
  char host[100] = "", since[40];
  time_t now = time(NULL);
  struct tm utc;
  gethostname(host, sizeof host - 1);
  strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&now, &utc));
  snprintf(text, BAM_LOCK_TEXT, "process %ld on host %s, since %s\n", (long)getpid(), host, since);
}

/* Skip `expected` in *text. A text that ends before it does is a beginning of it. */
static bool skip_literal(const char **text, const char *expected) {
  while (**text != '\0' && *expected != '\0')
    if (*(*text)++ != *expected++)
      return false;
  return true;
}

static void skip_all_of(const char **text, const char *characters) { *text += strspn(*text, characters); }

/* Is it a line that make_holder wrote, in whichever process, or the beginning of one, which is what a
   power failure may leave? */
static bool is_holder(const char *text) {
  if (!skip_literal(&text, "process "))
    return false;
  skip_all_of(&text, "0123456789");
  if (!skip_literal(&text, " on host"))
    return false;
  text += strcspn(text, ",\n");
  if (!skip_literal(&text, ", since "))
    return false;
  skip_all_of(&text, "0123456789-: ");
  return skip_literal(&text, "UTC\n") && *text == '\0';
}

/* Does the file hold what a lock's file holds? Anything else is somebody's text, and stays. After a
   power failure zero bytes may stand for the rest of the line. */
static bool is_ours(int file) {
  char text[BAM_LOCK_TEXT];
  ssize_t length = pread(file, text, sizeof text, 0);
  if (length < 0 || length == (ssize_t)sizeof text)
    return false;
  text[length] = '\0';
  for (ssize_t i = (ssize_t)strlen(text); i < length; i++)
    if (text[i] != '\0')
      return false;
  return is_holder(text);
}

/* Write who has the locked file, which is empty or holds another such line. Where there is no room on
   the disk it stays empty: it is the system that locks. */
static void write_holder(int file) {
  char text[BAM_LOCK_TEXT];
  make_holder(text);
  ssize_t length = (ssize_t)strlen(text);
  if (ftruncate(file, 0) != 0 || pwrite(file, text, (size_t)length, 0) != length)
    (void)!ftruncate(file, 0);
}

static void read_holder(int file, char holder[BAM_LOCK_TEXT]) {
  ssize_t length = pread(file, holder, BAM_LOCK_TEXT - 1, 0);
  holder[length > 0 ? length : 0] = '\0';
  holder[strcspn(holder, "\n")] = '\0';
  for (char *c = holder; *c != '\0'; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f)
      *c = '?';
  if (*holder == '\0') /* it has only just begun, or the disk is full */
    strcpy(holder, "another process");
}

/* ---- taking ---- */

/* One try: the locked file, or -1 when somebody else has it, or -2 when it has gone meanwhile. */
static bam_status try_lock(bam_context *context, const char *path, int *out,
                           char holder[BAM_LOCK_TEXT]) {
  int file;
  bam_status status = BAM_OK;
  *out = -1;
  BAM_TRY_OR_DONE(open_file(context, path, &file));
  if (TEMP_FAILURE_RETRY(flock(file, LOCK_EX | LOCK_NB)) != 0) {
    if (errno != EWOULDBLOCK)
      BAM_TRY_OR_DONE(fail_errno(context, path, errno));
    read_holder(file, holder);
  } else if (is_there(path, file)) {
    if (!is_ours(file))
      BAM_TRY_OR_DONE(fail(context, path, "it holds something other than a lock's line; name another"));
    write_holder(file);
    *out = file;
    return BAM_OK;
  } else
    *out = -2;
done:
  if (file >= 0)
    close(file);
  return status;
}

bam_status bam_lock_take(bam_context *context, const char *path, bam_lock **out,
                         char holder[BAM_LOCK_TEXT]) {
  bam_lock *lock = bam_object_alloc(context, sizeof *lock);
  if (lock == NULL)
    return BAM_ERROR_MEMORY;
  *lock = (bam_lock){ context, -2 };
  bam_status status = BAM_OK;
  for (int i = 0; i < MOST_TRIES && lock->file == -2 && status == BAM_OK; i++)
    status = try_lock(context, path, &lock->file, holder);
  if (lock->file == -2 && status == BAM_OK)
    status = fail(context, path, "it is deleted again and again; see who does that");
  if (lock->file >= 0) {
    *out = lock;
    return BAM_OK;
  }
  bam_object_free(context, lock, sizeof *lock);
  *out = NULL;
  return status;
}

void bam_lock_release(bam_lock *lock) {
  if (lock == NULL)
    return;
  if (is_ours(lock->file)) /* nobody holds it now */
    (void)!ftruncate(lock->file, 0);
  close(lock->file);
  bam_object_free(lock->context, lock, sizeof *lock);
}
