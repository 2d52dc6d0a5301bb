/* Writing files: a writer that replaces a file as a whole or not at all. Sizes are 64-bit; every error
   names the path, the reason and what to do. Data in files is little-endian, as are all machines this
   runs on. */
#ifndef BAM_ATOMIC_FILE_H
#define BAM_ATOMIC_FILE_H

#include <limits.h>

#include "../core/quote.h"
#include "../core/tensor.h"

#define BAM_WRITER_BUFFER 65536

/* A file being written. It lives on the caller's stack and allocates nothing:
     bam_writer_open, then bam_writer_bytes and bam_writer_tensor, then bam_writer_commit;
   bam_writer_abandon at the end of every path, also after a failed open or a commit.
   The bytes go to a file with a temporary name (staged.h) in the same directory, which commit renames
   once they are on the disk: whoever opens the path finds the old file or the new one, whole. Only
   a killed process leaves a temporary behind. */
typedef struct bam_writer {
  bam_context *context;
  const char *path; /* borrowed until commit or abandon */
  int directory;    /* file descriptors; -1: closed */
  int file;
  bool has_temporary;
  int64_t written; /* bytes handed to the system */
  int64_t limit;   /* this process may not write longer files */
  int64_t used;    /* bytes waiting in `buffer` */
  char name[NAME_MAX + 1];
  char temporary[NAME_MAX + 1];
  unsigned char buffer[BAM_WRITER_BUFFER];
} bam_writer;

/* Begin to replace `path`, or to make it; its directory must exist. A symbolic link stays one: what
   it points to is replaced. A file that is replaced keeps its permissions, and its owner and group
   where this user may give them; until then the new one is private. Refuses directories, devices,
   pipes and files that this user may not write. */
bam_status bam_writer_open(bam_writer *writer, bam_context *context, const char *path);

/* Append `bytes` bytes. */
bam_status bam_writer_bytes(bam_writer *writer, const void *data, int64_t bytes);

/* Append the elements of `tensor` in row-major order, through the buffer: a non-contiguous tensor
   is made contiguous in small pieces. */
bam_status bam_writer_tensor(bam_writer *writer, bam_tensor *tensor);

/* Make the file appear: flush, fsync, rename, fsync the directory. On failure the old file is still
   there, unless the message says otherwise. */
bam_status bam_writer_commit(bam_writer *writer);

/* Close what is open and remove the temporary; nothing after a commit. */
void bam_writer_abandon(bam_writer *writer);

#endif
