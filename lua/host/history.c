/* The history file: one statement per line, with newline and backslash escaped as \n and \\. A statement
   is appended by a single write, so concurrent sessions do not damage the file. It is shortened by
   writing a new file and renaming it. Failures are never reported: the session continues without
   history. */
#include "history.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Writes the name of the file. Returns whether there is one. */
static bool history_path(char path[PATH_MAX]) {
  const char *own = getenv("BAMLUA_HISTORY");
  const char *state = getenv("XDG_STATE_HOME");
  const char *home = getenv("HOME");
  int length = 0;
  if (own != NULL) {
    length = snprintf(path, PATH_MAX, "%s", own);
  } else if (state != NULL && state[0] == '/') {
    length = snprintf(path, PATH_MAX, "%s/bamlua_history", state);
  } else if (home != NULL && home[0] == '/') {
    length = snprintf(path, PATH_MAX, "%s/.bamlua_history", home);
  }
  return length > 0 && length < PATH_MAX;
}

/* Opens the file if it is a regular file (a pipe would block), else returns -1. */
static int open_regular(const char *path, int flags) {
  int file = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0600);
  struct stat status;
  if (file >= 0 && (fstat(file, &status) != 0 || !S_ISREG(status.st_mode))) {
    close(file);
    return -1;
  }
  return file;
}

static char *encode(const char *statement) {
  char *line = malloc(2 * strlen(statement) + 2);
  if (line == NULL)
    return NULL;
  char *to = line;
  for (const char *from = statement; *from != '\0'; from++) {
    if (*from == '\n' || *from == '\\')
      *to++ = '\\';
    *to++ = *from == '\n' ? 'n' : *from;
  }
  *to++ = '\n';
  *to = '\0';
  return line;
}

static void decode_in_place(char *line) {
  char *to = line;
  for (const char *from = line; *from != '\0' && *from != '\n'; from++) {
    bool escaped = *from == '\\' && from[1] != '\0' && from[1] != '\n';
    if (escaped)
      from++;
    *to++ = escaped && *from == 'n' ? '\n' : *from;
  }
  *to = '\0';
}

static void copy_lines_after(FILE *from, long skipped, FILE *to) {
  char *line = NULL;
  size_t capacity = 0;
  rewind(from);
  while (getline(&line, &capacity, from) >= 0) {
    if (skipped-- <= 0)
      fputs(line, to);
  }
  free(line);
}

/* Removes the first `skipped` lines of the file. On failure the file is unchanged. */
static void shorten(FILE *file, const char *path, long skipped) {
  char temporary[PATH_MAX];
  int length = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
  int descriptor = length < (int)sizeof temporary ? mkstemp(temporary) : -1;
  if (descriptor < 0)
    return;
  FILE *shorter = fdopen(descriptor, "w");
  if (shorter == NULL) {
    close(descriptor);
    unlink(temporary);
    return;
  }
  copy_lines_after(file, skipped, shorter);
  bool ok = !ferror(shorter) && fflush(shorter) == 0 && fsync(descriptor) == 0;
  ok = fclose(shorter) == 0 && ok;
  if (!ok || rename(temporary, path) != 0)
    unlink(temporary);
}

void host_history_load(History *history_list) {
  char path[PATH_MAX];
  int descriptor = history_path(path) ? open_regular(path, O_RDONLY) : -1;
  FILE *file = descriptor >= 0 ? fdopen(descriptor, "r") : NULL;
  if (file == NULL) {
    if (descriptor >= 0)
      close(descriptor);
    return;
  }
  char *line = NULL;
  size_t capacity = 0;
  long count = 0;
  HistEvent event;
  for (; getline(&line, &capacity, file) >= 0; count++) {
    decode_in_place(line);
    if (line[0] != '\0')
      history(history_list, &event, H_ENTER, line);
  }
  if (count > 2 * BAM_HISTORY_SIZE)
    shorten(file, path, count - BAM_HISTORY_SIZE);
  free(line);
  fclose(file);
}

void host_history_append(const char *statement) {
  char path[PATH_MAX];
  if (!history_path(path))
    return;
  char *line = encode(statement);
  int file = line != NULL ? open_regular(path, O_WRONLY | O_APPEND | O_CREAT) : -1;
  if (file >= 0) {
    ssize_t written = write(file, line, strlen(line));
    (void)written; /* on a full disk only the history is lost */
    close(file);
  }
  free(line);
}
