/* A heap of pairs of numbers: the smallest key comes out first, of equal keys the smallest tie.
   The encoder and the trainer of a tokenizer take their next merge from one. */
#ifndef BAM_TEXT_HEAP_H
#define BAM_TEXT_HEAP_H

#include "../core/tensor.h"

typedef struct bam_heap_entry {
  uint64_t key, tie;
} bam_heap_entry;

/* Empty: all zeros but for the context. */
typedef struct bam_heap {
  bam_context *context;
  bam_storage *storage; /* of entries; NULL: none yet */
  int64_t count;
} bam_heap;

/* Make room for `more` further entries. */
bam_status bam_heap_reserve(bam_heap *heap, int64_t more);

/* Put an entry in; there is room for it. */
void bam_heap_push(bam_heap *heap, bam_heap_entry entry);

/* Take the smallest entry out of a heap that is not empty. */
bam_heap_entry bam_heap_pop(bam_heap *heap);

/* Free the memory. */
void bam_heap_release(bam_heap *heap);

#endif
