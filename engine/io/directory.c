/* Directories as directory.h describes them. What is deleted or exchanged is named relative to
   opened directories, and links are not followed there, so that a path which changes meanwhile
   cannot lead elsewhere. */
#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failure.h"
#include "staged.h"

bool bam_directory_exists(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* ---- listing ---- */

static int is_name(const struct dirent *entry) {
  return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

/* The names in `path`, relative to the opened `directory`. */
static bam_status list_at(const bam_task *t, int directory, const char *path, bam_names *out) {
  *out = (bam_names){ NULL, 0 };
  int count = scandirat(directory, path, &out->entries, is_name, by_name);
  if (count < 0)
    return bam_task_fail(t, errno);
  out->count = count;
  return BAM_OK;
}

bam_status bam_directory_list(bam_context *context, const char *path, bam_names *out) {
  return list_at(&(bam_task){ context, "list", path }, AT_FDCWD, path, out);
}

void bam_names_release(bam_names *names) {
  for (int i = 0; i < names->count; i++)
    free(names->entries[i]);
  free(names->entries);
  *names = (bam_names){ NULL, 0 };
}

/* ---- making ---- */

/* fsync; a file system that cannot sync directories is no error. */
static int sync_directory(int directory) {
  return fsync(directory) == 0 || errno == EINVAL ? 0 : errno;
}

/* Sync what `path` is in, if it may be read. */
static int sync_parent(const char *path) {
  char parent[PATH_MAX] = ".";
  const char *slash = strrchr(path, '/');
  if (slash != NULL)
    snprintf(parent, sizeof parent, "%.*s", (int)(slash - path) + 1, path);
  int directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0)
    return 0;
  int error = sync_directory(directory);
  close(directory);
  return error;
}

/* Make `path`, whose parent exists. */
static bam_status make_one(const bam_task *t, const char *path) {
  struct stat info;
  if (mkdir(path, 0777) == 0) {
    int failed = sync_parent(path);
    return failed == 0 ? BAM_OK : bam_task_fail(t, failed);
  }
  int error = errno;
  if (bam_directory_exists(path))
    return BAM_OK;
  if (lstat(path, &info) == 0)
    return bam_task_fail_about(t, path, "is not a directory", "; move it, or use another place");
  return bam_task_fail(t, error);
}

/* Make the first `length` bytes of `path`, and what they are in. */
static bam_status make_path(const bam_task *t, const char *path, size_t length) {
  char part[PATH_MAX];
  bam_status status = BAM_OK;
  if (length == 0)
    return BAM_OK;
  if (length >= sizeof part)
    return bam_task_fail(t, ENAMETOOLONG);
  for (size_t i = 1; i <= length && status == BAM_OK; i++) {
    part[i - 1] = path[i - 1];
    part[i] = '\0';
    if (path[i - 1] != '/' && (i == length || path[i] == '/'))
      status = make_one(t, part);
  }
  return status;
}

bam_status bam_directory_make(bam_context *context, const char *path) {
  bam_task t = { context, "make", path };
  return *path == '\0' ? bam_task_fail(&t, ENOENT) : make_path(&t, path, strlen(path));
}

/* ---- the place of a directory ---- */

/* Where a directory is or will be: its path, and its name in its parent, which is open. */
typedef struct place {
  int parent;       /* a descriptor; -1: not open */
  const char *name; /* the end of `path` */
  char path[PATH_MAX];
} place;

static void close_descriptor(int descriptor) {
  if (descriptor >= 0)
    close(descriptor);
}

/* Find the name in p->path. */
static bam_status find_name(const bam_task *t, place *p) {
  const char *slash = strrchr(p->path, '/');
  p->name = slash != NULL ? slash + 1 : p->path;
  if (*p->name != '\0' && strcmp(p->name, ".") != 0 && strcmp(p->name, "..") != 0)
    return BAM_OK;
  return bam_task_fail_text(t, "that names no directory of its own", "; end the path with a name");
}

/* Take `path` apart. `follows`: what it leads to, when it is a link to something. */
static bam_status find_place(const bam_task *t, const char *path, bool follows, place *p) {
  char resolved[PATH_MAX];
  struct stat info;
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/')
    length--;
  if (length >= PATH_MAX)
    return bam_task_fail(t, ENAMETOOLONG);
  memcpy(p->path, path, length);
  p->path[length] = '\0';
  bam_status status = find_name(t, p);
  bool is_link = lstat(p->path, &info) == 0 && S_ISLNK(info.st_mode);
  if (status != BAM_OK || !follows || !is_link || realpath(p->path, resolved) == NULL)
    return status;
  strcpy(p->path, resolved);
  return find_name(t, p);
}

static bam_status open_parent(const bam_task *t, place *p) {
  char parent[PATH_MAX] = ".";
  if (p->name > p->path)
    snprintf(parent, sizeof parent, "%.*s", (int)(p->name - p->path), p->path);
  p->parent = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return p->parent >= 0 ? BAM_OK : bam_task_fail(t, errno);
}

/* Open the directory itself; never what a link leads to. */
static bam_status open_itself(const bam_task *t, const place *p, int *directory) {
  *directory = openat(p->parent, p->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return *directory >= 0 ? BAM_OK : bam_task_fail(t, errno);
}

/* What is at a place must be nothing or a directory: its mode, else 0. */
static bam_status check_target(const bam_task *t, const place *p, mode_t *mode) {
  struct stat info;
  *mode = 0;
  if (fstatat(p->parent, p->name, &info, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? BAM_OK : bam_task_fail(t, errno);
  if (!S_ISDIR(info.st_mode))
    return bam_task_fail_text(t, "it is not a directory", "; move it, or save elsewhere");
  *mode = info.st_mode;
  return BAM_OK;
}

/* ---- staging ---- */

/* Open the directory that was made under a temporary name, and keep it locked. Returns an errno. */
static int keep_staged(bam_context *context, int parent, const char *name) {
  int file = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (file < 0)
    return errno;
  int error = bam_staged_lock(parent, name, file);
  if (error == 0)
    return bam_staged_keep(context, file);
  close(file);
  return error;
}

/* Make a directory with `mode` beside the place. */
static bam_status make_staged(const bam_task *t, const place *p, mode_t mode, char staged[PATH_MAX]) {
  char name[NAME_MAX + 1];
  int head = (int)(p->name - p->path);
  bam_staged_name(p->name, name);
  if (snprintf(staged, PATH_MAX, "%.*s%s", head, p->path, name) >= PATH_MAX)
    return bam_task_fail(t, ENAMETOOLONG);
  if (mkdirat(p->parent, name, mode) != 0)
    return bam_task_fail(t, errno);
  int error = keep_staged(t->context, p->parent, name);
  if (error == 0)
    return BAM_OK;
  unlinkat(p->parent, name, AT_REMOVEDIR);
  return bam_task_fail(t, error);
}

bam_status bam_directory_stage(bam_context *context, const char *path, char staged[PATH_MAX]) {
  bam_task t = { context, "write", path };
  place p = { .parent = -1 };
  mode_t mode;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(find_place(&t, path, true, &p));
  BAM_TRY_OR_DONE(make_path(&t, p.path, (size_t)(p.name - p.path)));
  BAM_TRY_OR_DONE(open_parent(&t, &p));
  BAM_TRY_OR_DONE(check_target(&t, &p, &mode));
  /* Nobody else reads what is to replace a directory that may be private. */
  BAM_TRY_OR_DONE(make_staged(&t, &p, mode == 0 ? 0777 : 0700, staged));
done:
  close_descriptor(p.parent);
  return status;
}

/* ---- deleting ---- */

static bool is_regular(int directory, const char *name) {
  struct stat info;
  return fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode);
}

/* Delete these files of the opened `directory`, which is at `p`, and then itself. The system keeps
   it if it holds anything else. What has gone meanwhile is fine. Returns an errno. */
static int remove_files(const place *p, int directory, const bam_names *names) {
  for (int i = 0; i < names->count; i++)
    if (unlinkat(directory, names->entries[i]->d_name, 0) != 0 && errno != ENOENT)
      return errno;
  return unlinkat(p->parent, p->name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : errno;
}

/* Delete the directory at `p` and its files, which must be regular ones all. */
static bam_status remove_at(const bam_task *t, place *p) {
  bam_names names = { NULL, 0 };
  int directory = -1, error;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(open_parent(t, p));
  BAM_TRY_OR_DONE(open_itself(t, p, &directory));
  BAM_TRY_OR_DONE(list_at(t, directory, ".", &names));
  for (int i = 0; i < names.count; i++)
    if (!is_regular(directory, names.entries[i]->d_name))
      BAM_TRY_OR_DONE(bam_task_fail_about(t, names.entries[i]->d_name, "in it is not a regular file",
                         "; move that, or remove it by hand"));
  error = remove_files(p, directory, &names);
  if (error != 0)
    status = bam_task_fail(t, error);
done:
  if (status == BAM_OK)
    bam_staged_forget(t->context, directory);
  bam_names_release(&names);
  close_descriptor(directory);
  close_descriptor(p->parent);
  return status;
}

bam_status bam_directory_remove(bam_context *context, const char *path) {
  bam_task t = { context, "remove", path };
  place p = { .parent = -1 };
  BAM_TRY(find_place(&t, path, false, &p));
  return remove_at(&t, &p);
}

bam_status bam_directory_discard(bam_context *context, const char *staged) {
  bam_task t = { context, "remove", staged };
  place p = { .parent = -1 };
  bam_status status = find_place(&t, staged, false, &p);
  if (status == BAM_OK && bam_staged_length(p.name) < 0)
    status = bam_task_fail_text(&t, "it was not made to be thrown away", "; remove it by hand");
  return status == BAM_OK ? remove_at(&t, &p) : status;
}

/* ---- committing ---- */

typedef struct commit {
  bam_task task;
  place from, to;
  int fresh, old;  /* the staged directory and the one to be replaced, opened; -1: not */
  bam_names names; /* in the old one */
} commit;

static bool same_file(int a, int b) {
  struct stat x, y;
  return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bam_status open_both(commit *c, const char *staged, const char *path) {
  BAM_TRY(find_place(&c->task, staged, false, &c->from));
  BAM_TRY(find_place(&c->task, path, true, &c->to));
  BAM_TRY(open_parent(&c->task, &c->from));
  BAM_TRY(open_parent(&c->task, &c->to));
  if (bam_staged_length(c->from.name) < 0 || !same_file(c->from.parent, c->to.parent))
    BAM_TRY(bam_task_fail_about(&c->task, staged, "was not staged for it", "; stage a directory first"));
  return open_itself(&(bam_task){ c->task.context, "open", staged }, &c->from, &c->fresh);
}

static bool ends_in(const char *name, const char *end) {
  size_t length = strlen(name), tail = strlen(end);
  return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* Weights exactly as checkpoints name them: one file, or shards with an index. Another number of
   shards replaces them all. */
static bool is_weights(const char *name) {
#define FIVE "[0-9][0-9][0-9][0-9][0-9]"
  return strcmp(name, "model.safetensors") == 0 ||
         strcmp(name, "model.safetensors.index.json") == 0 ||
         fnmatch("model-" FIVE "-of-" FIVE ".safetensors", name, 0) == 0;
#undef FIVE
}

/* Nothing may be lost: what the old directory holds must be of our making, and replaced. */
static bam_status check_loss(const commit *c, const char *name) {
  static const char what_to_do[] = "; save elsewhere, or move it (nothing is lost)";
  const char *reason = NULL;
  if (!is_regular(c->old, name))
    reason = "in it is not a regular file";
  else if (!ends_in(name, ".json") && !ends_in(name, ".safetensors") &&
           strcmp(name, "chat_template.jinja") != 0)
    reason = "in it is neither *.json nor *.safetensors";
  else if (!is_regular(c->fresh, name) && !is_weights(name))
    reason = "in it would not be replaced but deleted";
  return reason == NULL ? BAM_OK : bam_task_fail_about(&c->task, name, reason, what_to_do);
}

/* Open what is at the place to write to, if anything is, and check that it may be replaced. */
static bam_status open_old(commit *c) {
  mode_t mode;
  BAM_TRY(check_target(&c->task, &c->to, &mode));
  if (mode == 0)
    return BAM_OK;
  BAM_TRY(open_itself(&c->task, &c->to, &c->old));
  if (same_file(c->fresh, c->old))
    BAM_TRY(bam_task_fail_text(&c->task, "it is the staged directory", "; name another place"));
  BAM_TRY(list_at(&c->task, c->old, ".", &c->names));
  for (int i = 0; i < c->names.count; i++)
    BAM_TRY(check_loss(c, c->names.entries[i]->d_name));
  if (faccessat(c->old, ".", W_OK | X_OK, AT_EACCESS) != 0 || fchmod(c->fresh, mode & 07777) != 0)
    return bam_task_fail(&c->task, errno);
  return BAM_OK;
}

/* Give the staged directory its name, in one step. If that cannot be made to last, take it back: a
   failed call changes nothing. */
static bam_status swap(commit *c) {
  unsigned flags = c->old >= 0 ? RENAME_EXCHANGE : 0;
  const place *from = &c->from, *to = &c->to;
  if (renameat2(from->parent, from->name, to->parent, to->name, flags) != 0) {
    if (c->old >= 0 && (errno == EINVAL || errno == ENOSYS))
      return bam_task_fail_text(&c->task, "its file system cannot exchange two directories in one step",
                       "; move the old one away, or save elsewhere");
    return bam_task_fail(&c->task, errno);
  }
  int error = sync_directory(to->parent);
  if (error == 0)
    return BAM_OK;
  renameat2(to->parent, to->name, from->parent, from->name, flags);
  return bam_task_fail(&c->task, error);
}

static bam_status remove_old(const commit *c) {
  bam_task t = { c->task.context, "remove", c->from.path };
  int error = remove_files(&c->from, c->old, &c->names);
  return error == 0 ? BAM_OK
                    : bam_task_fail_text(&t, strerror(error),
                                "; it is what was there before: the new directory is in place, "
                                "remove the old one by hand");
}

bam_status bam_directory_commit(bam_context *context, const char *staged, const char *path) {
  commit c = { .task = { context, "write", path }, .from.parent = -1, .to.parent = -1,
               .fresh = -1, .old = -1 };
  int error;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(open_both(&c, staged, path));
  BAM_TRY_OR_DONE(open_old(&c));
  error = sync_directory(c.fresh);
  if (error != 0)
    BAM_TRY_OR_DONE(bam_task_fail(&c.task, error));
  BAM_TRY_OR_DONE(swap(&c));
  bam_staged_forget(context, c.fresh);
  if (c.old >= 0)
    status = remove_old(&c);
done:
  bam_names_release(&c.names);
  close_descriptor(c.fresh);
  close_descriptor(c.old);
  close_descriptor(c.from.parent);
  close_descriptor(c.to.parent);
  return status;
}
