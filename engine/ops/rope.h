/* Rotary positions for the ops that rotate heads themselves. */
#ifndef BAM_OPS_ROPE_H
#define BAM_OPS_ROPE_H

#include "ops.h"

/* Fail unless the optional input `i`, positions of the tokens of input 0 [B, T, ...], is integers [T] or [B, T]. */
bam_status bam_call_check_positions(bam_call *call, int i);

/* From the optional input `i`, positions as above, the table by which bam_rope_run rotates heads of `width`, a
   temporary of the call; or the input itself if it is a result of rope_table, which must be of the same frequencies.
   Positions are 0 .. T - 1 when the input was left out. */
bam_status bam_call_rotations(bam_call *call, int i, const bam_kernels *kernels, int64_t width,
                              const bam_rope *rope, bam_tensor **table);

/* Attributes of a rotation after its base: how frequencies are scaled, see kernels/rope.h. */
#define BAM_ROPE_SCALING                                              \
  { .name = "rope_factor", .kind = BAM_ATTR_FLOAT, .initial = 1 },    \
    { .name = "rope_low", .kind = BAM_ATTR_FLOAT, .initial = 0 },     \
    { .name = "rope_high", .kind = BAM_ATTR_FLOAT, .initial = 0 },    \
    { .name = "rope_context", .kind = BAM_ATTR_FLOAT, .initial = 0 }, \
    { .name = "rope_yarn", .kind = BAM_ATTR_BOOL }, {                 \
    .name = "rope_width", .kind = BAM_ATTR_INT, .initial = 0          \
  }

/* What scripts' help says of these. */
#define BAM_ROPE_SCALING_HELP                                                                      \
  "`rope_factor` divides the frequencies. With `rope_context` they are scaled as in Llama 3: "     \
  "pairs that turn more than `rope_high` times within the context keep their frequency, those "    \
  "that turn less than `rope_low` times have it divided, and between the two is interpolated; "    \
  "`rope_yarn` interpolates by the number of the pair, as YaRN does. Only the first `rope_width` " \
  "elements of a head rotate, 0: all."

/* The base, scaling and width of a rotation: the attribute `base`, and those of BAM_ROPE_SCALING, the first of
   which is `scaling`. A width of 0 stands for that of a head. */
bam_rope bam_rope_of(const bam_attr *base, const bam_attr *scaling);

/* Fail unless heads of `width` can be rotated so. */
bam_status bam_call_check_rope(bam_call *call, int64_t width, const bam_rope *rope);

/* y = x, rotated by a table of bam_call_rotations, or rotated back with `inverse`; both are [B, T, H, K]
   with the K elements of a head together, and y may be x. Elements that do not rotate are not written. */
void bam_rope_run(const bam_kernels *kernels, bam_tensor *y, bam_tensor *x, bam_tensor *table,
                  bool inverse);

#endif
