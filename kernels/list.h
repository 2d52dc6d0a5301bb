/* The list of kernels, X(name, parameters): first those for every dtype that computes, then those for
   floating point only. Included by kernels.h. */

#define BAM_KERNELS_ANY(X)                                                                        \
  /* copy.c */                                                                                    \
  X(fill, (bam_stream stream, const bam_loop *loop, void *y, double value))                       \
  X(copy, BAM_UNARY)                                                                              \
  /* arithmetic.c */                                                                              \
  X(add, BAM_BINARY)                                                                              \
  X(sub, BAM_BINARY)                                                                              \
  X(mul, BAM_BINARY)                                                                              \
  X(div, BAM_BINARY)                                                                              \
  /* reduce.c: x is [outer, n, inner], y is [outer, inner] */                                     \
  X(sum, (bam_stream stream, void *y, const void *x, int64_t outer, int64_t n, int64_t inner))

#define BAM_KERNELS_REAL(X)                                                                       \
  /* unary.c */                                                                                   \
  X(exp, BAM_UNARY)                                                                               \
  /* gemm.c: row-major C = alpha A B + beta C per batch entry, A is M x K or, transposed, K x M */ \
  X(gemm, (bam_stream stream, const bam_gemm *gemm, void *c, const void *a, const void *b))
