/* A stable merge sort. Moves within a tile count how many come before them; then sorted runs are
   merged, twice as long each time: an element's place in the result is its own place in its run
   plus what comes before it in the other, found by bisection. Nothing depends on how many
   different destinations there are. */
#include "scatter.h"

#define BAM_TYPE f32 /* cuda.h wants one; nothing here depends on it */
#define BAM_TYPE_f32
#include "cuda.h"

#define TILE BAM_BLOCK

static __global__ void sort_tiles(bam_cuda_move *moves, int64_t n) {
  BAM_SHARED(int64_t, to, TILE);
  const int own = (int)threadIdx.x;
  BAM_EACH_ROW(tile, (n + TILE - 1) / TILE) {
    bam_cuda_move *first = moves + tile * TILE;
    const int count = n - tile * TILE < TILE ? (int)(n - tile * TILE) : TILE;
    bam_cuda_move move = { 0, 0 };
    __syncthreads(); /* the last tile has been sorted */
    if (own < count) {
      move = first[own];
      to[own] = move.to;
    }
    __syncthreads();
    int before = 0;
    for (int i = 0; i < count; i++)
      before += to[i] < move.to || (to[i] == move.to && i < own);
    if (own < count)
      first[before] = move;
  }
}

/* How many of the sorted moves[n] come before `to`, or `with_equal` at it. */
static __device__ int64_t count_before(const bam_cuda_move *moves, int64_t n, int64_t to,
                                       bool with_equal) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = (low + high) / 2, there = moves[middle].to;
    if (there < to || (with_equal && there == to))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Merge each two runs of `width`, of which the last may be shorter or missing. */
static __global__ void merge_runs(bam_cuda_move *result, const bam_cuda_move *moves, int64_t n,
                                  int64_t width) {
  BAM_EACH(i, n) {
    const int64_t left = i & -(2 * width), right = left + width; /* width is a power of two */
    const int64_t end = right + width < n ? right + width : n;
    const bam_cuda_move move = moves[i];
    int64_t place = i;
    if (i >= right)
      place += count_before(moves + left, width, move.to, true) - width;
    else if (right < n)
      place += count_before(moves + right, end - right, move.to, false);
    result[place] = move;
  }
}

bam_cuda_move *bam_cuda_sort_moves(bam_stream stream, bam_cuda_move *moves, bam_cuda_move *spare,
                                   int64_t n) {
  BAM_LAUNCH(stream, sort_tiles, BAM_ROW_BLOCKS((n + TILE - 1) / TILE), TILE, 0, moves, n);
  for (int64_t width = TILE; width < n; width *= 2) {
    BAM_LAUNCH(stream, merge_runs, BAM_BLOCKS(n), BAM_BLOCK, 0, spare, moves, n, width);
    bam_cuda_move *swap = moves;
    moves = spare;
    spare = swap;
  }
  return moves;
}
