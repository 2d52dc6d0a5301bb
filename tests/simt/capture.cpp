/* Graphs: what a stream is asked for while it records is a list of actions, with copies of their arguments, which runs
   whenever the graph is launched. Calls that CUDA does not allow meanwhile are errors that spoil the recording, as
   with cudaStreamCaptureModeGlobal; so is work on the stream NULL. An action whose memory was freed since it was
   recorded is an error, even if other memory has its address. Blocks that a graph has used one after the other may
   overlap, so that what is beside blocks is not looked at when it runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

#include "machine.h"

struct simt_step {
  std::string what;
  std::vector<const void *> operands; /* memory of devices that it uses */
  simt_action action;
};

struct simt_recording {
  std::vector<simt_step> steps;
  bool spoiled;
};

struct simt_graph {
  int device;
  uint64_t newest; /* number of the last allocation that there was at its end */
  std::vector<simt_step> steps;
};

struct simt_graph_exec {
  simt_graph graph;
};

/* The streams that record; there is one at most in these programs. */
static cudaStream_t *recording_stream(void) {
  static cudaStream_t stream;
  return &stream;
}

static bool *replaying(void) {
  static bool is_replaying;
  return &is_replaying;
}

bool simt_is_capturing(void) { return *recording_stream() != NULL; }

bool simt_is_replaying(void) { return *replaying(); }

/* ---- recording ---- */

static cudaError_t spoil(cudaError_t error, const char *what) {
  fprintf(stderr, "simt: %s is not allowed while a stream is captured\n", what);
  (*recording_stream())->recording->spoiled = true;
  return simt_result(error);
}

/* Of the thread. */
static cudaStreamCaptureMode *thread_mode(void) {
  static cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  return &mode;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *mode) {
  const cudaStreamCaptureMode old = *thread_mode();
  *thread_mode() = *mode;
  *mode = old;
  return cudaSuccess;
}

cudaError_t simt_forbidden_in_capture(const char *what) {
  return *recording_stream() != NULL ? spoil(cudaErrorStreamCaptureUnsupported, what) : cudaSuccess;
}

cudaError_t simt_unsafe_in_capture(const char *what) {
  return *thread_mode() != cudaStreamCaptureModeRelaxed ? simt_forbidden_in_capture(what)
                                                        : cudaSuccess;
}

cudaError_t simt_forbidden_on(cudaStream_t stream, const char *what) {
  return stream != NULL && stream == *recording_stream()
           ? spoil(cudaErrorStreamCaptureUnsupported, what)
           : cudaSuccess;
}

static std::vector<const void *> find_operands(const void *arguments, size_t bytes) {
  std::vector<const void *> operands;
  for (size_t at = 0; at + sizeof(void *) <= bytes; at += sizeof(void *)) {
    const void *data;
    memcpy(&data, (const char *)arguments + at, sizeof data);
    if (simt_allocation_of(data) != NULL)
      operands.push_back(data);
  }
  return operands;
}

bool simt_record(cudaStream_t stream, const char *what, const void *arguments, size_t bytes,
                 const simt_action &action, cudaError_t *error) {
  *error = cudaSuccess;
  if (*recording_stream() == NULL || (stream != NULL && stream->recording == NULL))
    return false;
  if (stream == NULL)
    *error = spoil(cudaErrorStreamCaptureImplicit, "work on the legacy stream");
  else if (stream->recording->spoiled)
    *error = simt_result(cudaErrorStreamCaptureInvalidated);
  else
    stream->recording->steps.push_back({ what, find_operands(arguments, bytes), action });
  return true;
}

static bool is_to_fail(const char *call) {
  const char *wanted = getenv("BAMLUA_SIMT_FAIL");
  return wanted != NULL && strcmp(wanted, call) == 0;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (is_to_fail("cudaStreamBeginCapture"))
    return simt_result(cudaErrorUnknown);
  if (stream == NULL || *recording_stream() != NULL)
    return simt_result(cudaErrorStreamCaptureUnsupported);
  stream->recording = new simt_recording();
  *recording_stream() = stream;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  *graph = NULL;
  if (stream == NULL || stream->recording == NULL)
    return simt_result(cudaErrorStreamCaptureUnmatched);
  simt_recording *recording = stream->recording;
  const bool good = !recording->spoiled;
  stream->recording = NULL;
  *recording_stream() = NULL;
  if (good) {
    *graph = new simt_graph{ stream->device, simt_device_memory()->number, recording->steps };
    simt_trace("capture %zu", recording->steps.size());
  }
  delete recording;
  return good ? cudaSuccess : simt_result(cudaErrorStreamCaptureInvalidated);
}

/* ---- graphs ---- */

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
  *exec = NULL;
  if (is_to_fail("cudaGraphInstantiate"))
    return simt_result(cudaErrorMemoryAllocation);
  *exec = new simt_graph_exec{ *graph };
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

static cudaError_t check_step(const simt_graph &graph, const simt_step &step) {
  for (const void *data : step.operands) {
    const uint64_t number = simt_number_at(data);
    if (number > 0 && number <= graph.newest)
      continue;
    fprintf(stderr, "simt: a graph uses memory in %s that was freed since it was captured\n",
            step.what.c_str());
    return cudaErrorIllegalAddress;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (is_to_fail("cudaGraphLaunch"))
    return simt_result(cudaErrorLaunchFailure);
  cudaError_t error = simt_forbidden_on(stream, "cudaGraphLaunch");
  if (error == cudaSuccess && stream->device != exec->graph.device)
    error = cudaErrorInvalidValue;
  simt_finish_stream(stream);
  simt_trace("graph %zu", exec->graph.steps.size());
  *replaying() = true;
  for (size_t i = 0; i < exec->graph.steps.size() && error == cudaSuccess; i++) {
    error = check_step(exec->graph, exec->graph.steps[i]);
    if (error == cudaSuccess)
      error = exec->graph.steps[i].action();
  }
  *replaying() = false;
  simt_restore_red_zones();
  return simt_result(error);
}
