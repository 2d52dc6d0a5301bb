/* Windows of a long row of tokens, as training reads them: rows of equal length, cut anywhere, each
   token with its target, the number of its document and its position in that. */
#ifndef BAM_WINDOW_H
#define BAM_WINDOW_H

#include "../io/safetensors.h"

/* Four i64 tensors of shape (B, T); s is where a row begins, t counts from 0. */
typedef struct bam_windows {
  bam_tensor *ids;       /* tokens[s + t], 0 beyond the end */
  bam_tensor *targets;   /* tokens[s + t + 1], -100 beyond the end */
  bam_tensor *documents; /* from 1, one more at each beginning of a document and at the end */
  bam_tensor *positions; /* from 0, and again from 0 wherever the document's number changes */
} bam_windows;

/* A row of numbers: a contiguous tensor on the CPU, or, where that is NULL, one in a file, of which
   only what is needed is read. All are borrowed. */
typedef struct bam_row {
  const bam_tensor *tensor;
  const bam_safetensors *file;
  int64_t entry; /* in the file */
} bam_row;

/* The windows of `time` tokens that begin at starts[0 .. count), offsets into `tokens`. `tokens` is
   i32 [n]; `documents`, i64, holds the offsets at which documents begin, ascending from 0. Nobody
   vouches for either: what is read of them is checked. Four owned references in *out; on failure
   none. */
bam_status bam_windows_pack(bam_context *context, const bam_row *tokens, const bam_row *documents,
                            const int64_t *starts, int64_t count, int64_t time, bam_windows *out);

/* Give up the four references. */
void bam_windows_release(bam_windows *windows);

#endif
