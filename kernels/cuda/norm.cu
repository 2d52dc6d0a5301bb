/* Layer norm over rows of n, optionally of the sum of two inputs, which is written too: the
   residual stream takes no pass of its own. RMS norm is the same with a mean of 0. Rows have a warp
   or a block each, which reads them once and holds them in registers unless they are very long.
   Weight gradients are collected in `parts` fixed groups of rows and then added in order, so the
   bits depend on the sizes alone. Sums are of `real`: a thread's own is short. */
#include "pack.h"

/* What stats holds of a row, see kernels/cpu/norm.c. */
struct moments {
  real mean, rest, rstd;
};

static __device__ __forceinline__ real centred(real x, const moments &m) {
  return x - m.mean - m.rest;
}

/* ---- rows that are read once ---- */

#define LONGEST_HELD 4096 /* elements of a row up to which a block holds it in registers */

/* The elements of such a row that a thread holds at most. */
#define HELD (group_size == BAM_WARP ? BAM_SHORT_ROW / BAM_WARP : LONGEST_HELD / group_size)

/* A thread's share of a row x of n, in packs of `width`. With `held` elements, they stay in registers as numbers;
   else (0) they are read from x again in each pass. */
template <int group_size, int width, int held> struct row_share {
  const element *x;
  int64_t n;
  pack<width, real> packs[held > 0 ? held / width : 1];

  __device__ __forceinline__ row_share(const element *x_, int64_t n_) : x(x_), n(n_) {}

  /* f(i, j) for each pack: it is the thread's i-th, of the elements from j on. */
  template <class F> __device__ __forceinline__ void each(F f) const {
    if constexpr (held > 0) {
      BAM_UNROLL
      for (int i = 0; i < held / width; i++) {
        const int64_t j = (int64_t)(i * group_size + threadIdx.x % group_size) * width;
        if (j < n)
          f(i, j);
      }
    } else {
      BAM_EACH_PACK(j, n) f(0, j);
    }
  }

  __device__ __forceinline__ pack<width, real> at(int i, int64_t j) const {
    if constexpr (held > 0)
      return packs[i];
    else
      return numbers(load_pack<width>(x + j));
  }

  __device__ __forceinline__ void read() {
    if constexpr (held > 0)
      each([&](int i, int64_t j) { packs[i] = numbers(load_pack<width>(x + j)); });
  }

  /* The same of a + b, which is written to x. */
  __device__ __forceinline__ void add(element *to, const element *a, const element *b) {
    x = to;
    each([&](int i, int64_t j) {
      const auto left = load_pack<width>(a + j), right = load_pack<width>(b + j);
      pack<width, element> sum;
      BAM_EACH_IN_PACK(k) sum.at[k] = left.at[k] + right.at[k];
      store_pack(to + j, sum);
      packs[i] = numbers(sum);
    });
  }

  /* The sum of f(x[j]) over the row; every thread of the group gets it. */
  template <class T, class F> __device__ __forceinline__ T sum(F f) const {
    T total = 0;
    each([&](int i, int64_t j) {
      const auto p = at(i, j);
      BAM_EACH_IN_PACK(k) total += f(p.at[k]);
    });
    return group_sum<group_size>(total);
  }
};

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
  BAM_EACH_GROUP_ROW(i, a.rows) {
    if (group_size == BAM_WARP || a.n <= LONGEST_HELD)
      normalise_row<group_size, width, HELD>(a, i);
    else if constexpr (group_size != BAM_WARP)
      normalise_row<group_size, width, 0>(a, i);
  }
}

void KERNEL(layer_norm)(bam_stream stream, const bam_layer_norm *a) {
  const bool packed = pack_aligned(a->y, a->s, a->x, a->residual, a->weight, a->bias) &&
                      a->n % PACK == 0;
  BAM_LAUNCH_PACKED_ROWS(normalise_rows, packed, a->rows, a->n, *a);
}

/* ---- backward ---- */

/* Row i, from dy. With u = dy * weight and z = (s - mean) * rstd: ds = rstd * (u - mean(u) - z * mean(u * z)), for RMS
   norm without mean(u). */
template <int group_size, int width, int held>
static __device__ __forceinline__ void input_row(const bam_layer_norm_backward &a, int64_t i) {
  const int64_t n = a.n;
  const element *weights = (const element *)a.weight, *ds = (const element *)a.ds;
  const moments m = ((const moments *)a.stats)[i];
  row_share<group_size, width, held> dy((const element *)a.dy + i * n, n);
  row_share<group_size, width, held> s((const element *)a.s + i * n, n);
  dy.read();
  s.read();
  real u_sum = 0, uz_sum = 0;
  dy.each([&](int turn, int64_t j) {
    const auto grad = dy.at(turn, j), value = s.at(turn, j);
    const auto weight = load_pack<width>(weights + j);
    BAM_EACH_IN_PACK(k) {
      const real u = grad.at[k] * weight.at[k];
      u_sum += u;
      uz_sum += u * centred(value.at[k], m);
    }
  });
  u_sum = a.rms ? 0 : group_sum<group_size>(u_sum) / (real)n;
  uz_sum = group_sum<group_size>(uz_sum) * (m.rstd * m.rstd / (real)n);
  dy.each([&](int turn, int64_t j) {
    const auto grad = dy.at(turn, j), value = s.at(turn, j);
    const auto weight = load_pack<width>(weights + j);
    pack<width, element> more = {}, dx;
    if (ds != NULL)
      more = load_pack<width>(ds + i * n + j);
    BAM_EACH_IN_PACK(k) {
      const real d = (grad.at[k] * weight.at[k] - u_sum - centred(value.at[k], m) * uz_sum) *
                     m.rstd;
      dx.at[k] = d + more.at[k];
    }
    store_pack((element *)a.dx + i * n + j, dx);
  });
}

template <int group_size, int width>
static __global__ void __launch_bounds__(BAM_ROW_THREADS) input_rows(bam_layer_norm_backward a) {
  BAM_EACH_GROUP_ROW(i, a.rows) {
    if (group_size == BAM_WARP || a.n <= LONGEST_HELD)
      input_row<group_size, width, HELD>(a, i);
    else if constexpr (group_size != BAM_WARP)
      input_row<group_size, width, 0>(a, i);
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

/* to = (add ? to : 0) + the sum of the parts' shares: of the weight, or else of the bias. */
static __global__ void add_parts(real *to, const real *scratch, int64_t parts, int64_t n,
                                 bool of_weight, bool add) {
  BAM_EACH(j, n) {
    real sum = add ? to[j] : 0;
    for (int64_t part = 0; part < parts; part++)
      sum += scratch[(2 * part + !of_weight) * n + j];
    to[j] = sum;
  }
}

void KERNEL(layer_norm_backward)(bam_stream stream, const bam_layer_norm_backward *a) {
  const int64_t n = a->n, parts = a->parts;
  const real *scratch = (const real *)a->scratch;
  const bool packed = pack_aligned(a->dx, a->dy, a->ds, a->s, a->weight, a->scratch) &&
                      n % PACK == 0;
  /* A kernel is given what it reads and writes: tests count it. */
  bam_layer_norm_backward of_input = *a, of_weight = *a;
  of_input.dweight = of_input.dbias = of_input.scratch = NULL;
  of_weight.dx = of_weight.dweight = of_weight.dbias = NULL;
  of_weight.ds = of_weight.weight = NULL;
  if (a->dx != NULL)
    BAM_LAUNCH_PACKED_ROWS(input_rows, packed, a->rows, n, of_input);
  if (a->dweight == NULL && a->dbias == NULL)
    return;
  const dim3 blocks(bam_blocks(n, BAM_WARP * (packed ? PACK : 1), INT32_MAX),
                    bam_blocks(parts, 1, 65535));
  if (packed)
    BAM_LAUNCH(stream, (collect_parts<PACK>), blocks, BAM_BLOCK, 0, of_weight);
  else
    BAM_LAUNCH(stream, (collect_parts<1>), blocks, BAM_BLOCK, 0, of_weight);
  if (a->dweight != NULL)
    BAM_LAUNCH(stream, add_parts, BAM_BLOCKS(n), BAM_BLOCK, 0, (real *)a->dweight, scratch, parts,
               n, true, a->add_weight);
  if (a->dbias != NULL)
    BAM_LAUNCH(stream, add_parts, BAM_BLOCKS(n), BAM_BLOCK, 0, (real *)a->dbias, scratch, parts, n,
               false, a->add_bias);
}
