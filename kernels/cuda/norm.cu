/* Layer norm over rows of n, optionally of the sum of two inputs, which is written too: the
   residual stream takes no pass of its own. RMS norm is the same with a mean of 0. Rows have a warp
   or a block each, which reads them once and holds them in registers unless they are very long.
   Weight gradients are collected in `parts` fixed groups of rows and then added in order, so the
   bits depend on the sizes alone. Sums are of `real`: a thread's own is short. */
#include "row_share.h"

/* What stats holds of a row, see kernels/cpu/norm.c. */
struct moments {
  real mean, rest, rstd;
};

static __device__ __forceinline__ real centred(real x, const moments &m) {
  return x - m.mean - m.rest;
}

/* ---- forward ---- */

/* Both in double precision, as in kernels/cpu/norm.c. */
template <class Row>
static __device__ __forceinline__ double careful_moments(const Row &row, moments &m) {
  const double mean = (double)m.mean, n = (double)row.n;
  const double centre = mean +
                        row.template sum<double>([=](real x) { return (double)x - mean; }) / n;
  m.mean = (real)centre;
  m.rest = (real)(centre - (double)m.mean);
  return row.template sum<double>([=](real x) {
    return ((double)x - centre) * ((double)x - centre);
  }) / n;
}

/* The variance from differences from the mean, which lose nothing; where the row is nearly constant, once more and
   with care. */
template <class Row>
static __device__ __forceinline__ moments row_moments(const Row &row, double eps, bool rms) {
  const real n = (real)row.n;
  moments m = { 0, 0, 0 };
  if (!rms)
    m.mean = row.template sum<real>([](real x) { return x; }) / n;
  const real mean = m.mean;
  const real first = row.template sum<real>([=](real x) { return (x - mean) * (x - mean); }) / n;
  const double variance = first < mean * mean / 16 ? careful_moments(row, m) : (double)first;
  m.rstd = (real)(1 / sqrt(variance + eps));
  return m;
}

/* Row i. */
template <int group_size, int width, int held>
static __device__ __forceinline__ void normalise_row(const bam_layer_norm &a, int64_t i) {
  const int64_t n = a.n;
  const element *x = (const element *)a.x + i * n, *residual = (const element *)a.residual;
  const element *weights = (const element *)a.weight, *biases = (const element *)a.bias;
  row_share<group_size, width, held> row(x, n);
  if (residual != NULL)
    row.add((element *)a.s + i * n, x, residual + i * n);
  else
    row.read();
  const moments m = row_moments(row, a.eps, a.rms);
  row.each([&](int turn, int64_t j) {
    const auto values = row.at(turn, j);
    const auto weight = load_pack<width>(weights + j);
    pack<width, element> bias = {}, y;
    if (biases != NULL)
      bias = load_pack<width>(biases + j);
    BAM_EACH_IN_PACK(k)
    y.at[k] = centred(values.at[k], m) * m.rstd * weight.at[k] + bias.at[k];
    store_pack((element *)a.y + i * n + j, y);
  });
  if (BAM_GROUP_FIRST)
    ((moments *)a.stats)[i] = m;
}

template <int group_size, int width>
static __global__ void __launch_bounds__(BAM_ROW_THREADS) normalise_rows(bam_layer_norm a) {
  BAM_EACH_GROUP_ROW(i, a.rows) BAM_HELD_OR_NOT(normalise_row, a.n, a, i);
}

void KERNEL(layer_norm)(bam_stream stream, const bam_layer_norm *a) {
  const bool packed = pack_aligned(a->y, a->s, a->x, a->residual, a->weight, a->bias) &&
                      a->n % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(normalise_rows, packed, a->rows, a->n, *a);
}

/* ---- backward ---- */

/* The sums of a and of b over the group; every thread of the group gets them. */
template <int group_size> static __device__ __forceinline__ void group_sums(real &a, real &b) {
  a = warp_sum(a);
  b = warp_sum(b);
  if constexpr (group_size != BAM_WARP) {
    BAM_SHARED(real, share, 2 * BAM_WARP);
    const int lane = threadIdx.x % BAM_WARP, warp = threadIdx.x / BAM_WARP;
    constexpr int warps = group_size / BAM_WARP;
    __syncthreads(); /* the results of the last call have been read */
    if (lane == 0) {
      share[warp] = a;
      share[BAM_WARP + warp] = b;
    }
    __syncthreads();
    a = warp_sum(lane < warps ? share[lane] : (real)0);
    b = warp_sum(lane < warps ? share[BAM_WARP + lane] : (real)0);
  }
}

/* A thread's share of what rows add to the gradients of weight and bias; with nothing held, nothing. */
template <int width, int held, bool biases> struct weight_sums {
  pack<width, real> weight[held > 0 ? held / width : 1], bias[biases ? held / width : 1];

  __device__ __forceinline__ void add(int i, const pack<width, real> &grad,
                                      const pack<width, real> &value, const moments &m) {
    BAM_EACH_IN_PACK(k) {
      if constexpr (held > 0)
        weight[i].at[k] += grad.at[k] * centred(value.at[k], m) * m.rstd;
      if constexpr (biases)
        bias[i].at[k] += grad.at[k];
    }
  }
};

/* Row i, from dy. With u = dy * weight and z = (s - mean) * rstd: ds = rstd * (u - mean(u) - z * mean(u * z)), for RMS
   norm without mean(u). */
template <int group_size, int width, int held, class Sums>
static __device__ __forceinline__ void input_row(const bam_layer_norm_backward &a, int64_t i,
                                                 Sums &sums) {
  const int64_t n = a.n;
  const element *weights = (const element *)a.weight, *ds = (const element *)a.ds;
  const moments m = ((const moments *)a.stats)[i];
  row_share<group_size, width, held, element> dy((const element *)a.dy + i * n, n);
  row_share<group_size, width, held, element> s((const element *)a.s + i * n, n), more = s;
  dy.read();
  s.read();
  more.x = ds + i * n;
  if (ds != NULL)
    more.read();
  real u_sum = 0, uz_sum = 0;
  dy.each([&](int turn, int64_t j) {
    const auto grad = dy.at(turn, j), value = s.at(turn, j);
    const auto weight = load_pack<width>(weights + j);
    sums.add(turn, grad, value, m);
    BAM_EACH_IN_PACK(k) {
      const real u = grad.at[k] * weight.at[k];
      u_sum += u;
      uz_sum += u * centred(value.at[k], m);
    }
  });
  group_sums<group_size>(u_sum, uz_sum);
  u_sum = a.rms ? 0 : u_sum / (real)n;
  uz_sum *= m.rstd * m.rstd / (real)n;
  dy.each([&](int turn, int64_t j) {
    const auto grad = dy.at(turn, j), value = s.at(turn, j);
    const auto weight = load_pack<width>(weights + j);
    pack<width, real> other = {};
    pack<width, element> dx;
    if (ds != NULL)
      other = more.at(turn, j);
    BAM_EACH_IN_PACK(k) {
      const real d = (grad.at[k] * weight.at[k] - u_sum - centred(value.at[k], m) * uz_sum) *
                     m.rstd;
      dx.at[k] = d + other.at[k];
    }
    store_pack((element *)a.dx + i * n + j, dx);
  });
}

/* Rows that are too long for registers; the gradients of weights are collected by a kernel of their own. */
template <int width>
static __global__ void __launch_bounds__(BAM_BLOCK) long_input_rows(bam_layer_norm_backward a) {
  weight_sums<width, 0, false> none;
  BAM_EACH_ROW(i, a.rows) input_row<BAM_BLOCK, width, 0>(a, i, none);
}

/* A group has the rows of a part, one after the other: the gradient of the input, and what the rows add to those of
   weight and bias, in registers until it goes to scratch [parts, 2, n]. So dy and s are read once. */
template <int group_size, int held, bool biases, int width>
static __global__ void __launch_bounds__(BAM_ROW_THREADS)
  backward_parts(bam_layer_norm_backward a) {
  BAM_EACH_GROUP_ROW(part, a.parts) {
    weight_sums<width, held, biases> sums = {};
    const int64_t n = a.n, end = a.rows * (part + 1) / a.parts;
    for (int64_t i = a.rows * part / a.parts; i < end; i++)
      input_row<group_size, width, held>(a, i, sums);
    const row_share<group_size, width, held> places((const element *)a.s, n);
    places.each([&](int turn, int64_t j) {
      real *to = (real *)a.scratch + 2 * part * n + j;
      store_pack(to, sums.weight[turn]);
      if constexpr (biases)
        store_pack(to + n, sums.bias[turn]);
    });
  }
}

#define TURNS (BAM_BLOCK / BAM_WARP) /* warps among which the rows of a part are shared */

/* What the rows of a part add to the gradients of weight and bias, to scratch [parts, 2, n]: first
   what each warp's rows do, then the sum of that. A lane has a pack of columns. */
template <int width>
static __global__ void __launch_bounds__(BAM_BLOCK) collect_parts(bam_layer_norm_backward a) {
  typedef pack<width, real> sums;
  BAM_SHARED(sums, weight_share, BAM_BLOCK);
  BAM_SHARED(sums, bias_share, BAM_BLOCK);
  const int64_t n = a.n, j = ((int64_t)blockIdx.x * BAM_WARP + threadIdx.x % BAM_WARP) * width;
  const int turn = threadIdx.x / BAM_WARP;
  for (int64_t part = blockIdx.y; part < a.parts; part += gridDim.y) {
    const int64_t end = a.rows * (part + 1) / a.parts;
    sums dweight = {}, dbias = {};
    for (int64_t i = a.rows * part / a.parts + turn; j < n && i < end; i += TURNS) {
      const moments m = ((const moments *)a.stats)[i];
      const auto grad = load_pack<width>((const element *)a.dy + i * n + j);
      const auto value = load_pack<width>((const element *)a.s + i * n + j);
      BAM_EACH_IN_PACK(k) {
        dweight.at[k] += grad.at[k] * centred(value.at[k], m) * m.rstd;
        dbias.at[k] += grad.at[k];
      }
    }
    __syncthreads(); /* the shares of the last part have been read */
    weight_share[threadIdx.x] = dweight;
    bias_share[threadIdx.x] = dbias;
    __syncthreads();
    for (int other = 1; turn == 0 && other < TURNS; other++) {
      BAM_EACH_IN_PACK(k) {
        dweight.at[k] += weight_share[other * BAM_WARP + threadIdx.x].at[k];
        dbias.at[k] += bias_share[other * BAM_WARP + threadIdx.x].at[k];
      }
    }
    if (turn == 0 && j < n) {
      store_pack((real *)a.scratch + 2 * part * n + j, dweight);
      store_pack((real *)a.scratch + (2 * part + 1) * n + j, dbias);
    }
  }
}

#define SHARES 16 /* warps that share the parts of a column */

/* Add the sum over scratch's parts to the gradients, or put it there: blocks of row 0 for the weight, of row 1 for
   the bias; a warp has 32 columns of every SHARES-th part. */
static __global__ void __launch_bounds__(SHARES *BAM_WARP) add_parts(bam_layer_norm_backward a) {
  BAM_SHARED(real, share, SHARES * BAM_WARP);
  const bool of_weight = blockIdx.y == 0;
  real *to = (real *)(of_weight ? a.dweight : a.dbias);
  const int64_t n = a.n, j = (int64_t)blockIdx.x * BAM_WARP + threadIdx.x % BAM_WARP;
  const real *column = (const real *)a.scratch + (of_weight ? 0 : n) + j;
  real sum = 0;
  for (int64_t part = threadIdx.x / BAM_WARP; to != NULL && j < n && part < a.parts; part += SHARES)
    sum += column[2 * part * n];
  share[threadIdx.x] = sum;
  __syncthreads();
  if (to == NULL || j >= n || threadIdx.x >= BAM_WARP)
    return;
  for (int other = 1; other < SHARES; other++)
    sum += share[other * BAM_WARP + threadIdx.x];
  to[j] = sum + ((of_weight ? a.add_weight : a.add_bias) ? to[j] : 0);
}

#define EACH_HELD 8 /* elements of a row that a thread holds */

template <int group_size, bool biases>
static void launch_groups(bam_stream stream, const bam_layer_norm_backward &a, bool packed) {
  const unsigned blocks = bam_blocks(a.parts, BAM_ROW_THREADS / group_size, 1 << 20);
  if (packed)
    BAM_LAUNCH(stream, (backward_parts<group_size, EACH_HELD, biases, PACK>), blocks,
               BAM_ROW_THREADS, 0, a);
  else
    BAM_LAUNCH(stream, (backward_parts<group_size, EACH_HELD, biases, 1>), blocks, BAM_ROW_THREADS,
               0, a);
}

/* The smallest group that holds a row. 320 threads are for a width of 2304. */
template <bool biases>
static void launch_parts(bam_stream stream, const bam_layer_norm_backward *given, bool packed) {
  bam_layer_norm_backward a =
    *given; /* a kernel is given what it reads and writes: tests count it */
  a.dweight = a.dbias = NULL;
  if (a.n <= EACH_HELD * BAM_WARP)
    launch_groups<BAM_WARP, biases>(stream, a, packed);
  else if (a.n <= EACH_HELD * 128)
    launch_groups<128, biases>(stream, a, packed);
  else if (a.n <= EACH_HELD * 320)
    launch_groups<320, biases>(stream, a, packed);
  else
    launch_groups<LONGEST_HELD / EACH_HELD, biases>(stream, a, packed);
}

/* The input's gradient and the parts' sums, each by a kernel of its own. */
static void launch_long(bam_stream stream, const bam_layer_norm_backward *a, bool packed) {
  bam_layer_norm_backward of_input = *a, of_weight = *a;
  of_input.dweight = of_input.dbias = of_input.scratch = NULL;
  of_weight.dx = of_weight.dweight = of_weight.dbias = NULL;
  of_weight.ds = of_weight.weight = NULL;
  const dim3 blocks(bam_blocks(a->n, BAM_WARP * (packed ? PACK : 1), INT32_MAX),
                    bam_blocks(a->parts, 1, 65535));
  if (a->dx != NULL && packed)
    BAM_LAUNCH(stream, (long_input_rows<PACK>), BAM_ROW_BLOCKS(a->rows), BAM_BLOCK, 0, of_input);
  else if (a->dx != NULL)
    BAM_LAUNCH(stream, (long_input_rows<1>), BAM_ROW_BLOCKS(a->rows), BAM_BLOCK, 0, of_input);
  if (a->dweight == NULL && a->dbias == NULL)
    return;
  if (packed)
    BAM_LAUNCH(stream, (collect_parts<PACK>), blocks, BAM_BLOCK, 0, of_weight);
  else
    BAM_LAUNCH(stream, (collect_parts<1>), blocks, BAM_BLOCK, 0, of_weight);
}

void KERNEL(layer_norm_backward)(bam_stream stream, const bam_layer_norm_backward *a) {
  const bool packed = pack_aligned(a->dx, a->dy, a->ds, a->s, a->weight, a->scratch) &&
                      a->n % PACK == 0;
  if (a->n > LONGEST_HELD || a->dx == NULL)
    launch_long(stream, a, packed);
  else if (a->dbias != NULL)
    launch_parts<true>(stream, a, packed);
  else
    launch_parts<false>(stream, a, packed);
  bam_layer_norm_backward of_sums = *a;
  of_sums.dx = NULL;
  of_sums.dy = of_sums.ds = of_sums.s = of_sums.stats = of_sums.weight = NULL;
  if (a->dweight != NULL || a->dbias != NULL)
    BAM_LAUNCH(stream, add_parts,
               dim3(bam_blocks(a->n, BAM_WARP, INT32_MAX), a->dbias != NULL ? 2 : 1),
               SHARES * BAM_WARP, 0, of_sums);
}
