/* Tests of the shim itself: kernels whose results are known, with the helpers of
   kernels/cuda/cuda.h, and kernels with faults made on purpose, each of which must be reported.
   What the shim says of those on stderr is expected. Ends with "N passed, N failed". */
#define BAM_TYPE f32
#define BAM_TYPE_f32
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../kernels/cuda/cuda.h"

/* ---- the stream, as small as can be ---- */

bool bam_cuda_enter(bam_stream) { return true; }

void bam_cuda_note(bam_stream stream, const char *what, cudaError_t error) {
  if (error != cudaSuccess && stream->failure[0] == '\0')
    snprintf(stream->failure, sizeof stream->failure, "%s: %s", what, cudaGetErrorName(error));
}

/* ---- counting ---- */

struct counts {
  int passed, failed;
};

static counts *tally() {
  static counts tally;
  return &tally;
}

static void check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void check(bool good, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  printf("%s ", good ? "ok  " : "FAIL");
  vprintf(format, arguments);
  printf("\n");
  fflush(stdout);
  va_end(arguments);
  *(good ? &tally()->passed : &tally()->failed) += 1;
}

/* Whether the stream has noted nothing, or the error that is named. */
static bool noted(bam_stream stream, const char *error) {
  const bool good = error == NULL ? stream->failure[0] == '\0'
                                  : strstr(stream->failure, error) != NULL;
  if (!good)
    fprintf(stderr, "noted: \"%s\"\n", stream->failure);
  stream->failure[0] = '\0';
  return good;
}

static bool failed(bam_stream stream) { return noted(stream, "cudaErrorLaunchFailure"); }

template <class T> static T *device_array(int64_t n) {
  T *data;
  if (cudaMalloc(&data, (size_t)n * sizeof(T)) != cudaSuccess)
    abort();
  return data;
}

template <class T> static T at(const T *data, int64_t i) {
  T x;
  cudaMemcpy(&x, data + i, sizeof x, cudaMemcpyDeviceToHost);
  return x;
}

/* ---- kernels that are right ---- */

template <class T> __global__ void sums(T *y, int rounds) {
  T total = 0;
  for (int i = 0; i < rounds; i++)
    total += block_sum((T)(threadIdx.x + i));
  y[threadIdx.x] = total;
}

template <class T> __global__ void warp_sums(T *y) { y[threadIdx.x] = warp_sum((T)threadIdx.x); }

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

/* Reverse each block's part of x by way of shared memory. */
__global__ void reverse_static(float *y, const float *x) {
  BAM_SHARED(float, part, 256);
  const int64_t first = (int64_t)blockIdx.x * 256;
  part[threadIdx.x] = x[first + threadIdx.x];
  __syncthreads();
  y[first + threadIdx.x] = part[255 - threadIdx.x];
}

__global__ void reverse_dynamic(float *y, const float *x) {
  BAM_DYNAMIC_SHARED(float, part);
  const int n = (int)blockDim.x;
  const int64_t first = (int64_t)blockIdx.x * n;
  part[threadIdx.x] = x[first + threadIdx.x];
  __syncthreads();
  y[first + threadIdx.x] = part[n - 1 - (int)threadIdx.x];
}

__global__ void count_up(float *y, int64_t n) { BAM_EACH(i, n) y[i] = (float)i; }

static void test_shared(bam_stream stream) {
  float *x = device_array<float>(1024), *y = device_array<float>(1024);
  BAM_LAUNCH(stream, count_up, 2, 64, 0, x, 1024);
  bool good = noted(stream, NULL);
  for (int i = 0; i < 1024; i++)
    good &= at(x, i) == (float)i;
  check(good, "a grid-stride loop");
  BAM_LAUNCH(stream, reverse_static, 4, 256, 0, y, x);
  good = noted(stream, NULL);
  for (int i = 0; i < 1024; i++)
    good &= at(y, i) == (float)(i / 256 * 256 + 255 - i % 256);
  check(good, "static shared memory");
  BAM_LAUNCH(stream, reverse_dynamic, 8, 128, 128 * sizeof(float), y, x);
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

/* ---- faults ---- */

__global__ void no_barrier_before_read(float *y) {
  BAM_SHARED(float, part, 64);
  part[threadIdx.x] = (float)threadIdx.x;
  y[threadIdx.x] = part[63 - threadIdx.x];
}

__global__ void no_barrier_before_reuse(float *y) {
  BAM_SHARED(float, part, 2);
  float total = 0;
  for (int i = 0; i < 2; i++) {
    const float x = warp_sum((float)(threadIdx.x + i));
    if (threadIdx.x % 32 == 0)
      part[threadIdx.x / 32] = x;
    __syncthreads();
    total += part[0] + part[1];
  }
  y[threadIdx.x] = total;
}

__global__ void uninitialised(float *y) {
  BAM_SHARED(float, part, 64);
  if (threadIdx.x < 63)
    part[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = part[threadIdx.x] + 1;
}

__global__ void same_element(float *y) { *y = (float)blockIdx.x; }

__global__ void divergent_barrier(float *y) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    y[threadIdx.x] = 1, __syncwarp();
  y[0] = 1;
}

__global__ void two_barriers(float *y) {
  if (threadIdx.x % 2 == 0)
    __syncthreads();
  else {
    *y = 1;
    __syncthreads();
  }
}

__global__ void divergent_shuffle(float *y) {
  float x = 1;
  if (threadIdx.x > 0)
    x = warp_sum(x);
  y[0] = x;
}

__global__ void write_behind(float *y, int64_t n) { y[n] = 1; }

__global__ void too_much_static(float *y) {
  BAM_SHARED(float, part, 16384);
  part[threadIdx.x] = 1;
  *y = part[threadIdx.x];
}

static void test_faults(bam_stream stream) {
  float *y = device_array<float>(64), host = 0;
  BAM_LAUNCH(stream, no_barrier_before_read, 1, 64, 0, y);
  check(failed(stream), "caught: shared memory read without a barrier after it was written");
  BAM_LAUNCH(stream, no_barrier_before_reuse, 1, 64, 0, y);
  check(failed(stream), "caught: shared memory written without a barrier after it was read");
  BAM_LAUNCH(stream, uninitialised, 1, 64, 0, y);
  check(failed(stream), "caught: shared memory read that nobody wrote");
  BAM_LAUNCH(stream, same_element, 2, 1, 0, y);
  check(failed(stream), "caught: two blocks write the same element");
  BAM_LAUNCH(stream, divergent_barrier, 1, 64, 0, y);
  check(failed(stream), "caught: a barrier that some threads do not reach");
  BAM_LAUNCH(stream, two_barriers, 1, 64, 0, y);
  check(failed(stream), "caught: threads at different barriers");
  BAM_LAUNCH(stream, divergent_shuffle, 1, 64, 0, y);
  check(failed(stream), "caught: a shuffle that some lanes do not reach");
  BAM_LAUNCH(stream, write_behind, 1, 1, 0, y, 64);
  check(failed(stream), "caught: a write behind an allocation");
  BAM_LAUNCH(stream, write_behind, 1, 1, 0, &host, 0);
  check(noted(stream, "cudaErrorIllegalAddress"), "caught: a kernel is given a host pointer");
  check(cudaMemcpy(&host, &host, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue,
        "caught: a copy to the device with a host pointer");
  cudaGetLastError();
  BAM_LAUNCH(stream, too_much_static, 1, 1, 0, y);
  check(failed(stream), "caught: too much static shared memory");
  BAM_LAUNCH(stream, reverse_dynamic, 1, 1, 50000, y, y);
  check(noted(stream, "cudaErrorInvalidValue"), "caught: too much dynamic shared memory");
  BAM_LAUNCH(stream, count_up, 1, 1025, 0, y, 64);
  check(noted(stream, "cudaErrorInvalidConfiguration"), "caught: too many threads");
  cudaFree(y);
}

int main() {
  bam_stream_state state = {};
  unsetenv("BAMLUA_SIMT"); /* the faults show when schedules are compared */
  test_reductions<float>(&state, "float");
  test_reductions<double>(&state, "double");
  test_shared(&state);
  test_shuffles(&state);
  test_faults(&state);
  printf("%d passed, %d failed\n", tally()->passed, tally()->failed);
  return tally()->failed != 0;
}
