/* Atomic writing: a writer replaces a whole file or nothing. Whoever opens the path at any time finds
   the old file or the new one, complete. Sizes are 64-bit. Every error names the path, the reason and
   what to do. Data in files is little-endian, as are all supported machines. */
#ifndef BAM_ATOMIC_FILE_H
#define BAM_ATOMIC_FILE_H

#include <limits.h>

#include "../core/quote.h"
#include "../core/tensor.h"

#define BAM_WRITER_BUFFER 65536

/* A file being written. Lives on the caller's stack and allocates nothing. Usage:
     bam_writer_open, then bam_writer_bytes and bam_writer_tensor, then bam_writer_commit;
   bam_writer_abandon on every way out, also after a failed open or a commit.
   The bytes go to a temporary file in the same directory (staged.h). Commit syncs it to disk and then
   renames it. Only a killed process leaves a temporary file behind. */
typedef struct bam_writer {
  bam_context *context;
  const char *path; /* borrowed until commit or abandon */
  int directory;    /* file descriptors; -1: closed */
  int file;
  bool has_temporary;
  int64_t written; /* bytes passed to write() */
  int64_t limit;   /* the process's limit on file sizes (RLIMIT_FSIZE) */
  int64_t used;    /* bytes pending in `buffer` */
  char name[NAME_MAX + 1];
  char temporary[NAME_MAX + 1];
  unsigned char buffer[BAM_WRITER_BUFFER];
} bam_writer;

/* Begin to create or replace `path`, whose directory must exist. If `path` is a symbolic link, its target
   is replaced and the link is kept. The new file gets the permissions of the old one, and its owner and
   group if this user may set them; until commit it is private. Refuses directories, devices, pipes,
   and files that this user may not write. */
bam_status bam_writer_open(bam_writer *writer, bam_context *context, const char *path);

/* Append `bytes` bytes. */
bam_status bam_writer_bytes(bam_writer *writer, const void *data, int64_t bytes);

/* Append the elements of `tensor`, of any strides and device, in row-major order. A non-contiguous tensor
   is copied piece by piece, never as a whole. */
bam_status bam_writer_tensor(bam_writer *writer, bam_tensor *tensor);

/* Publish the file: flush, fsync, rename, fsync the directory. On failure the old file is unchanged,
   unless the message says otherwise. */
bam_status bam_writer_commit(bam_writer *writer);

/* Close all descriptors and delete the temporary file. Does nothing after a commit. */
void bam_writer_abandon(bam_writer *writer);

#endif
