/* What every CUDA kernel file starts with. kernels/cuda/X.cu defines the functions of
   kernels/cpu/X.c, with the same parameters, in the same order: for each the __global__ functions
   it is made of, then KERNEL(name), which launches them. A file is compiled once per dtype; `real`
   is the type that it computes in, and `element` the one in memory (real.h): operands are elements,
   but for those that list.h calls real.

   Rules: no floating-point atomics and no order of addition that depends on which thread comes
   first, so that the same inputs give the same bits; blocks never wait for each other; every thread
   of a block reaches every __syncthreads(), and every lane of a warp every shuffle. */
#ifndef BAM_CUDA_H
#define BAM_CUDA_H

#include <cuda_runtime.h>
#include <math.h>

#include "../kernels.h"
#include "../real.h"
#include "launch.h"
#include "stream.h"

#define BAM_JOIN3_(a, b, c) a##b##_##c
#define BAM_JOIN3(a, b, c) BAM_JOIN3_(a, b, c)
#define KERNEL(name) BAM_JOIN3(bam_cuda_, BAM_TYPE, name)

/* C names, so that tables of C code can hold them. */
#define BAM_DECLARE_KERNEL(name, parameters) extern "C" void KERNEL(name) parameters;
BAM_KERNELS_ANY(BAM_DECLARE_KERNEL)
#if BAM_FLOATING
BAM_KERNELS_REAL(BAM_DECLARE_KERNEL)
#endif

#define BAM_WARP 32
#define BAM_ALL_LANES 0xffffffffu
#define BAM_BLOCK 256 /* threads of a block, where nothing else is said */

/* for (int64_t i = ...) over 0 .. n-1, shared among all threads of a one-dimensional grid of any
   size; BAM_BLOCKS(n) is a good one. */
#define BAM_EACH(i, n)                                                      \
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); \
       i += (int64_t)gridDim.x * blockDim.x)

static inline unsigned bam_blocks(int64_t n, int64_t per_block, int64_t most) {
  int64_t blocks = (n + per_block - 1) / per_block;
  return (unsigned)(blocks < most ? blocks : most);
}
#define BAM_BLOCKS(n) bam_blocks(n, BAM_BLOCK, 65536)

/* A grid of one block per row, for any number of rows: a block takes every gridDim.x-th. */
#define BAM_ROW_BLOCKS(rows) bam_blocks(rows, 1, 1 << 20)
#define BAM_EACH_ROW(row, rows) for (int64_t row = blockIdx.x; row < (rows); row += gridDim.x)

/* ---- sums over a warp and over a block, in a fixed order; every thread gets the result ---- */

template <class T> static __device__ __forceinline__ T warp_sum(T x) {
  for (int step = BAM_WARP / 2; step > 0; step /= 2)
    x += __shfl_xor_sync(BAM_ALL_LANES, x, step);
  return x;
}

template <class T> static __device__ __forceinline__ T larger(T a, T b) {
  return a > b || a != a ? a : b; /* NaN wins */
}

template <class T> static __device__ __forceinline__ T warp_max(T x) {
  for (int step = BAM_WARP / 2; step > 0; step /= 2)
    x = larger(x, __shfl_xor_sync(BAM_ALL_LANES, x, step));
  return x;
}

/* blockDim.x is a multiple of BAM_WARP. All threads of the block take part. */
template <class T> static __device__ __forceinline__ T block_sum(T x) {
  BAM_SHARED(T, part, BAM_WARP);
  const int lane = threadIdx.x % BAM_WARP, warp = threadIdx.x / BAM_WARP;
  const int warps = (int)blockDim.x / BAM_WARP;
  x = warp_sum(x);
  __syncthreads(); /* the results of the last call have been read */
  if (lane == 0)
    part[warp] = x;
  __syncthreads();
  return warp_sum(lane < warps ? part[lane] : (T)0);
}

template <class T> static __device__ __forceinline__ T block_max(T x) {
  BAM_SHARED(T, part, BAM_WARP);
  const int lane = threadIdx.x % BAM_WARP, warp = threadIdx.x / BAM_WARP;
  const int warps = (int)blockDim.x / BAM_WARP;
  x = warp_max(x);
  __syncthreads();
  if (lane == 0)
    part[warp] = x;
  __syncthreads();
  return warp_max(part[lane < warps ? lane : 0]);
}

#endif
