/* Rotary positions for the ops that rotate heads themselves. */
#ifndef BAM_OPS_ROPE_H
#define BAM_OPS_ROPE_H

#include "ops.h"

/* The optional input `i`, positions of the tokens of input 0 [B, T, ...], as contiguous i64 [T] or
   [B, T] in *positions, a temporary of the call; NULL when it was left out. */
bam_status bam_call_rope_positions(bam_call *call, int i, bam_tensor **positions);

/* Fail unless heads of `width` can be rotated with `base`. */
bam_status bam_call_check_rope(bam_call *call, int64_t width, double base);

/* y = x, rotated, or rotated back with `inverse`; both are [B, T, H, K] with the K elements of a head
   together, and y may be x. positions as above. */
void bam_rope_run(const bam_kernels *kernels, bam_tensor *y, bam_tensor *x, bam_tensor *positions,
                  double base, bool inverse);

#endif
