/* Writing by position or by mask: what a script's x[positions] = v and x[mask] = v do. Reading is
   done by the ops index_select and masked_select. */
#ifndef BAM_INDEX_H
#define BAM_INDEX_H

#include "../core/tensor.h"

/* Overwrite the slices `positions` (integers from 1, one dimension) along dimension `dim` (0-based,
   may be negative) of `to` by `from`, converted and broadcast to to's shape with size #positions in
   that dimension. Of several writes to one place the last stays. Positions are all checked before
   anything is written. Not recorded by autograd: fails when `to` requires a gradient while
   recording. Counts as an in-place change. */
bam_status bam_index_assign(bam_tensor *to, int64_t dim, bam_tensor *positions, bam_tensor *from);

/* Overwrite the elements of `to` where `mask` (bool) is true by `from`, in order. The mask's shape
   is that of `to` or of its first dimensions; `from` is converted and broadcast to [how many are
   true, rest of to's shape]. Not recorded, like bam_index_assign. */
bam_status bam_masked_assign(bam_tensor *to, bam_tensor *mask, bam_tensor *from);

/* The positions (from 1, i64, one dimension) of the true elements of a bool tensor, flattened;
   owned. The message of a failure names `what`. */
bam_status bam_mask_positions(const char *what, bam_tensor *mask, bam_tensor **out);

#endif
