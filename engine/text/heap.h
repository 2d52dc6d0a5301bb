/* A min-heap of (key, tie) pairs, ordered by key and then by tie. The encoder and the trainer of a tokenizer
   use it to choose the next merge. */
#ifndef BAM_TEXT_HEAP_H
#define BAM_TEXT_HEAP_H

#include "../core/tensor.h"

typedef struct bam_heap_entry {
  uint64_t key, tie;
} bam_heap_entry;

/* All zeros except the context is an empty heap. */
typedef struct bam_heap {
  bam_context *context;
  bam_storage *storage; /* of entries; NULL: not allocated */
  int64_t count;
} bam_heap;

/* Reserve room for `more` additional entries. */
bam_status bam_heap_reserve(bam_heap *heap, int64_t more);

/* Push an entry. Room must have been reserved. */
void bam_heap_push(bam_heap *heap, bam_heap_entry entry);

/* Pop the smallest entry. The heap must not be empty. */
bam_heap_entry bam_heap_pop(bam_heap *heap);

/* Free the memory. */
void bam_heap_release(bam_heap *heap);

#endif
