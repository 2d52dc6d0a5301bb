/* Locks by flock on an open file. If the file is deleted or replaced between open and flock, the lock is
   worthless, because other processes will lock the new file. So after locking we check that the path
   still refers to the locked file, and start over if it does not. */
#include "lock.h"
#include "../core/quote.h"
#include "failure.h"

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

/* Open or create the regular file at `path`. Does not follow a link, which could point to any file. */
static bam_status open_file(bam_context *context, const char *path, int *file) {
  struct stat info;
  /* O_NONBLOCK: do not block on a pipe */
  int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;
  *file = open(path, flags, 0666);
  if (*file < 0 && errno == ELOOP)
    return fail(context, path, "it is a symbolic link; choose another path");
  if (*file < 0)
    return fail_errno(context, path, errno);
  if (fstat(*file, &info) != 0)
    return fail_errno(context, path, errno);
  if (!S_ISREG(info.st_mode))
    return fail(context, path, "it is not a regular file; choose another path");
  return BAM_OK;
}

/* Whether `path` still refers to the open file. */
static bool refers_to(const char *path, int file) {
  struct stat opened, named;
  return fstat(file, &opened) == 0 && lstat(path, &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

/* ---- the holder of a lock ---- */

/* Format the line stored in a lock file, which names the holder for the messages of other processes. */
static void make_holder(char text[BAM_LOCK_TEXT]) {
  char host[100] = "", since[40];
  time_t now = time(NULL);
  struct tm utc;
  gethostname(host, sizeof host - 1);
  strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&now, &utc));
  snprintf(text, BAM_LOCK_TEXT, "process %ld on host %s, since %s\n", (long)getpid(), host, since);
}

/* Skip the literal `expected` in *text. False on a mismatch; a truncated literal matches. */
static bool skip_literal(const char **text, const char *expected) {
  while (**text != '\0' && *expected != '\0')
    if (*(*text)++ != *expected++)
      return false;
  return true;
}

static void skip_all_of(const char **text, const char *characters) {
  *text += strspn(*text, characters);
}

/* Whether `text` is a line written by make_holder, of any process, or a prefix of such a line, as a
   power failure may leave it. */
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

/* Whether the file is a lock file: empty, or a holder's line. Any other file is foreign data and must not
   be overwritten. After a power failure the rest of the line may be zero bytes. */
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

/* Write the holder's line to the locked file. If the disk is full the file stays empty, which is
   harmless: the lock itself is the flock. */
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
  if (*holder == '\0') /* the line is not written yet, or the disk is full */
    strcpy(holder, "another process");
}

/* ---- taking ---- */

/* Try once. *out gets the locked descriptor, -1 if another process holds the lock, or -2 if the file was
   deleted or replaced in between. */
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
  } else if (refers_to(path, file)) {
    if (!is_ours(file))
      BAM_TRY_OR_DONE(fail(context, path, "it exists and is not a lock file; choose another path"));
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
    status = fail(context, path, "another program keeps deleting it; stop that program");
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
  if (is_ours(lock->file)) /* clear the holder's line */
    (void)!ftruncate(lock->file, 0);
  close(lock->file);
  bam_object_free(lock->context, lock, sizeof *lock);
}
