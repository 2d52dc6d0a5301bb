/* What the fused layers share: checking and preparing their inputs, and plain products of
   contiguous matrices. */
#ifndef BAM_OPS_FUSED_H
#define BAM_OPS_FUSED_H

#include "../ops.h"

/* Input `i`, or NULL when it was left out, also at the end of the list. Borrowed. */
bam_tensor *bam_call_optional(const bam_call *call, int i);

/* Input `i`, contiguous; a temporary of the call. Fails unless it has the dtype of input `like`, in which the
   device computes. */
bam_status bam_call_layer_input(bam_call *call, int i, int like, bam_tensor **out);

/* Input `i`, contiguous, in the dtype that kernels of input `like` compute in; it may also have the dtype of `like`
   itself. A temporary of the call. */
bam_status bam_call_real_input(bam_call *call, int i, int like, bam_tensor **out);

/* Fails when input `i`, as a matrix of its last dimension's rows, is larger
   than a product can take. */
bam_status bam_call_check_product(bam_call *call, int i);

/* The same, but rows (last dimensions) may lie *stride elements apart, evenly; copied when they do
   not. */
bam_status bam_call_rows_input(bam_call *call, int i, int like, int64_t *stride, bam_tensor **out);

/* Input `i` as contiguous i64 token ids in 0 .. limit-1, or `ignore` (INT64_MIN: none); a temporary
   of the call. */
bam_status bam_call_ids(bam_call *call, int i, int64_t limit, int64_t ignore, bam_tensor **out);

/* Fail unless input `i` has shape `want`; `why` says where that comes from. */
bam_status bam_call_expect_shape(bam_call *call, int i, const bam_shape *want, const char *why);

/* Zeros to every input that wants a gradient: what an op on no elements gives. */
bam_status bam_accumulate_zeros(bam_backward *pass);

/* Size of the last dimension, and the number of rows of that size. The shape has a dimension. */
int64_t bam_shape_width(const bam_shape *shape);
int64_t bam_shape_rows(const bam_shape *shape);

/* C[m, n] = op(A) op(B), or += with `add`, of contiguous op(A) [m, k] and op(B) [k, n]. A and B have the same dtype; C,
   with `real_c`, the one that their kernels compute in. */
typedef struct bam_product {
  int64_t m, n, k;
  bool transpose_a, transpose_b, add, real_c;
  int64_t lda;      /* row stride of A as stored; 0: contiguous */
  const void *base; /* with `add`: what op(A) op(B) is added to, in place of C; NULL: C */
} bam_product;
void bam_product_run(const bam_product *product, bam_device *device, bam_dtype dtype, void *c,
                     const void *a, const void *b);

/* y = a + b, broadcast to y; all have one dtype, in which the device computes. y may be a or b. */
void bam_sum_run(bam_tensor *y, bam_tensor *a, bam_tensor *b);

/* Count the FLOPs of `products` products over the pairs of causal attention: 2 forward, 5 backward. Pairs in different
   documents count too. */
static inline void bam_count_attention(bam_device *device, const bam_attention *a, int products) {
  device->flops += (double)products * (double)(a->batch * a->heads * a->width) * (double)a->time *
                   (double)(a->time + 1);
}

#endif
