/* Attention on tensor cores, forward: the softmax of scores that come tile by tile, for the M x 16 rows of a warp.
   Weights are powers of 2, relative to the largest score of their row so far. Stats are those of attention.cu: the
   largest score of a row, in base 2, and 1 / the sum of its weights. */
#ifndef BAM_CUDA_ATTENTION_SOFTMAX_H
#define BAM_CUDA_ATTENTION_SOFTMAX_H

#include "attention_tile.h"

/* What a thread knows of its rows so far: the largest score, the sum of the weights of its own columns, and the results
   relative to the largest score. */
template <int M, int width> struct running { float most[M][2], sum[M][2], o[M][width / 8][4]; };

template <int M, int width> BAM_INLINE void begin(running<M, width> &state) {
  clear(state.o);
  BAM_UNROLL
  for (int m = 0; m < M; m++)
    for (int h = 0; h < 2; h++) {
      state.most[m][h] = -INFINITY;
      state.sum[m][h] = 0;
    }
}

/* Turn the scores of one row into weights relative to its new largest score; returns what brings earlier ones to it. A
   row that has seen no key yet keeps -infinity, and gets weights 0. `factor`: of scores, for powers of 2. */
template <int M, int width, int N>
BAM_INLINE float weigh_row(running<M, width> &state, float (&scores)[M][N][4], int m, int h,
                           float factor) {
  float most = state.most[m][h], sum = 0;
  BAM_UNROLL
  for (int n = 0; n < N; n++)
    most = fmaxf(most, fmaxf(scores[m][n][2 * h], scores[m][n][2 * h + 1]));
  most = largest_of_row(most);
  const float base = most == -INFINITY ? 0 : most * factor;
  BAM_UNROLL
  for (int n = 0; n < N; n++)
    for (int i = 2 * h; i < 2 * h + 2; i++) {
      scores[m][n][i] = fast_exp2(fmaf(scores[m][n][i], factor, -base));
      sum += scores[m][n][i];
    }
  const float rescale = fast_exp2(fmaf(state.most[m][h], factor, -base));
  state.sum[m][h] = fmaf(state.sum[m][h], rescale, sum);
  state.most[m][h] = most;
  return rescale;
}

template <int M, int width>
BAM_INLINE void rescale_row(running<M, width> &state, int m, int h, float rescale) {
  BAM_UNROLL
  for (int n = 0; n < width / 8; n++) {
    state.o[m][n][2 * h] *= rescale;
    state.o[m][n][2 * h + 1] *= rescale;
  }
}

/* Where the results of a warp belong: rows from query `start` on. */
struct result_place {
  int64_t batch, head;
  int start;
};

/* Divide the results by the sums, and write the stats. */
template <int M, int width>
BAM_INLINE void finish_rows(running<M, width> &state, float *stats, const bam_attention &a,
                            const result_place &at, float factor) {
  BAM_UNROLL
  for (int m = 0; m < M; m++)
    BAM_UNROLL
  for (int h = 0; h < 2; h++) {
    const int row = at.start + own_row(m, 2 * h);
    const float part = 1 / sum_of_row(state.sum[m][h]);
    rescale_row(state, m, h, part);
    if (row < a.time && own_lane() % 4 == 0)
      *(float2 *)(stats + 2 * ((at.batch * a.time + row) * a.heads + at.head)) = make_float2(
        state.most[m][h] * factor, part);
  }
}

#endif
