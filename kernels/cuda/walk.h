/* How elementwise kernels visit their elements: a functor over one to three operands, one element
   per thread and turn. Loops of one dimension (contiguous operands, with numbers broadcast) need
   no division, and those over floating-point elements are taken in packs; others find each
   element's place from its number. */
#ifndef BAM_CUDA_WALK_H
#define BAM_CUDA_WALK_H

#include <type_traits>

#include "pack.h"

/* at[k] = offset of the i-th element of the loop in operand k. */
template <int operands, class Index>
static __device__ __forceinline__ void find_offsets(const bam_loop &loop, Index i, int64_t *at) {
  for (int k = 0; k < operands; k++)
    at[k] = 0;
  for (int d = loop.ndim - 1; d >= 0; d--) {
    const Index size = (Index)loop.size[d], index = i % size;
    i /= size;
    for (int k = 0; k < operands; k++)
      at[k] += (int64_t)index * loop.stride[k][d];
  }
}

/* n is the number of elements: no size is above it. */
template <int operands, bool line>
static __device__ __forceinline__ void place(const bam_loop &loop, int64_t n, int64_t i,
                                             int64_t *at) {
  if (line)
    for (int k = 0; k < operands; k++)
      at[k] = i * loop.stride[k][0];
  else if (n <= UINT32_MAX) /* 32-bit division is several times faster */
    find_offsets<operands, uint32_t>(loop, (uint32_t)i, at);
  else
    find_offsets<operands, uint64_t>(loop, (uint64_t)i, at);
}

template <bool line, class F, class Y>
__global__ void walk_fill(bam_loop loop, int64_t n, F f, Y *y) {
  BAM_EACH(i, n) {
    int64_t at[1];
    place<1, line>(loop, n, i, at);
    y[at[0]] = f();
  }
}

template <bool line, class F, class Y, class A>
__global__ void walk_unary(bam_loop loop, int64_t n, F f, Y *y, const A *a) {
  BAM_EACH(i, n) {
    int64_t at[2];
    place<2, line>(loop, n, i, at);
    y[at[0]] = f(a[at[1]]);
  }
}

template <bool line, class F, class Y, class A, class B>
__global__ void walk_binary(bam_loop loop, int64_t n, F f, Y *y, const A *a, const B *b) {
  BAM_EACH(i, n) {
    int64_t at[3];
    place<3, line>(loop, n, i, at);
    y[at[0]] = f(a[at[1]], b[at[2]]);
  }
}

template <bool line, class F, class Y, class A, class B, class C>
__global__ void walk_ternary(bam_loop loop, int64_t n, F f, Y *y, const A *a, const B *b,
                             const C *c) {
  BAM_EACH(i, n) {
    int64_t at[4];
    place<4, line>(loop, n, i, at);
    y[at[0]] = f(a[at[1]], b[at[2]], c[at[3]]);
  }
}

/* ---- in packs ---- */

/* Contiguous operands, and numbers that stand for all elements. */
template <int count> struct flat_operands {
  const element *at[count];
  bool number[count];
};

template <int width>
static __device__ __forceinline__ pack<width, element> load_or_repeat(const element *at,
                                                                      bool number, int64_t i) {
  pack<width, element> same;
  if (!number)
    return load_pack<width>(at + i);
  BAM_EACH_IN_PACK(k) same.at[k] = *at;
  return same;
}

template <int width, int count, class F>
static __device__ __forceinline__ void walk_pack(F f, element *y, const flat_operands<count> &x,
                                                 int64_t i) {
  pack<width, element> in[count], out;
  BAM_UNROLL
  for (int o = 0; o < count; o++)
    in[o] = load_or_repeat<width>(x.at[o], x.number[o], i);
  BAM_EACH_IN_PACK(k) {
    if constexpr (count == 1)
      out.at[k] = f(in[0].at[k]);
    else if constexpr (count == 2)
      out.at[k] = f(in[0].at[k], in[1].at[k]);
    else
      out.at[k] = f(in[0].at[k], in[1].at[k], in[2].at[k]);
  }
  store_pack(y + i, out);
}

template <int width, int count, class F>
__global__ void walk_packs(int64_t n, F f, element *y, flat_operands<count> x) {
  BAM_EACH_WHOLE_PACK(i, n) walk_pack<width>(f, y, x, i);
  BAM_EACH_REST(i, n) walk_pack<1>(f, y, x, i);
}

static inline int64_t loop_count(const bam_loop *loop) {
  int64_t n = 1;
  for (int d = 0; d < loop->ndim; d++)
    n *= loop->size[d];
  return n;
}

/* y = f(operands) in packs; false where that is not possible. */
template <class F, class Y, class... A>
static inline bool walk_in_packs(bam_stream stream, const bam_loop *loop, F f, Y *y,
                                 const A *...operands) {
  if constexpr (BAM_FLOATING && std::is_same<Y, element>::value &&
                (std::is_same<A, element>::value && ...)) {
    constexpr int count = (int)sizeof...(A);
    const int64_t n = loop_count(loop);
    flat_operands<count> x = { { operands... }, {} };
    bool packed = loop->ndim == 1 && loop->stride[0][0] == 1 && pack_aligned(y);
    for (int o = 0; packed && o < count; o++) {
      x.number[o] = loop->stride[o + 1][0] == 0;
      packed = x.number[o] || (loop->stride[o + 1][0] == 1 && pack_aligned(x.at[o]));
    }
    if (packed)
      BAM_LAUNCH(stream, (walk_packs<PACK, count, F>), bam_blocks(n, BAM_BLOCK * PACK, 65536),
                 BAM_BLOCK, 0, n, f, y, x);
    return packed;
  }
  return false;
}

/* ---- launching: y = f(), f(a), f(a, b) or f(a, b, c) over the loop ---- */

#define LAUNCH_WALK(kernel, types, ...)                                                            \
  const int64_t n = loop_count(loop);                                                              \
  if (loop->ndim == 1)                                                                             \
    BAM_LAUNCH(stream, (kernel<true, types>), BAM_BLOCKS(n), BAM_BLOCK, 0, *loop, n, __VA_ARGS__); \
  else                                                                                             \
    BAM_LAUNCH(stream, (kernel<false, types>), BAM_BLOCKS(n), BAM_BLOCK, 0, *loop, n, __VA_ARGS__)
#define TYPES(...) __VA_ARGS__

template <class F, class Y>
static inline void walk(bam_stream stream, const bam_loop *loop, F f, Y *y) {
  LAUNCH_WALK(walk_fill, TYPES(F, Y), f, y);
}

template <class F, class Y, class A>
static inline void walk(bam_stream stream, const bam_loop *loop, F f, Y *y, const A *a) {
  if (walk_in_packs(stream, loop, f, y, a))
    return;
  LAUNCH_WALK(walk_unary, TYPES(F, Y, A), f, y, a);
}

template <class F, class Y, class A, class B>
static inline void walk(bam_stream stream, const bam_loop *loop, F f, Y *y, const A *a,
                        const B *b) {
  if (walk_in_packs(stream, loop, f, y, a, b))
    return;
  LAUNCH_WALK(walk_binary, TYPES(F, Y, A, B), f, y, a, b);
}

template <class F, class Y, class A, class B, class C>
static inline void walk(bam_stream stream, const bam_loop *loop, F f, Y *y, const A *a, const B *b,
                        const C *c) {
  if (walk_in_packs(stream, loop, f, y, a, b, c))
    return;
  LAUNCH_WALK(walk_ternary, TYPES(F, Y, A, B, C), f, y, a, b, c);
}

/* Functors and whole kernels; `expression` is in x (or a and b, or a, b and c), of type real, and
   gives a Y: real or bool. */
#define UNARY_TO(Y, name, expression)                                                         \
  struct name##_of {                                                                          \
    __device__ Y operator()(real x) const { return (Y)(expression); }                         \
  };                                                                                          \
  void KERNEL(name)(bam_stream stream, const bam_loop *loop, UNTYPED_##Y *y, const void *x) { \
    walk(stream, loop, name##_of(), (STORED_##Y *)y, (const element *)x);                     \
  }

#define BINARY_TO(Y, name, expression)                                                        \
  struct name##_of {                                                                          \
    __device__ Y operator()(real a, real b) const { return (Y)(expression); }                 \
  };                                                                                          \
  void KERNEL(name)(bam_stream stream, const bam_loop *loop, UNTYPED_##Y *y, const void *a,   \
                    const void *b) {                                                          \
    walk(stream, loop, name##_of(), (STORED_##Y *)y, (const element *)a, (const element *)b); \
  }

#define TERNARY(name, expression)                                                           \
  struct name##_of {                                                                        \
    __device__ real operator()(real a, real b, real c) const { return (real)(expression); } \
  };                                                                                        \
  void KERNEL(name) BAM_TERNARY {                                                           \
    walk(stream, loop, name##_of(), (element *)y, (const element *)a, (const element *)b,   \
         (const element *)c);                                                               \
  }

typedef void UNTYPED_real;
typedef bool UNTYPED_bool;
typedef element STORED_real;
typedef bool STORED_bool;
#define UNARY(name, expression) UNARY_TO(real, name, expression)
#define BINARY(name, expression) BINARY_TO(real, name, expression)

#endif
