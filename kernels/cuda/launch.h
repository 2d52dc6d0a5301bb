/* What one compiler writes and the other cannot read, behind macros: starting a kernel, and its
   shared memory. nvcc sees this file; g++ finds tests/simt/simt.h, which runs the very same
   kernels on the CPU, thread by thread, for the tests. Inside a kernel there is no such
   distinction.

   BAM_LAUNCH(stream, kernel, blocks, threads, shared_bytes, arguments...): the kernel on the
   stream. A grid without blocks does nothing. A launch that fails is noted in the stream.
   BAM_SHARED(type, name, count): an array that the threads of a block share.
   BAM_DYNAMIC_SHARED(type, name): the same, of the shared_bytes of the launch; one per kernel.
   BAM_LOAD_16(pointer), BAM_STORE_16(pointer, uint4): an access of 16 bytes. The shim reports a pointer that is not
   aligned.
   BAM_UNROLL: before a loop over arrays that are to be registers, with a constant number of
   turns. */
#ifndef BAM_CUDA_LAUNCH_H
#define BAM_CUDA_LAUNCH_H

#ifndef __CUDACC__
#include <simt.h>
#else

#include <cuda_runtime.h>

#define BAM_LAUNCH(stream_, kernel, blocks, threads, shared_bytes, ...)               \
  do {                                                                                \
    const dim3 blocks_ = (blocks);                                                    \
    if (blocks_.x > 0 && blocks_.y > 0 && blocks_.z > 0 && bam_cuda_enter(stream_)) { \
      kernel<<<blocks_, (threads), (shared_bytes), (stream_)->queue>>>(__VA_ARGS__);  \
      bam_cuda_launched((stream_), #kernel, cudaGetLastError());                      \
    }                                                                                 \
  } while (0)

#define BAM_UNROLL _Pragma("unroll")

#define BAM_LOAD_16(pointer) (*(const uint4 *)(pointer))
/* An assignment may be split into smaller stores. */
#define BAM_STORE_16(pointer, value) __stwb((uint4 *)(pointer), value)

#define BAM_SHARED(type, name, count) __shared__ type name[count]

#define BAM_DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(1024) unsigned char bam_shared_bytes_[]; \
  type *name = (type *)bam_shared_bytes_

#endif

#endif
