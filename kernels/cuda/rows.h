/* Rows that a thread group works on together: a warp when they are short, else a block. Kernels are
   templates over `group_size`, its number of threads; every thread of a group gets the group's sums.
   A group works on one row at a time, so that all its threads reach the same sums. */
#ifndef BAM_CUDA_ROWS_H
#define BAM_CUDA_ROWS_H

#include "cuda.h"

#define BAM_SHORT_ROW 1024 /* elements up to which a warp has a row */
#define BAM_GROUP 512      /* threads for a longer one */
#define BAM_FEW_ROWS 2048  /* below this, a block has one warp */

#define BAM_EACH_GROUP_ROW(row, rows)                                                             \
  for (int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / group_size; row < (rows); \
       row += (int64_t)gridDim.x * (blockDim.x / group_size))

/* for (int64_t j = ...) over 0 .. n-1, shared among the threads of the group. */
#define BAM_EACH_OF_GROUP(j, n) for (int64_t j = threadIdx.x % group_size; j < (n); j += group_size)

#define BAM_GROUP_FIRST \
  (threadIdx.x % group_size == 0) /* the thread that writes the row's result */

#define BAM_WARP_ROWS(rows) bam_blocks(rows, BAM_BLOCK / BAM_WARP, 1 << 20)

/* Launch a kernel with a warp for each row; its arguments follow. Few rows are spread over all
   multiprocessors. */
#define BAM_LAUNCH_WARPS(kernel, rows, ...)                                            \
  do {                                                                                 \
    const int warps_ = (rows) < BAM_FEW_ROWS ? 1 : BAM_BLOCK / BAM_WARP;               \
    BAM_LAUNCH(stream, kernel, bam_blocks(rows, warps_, 1 << 20), warps_ *BAM_WARP, 0, \
               __VA_ARGS__);                                                           \
  } while (0)

/* The same with kernel<group_size> over rows of n. */
#define BAM_LAUNCH_ROWS(kernel, rows, n, ...)                                                   \
  do {                                                                                          \
    if ((n) <= BAM_SHORT_ROW)                                                                   \
      BAM_LAUNCH_WARPS((kernel<BAM_WARP>), rows, __VA_ARGS__);                                  \
    else                                                                                        \
      BAM_LAUNCH(stream, (kernel<BAM_GROUP>), BAM_ROW_BLOCKS(rows), BAM_GROUP, 0, __VA_ARGS__); \
  } while (0)

template <int group_size, class T> static __device__ __forceinline__ T group_sum(T x) {
  if constexpr (group_size == BAM_WARP)
    return warp_sum(x);
  else
    return block_sum(x);
}

template <int group_size, class T> static __device__ __forceinline__ T group_max(T x) {
  if constexpr (group_size == BAM_WARP)
    return warp_max(x);
  else
    return block_max(x);
}

/* The row that element i is in, when rows have n >= 1; 32-bit division is several times faster. */
static __device__ __forceinline__ int64_t row_of(int64_t i, int64_t n) {
  return (i | n) <= UINT32_MAX ? (int64_t)((uint32_t)i / (uint32_t)n) : i / n;
}

#endif
