/* Runs a program in which the N-th file call of a kind fails, is cut short, or ends in SIGKILL:

     inject KIND N FAULT DIRECTORY COMMAND [ARGUMENT...]

   KIND is a name of `kinds` below, FAULT an errno's name, "short" or "kill". Only calls on files in
   DIRECTORY count, so the loading of the program does not. Threads and children are followed. With
   N = 0 nothing fails. The last line on stderr is "inject: CALLS calls, hit" or "..., missed"; the
   exit code is the program's, 128 + N for a signal.

   The calls are seen by a seccomp filter, at the border of the system, where neither libc nor a
   library can pass by. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the injector knows the registers of x86-64 only"
#endif

/* ---- what is injected ---- */

/* How a call names its file: by the descriptor in argument 0 or 4 (mmap), by a path in argument 0 or
   1, or by a path in argument 1 that is relative to the descriptor in argument 0. */
enum place { BY_FD, BY_FD4, BY_PATH0, BY_PATH1, BY_AT };

struct call {
  long number;
  enum place place;
};

static const struct kind {
  const char *name;
  struct call calls[5]; /* ends with number -1 */
} kinds[] = {
  { "open", { { SYS_openat, BY_AT }, { SYS_open, BY_PATH0 }, { SYS_creat, BY_PATH0 }, { -1, 0 } } },
  { "read", { { SYS_read, BY_FD }, { SYS_pread64, BY_FD }, { SYS_readv, BY_FD }, { -1, 0 } } },
  { "write", { { SYS_write, BY_FD }, { SYS_pwrite64, BY_FD }, { SYS_writev, BY_FD }, { -1, 0 } } },
  { "fsync", { { SYS_fsync, BY_FD }, { SYS_fdatasync, BY_FD }, { -1, 0 } } },
  { "rename", { { SYS_renameat2, BY_AT }, { SYS_renameat, BY_AT }, { SYS_rename, BY_PATH0 }, { -1, 0 } } },
  { "link", { { SYS_symlink, BY_PATH1 }, { SYS_link, BY_PATH1 }, { -1, 0 } } },
  { "unlink", { { SYS_unlinkat, BY_AT }, { SYS_unlink, BY_PATH0 }, { SYS_rmdir, BY_PATH0 }, { -1, 0 } } },
  { "mkdir", { { SYS_mkdirat, BY_AT }, { SYS_mkdir, BY_PATH0 }, { -1, 0 } } },
  { "truncate", { { SYS_ftruncate, BY_FD }, { SYS_truncate, BY_PATH0 }, { -1, 0 } } },
  { "mmap", { { SYS_mmap, BY_FD4 }, { -1, 0 } } },
  { "stat", { { SYS_newfstatat, BY_AT }, { SYS_fstat, BY_FD }, { SYS_stat, BY_PATH0 }, { SYS_lstat, BY_PATH0 }, { -1, 0 } } },
  { "lock", { { SYS_flock, BY_FD }, { SYS_fcntl, BY_FD }, { -1, 0 } } },
  { "readdir", { { SYS_getdents64, BY_FD }, { -1, 0 } } },
};

static const struct fault {
  const char *name;
  int error;
} faults[] = { { "EIO", EIO },       { "ENOSPC", ENOSPC }, { "EINTR", EINTR },  { "EACCES", EACCES },
               { "EMFILE", EMFILE }, { "ENOMEM", ENOMEM }, { "short", 0 },      { "kill", -1 } };

static struct {
  const struct kind *kind;
  const struct fault *fault;
  long wanted, count;
  bool hit;
  char directory[PATH_MAX];
} plan;

static void usage(const char *problem, const char *word) {
  fprintf(stderr, "inject: %s %s\nusage: inject KIND N FAULT DIRECTORY COMMAND [ARGUMENT...]\n", problem, word);
  exit(2);
}

static void read_plan(char **argv) {
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    if (strcmp(argv[1], kinds[i].name) == 0)
      plan.kind = &kinds[i];
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
    if (strcmp(argv[3], faults[i].name) == 0)
      plan.fault = &faults[i];
  if (plan.kind == NULL)
    usage("unknown kind", argv[1]);
  if (plan.fault == NULL)
    usage("unknown fault", argv[3]);
  plan.wanted = atol(argv[2]);
  if (realpath(argv[4], plan.directory) == NULL)
    usage("no directory", argv[4]);
}

/* ---- the program ---- */

/* Let the filter report the calls of the kind to the tracer, and all others pass. */
static void install_filter(void) {
  struct sock_filter code[16];
  int n = 0;
  code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (const struct call *c = plan.kind->calls; c->number >= 0; c++) {
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)c->number, 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
  }
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = { .len = (unsigned short)n, .filter = code };
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    perror("inject: seccomp");
    _exit(2);
  }
}

static void run_program(char **command) {
  ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  raise(SIGSTOP); /* until the tracer has set its options */
  install_filter();
  execvp(command[0], command);
  perror("inject: cannot run the command");
  _exit(127);
}

/* ---- which file a call is on ---- */

static bool is_within(const char *path) {
  size_t length = strlen(plan.directory);
  return strncmp(path, plan.directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static bool link_is_within(pid_t thread, const char *format, long number) {
  char name[64], path[PATH_MAX];
  int length = snprintf(name, sizeof name, "/proc/%d/", (int)thread);
  snprintf(name + length, sizeof name - (size_t)length, format, number);
  ssize_t got = readlink(name, path, sizeof path - 1);
  if (got < 0)
    return false;
  path[got] = '\0';
  return is_within(path);
}

static bool descriptor_is_within(pid_t thread, long fd) { return fd >= 0 && link_is_within(thread, "fd/%ld", fd); }

/* Is the path at `address` of the thread within the directory? `at` is what it is relative to. */
static bool path_is_within(pid_t thread, unsigned long address, long at) {
  char path[PATH_MAX] = "";
  struct iovec here = { path, sizeof path - 1 }, there = { (void *)address, sizeof path - 1 };
  long page = 4096 - (long)(address % 4096); /* what lies behind the page may not be readable */
  if (process_vm_readv(thread, &here, 1, &there, 1, 0) < 0) {
    here.iov_len = there.iov_len = (size_t)page;
    if (process_vm_readv(thread, &here, 1, &there, 1, 0) < 0)
      return false;
  }
  if (path[0] == '/')
    return is_within(path);
  return at == AT_FDCWD ? link_is_within(thread, "cwd", 0) : descriptor_is_within(thread, at);
}

static bool call_is_within(pid_t thread, const struct user_regs_struct *r) {
  const struct call *c = plan.kind->calls;
  while (c->number >= 0 && (unsigned long)c->number != r->orig_rax)
    c++;
  switch (c->place) {
  case BY_FD: return descriptor_is_within(thread, (int)r->rdi);
  case BY_FD4: return descriptor_is_within(thread, (int)r->r8);
  case BY_PATH0: return path_is_within(thread, r->rdi, AT_FDCWD);
  case BY_PATH1: return path_is_within(thread, r->rsi, AT_FDCWD);
  case BY_AT: return path_is_within(thread, r->rsi, (int)r->rdi);
  }
  return false;
}

/* fcntl does more than locking. */
static bool is_of_kind(const struct user_regs_struct *r) {
  return r->orig_rax != SYS_fcntl || r->rsi == F_SETLK || r->rsi == F_SETLKW || r->rsi == F_OFD_SETLK ||
         r->rsi == F_OFD_SETLKW;
}

/* ---- the tracer ---- */

/* Make the call that is about to happen fail, or less of it happen. */
static void inject(pid_t thread, struct user_regs_struct *r) {
  if (plan.fault->error < 0) {
    kill(thread, SIGKILL);
    return;
  }
  if (plan.fault->error == 0) {
    r->rdx = r->rdx > 1 ? r->rdx / 2 : r->rdx; /* the size, of reading and writing */
  } else {
    r->orig_rax = (unsigned long)-1;
    r->rax = (unsigned long)-plan.fault->error;
  }
  ptrace(PTRACE_SETREGS, thread, NULL, r);
}

static void on_call(pid_t thread) {
  struct user_regs_struct r;
  if (ptrace(PTRACE_GETREGS, thread, NULL, &r) != 0 || !is_of_kind(&r) || !call_is_within(thread, &r))
    return;
  if (++plan.count != plan.wanted)
    return;
  plan.hit = true;
  inject(thread, &r);
}

/* The signal that a stopped thread is to get as it goes on. */
static int signal_of(int status) {
  int number = WSTOPSIG(status);
  return status >> 16 != 0 || number == SIGTRAP || number == SIGSTOP ? 0 : number;
}

/* Follow the program until it has ended. Returns the status of its first process. */
static int follow(pid_t first) {
  int status, result = 0;
  pid_t thread;
  while ((thread = waitpid(-1, &status, __WALL)) > 0) {
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (thread == first)
        result = status;
      continue;
    }
    if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8))
      on_call(thread);
    ptrace(PTRACE_CONT, thread, NULL, (void *)(long)signal_of(status));
  }
  return result;
}

int main(int argc, char **argv) {
  int status;
  if (argc < 6)
    usage("too few", "arguments");
  read_plan(argv);
  pid_t program = fork();
  if (program == 0)
    run_program(argv + 5);
  waitpid(program, &status, 0);
  ptrace(PTRACE_SETOPTIONS, program, NULL,
         (void *)(long)(PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                        PTRACE_O_EXITKILL));
  ptrace(PTRACE_CONT, program, NULL, NULL);
  status = follow(program);
  fprintf(stderr, "inject: %ld calls, %s\n", plan.count, plan.hit ? "hit" : "missed");
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
