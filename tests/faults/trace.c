/* Tracing file calls, see trace.h. */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the registers of x86-64 only are known here"
#endif

#define MOST_CALLS 32

/* ---- the program ---- */

/* Install a filter that reports these calls to the tracer and lets all others pass. */
static void install_filter(const struct call *calls) {
  struct sock_filter code[2 * MOST_CALLS + 2];
  int n = 0;
  code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                           offsetof(struct seccomp_data, nr));
  for (int i = 0; i < MOST_CALLS && calls[i].number >= 0; i++) {
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number,
                                             0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
  }
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = { .len = (unsigned short)n, .filter = code };
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    perror("seccomp");
    _exit(2);
  }
}

static void run_program(char **command, const struct call *calls) {
  ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  raise(SIGSTOP); /* until the tracer has set its options */
  install_filter(calls);
  execvp(command[0], command);
  perror("cannot run the command");
  _exit(127);
}

/* ---- arguments of a call ---- */

bool trace_read(pid_t thread, unsigned long address, void *data, size_t size) {
  struct iovec here = { data, size }, there = { (void *)address, size };
  return process_vm_readv(thread, &here, 1, &there, 1, 0) == (ssize_t)size;
}

/* Read the string at `address`, page by page, because the memory after it may not be readable. */
static bool read_text(pid_t thread, unsigned long address, char text[PATH_MAX]) {
  for (size_t length = 0; length < PATH_MAX - 1;) {
    size_t piece = 4096 - (address + length) % 4096;
    if (piece > PATH_MAX - 1 - length)
      piece = PATH_MAX - 1 - length;
    if (!trace_read(thread, address + length, text + length, piece))
      return false;
    if (memchr(text + length, '\0', piece) != NULL)
      return true;
    length += piece;
  }
  return false;
}

static bool read_link(pid_t thread, const char *what, char path[PATH_MAX]) {
  char name[64];
  snprintf(name, sizeof name, "/proc/%d/%s", (int)thread, what);
  ssize_t length = readlink(name, path, PATH_MAX - 1);
  path[length > 0 ? length : 0] = '\0';
  return length > 0;
}

static bool descriptor_path(pid_t thread, int fd, char path[PATH_MAX]) {
  char what[32];
  snprintf(what, sizeof what, "fd/%d", fd);
  return fd >= 0 && read_link(thread, what, path);
}

/* Read the path at `address`, which is relative to the descriptor `at`. */
static bool full_path(pid_t thread, unsigned long address, int at, char path[PATH_MAX]) {
  char text[PATH_MAX], start[PATH_MAX];
  if (!read_text(thread, address, text))
    return false;
  if (text[0] == '/')
    return snprintf(path, PATH_MAX, "%s", text) < PATH_MAX;
  if (!(at == AT_FDCWD ? read_link(thread, "cwd", start) : descriptor_path(thread, at, start)))
    return false;
  const char *rest = strncmp(text, "./", 2) == 0 ? text + 2 : text;
  return snprintf(path, PATH_MAX, *rest == '\0' || strcmp(rest, ".") == 0 ? "%s" : "%s/%s", start,
                  rest) < PATH_MAX;
}

bool trace_path(pid_t thread, const struct user_regs_struct *r, enum place place,
                char path[PATH_MAX]) {
  switch (place) {
  case BY_FD: return descriptor_path(thread, (int)r->rdi, path);
  case BY_FD4: return descriptor_path(thread, (int)r->r8, path);
  case BY_PATH0: return full_path(thread, r->rdi, AT_FDCWD, path);
  case BY_PATH1: return full_path(thread, r->rsi, AT_FDCWD, path);
  case BY_AT: return full_path(thread, r->rsi, (int)r->rdi, path);
  case BY_AT3: return full_path(thread, r->r10, (int)r->rdx, path);
  }
  return false;
}

const char *trace_below(const char *directory, const char *path) {
  size_t length = strlen(directory);
  if (strncmp(path, directory, length) != 0 || (path[length] != '/' && path[length] != '\0'))
    return NULL;
  return path[length] == '/' ? path + length + 1 : path + length;
}

void trace_set_registers(pid_t thread, const struct user_regs_struct *registers) {
  ptrace(PTRACE_SETREGS, thread, NULL, registers);
}

/* ---- the tracer ---- */

/* The signal to deliver to a stopped thread when it continues. */
static int signal_of(int status) {
  int number = WSTOPSIG(status);
  return status >> 16 != 0 || number == SIGTRAP || number == SIGSTOP || number == (SIGTRAP | 0x80)
           ? 0
           : number;
}

/* Handle a stop of a thread at the start or the end of a call. Returns the ptrace request to continue with. */
static int on_stop(pid_t thread, int status, trace_before *before, trace_after *after) {
  struct user_regs_struct registers;
  bool begins = status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
  bool ends = WSTOPSIG(status) == (SIGTRAP | 0x80);
  if ((!begins && !ends) || ptrace(PTRACE_GETREGS, thread, NULL, &registers) != 0)
    return PTRACE_CONT;
  if (ends) {
    after(thread, &registers);
    return PTRACE_CONT;
  }
  before(thread, &registers);
  return after != NULL ? PTRACE_SYSCALL : PTRACE_CONT;
}

/* Trace the program until it ends. Returns the status of its first process. */
static int follow(pid_t first, trace_before *before, trace_after *after) {
  int status, result = 0;
  pid_t thread;
  while ((thread = waitpid(-1, &status, __WALL)) > 0) {
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (thread == first)
        result = status;
      continue;
    }
    int how = on_stop(thread, status, before, after);
    ptrace(how, thread, NULL, (void *)(long)signal_of(status));
  }
  return result;
}

int trace_run(char **command, const struct call *calls, trace_before *before, trace_after *after) {
  int status;
  pid_t program = fork();
  if (program == 0)
    run_program(command, calls);
  waitpid(program, &status, 0);
  ptrace(PTRACE_SETOPTIONS, program, NULL,
         (void *)(long)(PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                        PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
  ptrace(PTRACE_CONT, program, NULL, NULL);
  status = follow(program, before, after);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
