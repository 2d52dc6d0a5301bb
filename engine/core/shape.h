/* Shapes: sizes of the dimensions of a tensor, outermost first; broadcasting, strides. */
#ifndef BAM_SHAPE_H
#define BAM_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "context.h"

typedef struct bam_shape {
  int ndim;
  int64_t size[BAM_MAX_DIMS];
} bam_shape;

bool bam_shape_equal(const bam_shape *a, const bam_shape *b);

/* Number of elements in *count; fails on a negative size, more than
   BAM_MAX_DIMS dimensions or overflow. */
bam_status bam_shape_count(bam_context *context, const bam_shape *shape, int64_t *count);

/* The shape that a and b broadcast to, by NumPy's rule. `what` names the op in the message. */
bam_status bam_shape_broadcast(bam_context *context, const char *what, const bam_shape *a,
                               const bam_shape *b, bam_shape *out);

/* Can a tensor of shape `from` be broadcast to exactly `to`? */
bool bam_shape_expands(const bam_shape *from, const bam_shape *to);

/* Turn a possibly negative 0-based dimension (-1 is the last) into 0 .. ndim-1;
   the message counts from 1. */
bam_status bam_shape_dim(bam_context *context, const char *what, int64_t dim, int ndim, int *out);

/* "(4, 768)" into `text`, which it returns. */
#define BAM_SHAPE_TEXT 200
const char *bam_shape_text(const bam_shape *shape, char text[BAM_SHAPE_TEXT]);

/* Strides of a contiguous tensor of this shape. */
void bam_shape_strides(const bam_shape *shape, int64_t stride[BAM_MAX_DIMS]);

#endif
