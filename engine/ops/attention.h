/* What the ops that attend share: documents, and strides of heads. */
#ifndef BAM_OPS_ATTENTION_H
#define BAM_OPS_ATTENTION_H

#include "ops.h"

/* Fail unless the optional input `i`, document ids, is integers [batch, time]. */
bam_status bam_call_check_documents(bam_call *call, int i, int64_t batch, int64_t time);

/* From document ids, the optional input `i`, the first token of every token's document: i32
   [batch, time] in *first, a temporary of the call or the input itself if it is a result of
   document_starts; NULL when the input was left out. */
bam_status bam_call_document_starts(bam_call *call, int i, const bam_kernels *kernels,
                                    bam_tensor **first);

/* Fail unless the attribute `window` is a number of tokens, or 0 for all. */
bam_status bam_call_check_window(bam_call *call, const bam_attr *window);

/* The keys that a query of `time` tokens sees at most. */
int64_t bam_attention_window(const bam_attr *window, int64_t time);

#endif
