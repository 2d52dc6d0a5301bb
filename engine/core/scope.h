/* A scope owns the temporaries of one computation, such as the forward of an op, and releases them when the
   computation ends, however it ends. Code that takes its temporaries from a scope has nothing to clean up.

   bam_temp_* functions return borrowed tensors, valid until the scope ends or until bam_temp_release. If no new
   tensor is needed (bam_temp_contiguous of a contiguous tensor), they return their argument. The argument must
   therefore outlive the scope; inputs of a call and tensors saved by a node do. On failure *out is untouched. */
#ifndef BAM_SCOPE_H
#define BAM_SCOPE_H

#include "tensor.h"

#define BAM_SCOPE_TENSORS 16 /* further ones are stored in allocated blocks */

typedef struct bam_scope {
  bam_context *context;
  int count;                      /* used entries of `tensors` */
  struct bam_scope_block *blocks; /* earlier tensors, or NULL */
  bam_tensor *tensors[BAM_SCOPE_TENSORS];
} bam_scope;

/* Begin an empty scope, and release everything in it. */
void bam_scope_begin(bam_scope *scope, bam_context *context);
void bam_scope_end(bam_scope *scope);

/* Consume a reference: the scope releases it. On failure it is released at once. */
bam_status bam_scope_take(bam_scope *scope, bam_tensor *tensor);

/* Release a temporary early: one that is large, or that must be the only reference. Does nothing with a tensor
   that the scope does not own. */
void bam_temp_release(bam_scope *scope, bam_tensor *tensor);

/* An uninitialized contiguous tensor. */
bam_status bam_temp_new(bam_scope *scope, bam_device *device, bam_dtype dtype,
                        const bam_shape *shape, bam_tensor **out);

/* An uninitialized contiguous tensor of the device, dtype and shape of `like`. */
bam_status bam_temp_like(bam_scope *scope, bam_tensor *like, bam_tensor **out);

/* `count` uninitialized elements, in one dimension. */
bam_status bam_temp_scratch(bam_scope *scope, bam_device *device, bam_dtype dtype, int64_t count,
                            bam_tensor **out);

bam_status bam_temp_zeros(bam_scope *scope, bam_device *device, bam_dtype dtype,
                          const bam_shape *shape, bam_tensor **out);

/* As bam_tensor_contiguous, bam_tensor_convert and bam_tensor_view. */
bam_status bam_temp_contiguous(bam_scope *scope, bam_tensor *x, bam_tensor **out);
bam_status bam_temp_convert(bam_scope *scope, bam_tensor *x, bam_dtype dtype, bam_tensor **out);
bam_status bam_temp_view(bam_scope *scope, bam_tensor *of, const bam_shape *shape,
                         const int64_t *stride, int64_t offset, bam_tensor **out);

#endif
