/* A tensor: shape, strides and offset over a reference-counted storage. Views share the storage.
   Functions that make a tensor hand out an owned reference through `out`; arguments are borrowed;
   on failure *out is untouched. Dimensions are 0-based here; sizes and strides count elements. */
#ifndef BAM_TENSOR_H
#define BAM_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "context.h"
#include "shape.h"

typedef struct bam_storage {
  int64_t refs;            /* 64 bits cannot wrap: each reference takes memory */
  int32_t size_class;
  bam_device *device;
  void *data;
  int64_t bytes;           /* capacity */
  uint64_t version;        /* counts in-place changes, so that autograd notices them */
  struct bam_storage *next; /* in the device's free list */
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

/* An uninitialised contiguous tensor. Fails on negative sizes, overflow, or too many dimensions. */
bam_status bam_tensor_new(bam_context *context, bam_device *device, bam_dtype dtype,
                          const bam_shape *shape, bam_tensor **out);

/* The same filled with zeros. */
bam_status bam_tensor_zeros(bam_context *context, bam_device *device, bam_dtype dtype,
                            const bam_shape *shape, bam_tensor **out);

/* A contiguous CPU tensor holding a copy of `data`, whose length is the shape's. */
bam_status bam_tensor_from(bam_context *context, bam_dtype dtype, const bam_shape *shape,
                           const void *data, bam_tensor **out);

/* A contiguous tensor over the first bytes of `storage`, which must be enough and aligned for
   `dtype`. It takes a reference of its own. The shape has been checked. */
bam_status bam_tensor_over(bam_context *context, bam_storage *storage, bam_dtype dtype,
                           const bam_shape *shape, bam_tensor **out);

/* A view of `of` with another shape, strides and offset; every element of it must lie in the storage
   of `of`. A view without elements begins where `of` does. Not recorded by autograd: see engine/ops. */
bam_status bam_tensor_view(bam_tensor *of, const bam_shape *shape, const int64_t *stride,
                           int64_t offset, bam_tensor **out);

/* The same data, detached from the graph and without gradient: a view of everything. */
bam_status bam_tensor_alias(bam_tensor *of, bam_tensor **out);

bam_tensor *bam_tensor_retain(bam_tensor *tensor);
void bam_tensor_release(bam_tensor *tensor); /* NULL is legal */

int64_t bam_tensor_count(const bam_tensor *tensor); /* number of elements */
bool bam_tensor_is_contiguous(const bam_tensor *tensor);
bam_device *bam_tensor_device(const bam_tensor *tensor);
void *bam_tensor_data(const bam_tensor *tensor); /* address of the first element */

/* `tensor` itself with one more reference when contiguous, else a contiguous copy. Not recorded. */
bam_status bam_tensor_contiguous(bam_tensor *tensor, bam_tensor **out);

/* A contiguous copy in `dtype` (a new reference to `tensor` itself when nothing changes). Not
   recorded. */
bam_status bam_tensor_convert(bam_tensor *tensor, bam_dtype dtype, bam_tensor **out);

/* `tensor` on `device`: a new reference to itself when it is there, else a contiguous copy. Not
   recorded. */
bam_status bam_tensor_to(bam_tensor *tensor, bam_device *device, bam_tensor **out);

/* Can `dtype` hold the number: the whole number `integer` when `is_integer`, else `real`? Floats
   round every number and bool asks whether it is 0; u8, i32 and i64 hold whole numbers within their
   range. Fails with "what: 300 does not fit u8 (0 to 255)". */
bam_status bam_number_check(bam_context *context, const char *what, bam_dtype dtype,
                            bool is_integer, int64_t integer, double real);

/* The same of the value of a 0-dimensional tensor; waits for the device when `dtype` is u8, i32 or
   i64. */
bam_status bam_tensor_check_number(const char *what, bam_tensor *number, bam_dtype dtype);

/* Overwrite `to` with `from`, converted and broadcast; they may be on different devices. Counts as
   an in-place change. Not recorded. A tensor made from a plain number (is_number) must fit, as
   bam_number_check says; the elements of others are converted as kernels/convert.h says. */
bam_status bam_tensor_copy(bam_tensor *to, bam_tensor *from);

/* Overwrite every element by `value`, which must fit. Counts as an in-place change. */
bam_status bam_tensor_fill(bam_tensor *tensor, double value);

/* The one element of a tensor, or element `index` (row-major) of any; waits for the device. */
bam_status bam_tensor_get(bam_tensor *tensor, int64_t index, double *real, int64_t *integer);

/* Make `leaf` show the elements of `place` from now on (same shape, dtype and device,
   contiguous), after copying leaf's values there. Every holder of `leaf` sees the move; views
   made of it before keep the old elements. */
bam_status bam_tensor_move(bam_tensor *leaf, bam_tensor *place);

/* Say that the contents changed in place; kernels that write into existing tensors call it. */
void bam_tensor_changed(bam_tensor *tensor);

/* ---- loops over several tensors at once ---- */

/* Fill `loop` for elementwise work over tensors[0 .. operands): all are broadcast to the shape of
   tensors[0], which is written; neighbouring dimensions are merged where every operand allows. */
void bam_loop_init(bam_loop *loop, bam_tensor *const *tensors, int operands);

#endif
