/* Runs a program and records, in order, every change to files in a directory:

     record FILE DIRECTORY COMMAND [ARGUMENT...]

   FILE gets one line per change, with paths relative to DIRECTORY and fields separated by tabs:
     make PATH     truncate PATH SIZE    write PATH OFFSET SIZE, then SIZE bytes and a line feed
     mkdir PATH    link PATH TARGET      rename FROM TO    exchange FROM TO    remove PATH
     sync PATH     (a file, or a directory's names)
   Failed calls are not recorded. The exit code is the program's. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "trace.h"

static const struct call calls[] = {
  { SYS_openat, BY_AT },
  { SYS_open, BY_PATH0 },
  { SYS_write, BY_FD },
  { SYS_pwrite64, BY_FD },
  { SYS_ftruncate, BY_FD },
  { SYS_fsync, BY_FD },
  { SYS_fdatasync, BY_FD },
  { SYS_renameat2, BY_AT },
  { SYS_renameat, BY_AT },
  { SYS_rename, BY_PATH0 },
  { SYS_symlink, BY_PATH1 },
  { SYS_unlinkat, BY_AT },
  { SYS_unlink, BY_PATH0 },
  { SYS_rmdir, BY_PATH0 },
  { SYS_mkdirat, BY_AT },
  { SYS_mkdir, BY_PATH0 },
  { -1, 0 },
};

static FILE *out;
static char directory[PATH_MAX];

/* State saved before a call. One for all threads, because only one thread changes files at a time. */
static struct {
  bool within, existed;
  char path[PATH_MAX], other[PATH_MAX];
  long offset;
} call;

static const char *below(const char *path) { return trace_below(directory, path); }

/* The position of a descriptor of the thread, or the end of its file if it appends. */
static long position_of(pid_t thread, int fd, const char *path) {
  char name[64], line[128];
  long position = 0;
  unsigned flags = 0;
  struct stat info;
  snprintf(name, sizeof name, "/proc/%d/fdinfo/%d", (int)thread, fd);
  FILE *file = fopen(name, "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    sscanf(line, "pos: %ld", &position);
    sscanf(line, "flags: %o", &flags);
  }
  if (file != NULL)
    fclose(file);
  return (flags & O_APPEND) != 0 && stat(path, &info) == 0 ? info.st_size : position;
}

static void before(pid_t thread, struct user_regs_struct *r) {
  struct stat info;
  const struct call *c = calls;
  while ((unsigned long)c->number != r->orig_rax)
    c++;
  call.within = trace_path(thread, r, c->place, call.path) && below(call.path) != NULL;
  if (!call.within)
    return;
  call.existed = lstat(call.path, &info) == 0;
  if (c->number == SYS_write)
    call.offset = position_of(thread, (int)r->rdi, call.path);
  if (c->number == SYS_pwrite64)
    call.offset = (long)r->r10;
  if (c->number == SYS_rename)
    trace_path(thread, r, BY_PATH1, call.other);
  if (c->number == SYS_renameat || c->number == SYS_renameat2)
    trace_path(thread, r, BY_AT3, call.other);
}

static void record_write(pid_t thread, const struct user_regs_struct *r) {
  size_t size = (size_t)r->rax;
  char *data = malloc(size + 1);
  if (data == NULL || !trace_read(thread, r->rsi, data, size)) {
    fprintf(stderr, "record: cannot read what is written\n");
    exit(2);
  }
  fprintf(out, "write\t%s\t%ld\t%zu\n", below(call.path), call.offset, size);
  fwrite(data, 1, size, out);
  fputc('\n', out);
  free(data);
}

static void record_open(const struct user_regs_struct *r) {
  unsigned long flags = r->orig_rax == SYS_openat ? r->rdx : r->rsi;
  if (!call.existed && (flags & O_CREAT) != 0)
    fprintf(out, "make\t%s\n", below(call.path));
  else if ((flags & O_TRUNC) != 0)
    fprintf(out, "truncate\t%s\t0\n", below(call.path));
}

static void record_rename(const struct user_regs_struct *r) {
  bool exchanges = r->orig_rax == SYS_renameat2 && (r->r8 & RENAME_EXCHANGE) != 0;
  if (below(call.other) != NULL)
    fprintf(out, "%s\t%s\t%s\n", exchanges ? "exchange" : "rename", below(call.path),
            below(call.other));
}

static void record_link(void) {
  char target[PATH_MAX];
  ssize_t length = readlink(call.path, target, sizeof target - 1);
  if (length > 0)
    fprintf(out, "link\t%s\t%.*s\n", below(call.path), (int)length, target);
}

static void after(pid_t thread, const struct user_regs_struct *r) {
  if (!call.within || (long)r->rax < 0)
    return;
  switch (r->orig_rax) {
  case SYS_openat:
  case SYS_open: record_open(r); break;
  case SYS_write:
  case SYS_pwrite64: record_write(thread, r); break;
  case SYS_ftruncate: fprintf(out, "truncate\t%s\t%ld\n", below(call.path), (long)r->rsi); break;
  case SYS_fsync:
  case SYS_fdatasync: fprintf(out, "sync\t%s\n", below(call.path)); break;
  case SYS_renameat2:
  case SYS_renameat:
  case SYS_rename: record_rename(r); break;
  case SYS_symlink: record_link(); break;
  case SYS_unlinkat:
  case SYS_unlink:
  case SYS_rmdir: fprintf(out, "remove\t%s\n", below(call.path)); break;
  case SYS_mkdirat:
  case SYS_mkdir: fprintf(out, "mkdir\t%s\n", below(call.path)); break;
  default: break;
  }
  call.within = false;
}

int main(int argc, char **argv) {
  if (argc < 4 || (out = fopen(argv[1], "w")) == NULL || realpath(argv[2], directory) == NULL) {
    fprintf(stderr, "usage: record FILE DIRECTORY COMMAND [ARGUMENT...]\n");
    return 2;
  }
  int code = trace_run(argv + 3, calls, before, after);
  if (fclose(out) != 0) {
    perror("record");
    return 2;
  }
  return code;
}
