/* Temporary names and their locks, see staged.h. */
#include "staged.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MARK ".tmp-"
#define DIGITS 16
#define MOST_NAME 200 /* bytes kept of a name; the suffix adds 5 + 16 */

/* ---- names ---- */

static unsigned long long random_bits(void) {
  uint64_t bits;
  if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) == (ssize_t)sizeof bits)
    return bits;
  struct timespec now; /* fallback: early at boot getrandom has no entropy */
  clock_gettime(CLOCK_REALTIME, &now);
  return (unsigned long long)now.tv_nsec << 32 ^ (unsigned long long)now.tv_sec << 16 ^
         (unsigned long long)getpid();
}

void bam_staged_name(const char *name, char staged[NAME_MAX + 1]) {
  snprintf(staged, NAME_MAX + 1, "%.*s" MARK "%0*llx", MOST_NAME, name, DIGITS, random_bits());
}

int bam_staged_length(const char *name) {
  size_t tail = strlen(MARK) + DIGITS, length = strlen(name);
  if (length < tail)
    return -1;
  const char *mark = name + length - tail, *digits = mark + strlen(MARK);
  bool is_staged = strncmp(mark, MARK, strlen(MARK)) == 0 &&
                   strspn(digits, "0123456789abcdef") == DIGITS;
  return is_staged ? (int)(mark - name) : -1;
}

/* ---- locks ---- */

static bool same_file(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether `name` in `directory` still refers to the open `file`. */
static bool refers_to(int directory, const char *name, int file) {
  struct stat opened, named;
  return fstat(file, &opened) == 0 && fstatat(directory, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         same_file(&opened, &named);
}

/* Try to lock. Returns an errno; EWOULDBLOCK if another descriptor holds the lock. */
static int lock(int file) {
  return TEMP_FAILURE_RETRY(flock(file, LOCK_EX | LOCK_NB)) == 0 ? 0 : errno;
}

/* Whether flock failed because the file system has no locks, or, like NFS, none for files that are not
   open for writing. */
static bool has_no_locks(int error) {
  return error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP || error == EINVAL ||
         error == EBADF;
}

int bam_staged_lock(int directory, const char *name, int file) {
  int error = lock(file);
  if (has_no_locks(error))
    return 0;
  if (error == EWOULDBLOCK || (error == 0 && !refers_to(directory, name, file)))
    return ENOENT;
  return error;
}

int bam_staged_lock_leftover(int directory, const char *name, bool is_directory) {
  int flags = is_directory ? O_RDONLY | O_DIRECTORY : O_RDWR | O_NONBLOCK | O_NOCTTY;
  int file = openat(directory, name, flags | O_NOFOLLOW | O_CLOEXEC);
  if (file >= 0 && lock(file) == 0 && refers_to(directory, name, file))
    return file;
  if (file >= 0)
    close(file);
  return -1;
}

/* ---- staged directories ---- */

typedef struct bam_staged {
  struct bam_staged *next;
  struct stat info;
  int file;
} bam_staged;

static void close_all(bam_context *context) { bam_staged_forget(context, -1); }

int bam_staged_keep(bam_context *context, int file) {
  bam_staged *one = malloc(sizeof *one);
  int error = one == NULL ? ENOMEM : fstat(file, &one->info) != 0 ? errno : 0;
  if (error != 0) {
    free(one);
    close(file);
    return error;
  }
  one->file = file;
  one->next = context->staged;
  context->staged = one;
  context->close_staged = close_all;
  return 0;
}

void bam_staged_forget(bam_context *context, int file) {
  struct stat info;
  if (file >= 0 && fstat(file, &info) != 0)
    return;
  for (bam_staged **place = &context->staged; *place != NULL;) {
    bam_staged *one = *place;
    if (file >= 0 && !same_file(&one->info, &info)) {
      place = &one->next;
      continue;
    }
    *place = one->next;
    close(one->file);
    free(one);
  }
}
