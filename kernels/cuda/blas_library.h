/* cuBLASLt, opened at run time: blas_library.cu. */
#ifndef BAM_CUDA_BLAS_LIBRARY_H
#define BAM_CUDA_BLAS_LIBRARY_H

#include "stream.h"

#include <cublasLt.h>

/* clang-format off */
#define BAM_BLAS_FUNCTIONS(X)                                                                     \
  X(GetVersion) X(Create) X(Destroy) X(GetStatusString)                                           \
  X(Matmul) X(MatmulAlgoGetHeuristic) X(MatmulAlgoCheck)                                          \
  X(MatmulDescCreate) X(MatmulDescSetAttribute) X(MatmulDescDestroy)                              \
  X(MatrixLayoutCreate) X(MatrixLayoutSetAttribute) X(MatrixLayoutDestroy)                        \
  X(MatmulPreferenceCreate) X(MatmulPreferenceSetAttribute) X(MatmulPreferenceDestroy)
/* clang-format on */

/* lt->Matmul is cublasLtMatmul, and so on. */
struct bam_blas_library {
#define BAM_MEMBER(name) decltype(&cublasLt##name) name;
  BAM_BLAS_FUNCTIONS(BAM_MEMBER)
#undef BAM_MEMBER
};

/* Do the next call, if all went well so far. */
#define BAM_THEN(call) (status = status == CUBLAS_STATUS_SUCCESS ? (call) : status)

/* Open the library; it stays open until the program ends. False if it is missing or too old, which is
   noted in the stream. */
bool bam_blas_load(bam_stream stream, bam_blas_library *lt);

#endif
