/* Random-access reading of files, see input_file.h. */
#include "input_file.h"
#include "../core/quote.h"
#include "failure.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic_file.h"
#include "paths.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files hold little-endian data");

#define MOST_PIECE (1 << 30) /* the system reads at most 2 GB at once */

struct bam_input_file {
  bam_context *context;
  int file;                    /* -1: reopened for each read */
  const unsigned char *memory; /* the bytes, if the input is in memory; else NULL */
  struct stat info;            /* as of opening */
  char *path;                  /* NULL if the input is in memory */
};

/* ---- opening ---- */

static int open_path(const char *path) {
  /* O_NONBLOCK: do not block on a pipe without a writer */
  return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

static bam_status check_readable(bam_context *context, const char *path, const struct stat *info) {
  const char *reason = S_ISDIR(info->st_mode)    ? "it is a directory; name a file in it"
                       : !S_ISREG(info->st_mode) ? "it is a pipe or device; copy its contents to a "
                                                   "file first"
                       : info->st_size == 0      ? "the file is empty; write it again"
                                                 : NULL;
  char quoted[BAM_QUOTE_TEXT];
  if (reason == NULL)
    return BAM_OK;
  return bam_fail(context, BAM_ERROR_FILE, "cannot read %s: %s", bam_quote(path, quoted), reason);
}

/* Whether the descriptor may stay open: it is in the lower half of the process's limit. */
static bool is_affordable(int file) {
  struct rlimit limit;
  return getrlimit(RLIMIT_NOFILE, &limit) != 0 || (uint64_t)file < limit.rlim_cur / 2;
}

static bam_status new_input(bam_context *context, const char *path, bam_input_file **out) {
  bam_input_file *input = bam_object_alloc(context, sizeof *input);
  if (input == NULL)
    return BAM_ERROR_MEMORY;
  *input = (bam_input_file){ .context = context, .file = -1 };
  if (path != NULL) {
    input->path = bam_object_alloc(context, strlen(path) + 1);
    if (input->path == NULL) {
      bam_input_file_close(input);
      return BAM_ERROR_MEMORY;
    }
    strcpy(input->path, path);
  }
  *out = input;
  return BAM_OK;
}

bam_status bam_input_file_open(bam_context *context, const char *path, bam_input_file **out) {
  bam_input_file *input = NULL;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(new_input(context, path, &input));
  input->file = open_path(path);
  if (input->file < 0 || fstat(input->file, &input->info) != 0)
    BAM_TRY_OR_DONE(bam_fail_path(context, "read", path, errno));
  BAM_TRY_OR_DONE(check_readable(context, path, &input->info));
  if (!is_affordable(input->file)) {
    close(input->file);
    input->file = -1;
  }
  *out = input;
  return BAM_OK;
done:
  bam_input_file_close(input);
  return status;
}

bam_status bam_input_file_over(bam_context *context, const void *data, int64_t bytes,
                               bam_input_file **out) {
  BAM_TRY(new_input(context, NULL, out));
  (*out)->memory = data;
  (*out)->info.st_size = bytes;
  return BAM_OK;
}

void bam_input_file_close(bam_input_file *input) {
  if (input == NULL)
    return;
  if (input->file >= 0)
    close(input->file);
  if (input->path != NULL)
    bam_object_free(input->context, input->path, strlen(input->path) + 1);
  bam_object_free(input->context, input, sizeof *input);
}

int64_t bam_input_file_bytes(const bam_input_file *input) { return input->info.st_size; }

bam_status bam_fail_input(const bam_input_file *input, bam_status status) {
  char quoted[BAM_QUOTE_TEXT];
  return input->path == NULL
           ? status
           : bam_fail_within(input->context, status, bam_quote(input->path, quoted));
}

/* ---- reading ---- */

/* Check that the file was not changed since it was opened. */
static bam_status check_unchanged(const bam_input_file *input, int file) {
  static const char what_to_do[] = "do not write to a file in use; load it again";
  const struct stat *old = &input->info;
  struct stat now;
  if (fstat(file, &now) != 0)
    return bam_fail(input->context, BAM_ERROR_FILE, "cannot be read: %s", strerror(errno));
  if (now.st_size != old->st_size)
    return bam_fail(input->context, BAM_ERROR_FILE,
                    "the file has %lld bytes now, and had %lld when it was opened; %s",
                    (long long)now.st_size, (long long)old->st_size, what_to_do);
  if (now.st_dev == old->st_dev && now.st_ino == old->st_ino &&
      now.st_mtim.tv_sec == old->st_mtim.tv_sec && now.st_mtim.tv_nsec == old->st_mtim.tv_nsec)
    return BAM_OK;
  return bam_fail(input->context, BAM_ERROR_FILE,
                  "the file was changed or replaced after it was opened; %s", what_to_do);
}

/* Copy bytes of the open file. Stops at its end; check_unchanged then reports that it shrank. */
static bam_status read_bytes(const bam_input_file *input, int file, int64_t offset,
                             unsigned char *data, int64_t bytes) {
  while (bytes > 0) {
    size_t piece = bytes < MOST_PIECE ? (size_t)bytes : MOST_PIECE;
    ssize_t got = TEMP_FAILURE_RETRY(pread(file, data, piece, offset));
    if (got < 0)
      return bam_fail(input->context, BAM_ERROR_FILE, "cannot be read: %s", strerror(errno));
    if (got == 0)
      break;
    data += got;
    offset += got;
    bytes -= got;
  }
  return check_unchanged(input, file);
}

bam_status bam_input_file_read(const bam_input_file *input, int64_t offset, void *data,
                               int64_t bytes) {
  assert(offset >= 0 && bytes >= 0 && bytes <= bam_input_file_bytes(input) - offset);
  if (input->memory != NULL) {
    memcpy(data, input->memory + offset, (size_t)bytes);
    return BAM_OK;
  }
  int file = input->file >= 0 ? input->file : open_path(input->path);
  if (file < 0)
    return bam_fail(input->context, BAM_ERROR_FILE, "cannot be read: %s%s", strerror(errno),
                    bam_path_advice(errno));
  bam_status status = read_bytes(input, file, offset, data, bytes);
  if (file != input->file)
    close(file);
  return status;
}

/* Check that every byte is 0 or 1: reading any other value as a C bool is undefined behavior. */
static bam_status check_bools(bam_context *context, const unsigned char *data, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (data[i] > 1)
      return bam_fail(context, BAM_ERROR_FILE,
                      "element %lld of a bool tensor is %d; store u8, or only 0 and 1",
                      (long long)i + 1, data[i]);
  return BAM_OK;
}

bam_status bam_input_file_tensor(const bam_input_file *input, int64_t offset, bam_dtype dtype,
                                 const bam_shape *shape, bam_tensor **out) {
  bam_context *context = input->context;
  bam_tensor *tensor = NULL;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(bam_tensor_new(context, &context->cpu, dtype, shape, &tensor));
  int64_t count = bam_tensor_count(tensor);
  BAM_TRY_OR_DONE(
    bam_input_file_read(input, offset, bam_tensor_data(tensor), count * bam_dtype_size(dtype)));
  if (dtype == BAM_BOOL)
    BAM_TRY_OR_DONE(check_bools(context, bam_tensor_data(tensor), count));
  *out = tensor;
  return BAM_OK;
done:
  bam_tensor_release(tensor);
  return status;
}
