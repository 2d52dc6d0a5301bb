/* Part of the shim's self-test: a pipeline of asynchronous copies and products that is right, and faults in one,
   each of which must be reported. What the products are is tested in tests/gpu/tensor_cores.cu. */
#include "../../kernels/cuda/tensor_core.h"
#include "selftest.h"

#define TILES 5
#define TILE_ELEMENTS 256 /* of bf16, 16 x 16 */

enum fault {
  NONE,
  NO_WAIT,            /* before the tile is read */
  WAIT_TOO_SHORT,     /* for all tiles but the one that is read */
  NO_COMMIT,          /* so that a wait does not cover the copies */
  NO_BARRIER,         /* between a wait and reading what other threads copied */
  OVERWRITTEN,        /* a stage that other warps still read */
  NOT_WAITED_FOR_END, /* a copy is under way when the thread returns */
  DIVERGENT,          /* some lanes take no part in the product */
  OTHER_PRODUCT,      /* some lanes are at another one */
  MISALIGNED_COPY,
  MISALIGNED_ROW,
  FROM_SHARED, /* a copy that reads what is not the device's memory */
  TO_GLOBAL,
  ROW_OUTSIDE /* of shared memory */
};

/* Two warps; every lane copies 16 bytes of a tile, and each warp multiplies the tile with itself transposed. */
static __device__ void begin_tile(uint16_t *stage, const uint16_t *x, int tile, fault f) {
  const int lane = (int)threadIdx.x;
  if (tile < TILES && lane < TILE_ELEMENTS / 8)
    async_copy(stage + tile % 2 * TILE_ELEMENTS + lane * 8 + (f == MISALIGNED_COPY),
               f == FROM_SHARED ? stage : x + tile * TILE_ELEMENTS + lane * 8, true);
  if (f != NO_COMMIT)
    async_commit();
}

static __device__ void square_tile(float (&c)[4], const uint16_t *tile, fault f) {
  const int lane = (int)threadIdx.x % 32;
  const uint16_t *row = tile + (lane % 8 + lane / 8 % 2 * 8) * 16 + lane / 16 * 8;
  uint32_t a[4];
  load_matrix<false>(a, row + (f == MISALIGNED_ROW) + (f == ROW_OUTSIDE ? 1 << 16 : 0));
  if (f == DIVERGENT && lane == 7)
    return;
  if (f == OTHER_PRODUCT && lane == 7)
    mma_16816(c, a, a[1], a[3]);
  else
    mma_16816(c, a, a[0], a[2]);
}

template <fault f> static __global__ void multiply_tiles(float *y, const uint16_t *x) {
  BAM_SHARED(uint4, stages, 2 * TILE_ELEMENTS / 8);
  uint16_t *stage = (uint16_t *)stages;
  float c[4] = {};
  begin_tile(f == TO_GLOBAL ? (uint16_t *)y : stage, x, 0, f);
  for (int tile = 0; tile < TILES; tile++) {
    if (f == OVERWRITTEN) /* before all warps have left the tile that was there */
      begin_tile(stage, x, tile + 1, f);
    if (f != NO_WAIT)
      async_wait<(f == WAIT_TOO_SHORT || f == OVERWRITTEN)>();
    if (f != NO_BARRIER)
      __syncthreads();
    if (f != OVERWRITTEN)
      begin_tile(stage, x, tile + 1, f);
    square_tile(c, stage + tile % 2 * TILE_ELEMENTS, f);
  }
  if (f == NOT_WAITED_FOR_END) {
    __syncthreads();
    begin_tile(stage, x, 0, f);
  } else
    async_wait<0>();
  for (int i = 0; i < 4; i++)
    y[threadIdx.x * 4 + i] = c[i];
}

static void fill_tiles(uint16_t *x) {
  uint16_t host[TILES * TILE_ELEMENTS];
  for (int i = 0; i < TILES * TILE_ELEMENTS; i++)
    host[i] = to_bf16((float)(i * 7 % 31 - 15)).bits;
  cudaMemcpy(x, host, sizeof host, cudaMemcpyHostToDevice);
}

template <fault f> static bool is_caught(bam_stream stream, float *y, const uint16_t *x) {
  BAM_LAUNCH(stream, multiply_tiles<f>, 1, 64, 0, y, x);
  return failed(stream);
}

/* The first element: the sum over tiles of the squares of their first row. */
static float first_square(void) {
  float sum = 0;
  for (int tile = 0; tile < TILES; tile++)
    for (int k = 0; k < 16; k++) {
      const int x = (tile * TILE_ELEMENTS + k) * 7 % 31 - 15;
      sum += (float)(x * x);
    }
  return sum;
}

static void test_copies(bam_stream stream, float *y, const uint16_t *x) {
  check(is_caught<NO_WAIT>(stream, y, x), "caught: a copy that is not waited for");
  check(is_caught<WAIT_TOO_SHORT>(stream, y, x), "caught: a wait for all copies but the last");
  check(is_caught<NO_COMMIT>(stream, y, x), "caught: copies that are in no group");
  check(is_caught<NO_BARRIER>(stream, y, x), "caught: copies of other threads without a barrier");
  check(is_caught<OVERWRITTEN>(stream, y, x), "caught: a copy to where other warps still read");
  check(is_caught<NOT_WAITED_FOR_END>(stream, y, x), "caught: a thread returns before its copy");
  check(is_caught<MISALIGNED_COPY>(stream, y, x), "caught: a copy to a misaligned address");
  check(is_caught<FROM_SHARED>(stream, y, x), "caught: a copy from shared memory");
  check(is_caught<TO_GLOBAL>(stream, y, x), "caught: a copy to global memory");
}

void test_tensor_core(bam_stream stream) {
  float *y = device_array<float>(4 * 64);
  uint16_t *x = device_array<uint16_t>(TILES * TILE_ELEMENTS);
  fill_tiles(x);
  BAM_LAUNCH(stream, multiply_tiles<NONE>, 1, 64, 0, y, x);
  check(noted(stream, NULL) && at(y, 0) == first_square() && at(y, 128) == first_square(),
        "copies and products of tiles in two stages");
  test_copies(stream, y, x);
  check(is_caught<DIVERGENT>(stream, y, x), "caught: a lane takes no part in a product");
  check(is_caught<OTHER_PRODUCT>(stream, y, x), "caught: lanes at different products");
  check(is_caught<MISALIGNED_ROW>(stream, y, x), "caught: a row of a matrix is misaligned");
  check(is_caught<ROW_OUTSIDE>(stream, y, x), "caught: a row outside of shared memory");
  BAM_LAUNCH(stream, multiply_tiles<NONE>, 1, 48, 0, y, x);
  check(failed(stream), "caught: a product by half a warp");
  BAM_LAUNCH(stream, multiply_tiles<NONE>, 1, 64, 0, y, x);
  check(noted(stream, NULL) && at(y, 0) == first_square(), "after these failures all is as before");
  cudaFree(x);
  cudaFree(y);
}
