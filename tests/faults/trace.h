/* Watching the file calls of a program at the border of the system, where neither libc nor a library can
   pass by: a seccomp filter reports the calls that are asked for, and ptrace stops the thread there. */
#ifndef TRACE_H
#define TRACE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/user.h>

/* How a call names its file: by the descriptor in argument 0 or 4 (mmap), by a path in argument 0 or
   1, or by a path in argument 1 or 3 that is relative to the descriptor in the argument before. */
enum place { BY_FD, BY_FD4, BY_PATH0, BY_PATH1, BY_AT, BY_AT3 };

struct call {
  long number; /* -1 ends a list */
  enum place place;
};

/* Called as a thread is about to make one of the calls; the registers may be changed with
   trace_set_registers. */
typedef void trace_before(pid_t thread, struct user_regs_struct *registers);

/* Called when that call has returned, with its result in rax. */
typedef void trace_after(pid_t thread, const struct user_regs_struct *registers);

/* Run a command with its threads and children. `after` may be NULL. Returns its exit code, 128 + N for
   a signal. */
int trace_run(char **command, const struct call *calls, trace_before *before, trace_after *after);

void trace_set_registers(pid_t thread, const struct user_regs_struct *registers);

/* The absolute path of the file that a call names in this way, into `path`; false when there is none. */
bool trace_path(pid_t thread, const struct user_regs_struct *registers, enum place place,
                char path[PATH_MAX]);

/* The bytes at `address` of the thread; false when they cannot be read. */
bool trace_read(pid_t thread, unsigned long address, void *data, size_t size);

/* What `path` is called below `directory`; NULL when it does not lie there. */
const char *trace_below(const char *directory, const char *path);

#endif
