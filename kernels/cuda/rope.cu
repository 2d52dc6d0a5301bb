/* Rotary positions, as in kernels/cpu/rope.c: a table of cos and sin, computed in double precision once per batch, and
   the rotation of all heads by it, in packs. */
#include "pack.h"

#include "../rope.h"

#define PAIRS (BAM_ROPE_WIDTH / 2) /* the most that a head has */

/* ---- the table ---- */

static __global__ void fill_table(bam_rope r, real *table, const int64_t *positions,
                                  int64_t count) {
  BAM_SHARED(double, frequency, PAIRS);
  const int half = (int)(r.width / 2);
  for (int i = threadIdx.x; i < half; i += blockDim.x)
    frequency[i] = bam_rope_frequency(&r, i);
  __syncthreads();
  BAM_EACH(i, count * half) {
    const int64_t n = row_of(i, half), pair = i - n * half;
    double s, c;
    sincos((double)(positions != NULL ? positions[n] : n) * frequency[pair], &s, &c);
    table[2 * i] = (real)c;
    table[2 * i + 1] = (real)s;
  }
}

/* Few blocks for many tokens: each computes the frequencies. */
void KERNEL(rope_table)(bam_stream stream, void *table, const int64_t *positions, int64_t count,
                        const bam_rope *r) {
  const unsigned blocks = bam_blocks(count * (r->width / 2), BAM_BLOCK,
                                     8 * stream->multiprocessors);
  BAM_LAUNCH(stream, fill_table, blocks, BAM_BLOCK, 0, *r, (real *)table, positions, count);
}

/* ---- the rotation ---- */

template <int width, class T> static __device__ __forceinline__ auto load_pairs(const T *from) {
  if constexpr (width > 1)
    return load_pack<width>(from);
  else
    return pack<2, T>{ { from[0], from[1] } };
}

template <int width, class P>
static __device__ __forceinline__ void store_pairs(element *to, const P &p) {
  if constexpr (width > 1) {
    store_pack(to, p);
  } else {
    to[0] = p.at[0];
    to[1] = p.at[1];
  }
}

/* A thread rotates a pack of a head, or with a width of 1 a single pair. */
template <int width>
static __global__ void rotate(bam_rotation r, element *y, const element *x, const real *table) {
  constexpr int n = width == 1 ? 2 : width;
  const int64_t packs = r.width / n;
  BAM_EACH(i, r.batch * r.time * r.heads * packs) {
    const int64_t head = row_of(i, packs), j = (i - head * packs) * n;
    const int64_t token = row_of(head, r.heads), h = head - token * r.heads;
    const int64_t b = row_of(token, r.time), t = token - b * r.time;
    const element *from = x + b * r.x[0] + t * r.x[1] + h * r.x[2] + j;
    element *to = y + b * r.y[0] + t * r.y[1] + h * r.y[2] + j;
    const auto value = load_pairs<width>(from);
    const auto angle = load_pairs<width>(table + (b * r.table_batch + t) * r.width + j);
    pack<n, element> turned;
    BAM_UNROLL
    for (int k = 0; k < n; k += 2) {
      const real even = value.at[k], odd = value.at[k + 1];
      const real cosine = angle.at[k], sine = r.inverse ? -angle.at[k + 1] : angle.at[k + 1];
      turned.at[k] = even * cosine - odd * sine;
      turned.at[k + 1] = odd * cosine + even * sine;
    }
    store_pairs<width>(to, turned);
  }
}

/* Packs start at multiples of PACK elements if all strides are, too. */
static bool is_packed(const void *y, const void *x, const void *table, const bam_rotation *r) {
  int64_t strides = r->width;
  for (int d = 0; d < 3; d++)
    strides |= r->x[d] | r->y[d];
  return pack_aligned(y, x, table) && strides % PACK == 0;
}

void KERNEL(rope)(bam_stream stream, void *y, const void *x, const void *table,
                  const bam_rotation *r) {
  const int64_t n = r->batch * r->time * r->heads * r->width;
  if (is_packed(y, x, table, r))
    BAM_LAUNCH(stream, (rotate<PACK>), BAM_BLOCKS(n / PACK), BAM_BLOCK, 0, *r, (element *)y,
               (const element *)x, (const real *)table);
  else
    BAM_LAUNCH(stream, (rotate<1>), BAM_BLOCKS(n / 2), BAM_BLOCK, 0, *r, (element *)y,
               (const element *)x, (const real *)table);
}
