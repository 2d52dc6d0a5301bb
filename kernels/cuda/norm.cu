/* Layer norm over rows of n, optionally of the sum of two inputs, which is written too: the
   residual stream takes no pass of its own. RMS norm is the same with a mean of 0. Rows have a warp
   or a block each. Weight gradients are collected in `parts` fixed groups of rows and then added in
   order, so the bits depend on the sizes alone. Sums are of `real`: a thread's own is short. */
#include "rows.h"

/* What stats holds of a row, see kernels/cpu/norm.c. */
struct moments {
  real mean, rest, rstd;
};

static __device__ __forceinline__ real centred(real x, const moments &m) {
  return x - m.mean - m.rest;
}

/* ---- forward ---- */

/* The sum of a row, which is first made of x and residual when there is one. */
template <int group_size>
static __device__ __forceinline__ real sum_row(element *s, const element *x,
                                               const element *residual, int64_t n) {
  real sum = 0;
  BAM_EACH_OF_GROUP(j, n) {
    if (residual != NULL)
      s[j] = x[j] + residual[j];
    sum += residual != NULL ? s[j] : x[j];
  }
  return group_sum<group_size>(sum);
}

/* Second pass over the row: differences from the mean lose nothing. */
template <int group_size>
static __device__ __forceinline__ real row_variance(const element *x, int64_t n, real mean) {
  real sum = 0;
  BAM_EACH_OF_GROUP(j, n)
  sum += (x[j] - mean) * (x[j] - mean);
  return group_sum<group_size>(sum) / (real)n;
}

/* Both in double precision, as in kernels/cpu/norm.c. */
template <int group_size>
static __device__ __forceinline__ double careful_moments(const element *x, int64_t n, moments &m) {
  double sum = 0, squares = 0;
  BAM_EACH_OF_GROUP(j, n)
  sum += (double)x[j] - (double)m.mean;
  const double centre = (double)m.mean + group_sum<group_size>(sum) / (double)n;
  BAM_EACH_OF_GROUP(j, n)
  squares += ((double)x[j] - centre) * ((double)x[j] - centre);
  m.mean = (real)centre;
  m.rest = (real)(centre - (double)m.mean);
  return group_sum<group_size>(squares) / (double)n;
}

/* From the sum of a row; where the row is nearly constant, once more and with care. */
template <int group_size>
static __device__ __forceinline__ moments row_moments(const element *x, real sum, int64_t n,
                                                      double eps, bool rms) {
  moments m = { rms ? 0 : sum / (real)n, 0, 0 };
  const real first = row_variance<group_size>(x, n, m.mean);
  const double variance = first < m.mean * m.mean / 16 ? careful_moments<group_size>(x, n, m)
                                                       : (double)first;
  m.rstd = (real)(1 / sqrt(variance + eps));
  return m;
}

template <int group_size>
static __global__ void normalise_rows(element *y, element *s, moments *stats, const element *x,
                                      const element *residual, const element *weight,
                                      const element *bias, int64_t rows, int64_t n, double eps,
                                      bool rms) {
  BAM_EACH_GROUP_ROW(i, rows) {
    const bool sums = residual != NULL;
    const element *row = sums ? s + i * n : x + i * n;
    const real sum = sum_row<group_size>(sums ? s + i * n : NULL, x + i * n,
                                         sums ? residual + i * n : NULL, n);
    const moments m = row_moments<group_size>(row, sum, n, eps, rms);
    BAM_EACH_OF_GROUP(j, n)
    y[i * n + j] = centred(row[j], m) * m.rstd * weight[j] + (bias != NULL ? bias[j] : (real)0);
    if (BAM_GROUP_FIRST)
      stats[i] = m;
  }
}

void KERNEL(layer_norm)(bam_stream stream, const bam_layer_norm *args) {
  const int64_t rows = args->rows, n = args->n;
  BAM_LAUNCH_ROWS(normalise_rows, rows, n, (element *)args->y, (element *)args->s,
                  (moments *)args->stats, (const element *)args->x, (const element *)args->residual,
                  (const element *)args->weight, (const element *)args->bias, rows, n, args->eps,
                  args->rms);
}

/* ---- backward ---- */

/* With u = dy * weight and z = (s - mean) * rstd: ds = rstd * (u - mean(u) - z * mean(u * z)), for RMS
   norm without mean(u). */
template <int group_size>
static __global__ void input_rows(element *dx, const element *dy_, const element *ds,
                                  const element *s_, const moments *stats, const element *weight,
                                  int64_t rows, int64_t n, bool rms) {
  BAM_EACH_GROUP_ROW(i, rows) {
    const element *dy = dy_ + i * n, *s = s_ + i * n;
    const moments m = stats[i];
    real u_sum = 0, uz_sum = 0;
    BAM_EACH_OF_GROUP(j, n) {
      const real u = dy[j] * weight[j];
      u_sum += u;
      uz_sum += u * centred(s[j], m);
    }
    u_sum = rms ? 0 : group_sum<group_size>(u_sum) / (real)n;
    uz_sum = group_sum<group_size>(uz_sum) * (m.rstd * m.rstd / (real)n);
    BAM_EACH_OF_GROUP(j, n) {
      const real d = (dy[j] * weight[j] - u_sum - centred(s[j], m) * uz_sum) * m.rstd;
      dx[i * n + j] = ds != NULL ? d + ds[i * n + j] : d;
    }
  }
}

#define COLUMNS BAM_WARP             /* of a block that collects weight gradients */
#define TURNS (BAM_BLOCK / BAM_WARP) /* the rows of a part are shared among so many warps */

/* What the rows of a part add to the gradients of weight and bias, to scratch [parts, 2, n]: first
   what each warp's rows do, then the sum of that. */
static __global__ void collect_parts(real *scratch, const element *dy, const element *s,
                                     const moments *stats, int64_t rows, int64_t n, int64_t parts) {
  BAM_SHARED(real, weight_share, BAM_BLOCK);
  BAM_SHARED(real, bias_share, BAM_BLOCK);
  const int64_t j = (int64_t)blockIdx.x * COLUMNS + threadIdx.x % COLUMNS;
  const int turn = threadIdx.x / COLUMNS;
  for (int64_t part = blockIdx.y; part < parts; part += gridDim.y) {
    const int64_t end = rows * (part + 1) / parts;
    real dweight = 0, dbias = 0;
    for (int64_t i = rows * part / parts + turn; j < n && i < end; i += TURNS) {
      const real g = dy[i * n + j];
      dweight += g * centred(s[i * n + j], stats[i]) * stats[i].rstd;
      dbias += g;
    }
    __syncthreads(); /* the shares of the last part have been read */
    weight_share[threadIdx.x] = dweight;
    bias_share[threadIdx.x] = dbias;
    __syncthreads();
    for (int other = 1; turn == 0 && other < TURNS; other++) {
      dweight += weight_share[other * COLUMNS + threadIdx.x];
      dbias += bias_share[other * COLUMNS + threadIdx.x];
    }
    if (turn == 0 && j < n) {
      scratch[2 * part * n + j] = dweight;
      scratch[(2 * part + 1) * n + j] = dbias;
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

void KERNEL(layer_norm_backward)(bam_stream stream, const bam_layer_norm_backward *args) {
  const int64_t rows = args->rows, n = args->n, parts = args->parts;
  real *scratch = (real *)args->scratch;
  if (args->dx != NULL)
    BAM_LAUNCH_ROWS(input_rows, rows, n, (element *)args->dx, (const element *)args->dy,
                    (const element *)args->ds, (const element *)args->s,
                    (const moments *)args->stats, (const element *)args->weight, rows, n,
                    args->rms);
  if (args->dweight == NULL && args->dbias == NULL)
    return;
  const dim3 blocks(bam_blocks(n, COLUMNS, INT32_MAX), bam_blocks(parts, 1, 65535));
  BAM_LAUNCH(stream, collect_parts, blocks, BAM_BLOCK, 0, scratch, (const element *)args->dy,
             (const element *)args->s, (const moments *)args->stats, rows, n, parts);
  if (args->dweight != NULL)
    BAM_LAUNCH(stream, add_parts, BAM_BLOCKS(n), BAM_BLOCK, 0, (real *)args->dweight, scratch,
               parts, n, true, args->add_weight);
  if (args->dbias != NULL)
    BAM_LAUNCH(stream, add_parts, BAM_BLOCKS(n), BAM_BLOCK, 0, (real *)args->dbias, scratch, parts,
               n, false, args->add_bias);
}
