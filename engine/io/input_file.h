/* Files that are read in pieces, at any place and for as long as a script likes. Bytes are copied into
   memory of the caller's, never mapped: so a file that is overwritten changes nothing that was read,
   and one that is changed or shortened meanwhile is an error, not a signal that ends the program. */
#ifndef BAM_INPUT_H
#define BAM_INPUT_H

#include "../core/tensor.h"

typedef struct bam_input_file bam_input_file;

/* Open the regular, non-empty file at `path`. Fails with BAM_ERROR_FILE for anything missing,
   unreadable, empty or not a regular file; never waits for a pipe. Where many files are open already
   (corpora have thousands of shards) it is opened again for each read, and must be the same file. */
bam_status bam_input_file_open(bam_context *context, const char *path, bam_input_file **out);

/* The same over `bytes` bytes at `data`, at least 1, which outlive it. */
bam_status bam_input_file_over(bam_context *context, const void *data, int64_t bytes, bam_input_file **out);

/* NULL is legal. */
void bam_input_file_close(bam_input_file *input);

/* Its size when it was opened, at least 1. */
int64_t bam_input_file_bytes(const bam_input_file *input);

/* Copy `bytes` bytes from `offset` on, all of them inside the file, to `data`. Fails with
   BAM_ERROR_FILE when the file cannot be read, or is not the one that was opened: its size or time of
   change differs. Messages name no path: see bam_fail_input. */
bam_status bam_input_file_read(const bam_input_file *input, int64_t offset, void *data, int64_t bytes);

/* A new contiguous CPU tensor of the bytes from `offset` on, which must all lie inside the file. Fails
   like bam_input_file_read, and with BAM_ERROR_FILE when a bool is neither 0 nor 1. */
bam_status bam_input_file_tensor(const bam_input_file *input, int64_t offset, bam_dtype dtype,
                            const bam_shape *shape, bam_tensor **out);

/* Put the path before the message of the failure just recorded, if there is one; returns `status`. */
bam_status bam_fail_input(const bam_input_file *input, bam_status status);

#endif
