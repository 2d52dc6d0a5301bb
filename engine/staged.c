/* Temporary names as staged.h describes them. */
#include "staged.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARK ".tmp-"
#define MOST_NAME 180 /* the rest of a name is 5 + 32 + 9 + 9 + 11 + 3 bytes at most */

/* Who writes. The fields hold no '-'. */
typedef struct writer {
  char host[33], boot[9], pids[9];
  long long process;
} writer;

static void read_host(char host[33]) {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  snprintf(host, 33, "%.32s", *name != '\0' ? name : "unknown");
  for (char *c = host; *c != '\0'; c++)
    if (!isalnum((unsigned char)*c) && *c != '.')
      *c = '_';
}

/* The first 8 digits of the machine's boot id. */
static void read_boot(char boot[9]) {
  strcpy(boot, "00000000");
  int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  char text[9] = "";
  if (file < 0)
    return;
  if (read(file, text, 8) == 8 && strspn(text, "0123456789abcdef") == 8)
    strcpy(boot, text);
  close(file);
}

/* The inode of the namespace in which this process has its id: containers have their own. */
static void read_pids(char pids[9]) {
  char text[64] = "";
  unsigned inode = 0;
  if (readlink("/proc/self/ns/pid", text, sizeof text - 1) > 0)
    (void)sscanf(text, "pid:[%u]", &inode);
  snprintf(pids, 9, "%08x", inode);
}

static writer this_process(void) {
  writer w = { .process = getpid() };
  read_host(w.host);
  read_boot(w.boot);
  read_pids(w.pids);
  return w;
}

void bam_staged_name(const char *name, int n, char staged[NAME_MAX + 1]) {
  writer w = this_process();
  snprintf(staged, NAME_MAX + 1, "%.*s" MARK "%s-%s-%s-%lld-%d", MOST_NAME, name, w.host, w.boot,
           w.pids, w.process, n);
}

/* Read who wrote what is called `name`. Returns whether it is a temporary name. */
static bool parse(const char *name, writer *w) {
  int end = 0;
  const char *mark = NULL;
  for (const char *found = name; (found = strstr(found, MARK)) != NULL; found++)
    mark = found;
  if (mark == NULL)
    return false;
  int fields = sscanf(mark + strlen(MARK), "%32[A-Za-z0-9._]-%8[0-9a-f]-%8[0-9a-f]-%10lld-%*2[0-9]%n",
                      w->host, w->boot, w->pids, &w->process, &end);
  return fields == 4 && end > 0 && mark[strlen(MARK) + (size_t)end] == '\0' && w->process > 0;
}

bool bam_staged_is(const char *name) {
  writer w;
  return parse(name, &w);
}

int bam_staged_length(const char *name) {
  const char *mark = NULL;
  if (!bam_staged_is(name))
    return -1;
  for (const char *found = name; (found = strstr(found, MARK)) != NULL; found++)
    mark = found;
  return (int)(mark - name);
}

bool bam_staged_is_orphan(const char *name) {
  writer w, self = this_process();
  if (!parse(name, &w) || strcmp(w.host, self.host) != 0)
    return false;
  if (strcmp(w.boot, self.boot) != 0)
    return true;
  return strcmp(w.pids, self.pids) == 0 && w.process <= INT_MAX &&
         kill((pid_t)w.process, 0) != 0 && errno == ESRCH;
}
