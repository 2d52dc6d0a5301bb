/* Memory access in packs: 16 bytes of elements at once, the widest access of a thread. A kernel is a template over
   `width`, the elements that a thread takes at a time: PACK, or 1 where an operand is not aligned or a row's length is
   not a multiple of PACK. Operands of other types have as many elements in a pack, in several accesses if wider. */
#ifndef BAM_CUDA_PACK_H
#define BAM_CUDA_PACK_H

#include "rows.h"

#define PACK_BYTES 16
#define PACK ((int)(PACK_BYTES / sizeof(element))) /* 8 of bf16, 4 of f32, 2 of f64 */

template <int width, class T> struct pack { T at[width]; };

template <int width, class T>
static __device__ __forceinline__ pack<width, T> load_pack(const T *from) {
  pack<width, T> p;
  if constexpr (width == 1) {
    p.at[0] = *from;
  } else {
    static_assert(sizeof p % PACK_BYTES == 0, "a pack is made of 16-byte accesses");
    uint4 words[sizeof p / PACK_BYTES];
    BAM_UNROLL
    for (int i = 0; i < (int)(sizeof p / PACK_BYTES); i++)
      words[i] = BAM_LOAD_16(from + i * (PACK_BYTES / sizeof(T)));
    memcpy(&p, words, sizeof p);
  }
  return p;
}

template <int width, class T>
static __device__ __forceinline__ void store_pack(T *to, const pack<width, T> &p) {
  if constexpr (width == 1) {
    *to = p.at[0];
  } else {
    static_assert(sizeof p % PACK_BYTES == 0, "a pack is made of 16-byte accesses");
    uint4 words[sizeof p / PACK_BYTES];
    memcpy(words, &p, sizeof p);
    BAM_UNROLL
    for (int i = 0; i < (int)(sizeof p / PACK_BYTES); i++)
      BAM_STORE_16(to + i * (PACK_BYTES / sizeof(T)), words[i]);
  }
}

template <int width, class T>
static __device__ __forceinline__ pack<width, real> numbers(const pack<width, T> &x) {
  pack<width, real> y;
  BAM_UNROLL
  for (int k = 0; k < width; k++)
    y.at[k] = x.at[k];
  return y;
}

/* Numbers as elements, each rounded once. */
template <int width>
static __device__ __forceinline__ pack<width, element> rounded(const pack<width, real> &x) {
  pack<width, element> y;
  BAM_UNROLL
  for (int k = 0; k < width; k++)
    y.at[k] = x.at[k];
  return y;
}

/* Whether all pointers are aligned to 16 bytes, as NULL is. */
template <class... P> static inline bool pack_aligned(const P *...pointers) {
  return ((uintptr_t)0 | ... | (uintptr_t)pointers) % PACK_BYTES == 0;
}

/* for (int64_t j = ...): the first element of each pack of a row of n, shared among the threads of the group. */
#define BAM_EACH_PACK(j, n) \
  for (int64_t j = threadIdx.x % group_size * width; j < (n); j += group_size * width)

/* For flat operands of n elements, of which every thread of the grid takes its share: the first element of each whole
   pack, then each element that is left. */
#define BAM_EACH_WHOLE_PACK(i, n)                                                              \
  for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * width; i + width <= (n); \
       i += (int64_t)gridDim.x * blockDim.x * width)
#define BAM_EACH_REST(i, n)                                                                     \
  for (int64_t i = (n) - (n) % width + (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); \
       i += (int64_t)gridDim.x * blockDim.x)

/* for (int k = ...) over the elements of a pack. */
#define BAM_EACH_IN_PACK(k) BAM_UNROLL for (int k = 0; k < width; k++)

#define BAM_PACKED_GROUP 256 /* threads for a long row in packs */

/* BAM_LAUNCH_ROWS with kernel<group_size, width>; `packed` says whether rows can be read in packs. */
#define BAM_LAUNCH_PACKED_ROWS(kernel, packed, rows, n, ...)                    \
  do {                                                                          \
    if (!(packed))                                                              \
      BAM_LAUNCH_ROWS_OF(kernel, 1, BAM_GROUP, rows, n, __VA_ARGS__);           \
    else                                                                        \
      BAM_LAUNCH_ROWS_OF(kernel, PACK, BAM_PACKED_GROUP, rows, n, __VA_ARGS__); \
  } while (0)
#define BAM_LAUNCH_ROWS_OF(kernel, width, group, rows, n, ...)                                 \
  do {                                                                                         \
    if ((n) <= BAM_SHORT_ROW)                                                                  \
      BAM_LAUNCH_WARPS((kernel<BAM_WARP, width>), rows, __VA_ARGS__);                          \
    else                                                                                       \
      BAM_LAUNCH(stream, (kernel<group, width>), BAM_ROW_BLOCKS(rows), group, 0, __VA_ARGS__); \
  } while (0)

/* kernel<width> over n elements of flat operands. */
#define BAM_LAUNCH_PACKED(kernel, packed, n, ...)                                             \
  do {                                                                                        \
    if (packed)                                                                               \
      BAM_LAUNCH(stream, (kernel<PACK>), bam_blocks(n, BAM_BLOCK *PACK, 65536), BAM_BLOCK, 0, \
                 __VA_ARGS__);                                                                \
    else                                                                                      \
      BAM_LAUNCH(stream, (kernel<1>), BAM_BLOCKS(n), BAM_BLOCK, 0, __VA_ARGS__);              \
  } while (0)

/* For kernels of many registers: the threads of a block of those launches. */
#define BAM_ROW_THREADS (group_size == BAM_WARP ? BAM_BLOCK : group_size)

#endif
