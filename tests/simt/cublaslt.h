/* What the files of the stand-in for cuBLASLt share. */
#ifndef SIMT_CUBLASLT_ARITHMETIC_H
#define SIMT_CUBLASLT_ARITHMETIC_H

#include <cublasLt.h>

#include "../../kernels/kernels.h"

size_t simt_blas_size(cudaDataType_t type);

/* The products of a batch, of operands of one type: d = alpha a b + beta c, where c is d or has its layout. Sums go over
   `parts` parts of k, one after the other, each of which is rounded. */
void simt_blas_multiply(const bam_gemm *g, cudaDataType_t type, cudaDataType_t c_type, void *d,
                        const void *c, const void *a, const void *b, int parts);

#endif
