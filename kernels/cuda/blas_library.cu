#include "blas_library.h"

#include "library.h"

#include <dlfcn.h>

bool bam_blas_load(bam_stream stream, bam_blas_library *lt) {
  const char *const files[] = { "libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", NULL };
  void *file = bam_cuda_open_library(files);
  if (file == NULL) {
    bam_cuda_fail(
      stream,
      "no %s: install the CUDA toolkit's libcublas or the Python package nvidia-cublas, or "
      "put the folder of either into LD_LIBRARY_PATH",
      files[0]);
    return false;
  }
#define FIND(name)                                                                \
  if ((*(void **)&lt->name = dlsym(file, "cublasLt" #name)) == NULL) {            \
    bam_cuda_fail(stream, "libcublasLt has no cublasLt%s: it is too old", #name); \
    return false;                                                                 \
  }
  BAM_BLAS_FUNCTIONS(FIND)
#undef FIND
  return true;
}
