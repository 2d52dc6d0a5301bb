/* File operations, see file_ops.h. */
#include "file_ops.h"
#include "../core/quote.h"
#include "failure.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic_file.h"
#include "directory.h"
#include "paths.h"
#include "staged.h"

static bam_status fail(bam_context *context, const char *verb, const char *path,
                       const char *reason) {
  char quoted[BAM_QUOTE_TEXT];
  return bam_fail(context, BAM_ERROR_FILE, "cannot %s %s: %s", verb, bam_quote(path, quoted),
                  reason);
}

/* ---- files ---- */

/* Open the regular file at `path` for writing. *size gets its size. */
static bam_status open_file(bam_context *context, const char *verb, const char *path, int flags,
                            int *file, int64_t *size) {
  struct stat info;
  /* O_NONBLOCK: do not block on a pipe. O_NOFOLLOW: a link could point to any file. */
  flags |= O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;
  *file = open(path, flags, 0666);
  if (*file < 0 && errno == ELOOP)
    return fail(context, verb, path, "it is a symbolic link; name the file that it points to");
  if (*file < 0 || fstat(*file, &info) != 0)
    return bam_fail_path(context, verb, path, errno);
  *size = info.st_size;
  return S_ISREG(info.st_mode)
           ? BAM_OK
           : fail(context, verb, path, "it is not a regular file; choose another path");
}

static void close_descriptor(int descriptor) {
  if (descriptor >= 0)
    close(descriptor);
}

/* Whether `size` exceeds RLIMIT_FSIZE. Writing beyond it would raise SIGXFSZ, which kills the process. */
static bool is_too_long(int64_t size) {
  struct rlimit limit;
  return getrlimit(RLIMIT_FSIZE, &limit) == 0 && (uint64_t)size > limit.rlim_cur;
}

/* Append to a file of `before` bytes. Returns an errno; on failure a partial write is truncated away. */
static int append(int file, const void *data, int64_t size, int64_t before) {
  struct stat info;
  if (size > INT64_MAX - before || is_too_long(before + size))
    return EFBIG;
  int64_t written = TEMP_FAILURE_RETRY(write(file, data, (size_t)size));
  int error = written < 0 ? errno : ENOSPC;
  if (written == size)
    return 0;
  if (written > 0 && fstat(file, &info) == 0 && info.st_size == before + written)
    (void)!ftruncate(file, before);
  return error;
}

bam_status bam_file_append(bam_context *context, const char *path, const void *data, int64_t size) {
  int64_t before = 0;
  int file, error;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(open_file(context, "append to", path, O_APPEND | O_CREAT, &file, &before));
  error = append(file, data, size, before);
  if (error != 0)
    status = bam_fail_path(context, "append to", path, error);
done:
  close_descriptor(file);
  return status;
}

bam_status bam_file_truncate(bam_context *context, const char *path, int64_t size) {
  char reason[100];
  int64_t before = 0;
  int file;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(open_file(context, "truncate", path, 0, &file, &before));
  snprintf(reason, sizeof reason, "it has %lld bytes, and cannot get %lld", (long long)before,
           (long long)size);
  if (size < 0 || size > before)
    BAM_TRY_OR_DONE(fail(context, "truncate", path, reason));
  if (ftruncate(file, size) != 0)
    status = bam_fail_path(context, "truncate", path, errno);
done:
  close_descriptor(file);
  return status;
}

bam_status bam_file_sync(bam_context *context, const char *path) {
  int64_t size;
  int file, error;
  BAM_TRY(open_file(context, "write", path, 0, &file, &size));
  error = TEMP_FAILURE_RETRY(fsync(file)) == 0 ? 0 : errno;
  close(file);
  if (error != 0)
    return bam_fail_path(context, "write", path, error);
  return BAM_OK;
}

bam_status bam_file_remove(bam_context *context, const char *path) {
  struct stat info;
  if (lstat(path, &info) != 0)
    return errno == ENOENT ? BAM_OK : bam_fail_path(context, "remove", path, errno);
  if (!S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode))
    return fail(context, "remove", path,
                S_ISDIR(info.st_mode) ? "it is a directory" : "it is not a regular file");
  return unlink(path) == 0 || errno == ENOENT ? BAM_OK
                                              : bam_fail_path(context, "remove", path, errno);
}

/* Rename without replacing anything, also on file systems that lack RENAME_NOREPLACE. */
static int rename_to_free(const char *from, const char *to) {
  struct stat info;
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
    return 0;
  if (errno != EINVAL)
    return errno;
  if (lstat(to, &info) == 0)
    return EEXIST;
  return rename(from, to) == 0 ? 0 : errno;
}

/* ---- links ---- */

#define LINK_TRIES 10

/* Create a link to `target` under a temporary name next to `path`. `temporary` gets its path. */
static int make_link(const char *target, const char *path, char temporary[PATH_MAX]) {
  const char *slash = strrchr(path, '/');
  int head = slash != NULL ? (int)(slash - path) + 1 : 0;
  char name[NAME_MAX + 1];
  bam_staged_name(path + head, name);
  if (snprintf(temporary, PATH_MAX, "%.*s%s", head, path, name) >= PATH_MAX)
    return ENAMETOOLONG;
  return symlink(target, temporary) == 0 ? 0 : errno;
}

/* Rename the temporary link to `path`. Replaces another link, but nothing else. */
static int place_link(const char *temporary, const char *path) {
  struct stat info;
  int error = rename_to_free(temporary, path);
  if (error != EEXIST)
    return error;
  /* Another process may just have created it: a link is replaced, whoever made it. */
  if (lstat(path, &info) == 0 && !S_ISLNK(info.st_mode))
    return EEXIST;
  return rename(temporary, path) == 0 ? 0 : errno;
}

/* Create the link and move it to `path`. Returns an errno. */
static int replace_link(const char *target, const char *path) {
  char temporary[PATH_MAX];
  int error = ENOENT;
  for (int i = 0; i < LINK_TRIES && error == ENOENT; i++) { /* another process may clean it up */
    error = make_link(target, path, temporary);
    if (error != 0)
      return error;
    error = place_link(temporary, path);
    if (error != 0)
      unlink(temporary);
  }
  return error;
}

static bool leads_to(const char *path, const char *target) {
  char now[PATH_MAX];
  ssize_t length = readlink(path, now, sizeof now);
  return length == (ssize_t)strlen(target) && memcmp(now, target, (size_t)length) == 0;
}

bam_status bam_symlink(bam_context *context, const char *target, const char *path) {
  size_t length = strlen(path);
  if (length == 0 || length >= PATH_MAX || path[length - 1] == '/')
    return fail(context, "link", path, "the path does not end with a name; add one");
  if (leads_to(path, target))
    return BAM_OK; /* already correct: succeed even on a read-only disk */
  int error = replace_link(target, path);
  if (error == 0)
    return BAM_OK;
  if (error == EEXIST)
    return fail(context, "link", path,
                "it exists and is not a link; move it, or choose another path");
  return bam_fail_path(context, "link", path, error);
}

/* ---- setting aside ---- */

#define MOST_ASIDE 1000

bam_status bam_path_set_aside(bam_context *context, const char *path, char aside[PATH_MAX]) {
  int error = EEXIST;
  for (int i = 1; i <= MOST_ASIDE && error == EEXIST; i++) {
    char number[16] = "";
    if (i > 1)
      snprintf(number, sizeof number, "-%d", i);
    int length = snprintf(aside, PATH_MAX, "%s.set-aside%s", path, number);
    error = length < PATH_MAX ? rename_to_free(path, aside) : ENAMETOOLONG;
  }
  return error == 0 ? BAM_OK : bam_fail_path(context, "set aside", path, error);
}

/* ---- leftovers of killed processes ---- */

/* Delete a file or directory with a temporary name, unless a process holds its lock. */
static bam_status remove_unlocked(bam_context *context, const char *path, bool is_directory,
                                  int64_t *count) {
  int file = bam_staged_lock_leftover(AT_FDCWD, path, is_directory);
  if (file < 0)
    return BAM_OK;
  bam_status status = is_directory ? bam_directory_discard(context, path)
                                   : bam_file_remove(context, path);
  *count += status == BAM_OK;
  close(file);
  return status;
}

static bam_status remove_leftover(bam_context *context, const char *path, int64_t *count) {
  struct stat info;
  if (lstat(path, &info) != 0)
    return errno == ENOENT ? BAM_OK : bam_fail_path(context, "remove", path, errno);
  if (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode))
    return remove_unlocked(context, path, S_ISDIR(info.st_mode), count);
  if (!S_ISLNK(info.st_mode))
    return BAM_OK;
  bam_status status = bam_file_remove(context, path);
  *count += status == BAM_OK;
  return status;
}

bam_status bam_remove_leftovers(bam_context *context, const char *directory, int64_t *count) {
  char path[PATH_MAX];
  bam_names names;
  *count = 0;
  bam_status status = bam_directory_list(context, directory, &names);
  for (int i = 0; i < names.count && status == BAM_OK; i++) {
    const char *name = names.entries[i]->d_name;
    if (bam_staged_length(name) < 0)
      continue;
    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path)
      status = bam_fail_path(context, "remove", directory, ENAMETOOLONG);
    else
      status = remove_leftover(context, path, count);
  }
  bam_names_release(&names);
  return status;
}
