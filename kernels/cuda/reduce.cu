/* Reductions and running sums: x is [outer, n, inner] or [outer, n]. How a sum is split depends on
   the sizes alone (reduce.h), so a result has the same bits on every device. Floating-point numbers
   are summed in double, integers wrap. */
#include "reduce.h"

#include "../scalar.h"

#if BAM_FLOATING
typedef double wide;
#else
typedef uint64_t wide;
#endif

/* Reductions have no name outside this file: other dtypes have structs of the same name. */
namespace {

template <class T> struct adding {
  typedef wide total;
  T *y;
  double divisor;
  __device__ total identity() const { return 0; }
  __device__ total map(real x, int64_t, int64_t) const { return (total)x; }
  __device__ total combine(total a, total b) const { return a + b; }
  __device__ void store(int64_t i, total t) const {
#if BAM_FLOATING
    y[i] = (real)(t / divisor);
#else
    y[i] = (real)t;
#endif
  }
};

struct multiplying {
  typedef wide total;
  element *y;
  __device__ total identity() const { return 1; }
  __device__ total map(real x, int64_t, int64_t) const { return (total)x; }
  __device__ total combine(total a, total b) const { return a * b; }
  __device__ void store(int64_t i, total t) const { y[i] = (real)t; }
};

/* The first extreme element. A NaN beats everything but a NaN: the negated comparisons are true
   for it. */
struct finding_extreme {
  typedef indexed_value total;
  element *y; /* either may be NULL */
  int64_t *positions;
  bool largest;
  __device__ bool before(real a, real b) const {
    const bool beyond = largest ? !(a <= b) : !(a >= b);
    return beyond && !IS_NAN(b);
  }
  __device__ total identity() const { return { 0, NOWHERE }; }
  __device__ total map(real x, int64_t, int64_t j) const { return { x, j }; }
  __device__ total combine(total a, total b) const { return first_indexed(*this, a, b); }
  __device__ void store(int64_t i, total t) const {
    if (y != NULL)
      y[i] = t.value;
    if (positions != NULL)
      positions[i] = t.at + 1;
  }
};

/* Whether an element is zero (or, when `zero` is false, one is not); for `all` the answer is no. */
struct finding_truth {
  typedef int total;
  bool *y;
  bool zero;
  __device__ total identity() const { return 0; }
  __device__ total map(real x, int64_t, int64_t) const { return (x == 0) == zero; }
  __device__ total combine(total a, total b) const { return a | b; }
  __device__ void store(int64_t i, total t) const { y[i] = (t != 0) != zero; }
};

} // namespace

void KERNEL(sum)(bam_stream stream, void *y, const void *x, int64_t outer, int64_t n,
                 int64_t inner) {
  const adding<element> f = { (element *)y, 1 };
  reduce(stream, f, x, outer, n, inner);
}

void KERNEL(prod)(bam_stream stream, void *y, const void *x, int64_t outer, int64_t n) {
  const multiplying f = { (element *)y };
  reduce(stream, f, x, outer, n, 1);
}

/* ---- running sums ---- */

/* The sum of a warp's lanes up to this one. */
static __device__ __forceinline__ wide warp_running(wide x) {
  for (int step = 1; step < BAM_WARP; step *= 2) {
    const wide lower = __shfl_up_sync(BAM_ALL_LANES, x, step);
    if ((int)threadIdx.x % BAM_WARP >= step)
      x += lower;
  }
  return x;
}

/* The running sum over the group's threads up to this one; *all is the sum over all of them. */
template <int group_size> static __device__ __forceinline__ wide group_running(wide x, wide *all) {
  const int lane = threadIdx.x % BAM_WARP, warp = threadIdx.x / BAM_WARP;
  x = warp_running(x);
  *all = __shfl_sync(BAM_ALL_LANES, x, BAM_WARP - 1);
  if constexpr (group_size > BAM_WARP) {
    BAM_SHARED(wide, part, BAM_WARP);
    __syncthreads(); /* the sums of the last call have been read */
    if (lane == 0)
      part[warp] = *all;
    __syncthreads();
    const wide warps = warp_running(lane < group_size / BAM_WARP ? part[lane] : 0);
    const wide before = __shfl_sync(BAM_ALL_LANES, warps, warp > 0 ? warp - 1 : 0);
    *all = __shfl_sync(BAM_ALL_LANES, warps, BAM_WARP - 1);
    x += warp > 0 ? before : 0;
  }
  return x;
}

/* The sum of an output's chunks that come before one, from the running sums of the chunks. */
static __device__ __forceinline__ wide sum_before(const wide *sums, const reduce_sizes &s,
                                                  int64_t output, int64_t chunk, bool reverse) {
  const int64_t last = reverse ? chunk + 1 : chunk - 1;
  return last >= 0 && last < s.chunks ? sums[output * s.chunks + last] : 0;
}

/* As an element, or as it is. */
template <class T> static __device__ __forceinline__ T rounded(wide sum) {
  if constexpr (sizeof(T) == sizeof(wide))
    return (T)sum;
  else
    return (T)(real)sum;
}

/* Chunks of rows, each by a thread group that carries the sum along. y may be x. */
template <int group_size, class T>
static __global__ void running_rows(T *y, const T *x, const wide *sums, reduce_sizes s,
                                    bool reverse) {
  BAM_EACH_GROUP_ROW(piece, s.outer * s.chunks) {
    const int64_t o = piece / s.chunks, chunk = piece - o * s.chunks, first = chunk * s.length;
    const int64_t count = chunk_end(s, first) - first;
    wide carried = sum_before(sums, s, o, chunk, reverse), all;
    for (int64_t done = 0; done < count; done += group_size) {
      const int64_t i = done + threadIdx.x % group_size;
      const int64_t at = o * s.n + first + (reverse ? count - 1 - i : i);
      const wide sum = group_running<group_size>(i < count ? (wide)x[at] : 0, &all);
      if (i < count)
        y[at] = rounded<T>(carried + sum);
      carried += all;
    }
  }
}

static __global__ void running_columns(element *y, const element *x, const wide *sums,
                                       reduce_sizes s, bool reverse) {
  BAM_EACH(thread, s.outer * s.chunks * s.inner) {
    const int64_t piece = row_of(thread, s.inner), column = thread - piece * s.inner;
    const int64_t o = row_of(piece, s.chunks), chunk = piece - o * s.chunks;
    const int64_t first = chunk * s.length, end = chunk_end(s, first);
    wide sum = sum_before(sums, s, o * s.inner + column, chunk, reverse);
    for (int64_t i = first; i < end; i++) {
      const int64_t j = reverse ? first + end - 1 - i : i;
      const int64_t at = (o * s.n + j) * s.inner + column;
      sum += (wide)x[at];
      y[at] = (real)sum;
    }
  }
}

template <class T>
static void run_rows(bam_stream stream, T *y, const T *x, const wide *sums, const reduce_sizes &s,
                     bool reverse) {
  const int64_t pieces = s.outer * s.chunks;
  if (s.length <= BAM_SHORT_ROW)
    BAM_LAUNCH_WARPS((running_rows<BAM_WARP, T>), pieces, y, x, sums, s, reverse);
  else
    BAM_LAUNCH(stream, (running_rows<BAM_GROUP, T>), BAM_ROW_BLOCKS(pieces), BAM_GROUP, 0, y, x,
               sums, s, reverse);
}

/* The sums of chunks, then their running sums, then those inside of each chunk. */
void KERNEL(cumsum)(bam_stream stream, void *y_, const void *x_, int64_t outer, int64_t n,
                    int64_t inner, bool reverse) {
  const reduce_sizes s = plan_reduce(outer, n, inner);
  const int64_t bytes = reduce_bytes(s, sizeof(wide));
  wide *sums = bytes > 0 ? (wide *)bam_cuda_scratch(stream, bytes) : NULL;
  element *y = (element *)y_;
  const element *x = (const element *)x_;
  if (bytes > 0 && sums == NULL)
    return;
  if (s.chunks > 1) {
    const adding<element> f = { NULL, 1 };
    const reduce_sizes of_chunks = { outer * inner, s.chunks, 1, 1, s.chunks, false };
    reduce_pieces(stream, f, sums, x, s);
    run_rows<wide>(stream, sums, sums, sums, of_chunks, reverse);
  }
  if (s.columns)
    BAM_LAUNCH(stream, running_columns, BAM_BLOCKS(outer * s.chunks * inner), BAM_BLOCK, 0, y, x,
               sums, s, reverse);
  else
    run_rows<element>(stream, y, x, sums, s, reverse);
}

/* ---- extremes and truth ---- */

void KERNEL(extreme)(bam_stream stream, void *y, int64_t *positions, const void *x, int64_t outer,
                     int64_t n, int64_t inner, bool largest) {
  const finding_extreme f = { (element *)y, positions, largest };
  reduce(stream, f, x, outer, n, inner);
}

void KERNEL(any)(bam_stream stream, bool *y, const void *x, int64_t outer, int64_t n) {
  const finding_truth f = { y, false };
  reduce(stream, f, x, outer, n, 1);
}

void KERNEL(all)(bam_stream stream, bool *y, const void *x, int64_t outer, int64_t n) {
  const finding_truth f = { y, true };
  reduce(stream, f, x, outer, n, 1);
}

/* ---- for floating point only ---- */

#if BAM_FLOATING
void KERNEL(sum_real)(bam_stream stream, void *y, const void *x, int64_t outer, int64_t n,
                      int64_t inner) {
  const adding<real> f = { (real *)y, 1 };
  reduce(stream, f, x, outer, n, inner);
}

void KERNEL(mean)(bam_stream stream, void *y, const void *x, int64_t outer, int64_t n,
                  int64_t inner) {
  const adding<element> f = { (element *)y, (double)n };
  reduce(stream, f, x, outer, n, inner);
}

/* d(prod)/dx is the product of the others: found without dividing when the row holds zeros. */
template <int group_size>
static __global__ void prod_backward_rows(element *dx, const element *x, const element *dy,
                                          int64_t outer, int64_t n) {
  BAM_EACH_GROUP_ROW(o, outer) {
    const element *row = x + o * n;
    double product = 1; /* of the elements that are not zero */
    int zeros = 0;      /* 2 stands for more, too */
    BAM_EACH_OF_GROUP(j, n) {
      zeros = row[j] == 0 && zeros < 2 ? zeros + 1 : zeros;
      product *= row[j] == 0 ? 1 : (double)row[j];
    }
    product = group_reduce<group_size>(multiplying(), product);
    zeros = group_sum<group_size>(zeros);
    const double g = (double)dy[o];
    BAM_EACH_OF_GROUP(j, n)
    if (zeros == 0)
      dx[o * n + j] = (real)(g * (product / (double)row[j]));
    else
      dx[o * n + j] = zeros == 1 && row[j] == 0 ? (real)(g * product) : 0;
  }
}

void KERNEL(prod_backward)(bam_stream stream, void *dx, const void *x, const void *dy,
                           int64_t outer, int64_t n) {
  BAM_LAUNCH_ROWS(prod_backward_rows, outer, n, (element *)dx, (const element *)x,
                  (const element *)dy, outer, n);
}
#endif
