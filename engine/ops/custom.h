/* Custom ops of the host language. */
#ifndef BAM_CUSTOM_H
#define BAM_CUSTOM_H

#include "../autograd/autograd.h"

/* Record a custom op of the host: `outputs[n]` (detached, not yet shared) become results of a node
   with these inputs. Its backward calls host.backward with { graph, sequence number of the node };
   `graph` is not 0. Does nothing when no input wants a gradient or recording is off. */
bam_status bam_record_custom(bam_context *context, bam_tensor *const *inputs, int n_inputs,
                             int64_t graph, bam_tensor *const *outputs, int n_outputs);

#endif
