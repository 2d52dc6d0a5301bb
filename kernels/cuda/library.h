/* Finding the libraries of a CUDA toolkit at run time: library.cu. */
#ifndef BAM_CUDA_LIBRARY_H
#define BAM_CUDA_LIBRARY_H

/* Open the first of `files` (NULL-terminated, such as "libcublasLt.so.13") that can be loaded. Each is looked
   for where the loader looks, in $CUDA_HOME/lib64 and /usr/local/cuda/lib64, and in the wheels (nvidia-cublas,
   nvidia-cudnn) of the Pythons of $VIRTUAL_ENV and $PATH. NULL if none is found. The handle is never closed: a
   library with device code cannot be unloaded safely. */
void *bam_cuda_open_library(const char *const *files);

#endif
