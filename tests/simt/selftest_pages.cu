/* Part of the shim's self-test: pages of memory that the host places, through kernels/cuda/pages.cu, and blocks that
   are in use there. */
#include "selftest.h"

#include <cuda.h>

#include "../../kernels/cuda/pages.h"

#define PAGE 262144 /* as the Makefile compiles pages.cu for the shim */

__global__ void write_at(float *y, int64_t n) { y[n] = 1; }

/* Whether the stream has noted a failure of the driver; it is forgotten. */
static bool driver_failed(bam_stream stream, const char *what) {
  const bool failed = strncmp(stream->failure, what, strlen(what)) == 0;
  stream->failure[0] = '\0';
  return failed;
}

static void test_pages(bam_stream stream, char *range) {
  bool good = bam_cuda_map(stream, range, 3 * PAGE) == 3 * PAGE;
  good &= bam_cuda_move(stream, range + 7 * PAGE, range + PAGE, 2 * PAGE);
  good &= bam_cuda_map(stream, range + PAGE, PAGE) == PAGE;
  bam_cuda_unmap(stream, range, 2 * PAGE);
  bam_cuda_unmap(stream, range + 7 * PAGE, 2 * PAGE);
  check(good && noted(stream, NULL), "pages are mapped, moved and unmapped");
  setenv("BAMLUA_SIMT_MEMORY", "800000", 1);
  good = bam_cuda_map(stream, range, 4 * PAGE) == 3 * PAGE && noted(stream, NULL);
  bam_cuda_unmap(stream, range, 3 * PAGE);
  check(good, "a device has so many pages");
  setenv("BAMLUA_SIMT_MEMORY", "787000", 1); /* 568 bytes more than 3 pages */
  good = bam_cuda_map(stream, range, 4 * PAGE) == 2 * PAGE && noted(stream, NULL);
  bam_cuda_unmap(stream, range, 2 * PAGE);
  unsetenv("BAMLUA_SIMT_MEMORY");
  check(good, "some memory is left for others");
}

static void test_misplaced(bam_stream stream, char *range) {
  bam_cuda_map(stream, range, PAGE);
  check(bam_cuda_map(stream, range, PAGE) == 0 && driver_failed(stream, "cuMemMap"),
        "caught: pages mapped where there are some");
  bam_cuda_unmap(stream, range + PAGE, PAGE);
  check(driver_failed(stream, "cuMemUnmap"), "caught: unmapping what is not mapped");
  const CUdeviceptr start = (CUdeviceptr)(uintptr_t)range;
  check(cuMemUnmap(start, PAGE / 2) != CUDA_SUCCESS && cuMemUnmap(start, 2 * PAGE) != CUDA_SUCCESS,
        "caught: unmapping other addresses than were mapped");
  bam_cuda_unreserve(stream, range, 16 * PAGE);
  check(driver_failed(stream, "cuMemAddressFree"), "caught: addresses given back with memory");
  bam_cuda_unmap(stream, range, PAGE);
}

static void test_blocks(bam_stream stream, char *range) {
  float *one = (float *)range, *two = (float *)(range + 1024);
  bam_cuda_map(stream, range, PAGE);
  bam_cuda_mark(stream, one, 512, true);
  bam_cuda_mark(stream, two, 512, true);
  check(at(one, 0) != at(one, 0), "a block is NaN at first");
  BAM_LAUNCH(stream, count_up<float>, 1, 64, 0, one, 128);
  check(noted(stream, NULL) && at(one, 127) == 127, "a kernel writes a block");
  BAM_LAUNCH(stream, write_at, 1, 1, 0, one, 128);
  check(failed(stream), "caught: a write between two blocks");
  cudaStreamSynchronize(stream->queue);
  bam_cuda_unmap(stream, range, PAGE);
  check(driver_failed(stream, "cuMemUnmap"), "caught: unmapping a block in use");
  bam_cuda_mark(stream, two, 512, false);
  BAM_LAUNCH(stream, write_at, 1, 1, 0, two, 0);
  check(noted(stream, "cudaErrorIllegalAddress"), "caught: a block that was released");
  bam_cuda_mark(stream, two, 512, true);
  BAM_LAUNCH(stream, count_up<float>, 1, 64, 0, two, 128);
  bam_cuda_mark(stream, one, 512, false);
  bam_cuda_mark(stream, two, 512, false);
  bam_cuda_unmap(stream, range, PAGE);
  check(driver_failed(stream, "cuMemUnmap"), "caught: unmapping before work was waited for");
  cudaStreamSynchronize(stream->queue);
  bam_cuda_unmap(stream, range, PAGE);
  bam_cuda_mark(stream, one, 512, true);
  check(cudaStreamSynchronize(stream->queue) == cudaErrorIllegalAddress,
        "caught: a block without memory");
  cudaGetLastError();
}

void test_host_pages(bam_stream stream) {
  check(bam_cuda_find_page_bytes(stream) == PAGE, "the device has pages");
  char *range = (char *)bam_cuda_reserve(stream, 16 * PAGE);
  cudaStreamSynchronize(stream->queue);
  test_pages(stream, range);
  test_misplaced(stream, range);
  test_blocks(stream, range);
  bam_cuda_unreserve(stream, range, 16 * PAGE);
  check(noted(stream, NULL), "addresses are given back");
}
