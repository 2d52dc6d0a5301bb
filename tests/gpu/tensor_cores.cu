/* Calibrates the shim's tensor cores against a device: products of random tiles in each layout that kernels use,
   and what kernels/cuda/tensor_core.h says of registers, compared with a product in double precision on the host.
   With small integers every bit must agree, so that no element can be in a wrong place; with real numbers the sums
   must, to 1e-6 of the sum of the products' magnitudes. Over the shim it is the emulator that is compared, on a
   device the hardware: where both pass, they agree. Ends with "N passed, N failed". */
#include "harness.h"

#include "../../kernels/cuda/tensor_core.h"

#define M 16
#define N 8
#define K 16

/* Where operands come from. */
enum layout {
  REGISTERS,   /* a[m][k], b[k][n]: each lane picks its elements, as the PTX ISA lists them */
  ROWS,        /* a[m][k], b[n][k], by load_matrix of four and of two */
  COLUMNS,     /* a[k][m], b[k][n], by transposing loads */
  SINGLE,      /* as ROWS, by load_matrix of one */
  TRANSPOSED_1 /* as COLUMNS, by load_matrix of one */
};

static const char *const layout_names[] = { "picked elements", "rows", "columns",
                                            "rows, one matrix at a time",
                                            "columns, one matrix at a time" };

static __device__ uint32_t pair_of(uint16_t low, uint16_t high) {
  return low | (uint32_t)high << 16;
}

/* Element i of a lane's part of A and B, and of C: the formulas of the PTX ISA for mma.m16n8k16. */
static __device__ int a_row(int lane, int i) {
  return lane / 4 + ((i < 2 || (i >= 4 && i < 6)) ? 0 : 8);
}
static __device__ int a_column(int lane, int i) { return lane % 4 * 2 + (i & 1) + (i < 4 ? 0 : 8); }
static __device__ int b_row(int lane, int i) { return lane % 4 * 2 + (i & 1) + (i < 2 ? 0 : 8); }
static __device__ int b_column(int lane, int) { return lane / 4; }
static __device__ int c_row(int lane, int i) { return lane / 4 + (i < 2 ? 0 : 8); }
static __device__ int c_column(int lane, int i) { return lane % 4 * 2 + (i & 1); }

static __device__ void pick(uint32_t (&a)[4], uint32_t (&b)[2], const uint16_t *x,
                            const uint16_t *y) {
  const int lane = (int)threadIdx.x;
  for (int i = 0; i < 8; i += 2)
    a[i / 2] = pair_of(x[a_row(lane, i) * K + a_column(lane, i)],
                       x[a_row(lane, i + 1) * K + a_column(lane, i + 1)]);
  for (int i = 0; i < 4; i += 2)
    b[i / 2] = pair_of(y[b_row(lane, i) * N + b_column(lane, i)],
                       y[b_row(lane, i + 1) * N + b_column(lane, i + 1)]);
}

/* One 8 x 8 matrix of rows `pitch` apart; lanes that need not give an address give one that is wrong. */
template <bool transposed>
static __device__ uint32_t load_one(const uint16_t *x, int row, int column, int pitch) {
  const int lane = (int)threadIdx.x;
  uint32_t one[1];
  load_matrix<transposed>(one, lane < 8 ? x + (row + lane) * pitch + column : x);
  return one[0];
}

template <layout l>
static __device__ void load_operands(uint32_t (&a)[4], uint32_t (&b)[2], const uint16_t *x,
                                     const uint16_t *y) {
  const int lane = (int)threadIdx.x, row = lane % 8, low = lane / 8 % 2 * 8, high = lane / 16 * 8;
  if (l == REGISTERS)
    pick(a, b, x, y);
  else if (l == ROWS) {
    load_matrix<false>(a, x + (row + low) * K + high);
    load_matrix<false>(b, y + row * K + low);
  } else if (l == COLUMNS) { /* of a, matrices 1 and 2 change places */
    load_matrix<true>(a, x + (row + high) * M + low);
    load_matrix<true>(b, y + (row + low) * N);
  } else
    for (int i = 0; i < 4; i++) {
      const int m = i % 2 * 8, k = i / 2 * 8;
      a[i] = l == SINGLE ? load_one<false>(x, m, k, K) : load_one<true>(x, k, m, M);
      if (i < 2)
        b[i] = l == SINGLE ? load_one<false>(y, 0, i * 8, K) : load_one<true>(y, i * 8, 0, N);
    }
}

/* c += a b, of one warp; the operands pass through shared memory. */
template <layout l>
static __global__ void multiply(float *c, const uint16_t *a, const uint16_t *b) {
  BAM_SHARED(uint4, x, M * K / 8);
  BAM_SHARED(uint4, y, K * N / 8);
  const int lane = (int)threadIdx.x;
  uint32_t fa[4], fb[2];
  float sum[4];
  for (int i = lane; i < M * K / 8; i += 32)
    async_copy(&x[i], (const uint4 *)a + i, true);
  async_commit();
  for (int i = lane; i < K * N / 8; i += 32)
    async_copy(&y[i], (const uint4 *)b + i, true);
  async_commit();
  async_wait<0>();
  __syncthreads();
  load_operands<l>(fa, fb, (const uint16_t *)x, (const uint16_t *)y);
  for (int i = 0; i < 4; i++)
    sum[i] = c[c_row(lane, i) * N + c_column(lane, i)];
  mma_16816(sum, fa, fb[0], fb[1]);
  for (int i = 0; i < 4; i++)
    c[c_row(lane, i) * N + c_column(lane, i)] = sum[i];
}

/* ---- comparing ---- */

/* Operands as the layout wants them, their values, and c: before, after, and as it should be. */
struct product {
  uint16_t a[M * K], b[K * N];
  float start[M * N], c[M * N];
  double right[M * N], size[M * N];
};

static double value(uint16_t bits) { return from_bf16({ bits }); }

static double a_of(const product &p, layout l, int m, int k) {
  return value(p.a[l == COLUMNS || l == TRANSPOSED_1 ? k * M + m : m * K + k]);
}
static double b_of(const product &p, layout l, int k, int n) {
  return value(p.b[l == ROWS || l == SINGLE ? n * K + k : k * N + n]);
}

/* Small integers, or numbers of different magnitudes. */
static float draw(bool whole) {
  const float x = uniform();
  return whole ? floorf(x * 9) : x * exp2f(8 * uniform());
}

static void make_product(product &p, layout l, bool whole) {
  for (int i = 0; i < M * K; i++)
    p.a[i] = to_bf16(draw(whole)).bits;
  for (int i = 0; i < K * N; i++)
    p.b[i] = to_bf16(draw(whole)).bits;
  for (int i = 0; i < M * N; i++) {
    p.start[i] = draw(whole);
    p.right[i] = p.start[i];
    p.size[i] = fabs(p.start[i]);
    for (int k = 0; k < K; k++) {
      const double x = a_of(p, l, i / N, k) * b_of(p, l, k, i % N);
      p.right[i] += x;
      p.size[i] += fabs(x);
    }
  }
}

/* The largest error of an element in parts of the sum of magnitudes; NaN counts as infinite. */
static double largest_error(const product &p) {
  double largest = 0;
  for (int i = 0; i < M * N; i++) {
    const double error = fabs(p.c[i] - p.right[i]) / p.size[i];
    largest = error <= largest ? largest : error == error ? error : INFINITY;
  }
  return largest;
}

template <layout l> static double error_of(bam_stream stream, bool whole) {
  double largest = 0;
  device_array<uint16_t> a(M * K), b(K * N);
  device_array<float> c(M * N);
  for (int round = 0; round < 20; round++) {
    product p;
    make_product(p, l, whole);
    a.put(p.a);
    b.put(p.b);
    c.put(p.start);
    BAM_LAUNCH(stream, multiply<l>, 1, 32, 0, c.at, a.at, b.at);
    if (!is_sound(stream))
      return INFINITY;
    c.get(p.c);
    largest = fmax(largest, largest_error(p));
  }
  return largest;
}

template <layout l> static void test_layout(bam_stream stream) {
  const double of_integers = error_of<l>(stream, true), of_reals = error_of<l>(stream, false);
  check(of_integers == 0, "product of integers, operands by %s", layout_names[l]);
  check(of_reals < 1e-6, "product of real numbers, operands by %s: error %.2g", layout_names[l],
        of_reals);
}

/* ---- results as operands ---- */

/* d = (a b) b for a [16, 16] and b [16, 16], all in rows: two products side by side, rounded, are the operand A. */
static __global__ void multiply_twice(float *d, const uint16_t *a, const uint16_t *b) {
  BAM_SHARED(uint4, x, M * K / 8);
  BAM_SHARED(uint4, y, K * K / 8);
  const int lane = (int)threadIdx.x, row = lane % 8 + lane / 8 % 2 * 8, column = lane / 16 * 8;
  x[lane] = ((const uint4 *)a)[lane];
  y[lane] = ((const uint4 *)b)[lane];
  __syncthreads();
  uint32_t fa[4], fb[4];
  load_matrix<false>(fa, (const uint16_t *)x + row * K + column);
  load_matrix<true>(fb, (const uint16_t *)y + row * K + column);
  float c[2][4] = {}, e[2][4] = {};
  for (int j = 0; j < 2; j++)
    mma_16816(c[j], fa, fb[2 * j], fb[2 * j + 1]);
  const uint32_t ab[4] = { pack_bf16(c[0][0], c[0][1]), pack_bf16(c[0][2], c[0][3]),
                           pack_bf16(c[1][0], c[1][1]), pack_bf16(c[1][2], c[1][3]) };
  for (int j = 0; j < 2; j++)
    mma_16816(e[j], ab, fb[2 * j], fb[2 * j + 1]);
  for (int j = 0; j < 2; j++)
    for (int i = 0; i < 4; i++)
      d[c_row(lane, i) * K + j * 8 + c_column(lane, i)] = e[j][i];
}

static void test_chain(bam_stream stream) {
  uint16_t a[M * K], b[K * K];
  float d[M * K];
  double ab[M * K];
  bool good = true;
  for (int i = 0; i < M * K; i++) {
    a[i] = to_bf16(floorf(uniform() * 3)).bits;
    b[i] = to_bf16(floorf(uniform() * 3)).bits;
  }
  device_array<uint16_t> x(M * K), y(K * K);
  device_array<float> z(M * K);
  x.put(a);
  y.put(b);
  BAM_LAUNCH(stream, multiply_twice, 1, 32, 0, z.at, x.at, y.at);
  good &= is_sound(stream);
  z.get(d);
  for (int i = 0; i < M * K; i++) {
    ab[i] = 0;
    for (int k = 0; k < K; k++)
      ab[i] += value(a[i / K * K + k]) * value(b[k * K + i % K]);
  }
  for (int i = 0; i < M * K; i++) {
    double right = 0;
    for (int k = 0; k < K; k++)
      right += ab[i / K * K + k] * value(b[k * K + i % K]);
    good &= right == d[i];
  }
  check(good, "results of two products are the operand of another");
}

/* ---- numbers and copies ---- */

static __global__ void round_pairs(uint32_t *y, const float *x, int64_t n) {
  BAM_EACH(i, n) y[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
}

static void test_rounding(bam_stream stream) {
  static float x[2048];
  static uint32_t y[1024];
  int wrong = 0;
  for (int i = 0; i < 2048; i++) { /* ties, those beside them, large and small ones */
    const uint32_t bits = (uint32_t)(i * 2654435761u) & 0xffff8000u;
    const uint32_t near = i % 3 == 0 ? bits : i % 3 == 1 ? bits + 1 : bits | 0x7fff;
    memcpy(&x[i], &near, sizeof near);
    if (x[i] != x[i])
      x[i] = 0x1p-130f;
  }
  device_array<float> from(2048);
  device_array<uint32_t> to(1024);
  from.put(x);
  BAM_LAUNCH(stream, round_pairs, 4, 64, 0, to.at, from.at, (int64_t)1024);
  const bool sound = is_sound(stream);
  to.get(y);
  for (int i = 0; i < 1024; i++)
    wrong += y[i] != (to_bf16(x[2 * i]).bits | (uint32_t)to_bf16(x[2 * i + 1]).bits << 16);
  check(sound && wrong == 0, "rounding to bf16: %d of 1024 pairs are wrong", wrong);
}

static __global__ void powers(float *y, const float *x, int64_t n) {
  BAM_EACH(i, n) y[i] = fast_exp2(x[i]);
}

static void test_exp2(bam_stream stream) {
  static float x[4096], y[4096];
  double largest = 0;
  for (int i = 0; i < 4096; i++)
    x[i] = uniform() * 125;
  x[0] = -INFINITY;
  x[1] = 0;
  x[2] = NAN;
  device_array<float> from(4096), to(4096);
  from.put(x);
  BAM_LAUNCH(stream, powers, 4, 64, 0, to.at, from.at, (int64_t)4096);
  const bool sound = is_sound(stream);
  to.get(y);
  for (int i = 3; i < 4096; i++)
    largest = fmax(largest, fabs(y[i] / exp2((double)x[i]) - 1));
  check(sound && y[0] == 0 && y[1] == 1 && y[2] != y[2] && largest < 4e-7,
        "powers of 2: relative error %.2g", largest);
}

/* Five tiles of 32 x 16 bytes through two stages: odd lanes copy zeros in odd tiles. */
static __global__ void copy_tiles(uint4 *y, const uint4 *x) {
  BAM_SHARED(uint4, stage, 64);
  const int lane = (int)threadIdx.x;
  for (int tile = 0; tile < 6; tile++) {
    if (tile < 5)
      async_copy(&stage[tile % 2 * 32 + lane], &x[tile * 32 + lane],
                 tile % 2 == 0 || lane % 2 == 0);
    async_commit();
    if (tile > 0) {
      async_wait<1>();
      __syncthreads();
      y[(tile - 1) * 32 + lane] = stage[(tile - 1) % 2 * 32 + (lane + 1) % 32];
      __syncthreads();
    }
  }
}

static void test_copies(bam_stream stream) {
  uint4 x[160], y[160];
  bool good = true;
  for (unsigned i = 0; i < 160; i++)
    x[i] = make_uint4(i, i * 3 + 1, i * 5 + 2, i * 7 + 3);
  device_array<uint4> from(160), to(160);
  from.put(x);
  BAM_LAUNCH(stream, copy_tiles, 1, 32, 0, to.at, from.at);
  good &= is_sound(stream);
  to.get(y);
  for (int i = 0; i < 160; i++) {
    const int lane = (i % 32 + 1) % 32, tile = i / 32;
    const uint4 zero = {}, *right = tile % 2 == 0 || lane % 2 == 0 ? &x[tile * 32 + lane] : &zero;
    good &= memcmp(&y[i], right, sizeof *right) == 0;
  }
  check(good, "asynchronous copies, and zeros, through two stages");
}

int main() {
  bam_stream_state stream = {};
  open_device(&stream);
  test_layout<REGISTERS>(&stream);
  test_layout<ROWS>(&stream);
  test_layout<COLUMNS>(&stream);
  test_layout<SINGLE>(&stream);
  test_layout<TRANSPOSED_1>(&stream);
  test_chain(&stream);
  test_rounding(&stream);
  test_exp2(&stream);
  test_copies(&stream);
  cudaStreamDestroy(stream.queue);
  return report();
}
