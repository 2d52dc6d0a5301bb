/* The reading half of file.h (writer.c is the other). The mapping is private and writable, so
   tensors over it may be changed in place without touching the file; pages are read when first
   used. */
#include "file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files hold little-endian data");

static bool inside_character(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

static char *put(char *to, const char *text, size_t length) {
  for (size_t i = 0; i < length; i++)
    *to++ = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
  return to;
}

const char *bam_quote(const char *text, char quoted[BAM_QUOTE_TEXT]) {
  size_t length = strlen(text), room = BAM_QUOTE_TEXT - 3; /* two quotes and the end */
  size_t head = length, tail = length;                     /* text[head .. tail) is left out */
  if (length > room) {
    head = room / 3;
    tail = length - (room - head - 3);
    while (head > 0 && inside_character(text[head])) /* never cut a UTF-8 character */
      head--;
    while (tail < length && inside_character(text[tail]))
      tail++;
  }
  char *to = put(quoted, "\"", 1);
  to = put(to, text, head);
  if (head < length)
    to = put(to, "...", 3);
  to = put(to, text + tail, length - tail);
  memcpy(to, "\"", 2);
  return quoted;
}

static const char *advice(int error) {
  switch (error) {
  case ENOENT: return "; check the name, and the directory that it is relative to";
  case EACCES: return "; change its permissions, or those of its directory";
  case EMFILE:
  case ENFILE: return "; close other files first";
  case ENOMEM: return "; release memory first";
  default: return "";
  }
}

static bam_status fail_read(bam_context *context, const char *path, int error) {
  char quoted[BAM_QUOTE_TEXT];
  return bam_fail(context, BAM_ERROR_FILE, "cannot read %s: %s%s", bam_quote(path, quoted),
                  strerror(error), advice(error));
}

static bam_status check_readable(bam_context *context, const char *path, const struct stat *info) {
  char quoted[BAM_QUOTE_TEXT];
  bam_quote(path, quoted);
  if (S_ISDIR(info->st_mode))
    return bam_fail(context, BAM_ERROR_FILE, "cannot read %s: it is a directory; name a file in it",
                    quoted);
  if (!S_ISREG(info->st_mode))
    return bam_fail(context, BAM_ERROR_FILE,
                    "cannot read %s: it is a pipe or device; copy its contents to a file first",
                    quoted);
  if (info->st_size == 0)
    return bam_fail(context, BAM_ERROR_FILE, "cannot read %s: the file is empty; write it again",
                    quoted);
  return BAM_OK;
}

static bam_status map_file(bam_mapping *mapping, const char *path, int file) {
  struct stat info;
  if (fstat(file, &info) != 0)
    return fail_read(mapping->context, path, errno);
  bam_status status = check_readable(mapping->context, path, &info);
  if (status != BAM_OK)
    return status;
  void *data =
    mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
  if (data == MAP_FAILED)
    return fail_read(mapping->context, path, errno);
  mapping->data = data;
  mapping->bytes = info.st_size;
  return BAM_OK;
}

bam_status bam_mapping_open(bam_context *context, const char *path, bam_mapping **out) {
  bam_mapping *mapping = bam_object_alloc(context, sizeof *mapping);
  if (mapping == NULL)
    return BAM_ERROR_MEMORY;
  *mapping = (bam_mapping){ .refs = 1, .context = context };
  /* O_NONBLOCK: opening a pipe that nobody writes to must not wait */
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  bam_status status = file < 0 ? fail_read(context, path, errno) : map_file(mapping, path, file);
  if (file >= 0)
    close(file); /* the mapping stays */
  if (status != BAM_OK)
    bam_object_free(context, mapping, sizeof *mapping);
  else
    *out = mapping;
  return status;
}

bam_mapping *bam_mapping_retain(bam_mapping *mapping) {
  mapping->refs++;
  return mapping;
}

void bam_mapping_release(void *owner) {
  bam_mapping *mapping = owner;
  if (mapping == NULL || --mapping->refs > 0)
    return;
  munmap(mapping->data, (size_t)mapping->bytes);
  bam_object_free(mapping->context, mapping, sizeof *mapping);
}

/* Anything else in a C bool is undefined behaviour in whatever reads it. */
static bam_status check_bools(bam_context *context, const unsigned char *data, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (data[i] > 1)
      return bam_fail(context, BAM_ERROR_FILE,
                      "element %lld of a bool tensor is %d; store u8, or only 0 and 1",
                      (long long)i + 1, data[i]);
  return BAM_OK;
}

static bam_status share(bam_mapping *mapping, unsigned char *data, int64_t bytes, bam_dtype dtype,
                        const bam_shape *shape, bam_tensor **out) {
  bam_context *context = mapping->context;
  bam_storage *storage;
  bam_status status =
    bam_storage_wrap(context, &context->cpu, data, bytes, bam_mapping_release, mapping, &storage);
  if (status != BAM_OK)
    return status;
  bam_mapping_retain(mapping); /* now the storage's */
  status = bam_tensor_over(context, storage, dtype, shape, out);
  bam_storage_release(context, storage);
  return status;
}

bam_status bam_mapping_tensor(bam_mapping *mapping, int64_t offset, bam_dtype dtype,
                              const bam_shape *shape, bam_tensor **out) {
  int64_t count, bytes;
  bam_status status = bam_shape_count(mapping->context, shape, &count);
  if (status != BAM_OK)
    return status;
  bytes = count * bam_dtype_size(dtype);
  assert(offset >= 0 && bytes <= mapping->bytes - offset);
  unsigned char *data = mapping->data + offset;
  if (dtype == BAM_BOOL && (status = check_bools(mapping->context, data, count)) != BAM_OK)
    return status;
  if (bytes > 0 && (uintptr_t)data % (uintptr_t)bam_dtype_size(dtype) == 0)
    return share(mapping, data, bytes, dtype, shape, out);
  return bam_tensor_from(mapping->context, dtype, shape, data, out);
}
