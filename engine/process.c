/* Numbers out of /proc and the control groups' files. A limit counts for all groups below it, so
   every group from ours up to the root is looked at. What a file's pages in memory take can be had
   back, hence counts as free. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TEXT_BYTES 16384

/* The beginning of a small file; empty when there is none. */
static void read_text(const char *path, char text[TEXT_BYTES]) {
  ssize_t length = -1;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    length = TEMP_FAILURE_RETRY(read(file, text, TEXT_BYTES - 1));
    close(file);
  }
  text[length > 0 ? length : 0] = '\0';
}

/* What follows `name` on its line, or NULL. */
static const char *find_line(const char *text, const char *name) {
  size_t length = strlen(name);
  for (; text != NULL; text = strchr(text, '\n')) {
    text += *text == '\n';
    if (strncmp(text, name, length) == 0)
      return text + length;
  }
  return NULL;
}

/* The number that the text begins with, after spaces, or `otherwise`. */
static int64_t number_in(const char *text, int64_t otherwise) {
  if (text == NULL)
    return otherwise;
  text += strspn(text, " \t");
  return *text >= '0' && *text <= '9' ? strtoll(text, NULL, 10) : otherwise;
}

/* ---- control groups ---- */

/* The files of one version. */
typedef struct version {
  const char *mark; /* what comes before our group's path in the list */
  const char *place, *limit, *usage, *pages;
} version;

static const version versions[] = {
  { "\n0::", "", "memory.max", "memory.current", "inactive_file " },
  { ":memory:", "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
    "total_inactive_file " },
};

static void read_group(const version *v, const char *root, const char *group, const char *name,
                       char text[TEXT_BYTES]) {
  char path[PATH_MAX];
  bool fits = snprintf(path, sizeof path, "%s%s%s/%s", root, v->place, group, name) < PATH_MAX;
  read_text(fits ? path : "", text);
}

/* How much may be taken until this group's limit. */
static int64_t room_at(const version *v, const char *root, const char *group) {
  char text[TEXT_BYTES];
  read_group(v, root, group, v->limit, text);
  int64_t limit = number_in(text, INT64_MAX); /* "max" */
  if (limit == INT64_MAX)
    return INT64_MAX;
  read_group(v, root, group, v->usage, text);
  int64_t usage = number_in(text, 0);
  read_group(v, root, group, "memory.stat", text);
  int64_t pages = number_in(find_line(text, v->pages), 0);
  usage -= pages < usage ? pages : usage;
  return usage < limit ? limit - usage : 0;
}

/* The path of our group, out of the list of them. */
static bool find_group(const version *v, const char *list, char group[PATH_MAX]) {
  char text[TEXT_BYTES + 1] = "\n"; /* so that the first line is like the others */
  read_text(list, text + 1);
  const char *found = strstr(text, v->mark);
  if (found == NULL)
    return false;
  found += strlen(v->mark);
  size_t length = strcspn(found, "\n");
  if (length >= PATH_MAX)
    return false;
  memcpy(group, found, length);
  group[length] = '\0';
  return true;
}

/* The least room in our group and those above it. `group` is used up. */
static int64_t room_above(const version *v, const char *root, char *group) {
  int64_t least = room_at(v, root, group);
  for (char *slash; (slash = strrchr(group, '/')) != NULL;) {
    *slash = '\0';
    int64_t room = room_at(v, root, group);
    least = room < least ? room : least;
  }
  return least;
}

int64_t bam_process_room(const char *list, const char *root) {
  int64_t least = INT64_MAX;
  char group[PATH_MAX];
  for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
    if (!find_group(&versions[i], list, group))
      continue;
    int64_t room = room_above(&versions[i], root, group);
    least = room < least ? room : least;
  }
  return least;
}

/* ---- the process ---- */

static int64_t available_bytes(void) {
  char text[TEXT_BYTES];
  read_text("/proc/meminfo", text);
  int64_t free_kb = number_in(find_line(text, "MemAvailable:"), 0);
  int64_t room = bam_process_room("/proc/self/cgroup", "/sys/fs/cgroup");
  return free_kb * 1024 < room ? free_kb * 1024 : room;
}

void bam_process_about(bam_process *out) {
  struct rusage usage = { .ru_maxrss = 0 };
  *out = (bam_process){ .pid = getpid(), .available_bytes = available_bytes(),
                        .cores = omp_get_num_procs() };
  gethostname(out->host, sizeof out->host - 1);
  getrusage(RUSAGE_SELF, &usage);
  out->peak_bytes = (int64_t)usage.ru_maxrss * 1024;
}
