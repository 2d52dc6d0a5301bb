/* Calibrates the shim's model of compute capability 9.0 (kernels/cuda/hopper.h) against a device, as tensor_cores.cu
   does for what came before it: products of a warpgroup in each layout of their operands, and of what threads stored;
   boxes of tensors; a pipeline of copies through barriers; groups that take turns. Over the shim the emulator is
   compared with plain C, on a device the hardware. Other devices pass without having run anything, and say so. Ends
   with "N passed, N failed". */
#include "harness.h"

#include "../../kernels/cuda/hopper.h"

#define M 64
#define K 64
#define BLOCK_BYTES 1024 /* 8 rows of 128 bytes */

static double value(uint16_t bits) { return from_bf16({ bits }); }

/* ---- products ---- */

enum layout {
  ROWS,       /* a[m][k], b[n][k] */
  COLUMNS,    /* a[k][m], b[k][n] */
  MIXED,      /* a[m][k], b[k][n] */
  REGISTERS,  /* a[m][k] in registers, b[n][k] */
  REGISTERS_T /* a[m][k] in registers, b[k][n] */
};
static const char *const layout_names[] = { "rows", "columns", "rows and columns",
                                            "registers and rows", "registers and columns" };
static __host__ __device__ constexpr bool a_in_columns(layout l) { return l == COLUMNS; }
static __host__ __device__ constexpr bool b_in_columns(layout l) {
  return l == COLUMNS || l == MIXED || l == REGISTERS_T;
}
static __host__ __device__ constexpr bool a_in_registers(layout l) {
  return l == REGISTERS || l == REGISTERS_T;
}

/* Boxes of 64 columns: one, or two side by side. */
template <int N> struct __align__(1024) product_memory {
  uint16_t a[M * K], b[N * K];
  uint64_t arrived;
};

/* The operand A of the warp's rows, columns 16 k .., from memory. */
static __device__ void pick_a(uint32_t (&x)[4], const uint16_t *a, int k) {
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  for (int i = 0; i < 4; i++) {
    const int row = 16 * warp + lane / 4 + i % 2 * 8, column = 16 * k + lane % 4 * 2 + i / 2 * 8;
    x[i] = a[row * K + column] | (uint32_t)a[row * K + column + 1] << 16;
  }
}

template <layout l, int N>
static __device__ void multiply_tiles(float (&d)[N / 2], const product_memory<N> &m,
                                      const uint16_t *a) {
  uint32_t x[K / 16][4];
  for (int k = 0; k < K / 16; k++)
    pick_a(x[k], a, k);
  wgmma_fence();
  for (int k = 0; k < K / 16; k++) {
    const char *at = (const char *)m.a + (a_in_columns(l) ? 2 * BLOCK_BYTES : 32) * k;
    const char *bt = (const char *)m.b + (b_in_columns(l) ? 2 * BLOCK_BYTES : 32) * k;
    const uint64_t b = shared_matrix(bt, K / 8 * BLOCK_BYTES, BLOCK_BYTES);
    if constexpr (a_in_registers(l))
      wgmma<b_in_columns(l)>(d, x[k], b, true);
    else
      wgmma<a_in_columns(l), b_in_columns(l)>(
        d, shared_matrix(at, M / 8 * BLOCK_BYTES, BLOCK_BYTES), b, k > 0);
  }
  wgmma_commit();
  wgmma_wait<0>();
}

template <layout l, int N>
static __global__ void HOPPER_KERNEL(128)
  multiply(float *c, const uint16_t *a, const __grid_constant__ tensor_map a_map,
           const __grid_constant__ tensor_map b_map) {
  if (!HOPPER_CODE)
    return;
  BAM_DYNAMIC_SHARED(product_memory<N>, m);
  if (threadIdx.x == 0) {
    barrier_init(&m->arrived, 1);
    barriers_ready();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    barrier_expect(&m->arrived, (M + N) * K * 2);
    tensor_copy(m->a, a_map, 0, 0, 0, 0, &m->arrived);
    for (int n = 0; n < (b_in_columns(l) ? N : 64); n += 64)
      tensor_copy(m->b + n * K, b_map, n, 0, 0, 0, &m->arrived);
  }
  barrier_wait(&m->arrived, 0);
  float d[N / 2] = {};
  multiply_tiles<l, N>(d, *m, a);
  for (int i = 0; i < N / 2; i++) {
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int row = 16 * warp + lane / 4 + i / 2 % 2 * 8;
    c[row * N + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
  }
}

static float draw(bool whole) {
  const float x = uniform();
  return whole ? floorf(x * 9) : x * exp2f(8 * uniform());
}

/* The largest error of an element, in parts of the sum of magnitudes of what four products add up; NaN counts as
   infinite. */
static double largest_error(const float *c, const uint16_t *a, const uint16_t *b, layout l, int N) {
  double largest = 0;
  for (int i = 0; i < M * N; i++) {
    double right = 0, size = 0;
    for (int k = 0; k < K; k++) {
      const int m = i / N, n = i % N;
      const double x = value(a[a_in_columns(l) ? k * M + m : m * K + k]) *
                       value(b[b_in_columns(l) ? k * N + n : n * K + k]);
      right += x;
      size += fabs(x);
    }
    const double error = fabs(c[i] - right) / (size + 1e-30);
    largest = error <= largest ? largest : error == error ? error : INFINITY;
  }
  return largest;
}

/* A matrix of rows of `width`, in boxes of 64 columns and all rows. */
static bool describe(tensor_map *map, const uint16_t *data, int rows, int width) {
  const int64_t matrix = (int64_t)rows * width;
  const int64_t size[4] = { width, rows, 1, 1 }, stride[3] = { width, matrix, matrix };
  const int box[4] = { 64, rows, 1, 1 };
  return make_tensor_map(map, data, size, stride, box, true);
}

template <layout l, int N> static double error_of(bam_stream stream, bool whole) {
  static uint16_t a[M * K], b[128 * K];
  static float c[M * 128];
  device_array<uint16_t> x(M * K), y(N * K);
  device_array<float> z(M * N);
  tensor_map a_map, b_map;
  for (int i = 0; i < M * K; i++)
    a[i] = to_bf16(draw(whole)).bits;
  for (int i = 0; i < N * K; i++)
    b[i] = to_bf16(draw(whole)).bits;
  x.put(a);
  y.put(b);
  if (!describe(&a_map, x.at, M, K) ||
      !(b_in_columns(l) ? describe(&b_map, y.at, K, N) : describe(&b_map, y.at, N, K)))
    return INFINITY;
  BAM_LAUNCH(stream, (multiply<l, N>), 1, 128, sizeof(product_memory<N>), z.at, x.at, a_map, b_map);
  if (!is_sound(stream))
    return INFINITY;
  z.get(c);
  return largest_error(c, a, b, l, N);
}

template <layout l, int N> static void test_layout(bam_stream stream) {
  const double of_integers = error_of<l, N>(stream, true), of_reals = error_of<l, N>(stream, false);
  check(of_integers == 0, "64 x %d product of integers, operands by %s", N, layout_names[l]);
  check(of_reals < 2e-6, "64 x %d product of real numbers, operands by %s: error %.2g", N,
        layout_names[l], of_reals);
}

/* ---- boxes ---- */

#define BOX_ROWS 24

struct __align__(1024) box_memory {
  uint16_t box[2 * BOX_ROWS * 64];
  uint64_t arrived;
};

static __global__ void HOPPER_KERNEL(128)
  copy_box(uint16_t *y, const __grid_constant__ tensor_map map, int x0, int x1, int x2) {
  if (!HOPPER_CODE)
    return;
  BAM_DYNAMIC_SHARED(box_memory, m);
  if (threadIdx.x == 0) {
    barrier_init(&m->arrived, 1);
    barriers_ready();
    barrier_expect(&m->arrived, 2 * BOX_ROWS * 64 * 2);
    tensor_copy(m->box, map, x0, x1, 0, x2, &m->arrived);
  }
  __syncthreads();
  barrier_wait(&m->arrived, 0);
  for (int i = (int)threadIdx.x; i < 2 * BOX_ROWS * 64; i += (int)blockDim.x)
    y[i] = m->box[i];
}

/* A box of a tensor [3, 50, 100], of 64 columns, 24 rows and two matrices. */
static void test_box(bam_stream stream, bool swizzled, int x0, int x1, int x2) {
  static uint16_t x[3 * 50 * 104], y[2 * BOX_ROWS * 64];
  const int64_t size[4] = { 100, 50, 1, 3 }, stride[3] = { 104, 50 * 104, 50 * 104 };
  const int box[4] = { 64, BOX_ROWS, 1, 2 };
  tensor_map map;
  device_array<uint16_t> from(3 * 50 * 104), to(2 * BOX_ROWS * 64);
  for (int i = 0; i < 3 * 50 * 104; i++)
    x[i] = (uint16_t)(i + 1);
  from.put(x);
  bool good = make_tensor_map(&map, from.at, size, stride, box, swizzled);
  BAM_LAUNCH(stream, copy_box, 1, 128, sizeof(box_memory), to.at, map, x0, x1, x2);
  good &= is_sound(stream);
  to.get(y);
  for (int i = 0; i < 2 * BOX_ROWS * 64; i++) {
    const int row = i / 64, place = i % 64 / 8;
    const int column = (swizzled ? place ^ row % 8 : place) * 8 + i % 8 + x0;
    const int r = row % BOX_ROWS + x1, z = row / BOX_ROWS + x2;
    const bool inside = column >= 0 && column < 100 && r >= 0 && r < 50 && z >= 0 && z < 3;
    good &= y[i] == (inside ? x[(z * 50 + r) * 104 + column] : 0);
  }
  check(good, "a box at (%d, %d, %d)%s", x0, x1, x2, swizzled ? ", swizzled" : "");
}

/* ---- a pipeline ---- */

#define TURNS 7
#define TILE 256 /* floats */

struct __align__(128) pipeline_memory {
  float tiles[2][TILE];
  uint64_t full[2], empty[2];
};

/* One warp copies tiles into two stages, four others add them up, reversed. */
static __global__ void HOPPER_KERNEL(160) add_tiles(float *y, const float *x) {
  if (!HOPPER_CODE)
    return;
  BAM_DYNAMIC_SHARED(pipeline_memory, m);
  const int i = (int)threadIdx.x;
  if (i == 0) {
    for (int s = 0; s < 2; s++) {
      barrier_init(&m->full[s], 1);
      barrier_init(&m->empty[s], 4);
    }
    barriers_ready();
  }
  __syncthreads();
  if (i >= 128) {
    for (int t = 0; i == 128 && t < TURNS; t++) {
      barrier_wait(&m->empty[t % 2], (unsigned)(t / 2 + 1));
      barrier_expect(&m->full[t % 2], TILE * 4);
      bulk_copy(m->tiles[t % 2], x + t * TILE, TILE * 4, &m->full[t % 2]);
    }
    return;
  }
  float sum[2] = {};
  for (int t = 0; t < TURNS; t++) {
    barrier_wait(&m->full[t % 2], (unsigned)(t / 2));
    for (int k = 0; k < 2; k++)
      sum[k] += m->tiles[t % 2][TILE - 1 - (i + 128 * k)];
    __syncwarp();
    if (i % 32 == 0)
      barrier_arrive(&m->empty[t % 2]);
  }
  named_barrier(1, 128); /* all have read the last tile */
  m->tiles[0][i] = sum[0];
  named_barrier(1, 128);
  y[i] = m->tiles[0][(i + 1) % 128] + sum[1];
}

static void test_pipeline(bam_stream stream) {
  static float x[TURNS * TILE], y[128];
  bool good = true;
  for (int i = 0; i < TURNS * TILE; i++)
    x[i] = (float)(i * 37 % 1001);
  device_array<float> from(TURNS * TILE), to(128);
  from.put(x);
  BAM_LAUNCH(stream, add_tiles, 1, 160, sizeof(pipeline_memory), to.at, from.at);
  good &= is_sound(stream);
  to.get(y);
  for (int i = 0; i < 128; i++) {
    float right = 0;
    for (int t = 0; t < TURNS; t++)
      right += x[t * TILE + TILE - 1 - (i + 1) % 128] + x[t * TILE + TILE - 1 - (i + 128)];
    good &= y[i] == right;
  }
  check(good, "a pipeline of bulk copies through barriers");
}

/* ---- products of stores, and two groups of them ---- */

struct __align__(1024) stored_memory {
  uint16_t a[M * K];
};

/* Begin d = a times its transpose, or its transpose times a, as a group. */
template <bool transposed> static __device__ void begin_square(float (&d)[32], const uint16_t *a) {
  const uint64_t matrix = shared_matrix(a, K / 8 * BLOCK_BYTES, BLOCK_BYTES);
  for (int k = 0; k < K / 16; k++) {
    const uint64_t part = move_matrix(matrix, (transposed ? 2 * BLOCK_BYTES : 32) * k);
    wgmma<transposed, transposed>(d, part, part, k > 0);
  }
  wgmma_commit();
}

static __device__ void store_square(float *y, const float (&d)[32]) {
  for (int i = 0; i < 32; i++)
    y[threadIdx.x * 32 + i] = d[i];
}

/* Threads store a, swizzled, for two products; the first is read while the second may be under way. */
static __global__ void HOPPER_KERNEL(128) square_stored(float *y, const uint16_t *a) {
  if (!HOPPER_CODE)
    return;
  BAM_DYNAMIC_SHARED(stored_memory, m);
  float rows[32], columns[32];
  for (int i = (int)threadIdx.x; i < M * K; i += 128)
    m->a[i ^ (i / 64 % 8) * 8] = a[i];
  async_fence();
  __syncthreads();
  wgmma_fence();
  begin_square<false>(rows, m->a);
  begin_square<true>(columns, m->a);
  wgmma_wait<1>();
  pin(rows);
  store_square(y, rows);
  wgmma_wait<0>();
  pin(columns);
  store_square(y + M * M, columns);
}

static void test_stored(bam_stream stream) {
  static uint16_t a[M * K];
  static float y[2 * M * M];
  bool good = true;
  for (int i = 0; i < M * K; i++)
    a[i] = to_bf16(draw(true)).bits;
  device_array<uint16_t> from(M * K);
  device_array<float> to(2 * M * M);
  from.put(a);
  BAM_LAUNCH(stream, square_stored, 1, 128, sizeof(stored_memory), to.at, from.at);
  good &= is_sound(stream);
  to.get(y);
  for (int i = 0; i < M * M; i++) {
    const int thread = i / 32, n = i % 32;
    const int row = thread / 32 * 16 + thread % 32 / 4 + n / 2 % 2 * 8;
    const int column = n / 4 * 8 + thread % 4 * 2 + n % 2;
    double rows = 0, columns = 0;
    for (int k = 0; k < K; k++) {
      rows += value(a[row * K + k]) * value(a[column * K + k]);
      columns += value(a[k * K + row]) * value(a[k * K + column]);
    }
    good &= y[i] == rows && y[M * M + i] == columns;
  }
  check(good, "products of what threads stored, another one under way");
}

/* ---- groups in turn ---- */

#define ROUNDS 5

/* Three groups take turns, by barriers at which one arrives and the next waits, and note it; a fourth leaves them its
   registers. */
static __global__ void HOPPER_KERNEL(512) take_turns(int *order) {
  if (!HOPPER_CODE)
    return;
  BAM_SHARED(int, turn, 1);
  const int group = (int)threadIdx.x / 128 - 1;
  if (threadIdx.x == 0)
    turn[0] = 0;
  __syncthreads();
  if (group < 0) {
    fewer_registers<32>();
    return;
  }
  more_registers<160>();
  if (group == 2)
    named_barrier_arrive(1, 256);
  for (int i = 0; i < ROUNDS; i++) {
    named_barrier(1 + group, 256);
    if (threadIdx.x % 128 == 0)
      order[turn[0]++] = group;
    named_barrier_arrive(1 + (group + 1) % 3, 256);
  }
  if (group == 0)
    named_barrier(1, 256);
}

static void test_turns(bam_stream stream) {
  int order[3 * ROUNDS];
  device_array<int> to(3 * ROUNDS);
  BAM_LAUNCH(stream, take_turns, 1, 512, 0, to.at);
  bool good = is_sound(stream);
  to.get(order);
  for (int i = 0; i < 3 * ROUNDS; i++)
    good &= order[i] == i % 3;
  check(good, "groups take turns");
}

int main() {
  bam_stream_state stream = {};
  open_device(&stream);
  if (stream.capability != 90) {
    printf("skip: these instructions are compute capability 9.0's\n1 passed, 0 failed\n");
    return 0;
  }
  check(has_hopper_code(copy_box, 128), "the program has code for sm_90a");
  test_layout<ROWS, 64>(&stream);
  test_layout<ROWS, 128>(&stream);
  test_layout<COLUMNS, 64>(&stream);
  test_layout<COLUMNS, 128>(&stream);
  test_layout<MIXED, 64>(&stream);
  test_layout<MIXED, 128>(&stream);
  test_layout<REGISTERS, 64>(&stream);
  test_layout<REGISTERS, 128>(&stream);
  test_layout<REGISTERS_T, 64>(&stream);
  test_layout<REGISTERS_T, 128>(&stream);
  for (int swizzled = 0; swizzled < 2; swizzled++) {
    test_box(&stream, swizzled, 0, 0, 0);
    test_box(&stream, swizzled, 48, 20, 1);
    test_box(&stream, swizzled, 80, 40, 2);
    test_box(&stream, swizzled, -8, -3, -1);
  }
  test_pipeline(&stream);
  test_stored(&stream);
  test_turns(&stream);
  cudaStreamDestroy(stream.queue);
  return report();
}
