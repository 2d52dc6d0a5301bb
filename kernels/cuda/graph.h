/* Graphs of a stream, as kernels/device.h describes them: graph.cu. */
#ifndef BAM_CUDA_GRAPH_H
#define BAM_CUDA_GRAPH_H

#include "stream.h"

struct bam_device_graph;

void bam_cuda_begin_capture(bam_stream stream);
struct bam_device_graph *bam_cuda_end_capture(bam_stream stream, bool keep);
void bam_cuda_launch_graph(bam_stream stream, struct bam_device_graph *graph);
void bam_cuda_free_graph(bam_stream stream, struct bam_device_graph *graph);

#endif
