/* Staged directories, see directory.h. Deleting and exchanging use open directory descriptors and never
   follow links, so a path that changes in between cannot redirect them. */
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

/* List the names in `path`, which is relative to the open `directory`. */
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

/* fsync a directory, ignoring file systems that cannot sync directories. Returns an errno. */
static int sync_directory(int directory) {
  return fsync(directory) == 0 || errno == EINVAL ? 0 : errno;
}

/* Sync the parent directory of `path`, if it is readable. */
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

/* Create the directory `path`, whose parent exists. */
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
    return bam_task_fail_about(t, path, "is not a directory", "; move it, or choose another path");
  return bam_task_fail(t, error);
}

/* Create the directory named by the first `length` bytes of `path`, with its parents. */
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

/* ---- locating a directory ---- */

/* The location of a directory that may not exist yet: its path, its open parent, and its name there. */
typedef struct place {
  int parent;       /* a descriptor; -1: not open */
  const char *name; /* the end of `path` */
  char path[PATH_MAX];
} place;

static void close_descriptor(int descriptor) {
  if (descriptor >= 0)
    close(descriptor);
}

/* Set p->name to the last component of p->path. */
static bam_status find_name(const bam_task *t, place *p) {
  const char *slash = strrchr(p->path, '/');
  p->name = slash != NULL ? slash + 1 : p->path;
  if (*p->name != '\0' && strcmp(p->name, ".") != 0 && strcmp(p->name, "..") != 0)
    return BAM_OK;
  return bam_task_fail_text(t, "the path does not end with a directory name", "; add one");
}

/* Locate `path`. If `follows` is set and `path` is a link, locate its target instead. */
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

/* Open the directory without following a link. */
static bam_status open_itself(const bam_task *t, const place *p, int *directory) {
  *directory = openat(p->parent, p->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return *directory >= 0 ? BAM_OK : bam_task_fail(t, errno);
}

/* Check that the path is free or a directory. *mode gets the directory's mode, or 0 if it is free. */
static bam_status check_target(const bam_task *t, const place *p, mode_t *mode) {
  struct stat info;
  *mode = 0;
  if (fstatat(p->parent, p->name, &info, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? BAM_OK : bam_task_fail(t, errno);
  if (!S_ISDIR(info.st_mode))
    return bam_task_fail_text(t, "it is not a directory", "; move it, or save to another path");
  *mode = info.st_mode;
  return BAM_OK;
}

/* ---- staging ---- */

/* Open and lock the newly created staged directory, until it is committed. Returns an errno. */
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

/* Create a staged directory with `mode`, as a sibling of p. */
static bam_status make_staged(const bam_task *t, const place *p, mode_t mode,
                              char staged[PATH_MAX]) {
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
  /* The directory to be replaced may be private: keep its replacement private too. */
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

/* Delete `names` in the open `directory`, which is at `p`, then the directory. Files already deleted by
   others are ignored. If it holds other files, rmdir fails and it stays. Returns an errno. */
static int remove_files(const place *p, int directory, const bam_names *names) {
  for (int i = 0; i < names->count; i++)
    if (unlinkat(directory, names->entries[i]->d_name, 0) != 0 && errno != ENOENT)
      return errno;
  return unlinkat(p->parent, p->name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : errno;
}

/* Delete the directory at `p` and its files. Fails, deleting nothing, if one is not a regular file. */
static bam_status remove_at(const bam_task *t, place *p) {
  bam_names names = { NULL, 0 };
  int directory = -1, error;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(open_parent(t, p));
  BAM_TRY_OR_DONE(open_itself(t, p, &directory));
  BAM_TRY_OR_DONE(list_at(t, directory, ".", &names));
  for (int i = 0; i < names.count; i++)
    if (!is_regular(directory, names.entries[i]->d_name))
      BAM_TRY_OR_DONE(bam_task_fail_about(t, names.entries[i]->d_name,
                                          "in it is not a regular file",
                                          "; move that file, or remove the directory by hand"));
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
    status = bam_task_fail_text(&t, "it is not a staged directory", "; remove it by hand");
  return status == BAM_OK ? remove_at(&t, &p) : status;
}

/* ---- committing ---- */

typedef struct commit {
  bam_task task;
  place from, to;
  int fresh, old;  /* descriptors of the staged and the replaced directory; -1: not open */
  bam_names names; /* the files in the old directory */
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
    BAM_TRY(bam_task_fail_about(&c->task, staged, "was not staged for this path",
                                "; stage a directory for it first"));
  return open_itself(&(bam_task){ c->task.context, "open", staged }, &c->from, &c->fresh);
}

static bool ends_in(const char *name, const char *end) {
  size_t length = strlen(name), tail = strlen(end);
  return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* Whether `name` is a weight file of a checkpoint: model.safetensors, a shard, or the index. Old weights
   may be deleted even if the new directory has no file of that name: the number of shards may change. */
static bool is_weights(const char *name) {
#define FIVE "[0-9][0-9][0-9][0-9][0-9]"
  return strcmp(name, "model.safetensors") == 0 ||
         strcmp(name, "model.safetensors.index.json") == 0 ||
         fnmatch("model-" FIVE "-of-" FIVE ".safetensors", name, 0) == 0;
#undef FIVE
}

/* Refuse to lose data: every file in the old directory must be of a kind that bamlua writes, and be
   replaced by the new directory. */
static bam_status check_loss(const commit *c, const char *name) {
  static const char what_to_do[] = "; save to another path, or move it (nothing was changed)";
  const char *reason = NULL;
  if (!is_regular(c->old, name))
    reason = "in it is not a regular file";
  else if (!ends_in(name, ".json") && !ends_in(name, ".safetensors") &&
           strcmp(name, "chat_template.jinja") != 0)
    reason = "in it is neither *.json nor *.safetensors";
  else if (!is_regular(c->fresh, name) && !is_weights(name))
    reason = "in it would be deleted, because the new directory has no such file";
  return reason == NULL ? BAM_OK : bam_task_fail_about(&c->task, name, reason, what_to_do);
}

/* Open the directory at the target path, if there is one, and check that it may be replaced. */
static bam_status open_old(commit *c) {
  mode_t mode;
  BAM_TRY(check_target(&c->task, &c->to, &mode));
  if (mode == 0)
    return BAM_OK;
  BAM_TRY(open_itself(&c->task, &c->to, &c->old));
  if (same_file(c->fresh, c->old))
    BAM_TRY(
      bam_task_fail_text(&c->task, "it is the staged directory itself", "; choose another path"));
  BAM_TRY(list_at(&c->task, c->old, ".", &c->names));
  for (int i = 0; i < c->names.count; i++)
    BAM_TRY(check_loss(c, c->names.entries[i]->d_name));
  if (faccessat(c->old, ".", W_OK | X_OK, AT_EACCESS) != 0 || fchmod(c->fresh, mode & 07777) != 0)
    return bam_task_fail(&c->task, errno);
  return BAM_OK;
}

/* Atomically rename the staged directory, or exchange it with the old one. If the change cannot be
   synced, undo it: a failed call changes nothing. */
static bam_status swap(commit *c) {
  unsigned flags = c->old >= 0 ? RENAME_EXCHANGE : 0;
  const place *from = &c->from, *to = &c->to;
  if (renameat2(from->parent, from->name, to->parent, to->name, flags) != 0) {
    if (c->old >= 0 && (errno == EINVAL || errno == ENOSYS))
      return bam_task_fail_text(&c->task,
                                "its file system cannot exchange two directories atomically",
                                "; move the old directory away, or save to another path");
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
                    : bam_task_fail_text(
                        &t, strerror(error),
                        "; it is the old directory: the new one is in place, remove the old "
                        "one by hand");
}

bam_status bam_directory_commit(bam_context *context, const char *staged, const char *path) {
  commit c = { .task = { context, "write", path },
               .from.parent = -1,
               .to.parent = -1,
               .fresh = -1,
               .old = -1 };
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
