/* FFN experts over tokens sorted by expert (BAM §4.2): no padding, no dropped token. An assignment
   is one choice of one token; rows of sorted matrices follow the assignments in order of expert,
   and within an expert in order of the tokens, so every sum has a fixed order.

   Sorting counts. A warp has a part of the assignments, and reads them as many at a time as it has
   lanes: first to count those of each expert; then, knowing how many come before its own, to place
   them. */
#include "pack.h"
#include "vmath.h"

/* ---- sorting ---- */

#define PART 1024 /* assignments that a warp has at least, where there are as many */

/* counts is [parts, experts]. */
struct partition {
  int64_t assignments, experts, length, parts;
};

/* Counts never take more memory than there are assignments and experts. */
static partition plan_parts(int64_t assignments, int64_t experts) {
  partition p = { assignments, experts, experts > PART ? experts : PART, 0 };
  p.parts = (assignments + p.length - 1) / p.length;
  return p;
}

/* An assignment beside those that the other lanes read at the same time. */
struct assignment {
  int64_t expert; /* from 0, or -1: none */
  int before;     /* lanes before this one with the same expert */
  int all;        /* lanes with the same expert */
};

static __device__ __forceinline__ assignment read_assignment(const int64_t *chosen, int64_t at,
                                                             int64_t end) {
  const int lane = threadIdx.x % BAM_WARP;
  assignment a = { at < end && chosen[at] > 0 ? chosen[at] - 1 : -1, 0, 0 };
  for (int other = 0; other < BAM_WARP; other++) {
    const bool same = __shfl_sync(BAM_ALL_LANES, a.expert, other) == a.expert;
    a.before += same && other < lane;
    a.all += same;
  }
  return a;
}

/* The first assignments of the warp's next turns; all lanes take as many. */
#define EACH_TURN(first, part, end) \
  for (int64_t first = (part)*p.length; first < (end); first += BAM_WARP)

static __device__ __forceinline__ int64_t part_end(const partition &p, int64_t part) {
  return (part + 1) * p.length < p.assignments ? (part + 1) * p.length : p.assignments;
}

static __global__ void count_parts(int64_t *all_counts, const int64_t *chosen, partition p) {
  constexpr int group_size = BAM_WARP;
  BAM_EACH_GROUP_ROW(part, p.parts) {
    const int64_t end = part_end(p, part);
    int64_t *counts = all_counts + part * p.experts;
    BAM_EACH_OF_GROUP(e, p.experts)
    counts[e] = 0;
    __syncwarp();
    EACH_TURN(first, part, end) {
      const assignment a = read_assignment(chosen, first + threadIdx.x % group_size, end);
      if (a.expert >= 0 && a.before == 0)
        counts[a.expert] += a.all;
      __syncwarp();
    }
  }
}

/* One warp: each of n numbers, `stride` apart, becomes the sum of those before it; returns that of
   all. */
static __device__ __forceinline__ int64_t sum_before(int64_t *numbers, int64_t n, int64_t stride) {
  const int lane = threadIdx.x % BAM_WARP;
  int64_t before = 0;
  for (int64_t first = 0; first < n; first += BAM_WARP) {
    const int64_t i = first + lane, own = i < n ? numbers[i * stride] : 0;
    int64_t upto = own;
    for (int step = 1; step < BAM_WARP; step *= 2) {
      const int64_t more = __shfl_up_sync(BAM_ALL_LANES, upto, step);
      upto += lane >= step ? more : 0;
    }
    if (i < n)
      numbers[i * stride] = before + upto - own;
    before += __shfl_sync(BAM_ALL_LANES, upto, BAM_WARP - 1);
  }
  return before;
}

/* Counts become those of the parts before; offsets[e] the number of all of e's assignments. */
static __global__ void sum_parts(int64_t *counts, int64_t *offsets, partition p) {
  constexpr int group_size = BAM_WARP;
  BAM_EACH_GROUP_ROW(e, p.experts) {
    const int64_t all = sum_before(counts + e, p.parts, p.experts);
    if (BAM_GROUP_FIRST)
      offsets[e] = all;
  }
}

static __global__ void sum_experts(int64_t *offsets, int64_t experts) {
  const int64_t all = sum_before(offsets, experts, 1);
  if (threadIdx.x == 0)
    offsets[experts] = all;
}

static __global__ void place_parts(int64_t *rows, int64_t *slots, int64_t *all_counts,
                                   const int64_t *offsets, const int64_t *chosen, partition p) {
  constexpr int group_size = BAM_WARP;
  BAM_EACH_GROUP_ROW(part, p.parts) {
    const int64_t end = part_end(p, part);
    int64_t *counts = all_counts + part * p.experts;
    EACH_TURN(first, part, end) {
      const int64_t at = first + threadIdx.x % group_size;
      const assignment a = read_assignment(chosen, at, end);
      int64_t slot = -1;
      if (a.expert >= 0) {
        slot = offsets[a.expert] + counts[a.expert] + a.before;
        rows[slot] = at;
      }
      if (at < end)
        slots[at] = slot;
      __syncwarp();
      if (a.expert >= 0 && a.before == 0)
        counts[a.expert] += a.all;
      __syncwarp();
    }
  }
}

void KERNEL(sort_by_expert)(bam_stream stream, int64_t *rows, int64_t *slots, int64_t *offsets,
                            const int64_t *chosen, int64_t assignments, int64_t experts) {
  const partition p = plan_parts(assignments, experts);
  const int64_t numbers = p.parts * experts + 1;
  int64_t *counts = (int64_t *)bam_cuda_scratch(stream, numbers * (int64_t)sizeof(int64_t));
  if (counts == NULL)
    return;
  BAM_LAUNCH(stream, count_parts, BAM_WARP_ROWS(p.parts), BAM_BLOCK, 0, counts, chosen, p);
  BAM_LAUNCH(stream, sum_parts, BAM_WARP_ROWS(experts), BAM_BLOCK, 0, counts, offsets, p);
  BAM_LAUNCH(stream, sum_experts, 1, BAM_WARP, 0, offsets, experts);
  BAM_LAUNCH(stream, place_parts, BAM_WARP_ROWS(p.parts), BAM_BLOCK, 0, rows, slots, counts,
             (const int64_t *)offsets, chosen, p);
}

/* ---- rows there and back ---- */

template <int group_size, int width>
static __global__ void gather_all(element *y, const element *x, const int64_t *rows, int64_t count,
                                  int64_t k, int64_t n) {
  BAM_EACH_GROUP_ROW(s, count) {
    const element *from = x + rows[s] / k * n;
    BAM_EACH_PACK(d, n)
    store_pack(y + s * n + d, load_pack<width>(from + d));
  }
}

void KERNEL(gather_rows)(bam_stream stream, void *y, const void *x, const int64_t *rows,
                         int64_t count, int64_t k, int64_t width) {
  const bool packed = pack_aligned(y, x) && width % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(gather_all, packed, count, width, (element *)y, (const element *)x, rows,
                         count, k, width);
}

template <int group_size, int width>
static __global__ void combine_all(element *y, const element *x, const int64_t *slots,
                                   int64_t tokens, int64_t k, int64_t n, bool add) {
  BAM_EACH_GROUP_ROW(t, tokens) {
    BAM_EACH_PACK(d, n) {
      pack<width, real> sums = {};
      if (add) {
        const auto old = load_pack<width>(y + t * n + d);
        BAM_EACH_IN_PACK(c) sums.at[c] = old.at[c];
      }
      for (int64_t a = t * k; a < (t + 1) * k; a++)
        if (slots[a] >= 0) {
          const auto more = load_pack<width>(x + slots[a] * n + d);
          BAM_EACH_IN_PACK(c) sums.at[c] += more.at[c];
        }
      store_pack(y + t * n + d, rounded(sums));
    }
  }
}

void KERNEL(combine_rows)(bam_stream stream, void *y, const void *x, const int64_t *slots,
                          int64_t tokens, int64_t k, int64_t width, bool add) {
  const bool packed = pack_aligned(y, x) && width % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(combine_all, packed, tokens, width, (element *)y, (const element *)x,
                         slots, tokens, k, width, add);
}

/* ---- SwiGLU times the gate ---- */

template <int group_size, int width>
static __global__ void swiglu_all(element *y, const element *x, const real *gates,
                                  const int64_t *rows, int64_t count, int64_t hidden) {
  BAM_EACH_GROUP_ROW(s, count) {
    const element *row = x + s * 2 * hidden;
    const real weight = gates[rows[s]];
    BAM_EACH_PACK(j, hidden) {
      const auto gate = load_pack<width>(row + j), up = load_pack<width>(row + hidden + j);
      pack<width, element> out;
      BAM_EACH_IN_PACK(c)
      out.at[c] = weight * gate.at[c] * v_sigmoid(gate.at[c]) * up.at[c];
      store_pack(y + s * hidden + j, out);
    }
  }
}

void KERNEL(gated_swiglu)(bam_stream stream, void *y, const void *x, const void *gates,
                          const int64_t *rows, int64_t count, int64_t hidden) {
  const bool packed = pack_aligned(y, x) && hidden % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(swiglu_all, packed, count, hidden, (element *)y, (const element *)x,
                         (const real *)gates, rows, count, hidden);
}

/* What the backward pass writes and reads; y may be dy. */
struct swiglu_gradients {
  element *dx, *y;
  real *dgates;
  const element *dy, *x;
  const real *gates;
  const int64_t *rows;
};

/* `width` elements of row s, from j on. Returns sum plus their dy * swiglu(x). */
template <int width>
static __device__ __forceinline__ real swiglu_pack_backward(const swiglu_gradients &m, int64_t s,
                                                            int64_t j, int64_t hidden, real weight,
                                                            real sum) {
  const element *row = m.x + s * 2 * hidden + j;
  element *to = m.dx + s * 2 * hidden + j;
  const auto gate = load_pack<width>(row), up = load_pack<width>(row + hidden);
  const auto dy = load_pack<width>(m.dy + s * hidden + j);
  pack<width, element> dgate, dup, y;
  BAM_EACH_IN_PACK(c) {
    const real sigmoid = v_sigmoid(gate.at[c]), silu = gate.at[c] * sigmoid;
    const real grad = dy.at[c], weighted = weight * grad;
    sum += grad * silu * up.at[c];
    dgate.at[c] = weighted * up.at[c] * (sigmoid + silu * (1 - sigmoid));
    dup.at[c] = weighted * silu;
    y.at[c] = weight * silu * up.at[c];
  }
  store_pack(to, dgate);
  store_pack(to + hidden, dup);
  store_pack(m.y + s * hidden + j, y);
  return sum;
}

/* The gradient of a row's gate is the sum of dy * swiglu(x). */
template <int group_size, int width>
static __global__ void swiglu_all_backward(swiglu_gradients m, int64_t count, int64_t hidden) {
  BAM_EACH_GROUP_ROW(s, count) {
    const real weight = m.gates[m.rows[s]];
    real sum = 0;
    BAM_EACH_PACK(j, hidden)
    sum = swiglu_pack_backward<width>(m, s, j, hidden, weight, sum);
    sum = group_sum<group_size>(sum);
    if (BAM_GROUP_FIRST)
      m.dgates[m.rows[s]] = sum;
  }
}

void KERNEL(gated_swiglu_backward)(bam_stream stream, const bam_swiglu_gradients *args) {
  const int64_t count = args->count, hidden = args->hidden;
  const swiglu_gradients m = { (element *)args->dx,
                               (element *)args->y,
                               (real *)args->dgates,
                               (const element *)args->dy,
                               (const element *)args->x,
                               (const real *)args->gates,
                               args->rows };
  const bool packed = pack_aligned(m.dx, m.y, m.dy, m.x) && hidden % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(swiglu_all_backward, packed, count, hidden, m, count, hidden);
}
