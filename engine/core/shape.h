/* Shapes: the sizes of a tensor's dimensions, outermost first. A shape has at most BAM_MAX_DIMS
   dimensions; 0 dimensions is a scalar. Sizes may be 0, never negative. Dimensions are 0-based in C and
   1-based in messages. */
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

/* Compute the number of elements in *count. Fails on a negative size, on more than BAM_MAX_DIMS
   dimensions, and if the count or the size in bytes overflows 64 bits. */
bam_status bam_shape_count(bam_context *context, const bam_shape *shape, int64_t *count);

/* Compute the shape that a and b broadcast to, by NumPy's rule. `what` names the op in the message. */
bam_status bam_shape_broadcast(bam_context *context, const char *what, const bam_shape *a,
                               const bam_shape *b, bam_shape *out);

/* Whether a tensor of shape `from` broadcasts to exactly `to`. */
bool bam_shape_expands(const bam_shape *from, const bam_shape *to);

/* Turn a possibly negative 0-based dimension (-1 is the last) into 0 .. ndim-1;
   the message counts from 1. */
bam_status bam_shape_dim(bam_context *context, const char *what, int64_t dim, int ndim, int *out);

/* Write the shape as "(4, 768)" into `text`, and return it. */
#define BAM_SHAPE_TEXT 200
const char *bam_shape_text(const bam_shape *shape, char text[BAM_SHAPE_TEXT]);

/* Compute the strides, in elements, of a contiguous tensor of this shape. */
void bam_shape_strides(const bam_shape *shape, int64_t stride[BAM_MAX_DIMS]);

#endif
