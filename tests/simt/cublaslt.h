/* What the files of the stand-in for cuBLASLt share. */
#ifndef SIMT_CUBLASLT_ARITHMETIC_H
#define SIMT_CUBLASLT_ARITHMETIC_H

#include <cublasLt.h>

#include "../../kernels/kernels.h"

size_t simt_blas_size(cudaDataType_t type);

struct simt_blas_types {
  cudaDataType_t a, b, c;
};

/* The products of a batch: d = alpha a b + beta c, where c is d or has its layout. Codes of FP8 count as the numbers
   that they are. Sums go over `parts` parts of k, one after the other, each of which is rounded. */
void simt_blas_multiply(const bam_gemm *g, const simt_blas_types &types, void *d, const void *c,
                        const void *a, const void *b, int parts);

#endif
