/* How ops that work along dimensions see a tensor: as [outer, n, inner] around one dimension, or
   with the reduced dimensions gathered into one. Used by several files of engine/ops.
   Tensors that these functions make are temporaries of the call or of `scope`. */
#ifndef BAM_OPS_LAYOUT_H
#define BAM_OPS_LAYOUT_H

#include "../ops.h"

/* ---- along one dimension ---- */

typedef struct bam_axis {
  int dim; /* 0 .. ndim - 1; 0 for a 0-dimensional tensor, which counts as one of size 1 */
  int64_t outer, n, inner; /* the sizes before it, its own, and those after it */
} bam_axis;

/* Look at `shape` around dimension `dim` (may be negative); a failure's message names `what`. */
bam_status bam_axis_init(bam_context *context, const char *what, const bam_shape *shape,
                         int64_t dim, bam_axis *out);

/* A contiguous tensor like `x` with dimension `dim` moved to the end: its rows lie together. */
bam_status bam_axis_rows(bam_scope *scope, bam_tensor *x, int dim, bam_tensor **out);

/* Undo the move: a view of `rows` with its last dimension back at `dim`. */
bam_status bam_axis_restore(bam_scope *scope, bam_tensor *rows, int dim, bam_tensor **out);

/* ---- over several dimensions ---- */

typedef struct bam_reduction {
  bam_shape result; /* of the reduction */
  bool reduced[BAM_MAX_DIMS];
  int order[BAM_MAX_DIMS]; /* the dimensions as they lie in the arranged tensor */
  int64_t outer, n, inner; /* sizes of the arranged tensor; the result is [outer, inner] */
} bam_reduction;

/* Plan the reduction of `shape` over `dims` (a DIMS attribute; not given: all). With `columns`
   allowed, neighbouring reduced dimensions stay where they are and `inner` may exceed 1; else they
   come last. */
bam_status bam_reduction_init(bam_context *context, const char *what, const bam_shape *shape,
                              const bam_attr *dims, bool keepdim, bool columns, bam_reduction *out);

/* `x` arranged as planned: contiguous. */
bam_status bam_reduction_arrange(bam_scope *scope, const bam_reduction *plan, bam_tensor *x,
                                 bam_tensor **out);

/* A view of `arranged` (which bam_reduction_arrange made, or of that shape) in the order of x. */
bam_status bam_reduction_restore(bam_scope *scope, const bam_reduction *plan, bam_tensor *arranged,
                                 bam_tensor **out);

/* A view of `dy`, of the result's shape, repeated over the reduced dimensions of `shape`. */
bam_status bam_reduction_spread(bam_scope *scope, const bam_reduction *plan, const bam_shape *shape,
                                bam_tensor *dy, bam_tensor **out);

/* ---- checks ---- */

/* Fail unless input `i` is of a floating-point dtype that its device computes in, saying what to write. */
bam_status bam_call_need_real(bam_call *call, int i);

/* Input `i` as contiguous i64 positions, all within 1 .. n (n < 0: any). Fails for other
   than integers. */
bam_status bam_call_positions(bam_call *call, int i, int64_t n, bam_tensor **out);

/* The same for functions that are not ops; `what` names the caller in messages. */
bam_status bam_check_positions(bam_scope *scope, const char *what, bam_tensor *positions, int64_t n,
                               bam_tensor **out);

/* Fail unless the mask's shape is `shape` or the first dimensions of it, at least one. */
bam_status bam_check_mask(bam_context *context, const char *what, const bam_shape *shape,
                          const bam_tensor *mask);

/* The shape of `count` elements chosen from `shape` by `mask`: [count, the rest]; *inner is the
   size of the rest. */
void bam_masked_shape(const bam_shape *shape, const bam_tensor *mask, int64_t count, bam_shape *out,
                      int64_t *inner);

#endif
