/* Rotary positions, as in kernels/cpu/rope.c. A block rotates the heads of one token after the other:
   angles in double precision, once per token for all its heads. */
#include "cuda.h"

#include "../rope.h"

#define PAIRS (BAM_ROPE_WIDTH / 2) /* the most that a head has */

/* A warp rotates a head. */
static __device__ void turn_token(element *y, const element *x, const real *sine,
                                  const real *cosine, const bam_rope &r) {
  const int lane = threadIdx.x % BAM_WARP, half = (int)(r.width / 2);
  for (int64_t h = threadIdx.x / BAM_WARP; h < r.heads; h += blockDim.x / BAM_WARP)
    for (int i = lane; i < half; i += BAM_WARP) {
      const real even = x[h * r.x[2] + 2 * i], odd = x[h * r.x[2] + 2 * i + 1];
      y[h * r.y[2] + 2 * i] = even * cosine[i] - odd * sine[i];
      y[h * r.y[2] + 2 * i + 1] = odd * cosine[i] + even * sine[i];
    }
}

static __global__ void rotate(bam_rope r, element *y, const element *x, const int64_t *positions) {
  BAM_SHARED(double, frequency, PAIRS);
  BAM_SHARED(real, sine, PAIRS);
  BAM_SHARED(real, cosine, PAIRS);
  const int half = (int)(r.width / 2);
  for (int i = threadIdx.x; i < half; i += blockDim.x)
    frequency[i] = (r.inverse ? -1 : 1) * bam_rope_frequency(&r, i);
  BAM_EACH_ROW(n, r.batch * r.time) {
    const int64_t b = n / r.time, t = n % r.time;
    const int64_t position = positions != NULL ? positions[b * r.position_batch + t] : t;
    __syncthreads(); /* the token before has been rotated */
    for (int i = threadIdx.x; i < half; i += blockDim.x) {
      double s, c;
      sincos((double)position * frequency[i], &s, &c);
      sine[i] = (real)s;
      cosine[i] = (real)c;
    }
    __syncthreads();
    turn_token(y + b * r.y[0] + t * r.y[1], x + b * r.x[0] + t * r.x[1], sine, cosine, r);
  }
}

/* Few blocks for many tokens: each computes the frequencies. */
void KERNEL(rope)(bam_stream stream, void *y, const void *x, const int64_t *positions,
                  const bam_rope *r) {
  const unsigned blocks = bam_blocks(r->batch * r->time, 1, 8 * stream->multiprocessors);
  BAM_LAUNCH(stream, rotate, blocks, BAM_BLOCK, 0, *r, (element *)y, (const element *)x, positions);
}
