/* Tests of the shim itself: kernels whose results are known, with the helpers of
   kernels/cuda/cuda.h; then the host's functions and faults made on purpose, in files of their
   own. What the shim says of those on stderr is expected. Ends with "N passed, N failed". */
#include "selftest.h"

/* ---- the stream, as small as can be ---- */

bool bam_cuda_enter(bam_stream) { return true; }

void bam_cuda_note(bam_stream stream, const char *what, cudaError_t error) {
  if (error != cudaSuccess && stream->failure[0] == '\0')
    snprintf(stream->failure, sizeof stream->failure, "%s: %s", what, cudaGetErrorName(error));
}

void bam_cuda_fail(bam_stream stream, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (stream->failure[0] == '\0')
    vsnprintf(stream->failure, sizeof stream->failure, format, arguments);
  va_end(arguments);
}

void bam_cuda_launched(bam_stream stream, const char *what, cudaError_t error) {
  bam_cuda_note(stream, what, error);
}

bool noted(bam_stream stream, const char *error) {
  const bool good = error == NULL ? stream->failure[0] == '\0'
                                  : strstr(stream->failure, error) != NULL;
  if (!good)
    fprintf(stderr, "noted: \"%s\"\n", stream->failure);
  stream->failure[0] = '\0';
  return good;
}

/* ---- kernels that are right ---- */

template <class T> __global__ void maxima(T *y) {
  y[threadIdx.x] = block_max((T)((threadIdx.x * 7) % blockDim.x));
}

template <class T> static void test_reductions(bam_stream stream, const char *type) {
  T *y = device_array<T>(1024);
  for (int n = 32; n <= 1024; n += n < 256 ? 32 : 256) {
    const double one = n * (n - 1) / 2.0;
    BAM_LAUNCH(stream, (sums<T>), 1, n, 0, y, 3);
    bool good = noted(stream, NULL);
    for (int i = 0; i < n; i++)
      good &= (double)at(y, i) == 3 * one + 3 * n;
    BAM_LAUNCH(stream, (warp_sums<T>), 1, n, 0, y);
    for (int i = 0; i < n; i++)
      good &= (double)at(y, i) == 496 + i / 32 * 1024;
    BAM_LAUNCH(stream, maxima<T>, 1, n, 0, y);
    for (int i = 0; i < n; i++)
      good &= at(y, i) == (T)((n - 1) / (n % 7 == 0 ? 7 : 1) * (n % 7 == 0 ? 7 : 1));
    check(good && noted(stream, NULL), "block_sum, warp_sum, block_max of %d threads, %s", n, type);
  }
  cudaFree(y);
}

/* The same as reverse_dynamic. */
__global__ void reverse_static(float *y, const float *x) {
  BAM_SHARED(float, part, 256);
  const int64_t first = (int64_t)blockIdx.x * 256;
  part[threadIdx.x] = x[first + threadIdx.x];
  __syncthreads();
  y[first + threadIdx.x] = part[255 - threadIdx.x];
}

static void test_shared(bam_stream stream) {
  float *x = device_array<float>(1024), *y = device_array<float>(1024);
  BAM_LAUNCH(stream, count_up<float>, 2, 64, 0, x, 1024);
  bool good = noted(stream, NULL);
  for (int i = 0; i < 1024; i++)
    good &= at(x, i) == (float)i;
  check(good, "a grid-stride loop");
  BAM_LAUNCH(stream, reverse_static, 4, 256, 0, y, x);
  good = noted(stream, NULL);
  for (int i = 0; i < 1024; i++)
    good &= at(y, i) == (float)(i / 256 * 256 + 255 - i % 256);
  check(good, "static shared memory");
  BAM_LAUNCH(stream, reverse_dynamic<float>, 8, 128, 128 * sizeof(float), y, x);
  good = noted(stream, NULL);
  for (int i = 0; i < 1024; i++)
    good &= at(y, i) == (float)(i / 128 * 128 + 127 - i % 128);
  check(good, "dynamic shared memory");
  cudaFree(x);
  cudaFree(y);
}

__global__ void shuffles(int *y) {
  const int lane = (int)threadIdx.x;
  y[lane] = __shfl_sync(BAM_ALL_LANES, lane, 5);
  y[32 + lane] = __shfl_sync(BAM_ALL_LANES, lane, 9, 8);
  y[64 + lane] = __shfl_up_sync(BAM_ALL_LANES, lane, 3);
  y[96 + lane] = __shfl_down_sync(BAM_ALL_LANES, lane, 3, 16);
  y[128 + lane] = __shfl_xor_sync(BAM_ALL_LANES, lane, 9);
  y[160 + lane] = (int)__shfl_xor_sync(BAM_ALL_LANES, (double)lane, 16);
  y[192 + lane] = (int)__ballot_sync(BAM_ALL_LANES, lane % 3 == 0);
  y[224 + lane] = __any_sync(BAM_ALL_LANES, lane == 7) + 2 * __all_sync(BAM_ALL_LANES, lane < 31);
  unsigned half = lane < 16 ? 0xffffu : 0xffff0000u; /* two groups, which wait apart */
  y[256 + lane] = __shfl_xor_sync(half, lane, 1);
}

static void test_shuffles(bam_stream stream) {
  int *y = device_array<int>(288);
  BAM_LAUNCH(stream, shuffles, 1, 32, 0, y);
  bool good = noted(stream, NULL);
  unsigned thirds = 0;
  for (int i = 0; i < 32; i += 3)
    thirds |= 1u << i;
  for (int i = 0; i < 32; i++) {
    good &= at(y, i) == 5 && at(y, 32 + i) == i / 8 * 8 + 1;
    good &= at(y, 64 + i) == (i < 3 ? i : i - 3);
    good &= at(y, 96 + i) == (i % 16 < 13 ? i + 3 : i);
    good &= at(y, 128 + i) == (i ^ 9) && at(y, 160 + i) == (i ^ 16);
    good &= at(y, 192 + i) == (int)thirds && at(y, 224 + i) == 1 && at(y, 256 + i) == (i ^ 1);
  }
  check(good, "shuffles and ballots");
  cudaFree(y);
}

__global__ void intrinsics(int *y) {
  int n = 0;
  y[n++] = __popc(0xf0f0u) == 8 && __popcll(1ull << 40 | 3) == 3;
  y[n++] = __ffs(0) == 0 && __ffs(8) == 4;
  y[n++] = __clz(0) == 32 && __clz(1) == 31 && __clzll(0) == 64 && __clzll(1ll << 40) == 23;
  y[n++] = __umulhi(0x80000000u, 6) == 3 && __umul64hi(1ull << 63, 6) == 3;
  y[n++] = __float_as_int(1.0f) == 0x3f800000 && __int_as_float(0x40000000) == 2;
  y[n++] = __float_as_uint(-0.0f) == 0x80000000u && __uint_as_float(0x3f000000u) == 0.5f;
  y[n++] = __double_as_longlong(1.0) == 0x3ff0000000000000ll;
  y[n++] = rsqrtf(4.0f) == 0.5f && rsqrt(16.0) == 0.25 && fmaf(2, 3, 4) == 10;
  const float4 v = make_float4(1, 2, 3, 4);
  y[n++] = v.x + v.w == 5 && sizeof v == 16 && alignof(float4) == 16 && alignof(double2) == 16;
}

/* y: sum, maximum, minimum, bits, count of those that were first. */
__global__ void atomics(unsigned *y) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&y[0], i);
  atomicMax(&y[1], i);
  atomicMin(&y[2], i);
  atomicOr(&y[3], 1u << i % 32);
  if (atomicCAS(&y[4 + i % 5], 0, 1) == 0)
    atomicAdd(&y[9], 1);
}

static void test_intrinsics(bam_stream stream) {
  int *y = device_array<int>(9);
  BAM_LAUNCH(stream, intrinsics, 1, 1, 0, y);
  bool good = noted(stream, NULL);
  for (int i = 0; i < 9; i++)
    good &= at(y, i) == 1;
  check(good, "intrinsics");
  unsigned *z = device_array<unsigned>(10);
  cudaMemset(z, 0, 10 * sizeof *z);
  cudaMemset(z + 2, 0xff, sizeof *z);
  BAM_LAUNCH(stream, atomics, 5, 50, 0, z);
  good = noted(stream, NULL) && at(z, 0) == 249 * 125 && at(z, 1) == 249 && at(z, 2) == 0;
  check(good && at(z, 3) == ~0u && at(z, 9) == 5, "atomics");
  cudaFree(y);
  cudaFree(z);
}

/* Where every thread of a block of 2 x 3 x 4 in a grid of 3 x 2 x 2 is. */
__global__ void places(int *y) {
  const int block = (int)((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x);
  const int thread = (int)((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x);
  y[block * 24 + thread] = block * 100 + thread;
}

/* Two declarations of the same name in instances of a template, each used twice. */
template <int N> static __device__ int *shared_array() {
  BAM_SHARED(int, part, N);
  return part;
}

__global__ void addresses(int *y) {
  BAM_SHARED(double, first, 3);
  BAM_SHARED(unsigned char, second, 5);
  first[threadIdx.x % 3] = 1;
  second[threadIdx.x % 5] = 1;
  int *a = shared_array<7>(), *b = shared_array<8>();
  y[threadIdx.x] = a == shared_array<7>() && b == shared_array<8>() && a != b &&
                   (void *)first != (void *)second && sizeof first == 24;
}

/* A block whose last warp is not whole. */
__global__ void odd_block(int *y) {
  BAM_SHARED(int, part, 50);
  part[threadIdx.x] = (int)threadIdx.x;
  __syncwarp();
  const int neighbour = part[threadIdx.x ^ 1];
  y[threadIdx.x] = neighbour + __syncthreads_count(neighbour < 10);
}

static void test_places(bam_stream stream) {
  int *y = device_array<int>(288);
  BAM_LAUNCH(stream, places, dim3(3, 2, 2), dim3(2, 3, 4), 0, y);
  bool good = noted(stream, NULL);
  for (int i = 0; i < 288; i++)
    good &= at(y, i) == i / 24 * 100 + i % 24;
  check(good, "grids and blocks of three dimensions");
  BAM_LAUNCH(stream, addresses, 2, 64, 0, y);
  good = noted(stream, NULL);
  for (int i = 0; i < 64; i++)
    good &= at(y, i) == 1;
  check(good, "shared memory has the same address wherever it is declared");
  BAM_LAUNCH(stream, odd_block, 1, 50, 0, y);
  good = noted(stream, NULL);
  for (int i = 0; i < 50; i++)
    good &= at(y, i) == (i ^ 1) + 10;
  check(good, "a block of 50 threads");
  BAM_LAUNCH(stream, places, dim3(0, 2, 2), dim3(2, 3, 4), 0, y);
  check(noted(stream, NULL), "a grid without blocks");
  cudaFree(y);
}

int main() {
  bam_stream_state state = {};
  unsetenv("BAMLUA_SIMT"); /* the faults show when schedules are compared */
  cudaStreamCreate(&state.queue);
  test_reductions<float>(&state, "float");
  test_reductions<double>(&state, "double");
  test_shared(&state);
  test_shuffles(&state);
  test_intrinsics(&state);
  test_places(&state);
  test_host(&state);
  test_host_pages(&state);
  test_streams(&state);
  test_capture(&state);
  test_faults(&state);
  test_tensor_core(&state);
  test_hopper(&state);
  cudaStreamDestroy(state.queue);
  return report();
}
