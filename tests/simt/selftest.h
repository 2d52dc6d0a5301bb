/* What the parts of the shim's self-test share: counting, a stream, and kernels that several of
   them launch. */
#ifndef SIMT_SELFTEST_H
#define SIMT_SELFTEST_H

#define BAM_TYPE f32
#define BAM_TYPE_f32
#include <stdio.h>
#include <stdlib.h>

#include "../../kernels/cuda/cuda.h"
#include "../gpu/checks.h"

/* Whether the stream has noted the error that is named, or nothing; it is forgotten. */
bool noted(bam_stream stream, const char *error);
static inline bool failed(bam_stream stream) { return noted(stream, "cudaErrorLaunchFailure"); }

void test_faults(bam_stream stream);      /* selftest_faults.cu */
void test_host(bam_stream stream);        /* selftest_host.cu */
void test_host_pages(bam_stream stream);  /* selftest_pages.cu */
void test_streams(bam_stream stream);     /* selftest_streams.cu */
void test_capture(bam_stream stream);     /* selftest_capture.cu */
void test_tensor_core(bam_stream stream); /* selftest_tensor_core.cu */
void test_hopper(bam_stream stream);      /* selftest_hopper.cu */

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

/* ---- kernels ---- */

template <class T> static __global__ void sums(T *y, int rounds) {
  T total = 0;
  for (int i = 0; i < rounds; i++)
    total += block_sum((T)(threadIdx.x + i));
  y[threadIdx.x] = total;
}

template <class T> static __global__ void warp_sums(T *y) {
  y[threadIdx.x] = warp_sum((T)threadIdx.x);
}

/* Reverse each block's part of x by way of shared memory. */
template <class T> static __global__ void reverse_dynamic(T *y, const T *x) {
  BAM_DYNAMIC_SHARED(T, part);
  const int n = (int)blockDim.x;
  const int64_t first = (int64_t)blockIdx.x * n;
  part[threadIdx.x] = x[first + threadIdx.x];
  __syncthreads();
  y[first + threadIdx.x] = part[n - 1 - (int)threadIdx.x];
}

template <class T> static __global__ void count_up(T *y, int64_t n) { BAM_EACH(i, n) y[i] = (T)i; }

#endif
