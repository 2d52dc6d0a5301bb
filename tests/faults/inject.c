/* Runs a program in which the N-th file call of a kind fails, is partial, or is replaced by SIGKILL:

     inject KIND N FAULT DIRECTORY COMMAND [ARGUMENT...]

   KIND is a name in `kinds` below, FAULT the name of an errno, "short" or "kill". Only calls on files in DIRECTORY
   count, which excludes loading the program. Threads and children are followed. With N = 0 nothing fails.
   The last line on stderr is "inject: CALLS calls, hit" or "..., missed". The exit code is the program's,
   or 128 + N for a signal. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "trace.h"

static const struct kind {
  const char *name;
  struct call calls[5];
} kinds[] = {
  { "open", { { SYS_openat, BY_AT }, { SYS_open, BY_PATH0 }, { SYS_creat, BY_PATH0 }, { -1, 0 } } },
  { "read", { { SYS_read, BY_FD }, { SYS_pread64, BY_FD }, { SYS_readv, BY_FD }, { -1, 0 } } },
  { "write", { { SYS_write, BY_FD }, { SYS_pwrite64, BY_FD }, { SYS_writev, BY_FD }, { -1, 0 } } },
  { "fsync", { { SYS_fsync, BY_FD }, { SYS_fdatasync, BY_FD }, { -1, 0 } } },
  { "rename",
    { { SYS_renameat2, BY_AT }, { SYS_renameat, BY_AT }, { SYS_rename, BY_PATH0 }, { -1, 0 } } },
  { "link", { { SYS_symlink, BY_PATH1 }, { SYS_link, BY_PATH1 }, { -1, 0 } } },
  { "unlink",
    { { SYS_unlinkat, BY_AT }, { SYS_unlink, BY_PATH0 }, { SYS_rmdir, BY_PATH0 }, { -1, 0 } } },
  { "mkdir", { { SYS_mkdirat, BY_AT }, { SYS_mkdir, BY_PATH0 }, { -1, 0 } } },
  { "truncate", { { SYS_ftruncate, BY_FD }, { SYS_truncate, BY_PATH0 }, { -1, 0 } } },
  { "mmap", { { SYS_mmap, BY_FD4 }, { -1, 0 } } },
  { "stat",
    { { SYS_newfstatat, BY_AT },
      { SYS_fstat, BY_FD },
      { SYS_stat, BY_PATH0 },
      { SYS_lstat, BY_PATH0 },
      { -1, 0 } } },
  { "lock", { { SYS_flock, BY_FD }, { SYS_fcntl, BY_FD }, { -1, 0 } } },
  { "readdir", { { SYS_getdents64, BY_FD }, { -1, 0 } } },
};

static const struct fault {
  const char *name;
  int error; /* 0: short, -1: kill */
} faults[] = { { "EIO", EIO },       { "ENOSPC", ENOSPC }, { "EINTR", EINTR }, { "EACCES", EACCES },
               { "EMFILE", EMFILE }, { "ENOMEM", ENOMEM }, { "short", 0 },     { "kill", -1 } };

static struct {
  const struct kind *kind;
  const struct fault *fault;
  long wanted, count;
  bool hit;
  char directory[PATH_MAX];
} plan;

static void usage(const char *problem, const char *word) {
  fprintf(stderr, "inject: %s %s\nusage: inject KIND N FAULT DIRECTORY COMMAND [ARGUMENT...]\n",
          problem, word);
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

/* Whether the call is of the kind and on a file in the directory. (Of fcntl, only locking counts.) */
static bool counts(pid_t thread, const struct user_regs_struct *r) {
  char path[PATH_MAX];
  const struct call *c = plan.kind->calls;
  while ((unsigned long)c->number != r->orig_rax)
    c++;
  if (c->number == SYS_fcntl && r->rsi != F_SETLK && r->rsi != F_SETLKW && r->rsi != F_OFD_SETLK &&
      r->rsi != F_OFD_SETLKW)
    return false;
  return trace_path(thread, r, c->place, path) && trace_below(plan.directory, path) != NULL;
}

/* Make the pending call fail, or shorten it. */
static void inject(pid_t thread, struct user_regs_struct *r) {
  if (plan.fault->error < 0) {
    kill(thread, SIGKILL);
    return;
  }
  if (plan.fault->error == 0) {
    r->rdx = r->rdx > 1 ? r->rdx / 2 : r->rdx; /* the size argument of read and write */
  } else {
    r->orig_rax = (unsigned long)-1;
    r->rax = (unsigned long)-plan.fault->error;
  }
  trace_set_registers(thread, r);
}

static void before(pid_t thread, struct user_regs_struct *r) {
  if (!counts(thread, r) || ++plan.count != plan.wanted)
    return;
  plan.hit = true;
  inject(thread, r);
}

int main(int argc, char **argv) {
  if (argc < 6)
    usage("too few", "arguments");
  read_plan(argv);
  int code = trace_run(argv + 5, plan.kind->calls, before, NULL);
  fprintf(stderr, "inject: %ld calls, %s\n", plan.count, plan.hit ? "hit" : "missed");
  return code;
}
