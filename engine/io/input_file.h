/* Files open for random access over a long time. Bytes are read into the caller's memory, never mapped:
   overwriting the file cannot change data already read, and truncating it is an error instead of a
   SIGBUS. Every read checks that the file is still the one that was opened. */
#ifndef BAM_INPUT_H
#define BAM_INPUT_H

#include "../core/tensor.h"

typedef struct bam_input_file bam_input_file;

/* Open the regular, non-empty file at `path`. Fails with BAM_ERROR_FILE if it is missing, unreadable,
   empty, or not a regular file. Never blocks on a pipe. If many files are open already (a corpus may have
   thousands of shards), the file is closed and reopened for each read, and must still be the same. */
bam_status bam_input_file_open(bam_context *context, const char *path, bam_input_file **out);

/* Make an input over `bytes` (at least 1) bytes of memory at `data`, which must outlive it. */
bam_status bam_input_file_over(bam_context *context, const void *data, int64_t bytes,
                               bam_input_file **out);

/* Close the input. NULL is allowed. */
void bam_input_file_close(bam_input_file *input);

/* The size in bytes as of opening, at least 1. */
int64_t bam_input_file_bytes(const bam_input_file *input);

/* Copy `bytes` bytes at `offset` to `data`. All of them must lie inside the file. Fails with
   BAM_ERROR_FILE if the file cannot be read, or if its size or modification time has changed since it
   was opened. The message does not name the path: see bam_fail_input. */
bam_status bam_input_file_read(const bam_input_file *input, int64_t offset, void *data,
                               int64_t bytes);

/* Read a new contiguous CPU tensor from the bytes at `offset`. All of them must lie inside the file. Fails
   like bam_input_file_read, and with BAM_ERROR_FILE if a bool is neither 0 nor 1. */
bam_status bam_input_file_tensor(const bam_input_file *input, int64_t offset, bam_dtype dtype,
                                 const bam_shape *shape, bam_tensor **out);

/* Prefix the message of the failure just recorded with the path, if the input has one. Returns
   `status`. */
bam_status bam_fail_input(const bam_input_file *input, bam_status status);

#endif
