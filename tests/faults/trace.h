/* Tracing the file calls of a program at the system call interface, which neither libc nor any library can
   bypass: a seccomp filter reports the requested calls, and ptrace stops the thread there. */
#ifndef TRACE_H
#define TRACE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/user.h>

/* How a call refers to its file: by a descriptor in argument 0 or 4 (mmap), by a path in argument 0 or 1, or by a path
   in argument 1 or 3, relative to the descriptor in the preceding argument. */
enum place { BY_FD, BY_FD4, BY_PATH0, BY_PATH1, BY_AT, BY_AT3 };

struct call {
  long number; /* -1 ends a list */
  enum place place;
};

/* Called before a thread executes one of the calls. May change the registers with trace_set_registers. */
typedef void trace_before(pid_t thread, struct user_regs_struct *registers);

/* Called after the call has returned, with its result in rax. */
typedef void trace_after(pid_t thread, const struct user_regs_struct *registers);

/* Run a command and trace its threads and children. `after` may be NULL. Returns its exit code, or 128 + N for a
   signal. */
int trace_run(char **command, const struct call *calls, trace_before *before, trace_after *after);

void trace_set_registers(pid_t thread, const struct user_regs_struct *registers);

/* Write the absolute path of the call's file into `path`. False if there is none. */
bool trace_path(pid_t thread, const struct user_regs_struct *registers, enum place place,
                char path[PATH_MAX]);

/* Read `size` bytes at `address` of the thread. False if they cannot be read. */
bool trace_read(pid_t thread, unsigned long address, void *data, size_t size);

/* The part of `path` below `directory`, or NULL if it is not inside. */
const char *trace_below(const char *directory, const char *path);

#endif
