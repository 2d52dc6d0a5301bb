/* Folding [outer, n, inner] into [outer, inner]: sums, products, extremes. How the work is split
   depends on the sizes alone. Columns are read by a thread each, neighbours beside each other; rows
   (inner is 1) by teams. When there are few results for much work, n is cut into chunks whose
   totals lie in scratch memory, [outputs, chunks], until a second kernel folds those.

   What is folded is a struct F with
     typedef ... total                      what is carried
     total start() const                    that of no elements
     total take(x, output, j) const         that of one, the j-th for that output
     total join(total a, total b) const     of both; the same for a and b exchanged
     void store(output, total t) const      hands the result out */
#ifndef BAM_CUDA_FOLD_H
#define BAM_CUDA_FOLD_H

#include "rows.h"

/* ---- elements with their places ---- */

#define NOWHERE INT64_MAX

struct spot {
  real value;
  int64_t at; /* NOWHERE: no element */
};

/* Of two elements the one before the other in the order F; of equals that with the lower place. */
template <class F>
static __device__ __forceinline__ spot first_spot(const F &order, spot a, spot b) {
  if (a.at == NOWHERE || b.at == NOWHERE)
    return a.at == NOWHERE ? b : a;
  if (order.before(a.value, b.value))
    return a;
  return order.before(b.value, a.value) || b.at < a.at ? b : a;
}

/* ---- totals of a team ---- */

template <class T> static __device__ __forceinline__ T from_lane(T x, int bits) {
  return (T)__shfl_xor_sync(BAM_ALL_LANES, x, bits);
}

static __device__ __forceinline__ spot from_lane(spot x, int bits) {
  return { from_lane(x.value, bits), from_lane(x.at, bits) };
}

template <class F, class T>
static __device__ __forceinline__ T warp_fold(const F &f, T t) {
  for (int step = BAM_WARP / 2; step > 0; step /= 2)
    t = f.join(t, from_lane(t, step));
  return t;
}

template <int team, class F, class T>
static __device__ __forceinline__ T team_fold(const F &f, T t) {
  t = warp_fold(f, t);
  if constexpr (team > BAM_WARP) {
    BAM_SHARED(T, part, BAM_WARP);
    const int lane = threadIdx.x % BAM_WARP, warp = threadIdx.x / BAM_WARP;
    __syncthreads(); /* the results of the last call have been read */
    if (lane == 0)
      part[warp] = t;
    __syncthreads();
    t = warp_fold(f, lane < team / BAM_WARP ? part[lane] : f.start());
  }
  return t;
}

/* ---- how the work is split ---- */

#define FOLD_THREADS (1 << 17) /* that are kept busy by columns, when there is enough to do */
#define FOLD_TEAMS (1 << 11)   /* the same for rows */
#define FOLD_COLUMN_CHUNK 64   /* elements that a thread has at least, where a column is cut */
#define FOLD_ROW_CHUNK 8192    /* the same for a team */
#define FOLD_NARROW 16         /* rows shorter than this have one thread */

struct fold_sizes {
  int64_t outer, n, inner;
  int64_t chunks, length; /* of n: so many, so long; the last may be shorter */
  bool columns;           /* with a thread each, else rows with a team */
};

static inline fold_sizes plan_fold(int64_t outer, int64_t n, int64_t inner) {
  fold_sizes s = { outer, n, inner, 1, n, inner > 1 || n < FOLD_NARROW };
  const int64_t most = n / (s.columns ? FOLD_COLUMN_CHUNK : FOLD_ROW_CHUNK);
  int64_t chunks = outer * inner > 0
                     ? (s.columns ? FOLD_THREADS : FOLD_TEAMS) / (outer * inner) : 0;
  if (chunks > most)
    chunks = most;
  if (chunks > 1) {
    s.length = (n + chunks - 1) / chunks;
    s.chunks = (n + s.length - 1) / s.length;
  }
  return s;
}

/* Bytes of the chunks' totals, when there are several for each output. */
static inline int64_t fold_bytes(const fold_sizes &s, size_t total_bytes) {
  return s.chunks > 1 ? s.outer * s.inner * s.chunks * (int64_t)total_bytes : 0;
}

static __device__ __forceinline__ int64_t chunk_end(const fold_sizes &s, int64_t first) {
  return s.n - first < s.length ? s.n : first + s.length;
}

/* ---- kernels ---- */

template <class F>
static __device__ __forceinline__ void hand_out(const F &f, typename F::total *parts,
                                                const fold_sizes &s, int64_t output, int64_t chunk,
                                                typename F::total t) {
  if (s.chunks == 1)
    f.store(output, t);
  else
    parts[output * s.chunks + chunk] = t;
}

template <class F>
static __global__ void fold_columns(F f, typename F::total *parts, const element *x, fold_sizes s) {
  BAM_EACH(thread, s.outer * s.chunks * s.inner) {
    const int64_t piece = row_of(thread, s.inner), column = thread - piece * s.inner;
    const int64_t o = row_of(piece, s.chunks), chunk = piece - o * s.chunks;
    const int64_t output = o * s.inner + column, first = chunk * s.length;
    const int64_t end = chunk_end(s, first);
    typename F::total t = f.start();
    for (int64_t j = first; j < end; j++)
      t = f.join(t, f.take(x[(o * s.n + j) * s.inner + column], output, j));
    hand_out(f, parts, s, output, chunk, t);
  }
}

template <int team, class F>
static __global__ void fold_rows(F f, typename F::total *parts, const element *x, fold_sizes s) {
  BAM_EACH_TEAM_ROW(piece, s.outer * s.chunks) {
    const int64_t o = piece / s.chunks, chunk = piece - o * s.chunks, first = chunk * s.length;
    const int64_t end = chunk_end(s, first);
    typename F::total t = f.start();
    for (int64_t j = first + threadIdx.x % team; j < end; j += team)
      t = f.join(t, f.take(x[o * s.n + j], o, j));
    t = team_fold<team>(f, t);
    if (BAM_TEAM_FIRST)
      hand_out(f, parts, s, o, chunk, t);
  }
}

template <class F>
static __global__ void fold_chunks(F f, const typename F::total *parts, int64_t outputs,
                                   int64_t chunks) {
  constexpr int team = BAM_WARP;
  BAM_EACH_TEAM_ROW(output, outputs) {
    typename F::total t = f.start();
    BAM_EACH_OF_TEAM(chunk, chunks)
      t = f.join(t, parts[output * chunks + chunk]);
    t = team_fold<team>(f, t);
    if (BAM_TEAM_FIRST)
      f.store(output, t);
  }
}

/* The results, or the totals of chunks when there are several of them. */
template <class F>
static void fold_pieces(bam_stream stream, const F &f, void *parts_, const element *x,
                        const fold_sizes &s) {
  typename F::total *parts = (typename F::total *)parts_;
  const int64_t pieces = s.outer * s.chunks;
  if (s.columns)
    BAM_LAUNCH(stream, (fold_columns<F>), BAM_BLOCKS(pieces * s.inner), BAM_BLOCK, 0, f, parts, x,
               s);
  else if (s.length <= BAM_SHORT_ROW)
    BAM_LAUNCH_WARPS((fold_rows<BAM_WARP, F>), pieces, f, parts, x, s);
  else
    BAM_LAUNCH(stream, (fold_rows<BAM_TEAM, F>), BAM_ROW_BLOCKS(pieces), BAM_TEAM, 0, f, parts, x,
               s);
}

/* `parts` has room for fold_bytes. */
template <class F>
static void fold_with(bam_stream stream, const F &f, void *parts, const element *x,
                      const fold_sizes &s) {
  const int64_t outputs = s.outer * s.inner;
  fold_pieces(stream, f, parts, x, s);
  if (s.chunks > 1)
    BAM_LAUNCH_WARPS((fold_chunks<F>), outputs, f, (const typename F::total *)parts, outputs,
                     s.chunks);
}

template <class F>
static void fold(bam_stream stream, const F &f, const void *x, int64_t outer, int64_t n,
                 int64_t inner) {
  const fold_sizes s = plan_fold(outer, n, inner);
  const int64_t bytes = fold_bytes(s, sizeof(typename F::total));
  void *parts = bytes > 0 ? bam_cuda_scratch(stream, bytes) : NULL;
  if (bytes == 0 || parts != NULL)
    fold_with(stream, f, parts, (const element *)x, s);
}

#endif
