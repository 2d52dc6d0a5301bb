/* Training windows cut from a long sequence of tokens: rows of equal length that start anywhere. Each token
   comes with its target, the number of its document, and its position in that document. */
#ifndef BAM_WINDOW_H
#define BAM_WINDOW_H

#include "../io/safetensors.h"

/* Four i64 tensors of shape (B, T). Below, s is the start of a row, and t counts from 0. */
typedef struct bam_windows {
  bam_tensor *ids;       /* tokens[s + t], 0 beyond the end */
  bam_tensor *targets;   /* tokens[s + t + 1], -100 beyond the end */
  bam_tensor *documents; /* from 1, incremented where a document begins and beyond the end */
  bam_tensor *positions; /* from 0, restarting where the document number changes */
} bam_windows;

/* A sequence of numbers: a contiguous CPU tensor, or, if that is NULL, a tensor in a file, of which only the
   needed parts are read. All members are borrowed. */
typedef struct bam_row {
  const bam_tensor *tensor;
  const bam_safetensors *file;
  int64_t entry; /* index in the file */
} bam_row;

/* Cut windows of `time` tokens at starts[0 .. count), which are offsets into `tokens`. `tokens` is i32 [n];
   `documents`, i64, holds the offsets where documents begin, ascending from 0. Both are untrusted: every
   value read is checked. *out gets four owned references, or none on failure. */
bam_status bam_windows_pack(bam_context *context, const bam_row *tokens, const bam_row *documents,
                            const int64_t *starts, int64_t count, int64_t time, bam_windows *out);

/* Release the four references. */
void bam_windows_release(bam_windows *windows);

#endif
