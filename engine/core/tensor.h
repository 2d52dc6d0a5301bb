/* A tensor: shape, strides and offset over a reference-counted storage. Views share the storage.
   Functions that make a tensor hand out an owned reference through `out`; arguments are borrowed;
   on failure *out is untouched. Dimensions are 0-based here; sizes and strides count elements. */
#ifndef BAM_TENSOR_H
#define BAM_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "context.h"
#include "facts.h"
#include "shape.h"

typedef struct bam_storage {
  int64_t refs; /* cannot overflow: every reference occupies memory */
  int32_t size_class;
  struct bam_block *block; /* of the device's arena (arena.h), which then has the data; or NULL */
  bam_device *device;
  void *data;
  int64_t bytes;            /* capacity */
  uint64_t version;         /* counts in-place changes, so that autograd notices them */
  bam_facts facts;          /* about its integers */
  struct bam_storage *next; /* in the device's free list */
  int64_t freed_at;         /* the number of requests (core/memory.h) when it came there */
  uint32_t captured;        /* the capture (core/capture.h) in which it was allocated; 0: none */
} bam_storage;

typedef struct bam_tensor {
  int64_t refs;
  bam_dtype dtype;
  bool requires_grad; /* a leaf that collects a gradient, or the result of a recorded op */
  bool is_number;     /* made from a plain number: it does not decide the dtype of a result */
  int16_t output;     /* which output of `node` this is */
  bam_context *context;
  bam_storage *storage;
  int64_t offset; /* in elements */
  bam_shape shape;
  int64_t stride[BAM_MAX_DIMS];
  struct bam_node *node;   /* the op that made it, owned; NULL for leaves and constants */
  struct bam_tensor *grad; /* of a leaf; owned; NULL until the first backward */
} bam_tensor;

/* Make an uninitialized contiguous tensor. Fails like bam_shape_count, and if memory is short. */
bam_status bam_tensor_new(bam_context *context, bam_device *device, bam_dtype dtype,
                          const bam_shape *shape, bam_tensor **out);

/* Make a contiguous tensor filled with zeros. Fails like bam_tensor_new. */
bam_status bam_tensor_zeros(bam_context *context, bam_device *device, bam_dtype dtype,
                            const bam_shape *shape, bam_tensor **out);

/* Make a contiguous CPU tensor with a copy of `data`, which holds one element of `dtype` per element of
   `shape`. */
bam_status bam_tensor_from(bam_context *context, bam_dtype dtype, const bam_shape *shape,
                           const void *data, bam_tensor **out);

/* Make a contiguous tensor over the first bytes of `storage`, and retain the storage. The storage must
   be large enough and aligned for `dtype`. The shape must have passed bam_shape_count. */
bam_status bam_tensor_over(bam_context *context, bam_storage *storage, bam_dtype dtype,
                           const bam_shape *shape, bam_tensor **out);

/* Make a view of `of` with its own shape, strides and offset (in elements). Every element must lie in
   the storage of `of`. An empty view gets the offset of `of`. Not recorded by autograd: the differentiable
   views are in engine/ops. */
bam_status bam_tensor_view(bam_tensor *of, const bam_shape *shape, const int64_t *stride,
                           int64_t offset, bam_tensor **out);

/* Make a view of the whole of `of`, detached from the graph and without gradient. */
bam_status bam_tensor_alias(bam_tensor *of, bam_tensor **out);

bam_tensor *bam_tensor_retain(bam_tensor *tensor);
void bam_tensor_release(bam_tensor *tensor); /* NULL is allowed */

int64_t bam_tensor_count(const bam_tensor *tensor); /* number of elements */
bool bam_tensor_is_contiguous(const bam_tensor *tensor);
bam_device *bam_tensor_device(const bam_tensor *tensor);
void *bam_tensor_data(const bam_tensor *tensor); /* address of the first element */

/* Get a contiguous tensor of the same elements: `tensor` itself, retained, or a copy. Not recorded. */
bam_status bam_tensor_contiguous(bam_tensor *tensor, bam_tensor **out);

/* Get a contiguous tensor of the same elements in `dtype`: `tensor` itself, retained, if nothing
   changes, else a converted copy. Not recorded. */
bam_status bam_tensor_convert(bam_tensor *tensor, bam_dtype dtype, bam_tensor **out);

/* Get `tensor` on `device`: `tensor` itself, retained, if it is on that device, else a contiguous copy.
   Not recorded. */
bam_status bam_tensor_to(bam_tensor *tensor, bam_device *device, bam_tensor **out);

/* Check that `dtype` can hold a number: `integer` if `is_integer`, else `real`. The float dtypes round
   any number, and bool stores whether it is nonzero. u8, i32 and i64 hold only integers in their
   range. Fails with "what: 300 does not fit u8 (0 to 255)". */
bam_status bam_number_check(bam_context *context, const char *what, bam_dtype dtype,
                            bool is_integer, int64_t integer, double real);

/* bam_number_check for the value of a 0-dimensional tensor. Waits for the device if `dtype` is u8, i32
   or i64. */
bam_status bam_tensor_check_number(const char *what, bam_tensor *number, bam_dtype dtype);

/* Overwrite `to` with `from`, broadcast and converted as in kernels/convert.h; the two may be on
   different devices. If `from` is a plain number (is_number), it must pass bam_number_check. Counts as an
   in-place change. Not recorded. */
bam_status bam_tensor_copy(bam_tensor *to, bam_tensor *from);

/* Set every element to `value`, which must pass bam_number_check. Counts as an in-place change. */
bam_status bam_tensor_fill(bam_tensor *tensor, double value);

/* Read element `index` (row-major, 0-based), both as a double and as an integer. Waits for the
   device. */
bam_status bam_tensor_get(bam_tensor *tensor, int64_t index, double *real, int64_t *integer);

/* Copy the values of `leaf` to `place`, then make `leaf` share the storage of `place`. Both have the same
   shape, dtype and device, and `place` is contiguous. Every holder of `leaf` sees the move; existing
   views of `leaf` keep the old storage. */
bam_status bam_tensor_move(bam_tensor *leaf, bam_tensor *place);

/* Count an in-place change of the contents. To be called after a kernel wrote into an existing tensor. */
void bam_tensor_changed(bam_tensor *tensor);

/* ---- loops over several tensors at once ---- */

/* Set up `loop` for elementwise work over tensors[0 .. operands). tensors[0] is the output; the others
   are broadcast to its shape. Adjacent dimensions are merged where the strides of all operands allow. */
void bam_loop_init(bam_loop *loop, bam_tensor *const *tensors, int operands);

#endif
