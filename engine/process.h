/* What the system says about this process and the machine: for budgets, and for records of where
   something ran. */
#ifndef BAM_PROCESS_H
#define BAM_PROCESS_H

#include <stdint.h>

typedef struct bam_process {
  int64_t pid;
  char host[256];
  int64_t peak_bytes;      /* the most memory that this process has had */
  int64_t available_bytes; /* what it may still take without others having to give way */
  int64_t cores;           /* that it may run on */
} bam_process;

/* Fill *out; 0 for what the system does not say. */
void bam_process_about(bam_process *out);

/* How many bytes may still be taken below the memory limits of control groups, version 1 or 2:
   `list` is the file that names the groups (/proc/self/cgroup), `root` the directory with their
   files. INT64_MAX where there is no limit. */
int64_t bam_process_room(const char *list, const char *root);

#endif
