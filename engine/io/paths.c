/* Path queries, see paths.h. */
#include "paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failure.h"

/* ---- patterns ---- */

static int by_bytes(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_missing(int error) { return error == ENOENT || error == ENOTDIR; }

/* glob's error callback: ignore directories that vanished during the search. */
static int on_glob_error(const char *path, int error) {
  (void)path;
  return !is_missing(error);
}

bam_status bam_path_glob(bam_context *context, const char *pattern, bam_paths *out) {
  struct stat info;
  bam_paths paths = { .count = 0 };
  /* GLOB_NOCHECK: if nothing matches, return the pattern itself, which may be a literal path */
  int failed = glob(pattern, GLOB_NOSORT | GLOB_NOCHECK, on_glob_error, &paths.found);
  int error = failed == GLOB_NOSPACE ? ENOMEM : errno;
  if (failed != 0) {
    bam_paths_release(&paths);
    return bam_fail_path(context, "search for", pattern, error);
  }
  char **names = paths.found.gl_pathv;
  paths.count = (int64_t)paths.found.gl_pathc;
  if (paths.count == 1 && strcmp(names[0], pattern) == 0 && lstat(pattern, &info) != 0)
    paths.count = 0;
  qsort(names, (size_t)paths.count, sizeof *names, by_bytes);
  *out = paths;
  return BAM_OK;
}

void bam_paths_release(bam_paths *paths) {
  if (paths->found.gl_pathv != NULL)
    globfree(&paths->found);
  *paths = (bam_paths){ .count = 0 };
}

/* ---- stat ---- */

bam_status bam_path_about(bam_context *context, const char *path, bam_path_info *out, bool *found) {
  struct stat info;
  *found = stat(path, &info) == 0;
  if (!*found)
    return is_missing(errno) ? BAM_OK : bam_fail_path(context, "look at", path, errno);
  *out = (bam_path_info){
    .kind = S_ISREG(info.st_mode)   ? "file"
            : S_ISDIR(info.st_mode) ? "directory"
                                    : "other",
    .size = info.st_size,
    .modified = (double)info.st_mtim.tv_sec + 1e-9 * (double)info.st_mtim.tv_nsec,
    .inode = (int64_t)info.st_ino,
  };
  return BAM_OK;
}

/* ---- absolute paths ---- */

/* Append one component, which may be "." or "..", to the absolute `path`. Returns an errno. */
static int append_component(char path[PATH_MAX], const char *name, size_t length) {
  size_t used = strlen(path);
  if (length == 0 || (length == 1 && name[0] == '.'))
    return 0;
  if (length == 2 && memcmp(name, "..", 2) == 0) {
    char *slash = strrchr(path, '/');
    slash[slash == path] = '\0';
    return 0;
  }
  used -= used == 1; /* "/" already ends with a slash */
  if (used + 1 + length >= PATH_MAX)
    return ENAMETOOLONG;
  path[used] = '/';
  memcpy(path + used + 1, name, length);
  path[used + 1 + length] = '\0';
  return 0;
}

/* Resolve the links in `path`, if it exists. Returns an errno. */
static int resolve(char path[PATH_MAX]) {
  char resolved[PATH_MAX];
  if (realpath(path, resolved) == NULL)
    return is_missing(errno) ? 0 : errno;
  strcpy(path, resolved);
  return 0;
}

bam_status bam_path_absolute(bam_context *context, const char *path, char out[PATH_MAX]) {
  char result[PATH_MAX] = "/";
  int error = *path == '\0' ? ENOENT : 0;
  if (*path != '/' && getcwd(result, sizeof result) == NULL)
    error = errno;
  for (const char *rest = path; *rest != '\0' && error == 0;) {
    size_t length = strcspn(rest, "/");
    error = append_component(result, rest, length);
    if (error == 0)
      error = resolve(result);
    rest += length + (rest[length] == '/');
  }
  if (error != 0)
    return bam_fail_path(context, "find", path, error);
  strcpy(out, result);
  return BAM_OK;
}
