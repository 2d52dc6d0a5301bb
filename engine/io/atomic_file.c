/* The atomic writer. All operations are relative to one open descriptor of the directory, so changing
   the working directory or renaming a parent between open and commit does no harm. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/devices.h"
#include "../core/quote.h"
#include "atomic_file.h"
#include "failure.h"
#include "staged.h"

/* Non-contiguous tensors are made contiguous in pieces of at most this many bytes. */
#define PIECE_BYTES (256 * 1024)

static bam_task task_of(const bam_writer *writer) {
  return (bam_task){ writer->context, "write", writer->path };
}

static bam_status fail_text(const bam_writer *writer, const char *reason, const char *what_to_do) {
  const bam_task task = task_of(writer);
  return bam_task_fail_text(&task, reason, what_to_do);
}

static bam_status fail_errno(const bam_writer *writer, int error) {
  const bam_task task = task_of(writer);
  return bam_task_fail(&task, error);
}

/* Split `path`: open its directory, and store its last component as the name. */
static bam_status open_directory(bam_writer *writer, const char *path) {
  const char *slash = strrchr(path, '/');
  const char *name = slash != NULL ? slash + 1 : path;
  size_t head = (size_t)(name - path);
  if (*name == '\0')
    return fail_text(writer, "the path does not end with a file name", "; add one");
  if (strlen(name) > NAME_MAX || head >= PATH_MAX)
    return fail_errno(writer, ENAMETOOLONG);
  char directory[PATH_MAX] = ".";
  if (head > 0) {
    memcpy(directory, path, head);
    directory[head] = '\0';
  }
  strcpy(writer->name, name);
  writer->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (writer->directory >= 0)
    return BAM_OK;
  char reason[BAM_QUOTE_TEXT + 100], quoted[BAM_QUOTE_TEXT];
  int error = errno;
  snprintf(reason, sizeof reason, "directory %s: %s", bam_quote(directory, quoted),
           strerror(error));
  return fail_text(writer, reason,
                   error == ENOENT ? "; create the directory first" : bam_path_advice(error));
}

/* Check that the path is free, or is a regular file that this user may write. *old gets the stat of that
   file (owner, permissions), or all zeros if the path is free. */
static bam_status check_target(const bam_writer *writer, struct stat *old) {
  struct stat info;
  *old = (struct stat){ .st_mode = 0 };
  if (fstatat(writer->directory, writer->name, &info, 0) != 0)
    return errno == ENOENT ? BAM_OK : fail_errno(writer, errno);
  if (S_ISDIR(info.st_mode))
    return fail_text(writer, "it is a directory", "; name a file in it");
  if (!S_ISREG(info.st_mode))
    return fail_text(writer, "it is a pipe or device", "; write to a regular file and copy it");
  if (faccessat(writer->directory, writer->name, W_OK, AT_EACCESS) != 0)
    return fail_errno(writer, errno);
  *old = info;
  return BAM_OK;
}

/* Give the temporary file the owner, group and permissions of the file that it replaces. If this user
   may not set the group, the group gets no access. Returns an errno. */
static int keep_permissions(const bam_writer *writer, const struct stat *old) {
  struct stat info;
  mode_t mode = old->st_mode & 0777;
  if (fstat(writer->file, &info) != 0)
    return errno;
  bool is_same = info.st_uid == old->st_uid && info.st_gid == old->st_gid;
  if (!is_same && fchown(writer->file, old->st_uid, old->st_gid) != 0 &&
      fchown(writer->file, (uid_t)-1, old->st_gid) != 0)
    mode &= (mode_t)~S_IRWXG;
  return fchmod(writer->file, mode) == 0 ? 0 : errno;
}

/* Create and lock the temporary file. Returns an errno. */
static int make_temporary(bam_writer *writer, mode_t mode) {
  int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  bam_staged_name(writer->name, writer->temporary);
  writer->file = openat(writer->directory, writer->temporary, flags, mode);
  if (writer->file < 0)
    return errno;
  writer->has_temporary = true;
  return bam_staged_lock(writer->directory, writer->temporary, writer->file);
}

static bam_status open_temporary(bam_writer *writer, const struct stat *old) {
  bool replaces = old->st_mode != 0;
  int error = make_temporary(writer, replaces ? 0600 : 0666);
  if (error == 0 && replaces)
    error = keep_permissions(writer, old);
  return error == 0 ? BAM_OK : fail_errno(writer, error);
}

bam_status bam_writer_open(bam_writer *writer, bam_context *context, const char *path) {
  writer->context = context;
  writer->path = path;
  writer->directory = writer->file = -1;
  writer->has_temporary = false;
  writer->written = writer->used = 0;
  struct rlimit limit;
  bool limited = getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur <= INT64_MAX;
  writer->limit = limited ? (int64_t)limit.rlim_cur : INT64_MAX;
  char resolved[PATH_MAX]; /* the target of a symbolic link; a dangling link is replaced itself */
  const char *target = realpath(path, resolved) != NULL ? resolved : path;
  struct stat old;
  bam_status status = open_directory(writer, target);
  if (status == BAM_OK)
    status = check_target(writer, &old);
  if (status == BAM_OK)
    status = open_temporary(writer, &old);
  if (status != BAM_OK)
    bam_writer_abandon(writer);
  return status;
}

static bam_status flush(bam_writer *writer) {
  /* writing beyond RLIMIT_FSIZE would raise SIGXFSZ, which kills the program */
  if (writer->used > writer->limit - writer->written)
    return fail_errno(writer, EFBIG);
  for (int64_t done = 0; done < writer->used;) {
    ssize_t n = TEMP_FAILURE_RETRY(
      write(writer->file, writer->buffer + done, (size_t)(writer->used - done)));
    if (n <= 0) /* 0: retrying would loop forever */
      return fail_errno(writer, n < 0 ? errno : EIO);
    done += n;
  }
  writer->written += writer->used;
  writer->used = 0;
  return BAM_OK;
}

/* Append bytes from the memory of `device`. */
static bam_status append(bam_writer *writer, bam_device *device, const void *data, int64_t bytes) {
  for (int64_t done = 0; done < bytes;) {
    int64_t room = BAM_WRITER_BUFFER - writer->used;
    int64_t step = bytes - done < room ? bytes - done : room;
    device->copy_out(device->stream, writer->buffer + writer->used,
                     (const unsigned char *)data + done, step);
    bam_status arrived = bam_device_check(writer->context, device);
    if (arrived != BAM_OK) /* the copy failed: the buffer holds garbage */
      return arrived;
    writer->used += step;
    done += step;
    if (writer->used == BAM_WRITER_BUFFER) {
      BAM_TRY(flush(writer));
    }
  }
  return BAM_OK;
}

bam_status bam_writer_bytes(bam_writer *writer, const void *data, int64_t bytes) {
  return append(writer, &writer->context->cpu, data, bytes);
}

static bam_status append_contiguous(bam_writer *writer, bam_tensor *tensor) {
  bam_tensor *whole;
  bam_status status = bam_tensor_contiguous(tensor, &whole);
  if (status != BAM_OK)
    return status;
  int64_t bytes = bam_tensor_count(whole) * bam_dtype_size(whole->dtype);
  status = append(writer, bam_tensor_device(whole), bam_tensor_data(whole), bytes);
  bam_tensor_release(whole);
  return status;
}

/* Append the slice [from, to) of `tensor` along `dim`, its first dimension of size above 1. */
static bam_status append_part(bam_writer *writer, bam_tensor *tensor, int dim, int64_t from,
                              int64_t to) {
  bam_shape shape = tensor->shape;
  shape.size[dim] = to - from;
  bam_tensor *part;
  bam_status status = bam_tensor_view(tensor, &shape, tensor->stride,
                                      tensor->offset + from * tensor->stride[dim], &part);
  if (status != BAM_OK)
    return status;
  status = bam_writer_tensor(writer, part);
  bam_tensor_release(part);
  return status;
}

/* Splits in halves, so the recursion is at most 64 levels deep. */
bam_status bam_writer_tensor(bam_writer *writer, bam_tensor *tensor) {
  int64_t count = bam_tensor_count(tensor);
  if (count <= PIECE_BYTES / bam_dtype_size(tensor->dtype) || bam_tensor_is_contiguous(tensor))
    return append_contiguous(writer, tensor);
  int dim = 0;
  while (tensor->shape.size[dim] == 1)
    dim++;
  int64_t size = tensor->shape.size[dim];
  bam_status status = append_part(writer, tensor, dim, 0, size / 2);
  return status != BAM_OK ? status : append_part(writer, tensor, dim, size / 2, size);
}

static bam_status rename_file(bam_writer *writer) {
  if (renameat(writer->directory, writer->temporary, writer->directory, writer->name) != 0)
    return fail_errno(writer, errno);
  writer->has_temporary = false;
  if (fsync(writer->directory) != 0 &&
      errno != EINVAL) /* a file system that cannot sync directories */
    return fail_text(
      writer, strerror(errno),
      " while syncing its directory; the new file is in place, but a power failure may "
      "bring back the old one");
  return BAM_OK;
}

bam_status bam_writer_commit(bam_writer *writer) {
  bam_status status = flush(writer);
  if (status == BAM_OK && fsync(writer->file) != 0)
    status = fail_errno(writer, errno);
  if (status == BAM_OK)
    status = rename_file(writer);
  bam_writer_abandon(writer); /* closing releases the lock, only now that the file is renamed */
  return status;
}

void bam_writer_abandon(bam_writer *writer) {
  if (writer->has_temporary)
    unlinkat(writer->directory, writer->temporary, 0);
  if (writer->file >= 0)
    close(writer->file);
  if (writer->directory >= 0)
    close(writer->directory);
  writer->file = writer->directory = -1;
  writer->has_temporary = false;
}
