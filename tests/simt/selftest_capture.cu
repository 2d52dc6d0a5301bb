/* Part of the shim's self-test: graphs, and what must not be done while one is captured. */
#include "selftest.h"

static __global__ void add_number(float *y, const float *x, float number) {
  y[threadIdx.x] = x[threadIdx.x] + number;
}

static cudaStream_t begin(bam_stream stream) {
  cudaStreamBeginCapture(stream->queue, cudaStreamCaptureModeGlobal);
  return stream->queue;
}

/* The graph of what was captured, or NULL if that is spoiled. */
static cudaGraphExec_t end(bam_stream stream) {
  cudaGraph_t graph;
  cudaGraphExec_t exec = NULL;
  if (cudaStreamEndCapture(stream->queue, &graph) != cudaSuccess) {
    check(graph == NULL && cudaGetLastError() == cudaErrorStreamCaptureInvalidated,
          "what is spoiled gives no graph");
    return NULL;
  }
  cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphDestroy(graph);
  return exec;
}

static void test_replay(bam_stream stream) {
  float *x = device_array<float>(32), *y = device_array<float>(32), number = 3;
  cudaMemset(x, 0, 32 * sizeof *x);
  cudaStream_t queue = begin(stream);
  BAM_LAUNCH(stream, add_number, 1, 32, 0, y, x, number);
  cudaMemcpyAsync(x, y, 16 * sizeof *x, cudaMemcpyDeviceToDevice, queue);
  cudaMemsetAsync(y, 0, 4 * sizeof *y, queue);
  cudaGraphExec_t graph = end(stream);
  number = 5;
  check(noted(stream, NULL) && graph != NULL && at(x, 0) == 0 && at(y, 0) != 0,
        "what is captured does not run");
  cudaGraphLaunch(graph, queue);
  check(at(x, 0) == 3 && at(x, 16) == 0 && at(y, 3) == 0 && at(y, 4) == 3, "a graph runs");
  cudaGraphLaunch(graph, queue);
  check(at(x, 15) == 6 && at(x, 31) == 0 && at(y, 4) == 6 && at(y, 31) == 3, "it runs again");
  cudaGraphExecDestroy(graph);
  cudaFree(x);
  cudaFree(y);
}

/* Memory that a graph uses is freed, and perhaps given to somebody else. */
static void test_freed(bam_stream stream, bool again) {
  float *x = device_array<float>(32), *y = device_array<float>(32), *z = NULL;
  begin(stream);
  BAM_LAUNCH(stream, add_number, 1, 32, 0, y, x, 1.0f);
  cudaGraphExec_t graph = end(stream);
  cudaFree(x);
  if (again)
    z = device_array<float>(32);
  check(!again || z == x, "memory that was freed is used again");
  check(cudaGraphLaunch(graph, stream->queue) == cudaErrorIllegalAddress,
        "caught: a graph that uses freed memory%s", again ? " at the same address" : "");
  cudaGetLastError();
  cudaGraphExecDestroy(graph);
  cudaFree(y);
  cudaFree(z);
}

typedef cudaError_t forbidden(cudaStream_t queue, float *device);

static void test_forbidden(bam_stream stream, const char *what, cudaError_t expected,
                           forbidden *call) {
  float *y = device_array<float>(32);
  cudaStream_t queue = begin(stream);
  BAM_LAUNCH(stream, count_up<float>, 1, 32, 0, y, 32);
  const cudaError_t error = call(queue, y);
  cudaGetLastError();
  check(error == expected, "caught: %s in a capture", what);
  BAM_LAUNCH(stream, count_up<float>, 1, 32, 0, y, 32);
  check(noted(stream, "cudaErrorStreamCaptureInvalidated"), "nothing can follow %s", what);
  check(end(stream) == NULL, "no graph after %s", what);
  BAM_LAUNCH(stream, count_up<float>, 1, 32, 0, y, 32);
  check(noted(stream, NULL) && at(y, 31) == 31, "the stream works after %s", what);
  cudaFree(y);
}

static void test_all_forbidden(bam_stream stream) {
  const cudaError_t never = cudaErrorStreamCaptureUnsupported;
  test_forbidden(stream, "a wait for the stream", never,
                 [](cudaStream_t queue, float *) { return cudaStreamSynchronize(queue); });
  test_forbidden(stream, "a wait for the device", never,
                 [](cudaStream_t, float *) { return cudaDeviceSynchronize(); });
  test_forbidden(stream, "cudaMalloc", never, [](cudaStream_t, float *) {
    float *more;
    return cudaMalloc(&more, 4);
  });
  test_forbidden(stream, "cudaFree", never, [](cudaStream_t, float *y) { return cudaFree(y); });
  test_forbidden(stream, "cudaMallocHost", never, [](cudaStream_t, float *) {
    float *more;
    return cudaMallocHost(&more, 4);
  });
  test_forbidden(stream, "a copy from the host's stack", never, [](cudaStream_t queue, float *y) {
    const float x = 1;
    return cudaMemcpyAsync(y, &x, sizeof x, cudaMemcpyHostToDevice, queue);
  });
  test_forbidden(stream, "work on the legacy stream", cudaErrorStreamCaptureImplicit,
                 [](cudaStream_t, float *y) { return cudaMemsetAsync(y, 0, 4, NULL); });
}

static void test_modes(bam_stream stream) {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  float *y = NULL;
  begin(stream);
  cudaThreadExchangeStreamCaptureMode(&mode);
  const bool good = mode == cudaStreamCaptureModeGlobal && cudaMalloc(&y, 4) == cudaSuccess;
  cudaThreadExchangeStreamCaptureMode(&mode);
  cudaGraphExec_t graph = end(stream);
  check(good && graph != NULL && mode == cudaStreamCaptureModeRelaxed,
        "cudaMalloc in the relaxed mode");
  cudaGraphExecDestroy(graph);
  cudaFree(y);
}

static void test_refused(bam_stream stream) {
  float *y = device_array<float>(32), x = 0;
  cudaGraph_t graph;
  begin(stream);
  BAM_LAUNCH(stream, add_number, 1, 32, 0, y, (const float *)&x, 1.0f);
  check(noted(stream, "cudaErrorIllegalAddress"), "caught: the host's stack as an argument");
  cudaGraphExecDestroy(end(stream));
  check(cudaStreamEndCapture(stream->queue, &graph) == cudaErrorStreamCaptureUnmatched,
        "caught: the end of a capture that was not begun");
  cudaGetLastError();
  cudaFree(y);
}

static void test_events(bam_stream stream) {
  cudaEvent_t event;
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  cudaStream_t queue = begin(stream);
  cudaEventRecord(event, queue);
  cudaGraphExecDestroy(end(stream));
  check(cudaEventSynchronize(event) == cudaErrorCapturedEvent,
        "caught: a wait for an event of a capture");
  cudaGetLastError();
  cudaEventRecord(event, queue);
  check(cudaEventSynchronize(event) == cudaSuccess, "an event is recorded again");
  cudaEventDestroy(event);
}

void test_capture(bam_stream stream) {
  test_replay(stream);
  test_freed(stream, false);
  test_freed(stream, true);
  test_all_forbidden(stream);
  test_modes(stream);
  test_refused(stream);
  test_events(stream);
}
