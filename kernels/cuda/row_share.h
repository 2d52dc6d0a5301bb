/* Rows that a thread group reads once and holds in registers, unless they are very long. */
#ifndef BAM_CUDA_ROW_SHARE_H
#define BAM_CUDA_ROW_SHARE_H

#include "pack.h"

#define LONGEST_HELD 4096 /* elements of a row up to which a block holds it in registers */

/* The elements of such a row that a thread holds at most. */
#define HELD (group_size == BAM_WARP ? BAM_SHORT_ROW / BAM_WARP : LONGEST_HELD / group_size)

/* A thread's share of a row x of n, in packs of `width`. With `held` elements, they stay in registers, as numbers or as
   `stored` elements, which may take half as many; else (0) they are read from x again in each pass. */
template <int group_size, int width, int held, class stored = real> struct row_share {
  static constexpr bool is_held = held > 0;
  const element *x;
  int64_t n;
  pack<width, stored> packs[held > 0 ? held / width : 1];

  __device__ __forceinline__ row_share(const element *x_, int64_t n_) : x(x_), n(n_) {}

  /* f(i, j) for each pack: it is the thread's i-th, of the elements from j on. */
  template <class F> __device__ __forceinline__ void each(F f) const {
    if constexpr (held > 0) {
      BAM_UNROLL
      for (int i = 0; i < held / width; i++) {
        const int64_t j = (int64_t)(i * group_size + threadIdx.x % group_size) * width;
        if (j < n)
          f(i, j);
      }
    } else {
      BAM_EACH_PACK(j, n) f(0, j);
    }
  }

  __device__ __forceinline__ pack<width, real> at(int i, int64_t j) const {
    if constexpr (held > 0)
      return numbers(packs[i]);
    else
      return numbers(load_pack<width>(x + j));
  }

  __device__ __forceinline__ void read() {
    if constexpr (held > 0)
      each([&](int i, int64_t j) {
        const auto p = load_pack<width>(x + j);
        if constexpr (sizeof(stored) == sizeof(element))
          memcpy(&packs[i], &p, sizeof p);
        else
          packs[i] = numbers(p);
      });
  }

  /* The same of a + b, which is written to x. */
  __device__ __forceinline__ void add(element *to, const element *a, const element *b) {
    x = to;
    each([&](int i, int64_t j) {
      const auto left = load_pack<width>(a + j), right = load_pack<width>(b + j);
      pack<width, element> sum;
      BAM_EACH_IN_PACK(k) sum.at[k] = left.at[k] + right.at[k];
      store_pack(to + j, sum);
      packs[i] = numbers(sum);
    });
  }

  /* x[j] = f(x[j]) in registers; a row that is not held is left as it is. */
  template <class F> __device__ __forceinline__ void replace(F f) {
    if constexpr (held > 0)
      each([&](int i, int64_t) { BAM_EACH_IN_PACK(k) packs[i].at[k] = f(packs[i].at[k]); });
  }

  /* The largest x[j], NaN aside; every thread of the group gets it. -inf for an empty row. */
  __device__ __forceinline__ real max() const {
    real most = -(real)INFINITY;
    each([&](int i, int64_t j) {
      const auto p = at(i, j);
      BAM_EACH_IN_PACK(k) most = p.at[k] > most ? p.at[k] : most;
    });
    return group_max<group_size>(most);
  }

  /* The sum of f(x[j]) over the row; every thread of the group gets it. */
  template <class T, class F> __device__ __forceinline__ T sum(F f) const {
    T total = 0;
    each([&](int i, int64_t j) {
      const auto p = at(i, j);
      BAM_EACH_IN_PACK(k) total += f(p.at[k]);
    });
    return group_sum<group_size>(total);
  }

  /* to[j] = f(x[j]) */
  template <class F> __device__ __forceinline__ void write(element *to, F f) const {
    each([&](int i, int64_t j) {
      const auto p = at(i, j);
      pack<width, element> result;
      BAM_EACH_IN_PACK(k) result.at[k] = f(p.at[k]);
      store_pack(to + j, result);
    });
  }
};

/* function<group_size, width, held>(...) for rows of n: held, unless they are too long for a block. */
#define BAM_HELD_OR_NOT(function, n, ...)              \
  do {                                                 \
    if (group_size == BAM_WARP || (n) <= LONGEST_HELD) \
      function<group_size, width, HELD>(__VA_ARGS__);  \
    else if constexpr (group_size != BAM_WARP)         \
      function<group_size, width, 0>(__VA_ARGS__);     \
  } while (0)

#endif
