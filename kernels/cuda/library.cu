/* library.h. No Python is run: the wheels of an environment E lie in
   E/lib/python3.12/site-packages/nvidia/cu13/lib, and E/bin/python3 is on PATH, or is the target of a symbolic
   link there. */
#include "library.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define MOST_LINKS 8

/* NULL for a path that is too long, too. */
static void *open_path(const char *folder, const char *file) {
  char path[PATH_BYTES];
  const int length = snprintf(path, sizeof path, "%s/%s", folder, file);
  return length < (int)sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

/* `file` in a wheel of the environment whose programs are in `bin`. */
static void *open_wheel(const char *bin, const char *file) {
  char pattern[PATH_BYTES];
  glob_t found;
  void *library = NULL;
  const int length = snprintf(pattern, sizeof pattern,
                              "%s/../lib/python3*/*-packages/nvidia/*/lib/%s", bin, file);
  if (length >= (int)sizeof pattern || glob(pattern, 0, NULL, &found) != 0)
    return NULL;
  for (size_t i = 0; i < found.gl_pathc && library == NULL; i++)
    library = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
  globfree(&found);
  return library;
}

/* Replace the symbolic link `path` by its target; false if it is none. */
static bool follow_link(char *path) {
  char target[PATH_BYTES], joined[2 * PATH_BYTES];
  const ssize_t length = readlink(path, target, sizeof target - 1);
  if (length <= 0)
    return false;
  target[length] = '\0';
  *strrchr(path, '/') = '\0';
  snprintf(joined, sizeof joined, "%s/%s", target[0] == '/' ? "" : path, target);
  if (strlen(joined) >= PATH_BYTES)
    return false;
  strcpy(path, joined);
  return true;
}

/* `file` in a wheel of the environment of `bin`/python3, or of one that this is a link to. */
static void *open_beside_python(const char *bin, const char *file) {
  char python[PATH_BYTES], folder[PATH_BYTES];
  void *library = NULL;
  if (snprintf(python, sizeof python, "%s/python3", bin) >= (int)sizeof python ||
      access(python, X_OK) != 0)
    return NULL;
  for (int i = 0; i < MOST_LINKS && library == NULL; i++) {
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(python, '/') - python), python);
    library = open_wheel(folder, file);
    if (!follow_link(python))
      break;
  }
  return library;
}

static void *open_of_path(const char *file) {
  const char *path = getenv("PATH");
  char folder[PATH_BYTES];
  void *library = NULL;
  while (path != NULL && *path != '\0' && library == NULL) {
    const int length = (int)strcspn(path, ":");
    if (length > 0 && snprintf(folder, sizeof folder, "%.*s", length, path) < (int)sizeof folder)
      library = open_beside_python(folder, file);
    path += length + (path[length] == ':');
  }
  return library;
}

static void *open_file(const char *file) {
  const char *home = getenv("CUDA_HOME"), *environment = getenv("VIRTUAL_ENV");
  char folder[PATH_BYTES];
  void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL && home != NULL && snprintf(folder, sizeof folder, "%s/lib64", home) > 0)
    library = open_path(folder, file);
  if (library == NULL)
    library = open_path("/usr/local/cuda/lib64", file);
  if (library == NULL && environment != NULL &&
      snprintf(folder, sizeof folder, "%s/bin", environment) < (int)sizeof folder)
    library = open_beside_python(folder, file);
  return library != NULL ? library : open_of_path(file);
}

void *bam_cuda_open_library(const char *const *files) {
  void *library = NULL;
  for (; *files != NULL && library == NULL; files++)
    library = open_file(*files);
  return library;
}
