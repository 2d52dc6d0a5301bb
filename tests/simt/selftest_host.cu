/* Part of the shim's self-test: what the host calls, and how libraries are found. */
#include "selftest.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

#include "../../kernels/cuda/library.h"

static void test_copies() {
  float *device = device_array<float>(1), *host, plain = 3;
  cudaEvent_t first, second;
  cudaEventCreateWithFlags(&first, cudaEventDisableTiming);
  cudaEventCreate(&second);
  cudaMallocHost(&host, 2 * sizeof *host);
  host[0] = 1;
  host[1] = 0;
  cudaMemcpyAsync(device, host, sizeof *host, cudaMemcpyHostToDevice);
  cudaEventRecord(first);
  cudaMemcpyAsync(host + 1, device, sizeof *host, cudaMemcpyDeviceToHost);
  cudaEventRecord(second);
  check(host[1] == 0, "a copy to pinned memory is not done before it is waited for");
  cudaEventSynchronize(first);
  host[0] = 2; /* allowed now */
  check(host[1] == 0, "an event waits only for what was before it");
  cudaEventSynchronize(second);
  check(host[1] == 1, "an event waits for what was before it");
  cudaMemcpyAsync(device, host, sizeof *host, cudaMemcpyHostToDevice);
  host[0] = 4; /* too early */
  check(at(device, 0) == 4, "pinned memory written before its copy is done");
  cudaMemcpyAsync(device, &plain, sizeof plain, cudaMemcpyHostToDevice);
  plain = 5;
  check(at(device, 0) == 3, "memory that is not pinned is copied at once");
  cudaEventDestroy(first);
  cudaEventDestroy(second);
  cudaFreeHost(host);
  cudaFree(device);
}

static void test_memory() {
  char *a, *b;
  size_t left, total;
  setenv("BAMLUA_SIMT_MEMORY", "1000", 1);
  bool good = cudaMalloc(&a, 600) == cudaSuccess;
  good &= cudaMalloc(&b, 600) == cudaErrorMemoryAllocation && b == NULL;
  good &= cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess;
  cudaMemGetInfo(&left, &total);
  check(good && left == 400 && total == 1000, "memory has a limit");
  cudaFree(a);
  unsetenv("BAMLUA_SIMT_MEMORY");
  cudaMalloc(&a, 300);
  check((unsigned char)at(a, 0) == 0xff && (unsigned char)at(a, 299) == 0xff &&
          (uintptr_t)a % 256 == 0,
        "memory is aligned, and NaN at first");
  cudaFree(a);
  check(cudaFree(a) == cudaErrorInvalidValue, "caught: memory freed twice");
  cudaGetLastError();
}

static void test_devices(bam_stream stream) {
  int count, value;
  cudaDeviceProp properties;
  float *y;
  setenv("BAMLUA_SIMT_DEVICES", "2", 1);
  bool good = cudaGetDeviceCount(&count) == cudaSuccess && count == 2;
  good &= cudaGetDeviceProperties(&properties, 1) == cudaSuccess && properties.major == 9;
  good &= cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == 0;
  good &= value == 232448 && cudaSetDevice(2) == cudaErrorInvalidDevice;
  check(good, "two devices");
  cudaSetDevice(1);
  y = device_array<float>(64);
  cudaSetDevice(0);
  BAM_LAUNCH(stream, count_up<float>, 1, 64, 0, y, 64);
  check(noted(stream, "cudaErrorIllegalAddress"), "caught: memory of another device");
  cudaSetDevice(1);
  BAM_LAUNCH(stream, count_up<float>, 1, 64, 0, y, 64);
  check(noted(stream, "cudaErrorInvalidResourceHandle"), "caught: a stream of another device");
  cudaSetDevice(0);
  cudaFree(y);
  unsetenv("BAMLUA_SIMT_DEVICES");
}

/* ---- libraries in the wheels of Python environments ---- */

static void make_folders(std::string path) {
  for (size_t i = 1; (i = path.find('/', i)) != std::string::npos; i++)
    mkdir(path.substr(0, i).c_str(), 0700);
}

static void make_link(const std::string &target, const std::string &path) {
  make_folders(path);
  if (symlink(target.c_str(), path.c_str()) != 0)
    abort();
}

static bool is_found(const char *path, const char *environment) {
  const char *const files[] = { "libsimt_none.so.13", "libsimt_selftest.so.12", NULL };
  const std::string before = getenv("PATH");
  setenv("PATH", path, 1);
  environment != NULL ? setenv("VIRTUAL_ENV", environment, 1) : unsetenv("VIRTUAL_ENV");
  const bool found = bam_cuda_open_library(files) != NULL;
  setenv("PATH", before.c_str(), 1);
  unsetenv("VIRTUAL_ENV");
  return found;
}

static void test_libraries() {
  char folder[] = "/tmp/simt_selftest_XXXXXX";
  Dl_info any;
  if (mkdtemp(folder) == NULL || dladdr((void *)&dlopen, &any) == 0)
    abort();
  const std::string root = folder, env = root + "/env", other = root + "/other";
  make_link(any.dli_fname,
            env + "/lib/python3.12/site-packages/nvidia/cu13/lib/libsimt_selftest.so.12");
  make_link("/bin/true", env + "/bin/python3.12");
  make_link("python3.12", env + "/bin/python3");
  make_link("../../env/bin/python3", other + "/bin/python3");
  make_link("python3", root + "/loop/python3");
  check(is_found((root + "/none::" + env + "/bin").c_str(), NULL), "a library beside python3");
  check(is_found((other + "/bin").c_str(), NULL), "a library beside what python3 is a link to");
  check(is_found("", env.c_str()), "a library of $VIRTUAL_ENV");
  check(!is_found((root + "/loop:" + root).c_str(), root.c_str()), "a library that is nowhere");
  const std::string command = "rm -r " + root;
  check(system(command.c_str()) == 0, "the folders are removed");
}

void test_host(bam_stream stream) {
  test_libraries();
  test_copies();
  test_memory();
  test_devices(stream);
}
