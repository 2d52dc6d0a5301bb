/* Windows of a long row of tokens, as training reads them: rows of equal length, cut anywhere, each
   token with its target, the number of its document and its position in that. */
#ifndef BAM_WINDOW_H
#define BAM_WINDOW_H

#include "../tensor.h"

/* Four i64 tensors of shape (B, T); s is where a row begins, t counts from 0. */
typedef struct bam_windows {
  bam_tensor *ids;       /* tokens[s + t], 0 beyond the end */
  bam_tensor *targets;   /* tokens[s + t + 1], -100 beyond the end */
  bam_tensor *documents; /* from 1, one more at each beginning of a document and at the end */
  bam_tensor *positions; /* from 0, and again from 0 wherever the document's number changes */
} bam_windows;

/* The windows of `time` tokens that begin at starts[0 .. count), offsets into `tokens`. `tokens` is
   i32 [n]; `documents`, i64, holds the offsets at which documents begin, ascending from 0. Both are
   contiguous, on the CPU, and may be mapped from a file that nobody vouches for: what is read of
   them is checked. Four owned references in *out; on failure none. */
bam_status bam_windows_pack(bam_context *context, const bam_tensor *tokens,
                            const bam_tensor *documents, const int64_t *starts, int64_t count,
                            int64_t time, bam_windows *out);

/* Give up the four references. */
void bam_windows_release(bam_windows *windows);

#endif
