/* Part of the shim's self-test: a pipeline of bulk copies and products of a warpgroup that is right, and faults in one,
   each of which must be reported. What the instructions do is tested in tests/gpu/hopper.cu. */
#include "../../kernels/cuda/hopper.h"
#include "selftest.h"

#define TURNS 6
#define TILE 4096 /* elements of 64 rows of 128 bytes */

enum fault {
  NONE,
  READ_BEFORE_ARRIVAL, /* no wait for a stage */
  WRONG_PARITY,
  EXPECT_TOO_FEW, /* bytes */
  EXPECT_TOO_MANY,
  NOT_RELEASED, /* a stage by its readers */
  OVERWRITTEN,  /* a stage that is still read */
  NOT_INITIALIZED,
  NOT_READY, /* for copies */
  TOO_MANY_ARRIVE,
  NO_FENCE,
  NO_FENCE_AFTER_WAIT, /* for a product */
  NO_COMMIT,
  NO_WAIT_FOR_PRODUCT,
  RELEASED_BEFORE_PRODUCT, /* is done */
  WARP_LEFT_OUT,           /* of a product */
  NOT_SWIZZLED,
  MISALIGNED_COPY,
  COPY_LEFT_AT_END,
  NAMED_TOO_FEW,  /* threads reach a barrier */
  NAMED_DIFFERENT /* numbers of threads at one barrier */
};

struct __align__(1024) pipeline_memory {
  uint16_t tiles[2][TILE];
  uint64_t full[2], empty[2];
};

/* Thread 128 copies tiles to two stages. */
template <fault f> static __device__ void copy_tiles(pipeline_memory &m, const uint16_t *x) {
  const int bytes = TILE * 2 + (f == EXPECT_TOO_FEW ? -16 : f == EXPECT_TOO_MANY ? 16 : 0);
  for (int t = 0; t < TURNS + (f == COPY_LEFT_AT_END); t++) {
    if (f != OVERWRITTEN)
      barrier_wait(&m.empty[t % 2], (unsigned)(t / 2 + 1));
    barrier_expect(&m.full[t % 2], bytes);
    if (f == TOO_MANY_ARRIVE)
      barrier_expect(&m.full[t % 2], 0);
    bulk_copy(m.tiles[t % 2], x + (t % TURNS) * TILE + (f == MISALIGNED_COPY), TILE * 2,
              &m.full[t % 2]);
  }
}

template <fault f>
static __device__ void square_tile(float (&d)[32], const uint16_t *tile, int turn) {
  if (f != NO_FENCE && (f != NO_FENCE_AFTER_WAIT || turn == 0))
    wgmma_fence();
  for (int k = 0; k < 4; k++) {
    uint64_t matrix = shared_matrix(tile + 16 * k, 16, 1024);
    if (f == NOT_SWIZZLED)
      matrix &= ~((uint64_t)3 << 62);
    if (f != WARP_LEFT_OUT || threadIdx.x < 96)
      wgmma<false, false>(d, matrix, matrix, true);
  }
  if (f != NO_COMMIT)
    wgmma_commit();
  if (f != NO_WAIT_FOR_PRODUCT && f != RELEASED_BEFORE_PRODUCT)
    wgmma_wait<0>();
}

template <fault f> static __device__ void add_squares(float *y, pipeline_memory &m) {
  const int i = (int)threadIdx.x;
  float d[32] = {};
  for (int t = 0; t < TURNS; t++) {
    if (f != READ_BEFORE_ARRIVAL)
      barrier_wait(&m.full[t % 2], (unsigned)(t / 2 + (f == WRONG_PARITY)));
    square_tile<f>(d, m.tiles[t % 2], t);
    __syncwarp();
    if (i % 32 == 0 && f != NOT_RELEASED)
      barrier_arrive(&m.empty[t % 2]);
    if (f == RELEASED_BEFORE_PRODUCT)
      wgmma_wait<0>();
  }
  if (f == NAMED_TOO_FEW && i < 96)
    named_barrier(1, 128);
  else if (f == NAMED_DIFFERENT)
    named_barrier(1, i < 64 ? 128 : 64);
  else if (f != NAMED_TOO_FEW)
    named_barrier(1, 128);
  for (int k = 0; k < 32; k++)
    y[i * 32 + k] = d[k];
  if (f == NO_WAIT_FOR_PRODUCT)
    wgmma_wait<0>();
}

template <fault f> static __global__ void square_tiles(float *y, const uint16_t *x) {
  BAM_DYNAMIC_SHARED(pipeline_memory, m);
  if (threadIdx.x == 0 && f != NOT_INITIALIZED) {
    for (int s = 0; s < 2; s++) {
      barrier_init(&m->full[s], 1);
      barrier_init(&m->empty[s], 4);
    }
    if (f != NOT_READY)
      barriers_ready();
  }
  __syncthreads();
  if (threadIdx.x < 128)
    add_squares<f>(y, *m);
  else if (threadIdx.x == 128)
    copy_tiles<f>(*m, x);
}

template <fault f> static void launch(bam_stream stream, float *y, const uint16_t *x) {
  BAM_LAUNCH(stream, square_tiles<f>, 1, 256, sizeof(pipeline_memory), y, x);
}

template <fault f>
static void expect_caught(bam_stream stream, float *y, const uint16_t *x, const char *what) {
  launch<f>(stream, y, x);
  check(failed(stream), "caught: %s", what);
}

/* Row r of a tile, before it is swizzled. */
static float tile_element(int tile, int row, int k) {
  return (float)((tile * 64 + row * 7 + k * 3) % 13 - 6);
}

static void fill_tiles(uint16_t *x) {
  static uint16_t host[TURNS * TILE];
  for (int i = 0; i < TURNS * TILE; i++) {
    const int row = i % TILE / 64, place = i % 64 / 8, k = (place ^ row % 8) * 8 + i % 8;
    host[i] = to_bf16(tile_element(i / TILE, row, k)).bits;
  }
  cudaMemcpy(x, host, sizeof host, cudaMemcpyHostToDevice);
}

/* Thread 0's first element: row 0 times row 0 of each of the first tiles. */
static float first_square(int tiles) {
  float sum = 0;
  for (int t = 0; t < tiles; t++)
    for (int k = 0; k < 64; k++)
      sum += tile_element(t, 0, k) * tile_element(t, 0, k);
  return sum;
}

static void test_barriers(bam_stream s, float *y, const uint16_t *x) {
  expect_caught<READ_BEFORE_ARRIVAL>(s, y, x, "a stage read without a wait");
  expect_caught<WRONG_PARITY>(s, y, x, "a wait for the other phase");
  expect_caught<EXPECT_TOO_FEW>(s, y, x, "fewer bytes expected than arrive");
  expect_caught<EXPECT_TOO_MANY>(s, y, x, "more bytes expected than arrive");
  expect_caught<NOT_RELEASED>(s, y, x, "a stage that its readers do not release");
  expect_caught<OVERWRITTEN>(s, y, x, "a copy to a stage that is still read");
  expect_caught<NOT_INITIALIZED>(s, y, x, "a barrier that was not initialized");
  expect_caught<NOT_READY>(s, y, x, "a copy to a barrier without barriers_ready");
  expect_caught<TOO_MANY_ARRIVE>(s, y, x, "more arrivals than a barrier is for");
  expect_caught<MISALIGNED_COPY>(s, y, x, "a bulk copy from a misaligned address");
  expect_caught<COPY_LEFT_AT_END>(s, y, x, "a bulk copy that nobody waits for");
  expect_caught<NAMED_TOO_FEW>(s, y, x, "too few threads at a barrier with a number");
  expect_caught<NAMED_DIFFERENT>(s, y, x, "threads that disagree about a barrier with a number");
}

static void test_products(bam_stream s, float *y, const uint16_t *x) {
  expect_caught<NO_FENCE>(s, y, x, "wgmma without a fence");
  expect_caught<NO_FENCE_AFTER_WAIT>(s, y, x, "wgmma without a fence after a wait");
  expect_caught<NO_COMMIT>(s, y, x, "wgmma in no group");
  expect_caught<NO_WAIT_FOR_PRODUCT>(s, y, x, "results of wgmma read without a wait");
  expect_caught<RELEASED_BEFORE_PRODUCT>(s, y, x, "a stage released before wgmma has read it");
  expect_caught<WARP_LEFT_OUT>(s, y, x, "a warp that takes no part in wgmma");
  expect_caught<NOT_SWIZZLED>(s, y, x, "a matrix of another swizzle");
}

/* ---- stores that asynchronous instructions touch ---- */

enum fence { BEFORE_BARRIER, AFTER_BARRIER, ONE_THREAD, MISSING, ONE_WARP, BEFORE_STORES };

struct __align__(1024) stored_memory {
  uint16_t tile[TILE];
  uint64_t full;
};

static __device__ void store_tile(uint16_t *tile, const uint16_t *x) {
  for (int i = (int)threadIdx.x; i < TILE; i += 128)
    tile[i] = x[i];
}

/* Threads store a tile and square it; then a copy brings the next one to its place. */
template <fence of_product, fence of_copy>
static __global__ void square_stored(float *y, const uint16_t *x) {
  BAM_DYNAMIC_SHARED(stored_memory, m);
  const int i = (int)threadIdx.x;
  float d[32] = {};
  if (i == 0) {
    barrier_init(&m->full, 1);
    barriers_ready();
  }
  if (of_product == BEFORE_STORES)
    async_fence();
  store_tile(m->tile, x);
  if (of_product == BEFORE_BARRIER || (of_product == ONE_WARP && i < 32))
    async_fence();
  __syncthreads();
  if (of_product == AFTER_BARRIER)
    async_fence();
  square_tile<NONE>(d, m->tile, 0);
  __syncthreads();
  store_tile(m->tile, x + 2 * TILE);
  __syncthreads();
  if (i == 0) {
    if (of_copy == ONE_THREAD)
      async_fence();
    barrier_expect(&m->full, TILE * 2);
    bulk_copy(m->tile, x + TILE, TILE * 2, &m->full);
  }
  barrier_wait(&m->full, 0);
  square_tile<NONE>(d, m->tile, 0);
  for (int k = 0; k < 32; k++)
    y[i * 32 + k] = d[k];
}

template <fence of_product, fence of_copy>
static void run_stored(bam_stream stream, float *y, const uint16_t *x) {
  BAM_LAUNCH(stream, (square_stored<of_product, of_copy>), 1, 128, sizeof(stored_memory), y, x);
}

static void test_fences(bam_stream s, float *y, const uint16_t *x) {
  run_stored<BEFORE_BARRIER, ONE_THREAD>(s, y, x);
  check(noted(s, NULL) && at(y, 0) == first_square(2), "stores, a fence, a barrier, wgmma");
  run_stored<AFTER_BARRIER, ONE_THREAD>(s, y, x);
  check(noted(s, NULL) && at(y, 0) == first_square(2), "stores, a barrier, a fence, wgmma");
  run_stored<MISSING, ONE_THREAD>(s, y, x);
  check(failed(s), "caught: wgmma of stores without async_fence");
  run_stored<ONE_WARP, ONE_THREAD>(s, y, x);
  check(failed(s), "caught: wgmma of stores that only the first warp fences");
  run_stored<BEFORE_STORES, ONE_THREAD>(s, y, x);
  check(failed(s), "caught: wgmma of stores that follow the fence");
  run_stored<BEFORE_BARRIER, MISSING>(s, y, x);
  check(failed(s), "caught: a copy over stores without async_fence");
}

void test_hopper(bam_stream stream) {
  float *y = device_array<float>(128 * 32);
  uint16_t *x = device_array<uint16_t>(TURNS * TILE);
  fill_tiles(x);
  launch<NONE>(stream, y, x);
  check(noted(stream, NULL) && at(y, 0) == first_square(TURNS),
        "a pipeline of bulk copies and wgmma");
  test_barriers(stream, y, x);
  test_products(stream, y, x);
  test_fences(stream, y, x);
  launch<NONE>(stream, y, x);
  check(noted(stream, NULL) && at(y, 0) == first_square(TURNS),
        "after these failures all is as before");
  cudaFree(x);
  cudaFree(y);
}
