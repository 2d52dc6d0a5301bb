/* Reduction of [outer, n, inner] to [outer, inner]: sums, products, extremes. How the work is split
   depends on the sizes alone. Each column is read by one thread, so that neighbouring threads read
   neighbouring elements; each row (inner is 1) by a thread group. When there are few results for much
   work, n is cut into chunks whose partial results lie in scratch memory, [outputs, chunks], until a
   second kernel reduces those.

   The reduction is a struct F with
     typedef ... total                        the accumulator
     total identity() const                   neutral element of combine()
     total map(x, output, j) const            element x, the j-th of that output, as a total
     total combine(total a, total b) const    commutative
     void store(output, total t) const        writes the result */
#ifndef BAM_CUDA_REDUCE_H
#define BAM_CUDA_REDUCE_H

#include "rows.h"

/* ---- elements with their indices ---- */

#define NOWHERE INT64_MAX

struct indexed_value {
  real value;
  int64_t at; /* NOWHERE: no element */
};

/* The element that comes first in the order F; of equals the one with the lower index. */
template <class F>
static __device__ __forceinline__ indexed_value first_indexed(const F &order, indexed_value a,
                                                              indexed_value b) {
  if (a.at == NOWHERE || b.at == NOWHERE)
    return a.at == NOWHERE ? b : a;
  if (order.before(a.value, b.value))
    return a;
  return order.before(b.value, a.value) || b.at < a.at ? b : a;
}

/* ---- totals of a thread group ---- */

template <class T> static __device__ __forceinline__ T from_lane(T x, int bits) {
  return (T)__shfl_xor_sync(BAM_ALL_LANES, x, bits);
}

static __device__ __forceinline__ indexed_value from_lane(indexed_value x, int bits) {
  return { from_lane(x.value, bits), from_lane(x.at, bits) };
}

template <class F, class T> static __device__ __forceinline__ T warp_reduce(const F &f, T t) {
  for (int step = BAM_WARP / 2; step > 0; step /= 2)
    t = f.combine(t, from_lane(t, step));
  return t;
}

template <int group_size, class F, class T>
static __device__ __forceinline__ T group_reduce(const F &f, T t) {
  t = warp_reduce(f, t);
  if constexpr (group_size > BAM_WARP) {
    BAM_SHARED(T, partial, BAM_WARP);
    const int lane = threadIdx.x % BAM_WARP, warp = threadIdx.x / BAM_WARP;
    __syncthreads(); /* the results of the last call have been read */
    if (lane == 0)
      partial[warp] = t;
    __syncthreads();
    t = warp_reduce(f, lane < group_size / BAM_WARP ? partial[lane] : f.identity());
  }
  return t;
}

/* ---- how the work is split ---- */

#define REDUCE_THREADS (1 << 17) /* that are kept busy by columns, when there is enough to do */
#define REDUCE_GROUPS (1 << 11)  /* the same for rows */
#define REDUCE_COLUMN_CHUNK 64   /* elements that a thread has at least, where a column is cut */
#define REDUCE_ROW_CHUNK 8192    /* the same for a thread group */
#define REDUCE_NARROW 16         /* rows shorter than this have one thread */

struct reduce_sizes {
  int64_t outer, n, inner;
  int64_t chunks, length; /* number of chunks of n, and their length; the last may be shorter */
  bool columns;           /* with a thread each, else rows with a thread group */
};

static inline reduce_sizes plan_reduce(int64_t outer, int64_t n, int64_t inner) {
  reduce_sizes s = { outer, n, inner, 1, n, inner > 1 || n < REDUCE_NARROW };
  const int64_t most = n / (s.columns ? REDUCE_COLUMN_CHUNK : REDUCE_ROW_CHUNK);
  int64_t chunks = outer * inner > 0
                     ? (s.columns ? REDUCE_THREADS : REDUCE_GROUPS) / (outer * inner)
                     : 0;
  if (chunks > most)
    chunks = most;
  if (chunks > 1) {
    s.length = (n + chunks - 1) / chunks;
    s.chunks = (n + s.length - 1) / s.length;
  }
  return s;
}

/* Bytes of the chunks' totals, when there are several for each output. */
static inline int64_t reduce_bytes(const reduce_sizes &s, size_t total_bytes) {
  return s.chunks > 1 ? s.outer * s.inner * s.chunks * (int64_t)total_bytes : 0;
}

static __device__ __forceinline__ int64_t chunk_end(const reduce_sizes &s, int64_t first) {
  return s.n - first < s.length ? s.n : first + s.length;
}

/* ---- kernels ---- */

template <class F>
static __device__ __forceinline__ void hand_out(const F &f, typename F::total *partials,
                                                const reduce_sizes &s, int64_t output,
                                                int64_t chunk, typename F::total t) {
  if (s.chunks == 1)
    f.store(output, t);
  else
    partials[output * s.chunks + chunk] = t;
}

template <class F>
static __global__ void reduce_columns(F f, typename F::total *partials, const element *x,
                                      reduce_sizes s) {
  BAM_EACH(thread, s.outer * s.chunks * s.inner) {
    const int64_t piece = row_of(thread, s.inner), column = thread - piece * s.inner;
    const int64_t o = row_of(piece, s.chunks), chunk = piece - o * s.chunks;
    const int64_t output = o * s.inner + column, first = chunk * s.length;
    const int64_t end = chunk_end(s, first);
    typename F::total t = f.identity();
    for (int64_t j = first; j < end; j++)
      t = f.combine(t, f.map(x[(o * s.n + j) * s.inner + column], output, j));
    hand_out(f, partials, s, output, chunk, t);
  }
}

template <int group_size, class F>
static __global__ void reduce_rows(F f, typename F::total *partials, const element *x,
                                   reduce_sizes s) {
  BAM_EACH_GROUP_ROW(piece, s.outer * s.chunks) {
    const int64_t o = piece / s.chunks, chunk = piece - o * s.chunks, first = chunk * s.length;
    const int64_t end = chunk_end(s, first);
    typename F::total t = f.identity();
    for (int64_t j = first + threadIdx.x % group_size; j < end; j += group_size)
      t = f.combine(t, f.map(x[o * s.n + j], o, j));
    t = group_reduce<group_size>(f, t);
    if (BAM_GROUP_FIRST)
      hand_out(f, partials, s, o, chunk, t);
  }
}

template <class F>
static __global__ void reduce_chunks(F f, const typename F::total *partials, int64_t outputs,
                                     int64_t chunks) {
  constexpr int group_size = BAM_WARP;
  BAM_EACH_GROUP_ROW(output, outputs) {
    typename F::total t = f.identity();
    BAM_EACH_OF_GROUP(chunk, chunks)
    t = f.combine(t, partials[output * chunks + chunk]);
    t = group_reduce<group_size>(f, t);
    if (BAM_GROUP_FIRST)
      f.store(output, t);
  }
}

/* The results, or the totals of chunks when there are several of them. */
template <class F>
static void reduce_pieces(bam_stream stream, const F &f, void *partials_, const element *x,
                          const reduce_sizes &s) {
  typename F::total *partials = (typename F::total *)partials_;
  const int64_t pieces = s.outer * s.chunks;
  if (s.columns)
    BAM_LAUNCH(stream, (reduce_columns<F>), BAM_BLOCKS(pieces * s.inner), BAM_BLOCK, 0, f, partials,
               x, s);
  else if (s.length <= BAM_SHORT_ROW)
    BAM_LAUNCH_WARPS((reduce_rows<BAM_WARP, F>), pieces, f, partials, x, s);
  else
    BAM_LAUNCH(stream, (reduce_rows<BAM_GROUP, F>), BAM_ROW_BLOCKS(pieces), BAM_GROUP, 0, f,
               partials, x, s);
}

/* `partials` has room for reduce_bytes. */
template <class F>
static void reduce_with(bam_stream stream, const F &f, void *partials, const element *x,
                        const reduce_sizes &s) {
  const int64_t outputs = s.outer * s.inner;
  reduce_pieces(stream, f, partials, x, s);
  if (s.chunks > 1)
    BAM_LAUNCH_WARPS((reduce_chunks<F>), outputs, f, (const typename F::total *)partials, outputs,
                     s.chunks);
}

template <class F>
static void reduce(bam_stream stream, const F &f, const void *x, int64_t outer, int64_t n,
                   int64_t inner) {
  const reduce_sizes s = plan_reduce(outer, n, inner);
  const int64_t bytes = reduce_bytes(s, sizeof(typename F::total));
  void *partials = bytes > 0 ? bam_cuda_scratch(stream, bytes) : NULL;
  if (bytes == 0 || partials != NULL)
    reduce_with(stream, f, partials, (const element *)x, s);
}

#endif
