/* Graphs: the launches, products and copies of a stream, recorded by CUDA and launched again in one call.
   A graph has the addresses of the scratch buffer and of cuBLASLt's workspace, so both stay while there are graphs: a
   scratch buffer that has become too small is kept beside its successor. */
#include "graph.h"

#include <stdlib.h>

struct bam_device_graph {
  cudaGraphExec_t exec;
};

/* In the mode "global" CUDA refuses whatever might not be captured, so that nothing is left out without notice. */
void bam_cuda_begin_capture(bam_stream stream) {
  if (bam_cuda_cannot_capture(stream, "another capture") || !bam_cuda_enter(stream))
    return;
  if (stream->sync || stream->no_graphs) {
    bam_cuda_fail(stream, stream->sync
                            ? "a graph cannot capture work that is waited for; unset BAMLUA_SYNC"
                            : "BAMLUA_GRAPHS is 0");
    return;
  }
  const cudaError_t error = cudaStreamBeginCapture(stream->queue, cudaStreamCaptureModeGlobal);
  bam_cuda_note(stream, "begin of a capture", error);
  stream->capturing = error == cudaSuccess;
}

static struct bam_device_graph *make_graph(bam_stream stream, cudaGraph_t recorded) {
  struct bam_device_graph *graph = (struct bam_device_graph *)calloc(1, sizeof *graph);
  cudaError_t error = cudaErrorMemoryAllocation;
  if (graph != NULL)
    error = cudaGraphInstantiate(&graph->exec, recorded, 0);
  bam_cuda_note(stream, "making a graph", error);
  if (error == cudaSuccess) {
    stream->graphs++;
    return graph;
  }
  free(graph);
  return NULL;
}

struct bam_device_graph *bam_cuda_end_capture(bam_stream stream, bool keep) {
  struct bam_device_graph *graph = NULL;
  cudaGraph_t recorded = NULL;
  if (!stream->capturing)
    return NULL;
  stream->capturing = false;
  if (!bam_cuda_enter(stream))
    return NULL;
  const cudaError_t error = cudaStreamEndCapture(stream->queue, &recorded);
  if (keep)
    bam_cuda_note(stream, "end of a capture", error);
  else
    cudaGetLastError();
  if (recorded == NULL)
    return NULL;
  if (keep && stream->failure[0] == '\0')
    graph = make_graph(stream, recorded);
  cudaGraphDestroy(recorded);
  return graph;
}

void bam_cuda_launch_graph(bam_stream stream, struct bam_device_graph *graph) {
  if (!bam_cuda_cannot_capture(stream, "another graph") && bam_cuda_enter(stream))
    bam_cuda_launched(stream, "graph", cudaGraphLaunch(graph->exec, stream->queue));
}

void bam_cuda_free_graph(bam_stream stream, struct bam_device_graph *graph) {
  if (!bam_cuda_enter(stream))
    return;
  bam_cuda_note(stream, "graph", cudaStreamSynchronize(stream->queue));
  bam_cuda_note(stream, "graph", cudaGraphExecDestroy(graph->exec));
  free(graph);
  if (--stream->graphs > 0)
    return;
  for (; stream->n_old_scratch > 0; stream->n_old_scratch--)
    cudaFree(stream->old_scratch[stream->n_old_scratch - 1]);
}
