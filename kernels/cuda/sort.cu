/* Stable sorting of rows with the positions (from 1) that the elements came from. NaN counts as
   larger than everything; elements that compare equal stay in the order of their positions.

   Sorted runs are merged two by two: the place of an element is its place in its own run plus the
   number of elements of the other run before it, which a binary search finds, for all elements at
   once. First in shared memory, in tiles of several short rows or of a part of a long one; then
   the tiles of long rows. */
#include "reduce.h"

#include "../scalar.h"

#define TILE 1024

/* ---- order ---- */

static __device__ __forceinline__ bool less(real a, real b) {
#if BAM_FLOATING
  return !(a >= b) && a == a; /* a NaN is less than nothing, everything less than a NaN */
#else
  return a < b;
#endif
}

namespace {

/* Must `a` stand before `b`? False for equals. */
struct ordering {
  typedef indexed_value total;
  bool descending;
  __device__ bool before(real a, real b) const { return descending ? less(b, a) : less(a, b); }
  __device__ total identity() const { return { 0, NOWHERE }; }
  __device__ total combine(total a, total b) const { return first_indexed(*this, a, b); }
};

} // namespace

/* How many of the n sorted elements of a run stand before v; `equals`: those equal to it do. */
static __device__ __forceinline__ int64_t count_before(const element *run, int64_t n, real v,
                                                       bool equals, ordering order) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (equals ? !order.before(v, run[middle]) : order.before(run[middle], v))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Where element j of a row of n goes when its sorted runs of `width`, a power of two, are merged
   two by two. */
static __device__ __forceinline__ int64_t merged_place(const element *row, int64_t n, int64_t j,
                                                       int64_t width, ordering order) {
  const bool right = (j & width) != 0;
  const int64_t run = j & -width, other = right ? run - width : run + width;
  const int64_t rest = n - other, length = rest < 0 ? 0 : rest < width ? rest : width;
  return (right ? j - width : j) + count_before(row + other, length, row[j], right, order);
}

/* Elements of rows and where they came from. */
struct sequence {
  element *value;
  int64_t *position;
};

static void exchange(sequence *a, sequence *b) {
  const sequence was = *a;
  *a = *b;
  *b = was;
}

/* ---- tiles ---- */

/* The rows, or parts of rows, that tiles hold. */
struct tiling {
  int64_t rows, n;
  int64_t tiles;  /* in all */
  int64_t height; /* rows in a tile */
  int64_t across; /* tiles in a row */
  int threads;    /* for a tile */
};

static tiling plan_tiles(int64_t rows, int64_t n) {
  tiling t = { rows, n, 0, n < TILE ? TILE / n : 1, (n + TILE - 1) / TILE, BAM_BLOCK };
  t.tiles = (rows + t.height - 1) / t.height * t.across;
  if (rows * n < BAM_BLOCK)
    t.threads = (int)(rows * n + BAM_WARP - 1) / BAM_WARP * BAM_WARP;
  return t;
}

/* Sort every piece of a row that is in a tile. */
static __global__ void sort_tiles(sequence to, const element *x, tiling t, ordering order) {
  BAM_SHARED(element, values, 2 * TILE);
  BAM_SHARED(int, places, 2 * TILE); /* in the piece that an element came from */
  BAM_EACH_ROW(tile, t.tiles) {
    const int64_t row = tile / t.across * t.height, before = tile % t.across * TILE;
    const int64_t height = t.rows - row < t.height ? t.rows - row : t.height;
    const int width = (int)(t.n - before < TILE ? t.n - before : TILE);
    const int count = (int)height * width;
    const int64_t first = row * t.n + before; /* only rows that fit lie behind each other here */
    int from = 0;                             /* which half of the arrays */
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
      values[i] = x[first + i];
      places[i] = i % width;
    }
    __syncthreads();
    for (int run = 1; run < width; run *= 2, from = TILE - from) {
      for (int i = threadIdx.x; i < count; i += blockDim.x) {
        const int piece = i / width * width;
        const int at = TILE - from + piece +
                       (int)merged_place(values + from + piece, width, i - piece, run, order);
        values[at] = values[from + i];
        places[at] = places[from + i];
      }
      __syncthreads();
    }
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
      to.value[first + i] = values[from + i];
      to.position[first + i] = before + places[from + i] + 1;
    }
    __syncthreads(); /* before the next tile is read */
  }
}

/* ---- long rows ---- */

static __global__ void merge_runs(sequence to, sequence from, int64_t rows, int64_t n,
                                  int64_t width, ordering order) {
  BAM_EACH(i, rows * n) {
    const int64_t first = row_of(i, n) * n;
    const int64_t at = first + merged_place(from.value + first, n, i - first, width, order);
    to.value[at] = from.value[i];
    to.position[at] = from.position[i];
  }
}

/* Passes go to and fro between the results and the spare ones, and end in the results. */
void KERNEL(sort)(bam_stream stream, const bam_sort *args) {
  const int64_t rows = args->rows, n = args->n;
  sequence from = { (element *)args->y, args->positions },
           to = { (element *)args->spare, args->spare_positions };
  if (rows * n == 0)
    return;
  const tiling t = plan_tiles(rows, n);
  const ordering order = { args->descending };
  bool odd = false;
  for (int64_t width = TILE; width < n; width *= 2)
    odd = !odd;
  if (odd)
    exchange(&from, &to);
  BAM_LAUNCH(stream, sort_tiles, BAM_ROW_BLOCKS(t.tiles), t.threads, 0, from,
             (const element *)args->x, t, order);
  for (int64_t width = TILE; width < n; width *= 2) {
    BAM_LAUNCH(stream, merge_runs, BAM_BLOCKS(rows * n), BAM_BLOCK, 0, to, from, rows, n, width,
               order);
    exchange(&from, &to);
  }
}

/* ---- the first few ---- */

/* One after the other: each is the first of those that stand behind the last. */
template <int group_size>
static __global__ void top_rows(element *y, int64_t *positions, const element *x, int64_t rows,
                                int64_t n, int64_t k, ordering order) {
  BAM_EACH_GROUP_ROW(row, rows) {
    indexed_value last = order.identity();
    for (int64_t i = 0; i < k; i++) {
      indexed_value next = order.identity();
      BAM_EACH_OF_GROUP(j, n) {
        const indexed_value here = { (real)x[row * n + j], j };
        if (i == 0 || first_indexed(order, last, here).at != j)
          next = first_indexed(order, next, here);
      }
      last = group_reduce<group_size>(order, next);
      if (BAM_GROUP_FIRST) {
        y[row * k + i] = last.value;
        positions[row * k + i] = last.at + 1;
      }
    }
  }
}

void KERNEL(topk)(bam_stream stream, void *y, int64_t *positions, const void *x, int64_t rows,
                  int64_t n, int64_t k, bool largest) {
  const ordering order = { largest };
  BAM_LAUNCH_ROWS(top_rows, rows, n, (element *)y, positions, (const element *)x, rows, n, k,
                  order);
}
