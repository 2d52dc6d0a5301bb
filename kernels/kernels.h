/* Every kernel there is, declared once. A kernel is arithmetic over plain pointers and sizes; its op has
   already checked shapes and made operands contiguous, unless it takes a bam_loop. kernels/cpu/X.c and
   kernels/cuda/X.cu hold the same functions with the same parameters.

   Pointers named y, dx, ... are written; x, a, b, ... are read; they are of the table's dtype unless the
   list says otherwise. Tables exist per device, instruction set and dtype; a NULL entry means that the
   device has no such kernel for that dtype. */
#ifndef BAM_KERNELS_H
#define BAM_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#define BAM_MAX_DIMS 8
#define BAM_MAX_OPERANDS 4

/* A queue of work on a device; NULL on the CPU, where kernels run at once. */
typedef struct bam_stream_state *bam_stream;

/* An elementwise walk over up to BAM_MAX_OPERANDS strided operands; the last dimension is the innermost.
   ndim >= 1; strides count elements and may be 0 (broadcast) or negative. */
typedef struct bam_loop {
  int ndim;
  int64_t size[BAM_MAX_DIMS];
  int64_t stride[BAM_MAX_OPERANDS][BAM_MAX_DIMS];
} bam_loop;

#define BAM_UNARY (bam_stream stream, const bam_loop *loop, void *y, const void *x)
#define BAM_BINARY (bam_stream stream, const bam_loop *loop, void *y, const void *a, const void *b)
#define BAM_TEST (bam_stream stream, const bam_loop *loop, bool *y, const void *x)
#define BAM_COMPARISON (bam_stream stream, const bam_loop *loop, bool *y, const void *a, const void *b)

/* One GEMM, or `batch` of them: C[m x n] = alpha op(A) op(B) + beta C, row-major; strides count elements. */
typedef struct bam_gemm {
  bool transpose_a, transpose_b;
  int64_t m, n, k;
  int64_t lda, ldb, ldc; /* row strides as stored */
  double alpha, beta;
  int64_t batch; /* at least 0 */
  int64_t stride_a, stride_b, stride_c;
} bam_gemm;

#include "list.h"

/* The table: one function pointer per line of kernels/list.h. */
typedef struct bam_kernels {
#define BAM_MEMBER(name, parameters) void(*name) parameters;
  BAM_KERNELS_ANY(BAM_MEMBER)
  BAM_KERNELS_REAL(BAM_MEMBER)
#undef BAM_MEMBER
} bam_kernels;

#endif
