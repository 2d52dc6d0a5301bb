/* Part of the shim's self-test: faults made on purpose, each of which must be reported. */
#include "selftest.h"

#include <sys/wait.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

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

__global__ void uninitialized(float *y) {
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

__global__ void misaligned_load(float *y) { y[threadIdx.x] = (float)BAM_LOAD_16(y + 1).x; }

__global__ void misaligned_store(float *y) { BAM_STORE_16(y + 2, make_uint4(0, 0, 0, 0)); }

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

__global__ void dynamic_and_static(float *y) {
  BAM_SHARED(float, part, 1024);
  part[threadIdx.x] = 1;
  *y = part[threadIdx.x];
}

/* A quarter of the lanes returns before the barrier of the block. */
__global__ void returned(float *y) {
  if (threadIdx.x % 4 == 0)
    return;
  __syncthreads();
  y[threadIdx.x] = 1;
}

__global__ void different_masks(float *y) {
  const unsigned mask = threadIdx.x == 0 ? BAM_ALL_LANES : BAM_ALL_LANES - 1;
  y[threadIdx.x] = __shfl_sync(mask, 1.0f, 1);
}

__global__ void not_in_mask(float *y) { y[threadIdx.x] = __shfl_sync(2u, 1.0f, 1); }

__global__ void from_outside(float *y) {
  if (threadIdx.x < 16)
    y[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 16);
}

__global__ void different_shuffles(float *y) {
  float x = 1;
  if (threadIdx.x < 16)
    x = __shfl_xor_sync(BAM_ALL_LANES, x, 1);
  else
    x = __shfl_down_sync(BAM_ALL_LANES, x, 1);
  y[threadIdx.x] = x;
}

__global__ void behind_shared(float *y) {
  BAM_SHARED(float, part, 5);
  float *volatile p = part;
  p[threadIdx.x] = 1;
  y[threadIdx.x] = 1;
}

/* Blocks count themselves: which number one gets depends on the order. */
__global__ void numbered(unsigned *y) { y[1 + blockIdx.x] = atomicAdd(&y[0], 1); }

__global__ void deep(float *y) {
  volatile char frame[256 << 10];
  for (size_t i = sizeof frame; i > 0; i -= 4096)
    frame[i - 1] = (char)i;
  *y = frame[4095];
}

__global__ void read_behind(float *y, int64_t n) { y[0] = y[n]; }

static void test_waiting(bam_stream stream, float *y) {
  BAM_LAUNCH(stream, divergent_barrier, 1, 64, 0, y);
  check(failed(stream), "caught: a barrier that some warps do not reach");
  BAM_LAUNCH(stream, returned, 1, 64, 0, y);
  check(failed(stream), "caught: a barrier that some lanes do not reach");
  BAM_LAUNCH(stream, two_barriers, 1, 64, 0, y);
  check(failed(stream), "caught: threads at different barriers");
  BAM_LAUNCH(stream, misaligned_load, 1, 1, 0, y);
  check(failed(stream), "caught: a load of 16 bytes that is not aligned");
  BAM_LAUNCH(stream, misaligned_store, 1, 1, 0, y);
  check(failed(stream), "caught: a store of 16 bytes that is not aligned");
  BAM_LAUNCH(stream, divergent_shuffle, 1, 64, 0, y);
  check(failed(stream), "caught: a shuffle that some lanes do not reach");
  BAM_LAUNCH(stream, different_shuffles, 1, 32, 0, y);
  check(failed(stream), "caught: lanes at different shuffles");
  BAM_LAUNCH(stream, different_masks, 1, 32, 0, y);
  check(failed(stream), "caught: lanes with different masks");
  BAM_LAUNCH(stream, not_in_mask, 1, 32, 0, y);
  check(failed(stream), "caught: a lane that is not in its mask");
  BAM_LAUNCH(stream, from_outside, 1, 32, 0, y);
  check(failed(stream), "caught: a shuffle from a lane that is not in the mask");
  BAM_LAUNCH(stream, warp_sums<float>, 1, 20, 0, y);
  check(failed(stream), "caught: a shuffle from a lane that does not exist");
  BAM_LAUNCH(stream, sums<float>, 1, 64, 0, y, 1);
  check(noted(stream, NULL) && at(y, 5) == 2016, "after a failure all is as before");
}

static void test_limits(bam_stream stream, float *y) {
  BAM_LAUNCH(stream, too_much_static, 1, 1, 0, y);
  check(failed(stream), "caught: too much static shared memory");
  BAM_LAUNCH(stream, reverse_dynamic<float>, 1, 1, 50000, y, y);
  check(noted(stream, "cudaErrorInvalidValue"), "caught: dynamic shared memory not asked for");
  cudaFuncSetAttribute(reverse_dynamic<float>, cudaFuncAttributeMaxDynamicSharedMemorySize, 232448);
  BAM_LAUNCH(stream, reverse_dynamic<float>, 1, 1, 232448, y, y);
  check(noted(stream, NULL), "dynamic shared memory asked for");
  cudaFuncSetAttribute(dynamic_and_static, cudaFuncAttributeMaxDynamicSharedMemorySize, 232448);
  BAM_LAUNCH(stream, dynamic_and_static, 1, 1, 232000, y);
  check(noted(stream, "cudaErrorInvalidValue"), "caught: too much shared memory together");
  BAM_LAUNCH(stream, count_up<float>, 1, 1025, 0, y, 64);
  check(noted(stream, "cudaErrorInvalidConfiguration"), "caught: too many threads");
  BAM_LAUNCH(stream, count_up<float>, dim3(1, 65536), 32, 0, y, 64);
  check(noted(stream, "cudaErrorInvalidConfiguration"), "caught: too many blocks");
  setenv("BAMLUA_SIMT_FAIL", "sums", 1);
  BAM_LAUNCH(stream, (sums<float>), 1, 32, 0, y, 1);
  check(failed(stream), "a kernel that is to fail");
  BAM_LAUNCH(stream, warp_sums<float>, 1, 32, 0, y);
  check(noted(stream, NULL), "no other fails");
  unsetenv("BAMLUA_SIMT_FAIL");
}

/* Whether doing that ends a process; what is said about it is not shown. */
static bool is_fatal(bam_stream stream, float *y, void (*act)(bam_stream stream, float *y)) {
  fflush(NULL);
  const pid_t child = fork();
  if (child == 0) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_set_report_path("stderr");
#endif
    if (freopen("/dev/null", "w", stderr) != NULL)
      act(stream, y);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status != 0;
}

static void touch(bam_stream, float *y) { *(volatile float *)y = 1; }
static void run_deep(bam_stream stream, float *y) { BAM_LAUNCH(stream, deep, 1, 1, 0, y); }
static void run_write_behind(bam_stream stream, float *y) {
  BAM_LAUNCH(stream, write_behind, 1, 1, 0, y, 64);
}
static void run_behind_shared(bam_stream stream, float *y) {
  BAM_LAUNCH(stream, behind_shared, 1, 6, 0, y);
}
static void run_read_behind(bam_stream stream, float *y) {
  BAM_LAUNCH(stream, read_behind, 1, 1, 0, y, 64);
}

static void test_bounds(bam_stream stream, float *y) {
  float host = 0;
#ifdef __SANITIZE_ADDRESS__ /* which ends the program */
  check(is_fatal(stream, y, run_write_behind), "caught: a write behind an allocation");
  check(is_fatal(stream, y, run_behind_shared), "caught: a write behind shared memory");
  check(is_fatal(stream, y, run_read_behind), "caught: a read behind an allocation");
#else
  run_write_behind(stream, y);
  check(failed(stream), "caught: a write behind an allocation");
  BAM_LAUNCH(stream, write_behind, 1, 1, 0, y, -1);
  check(failed(stream), "caught: a write before an allocation");
  run_behind_shared(stream, y);
  check(failed(stream), "caught: a write behind shared memory");
  run_read_behind(stream, y);
  check(noted(stream, NULL) && at(y, 0) != at(y, 0), "a read behind an allocation gives NaN");
#endif
  check(is_fatal(stream, y, touch), "caught: the host touches memory of the device");
  check(is_fatal(stream, y, run_deep), "caught: a stack that is full");
  BAM_LAUNCH(stream, write_behind, 1, 1, 0, &host, 0);
  check(noted(stream, "cudaErrorIllegalAddress"), "caught: a kernel is given a host pointer");
  check(cudaMemcpy(&host, &host, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue,
        "caught: a copy to the device with a host pointer");
  check(cudaMemcpy(y, y, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue,
        "caught: a copy from the host with a device pointer");
  cudaGetLastError();
}

static void test_order(bam_stream stream, float *y) {
  BAM_LAUNCH(stream, no_barrier_before_read, 1, 64, 0, y);
  check(failed(stream), "caught: shared memory read without a barrier after it was written");
  BAM_LAUNCH(stream, no_barrier_before_reuse, 1, 64, 0, y);
  check(failed(stream), "caught: shared memory written without a barrier after it was read");
  BAM_LAUNCH(stream, uninitialized, 1, 64, 0, y);
  check(failed(stream), "caught: shared memory read that nobody wrote");
  BAM_LAUNCH(stream, same_element, 2, 1, 0, y);
  check(failed(stream), "caught: two blocks write the same element");
  unsigned *numbers = device_array<unsigned>(3);
  cudaMemset(numbers, 0, 12);
  BAM_LAUNCH(stream, numbered, 2, 1, 0, numbers);
  check(failed(stream), "caught: numbers in the order of blocks");
  cudaFree(numbers);
}

void test_faults(bam_stream stream) {
  float *y = device_array<float>(64);
  test_order(stream, y);
  test_waiting(stream, y);
  test_limits(stream, y);
  test_bounds(stream, y);
  cudaFree(y);
}
