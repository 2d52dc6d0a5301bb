/* A binary min-heap in an array: the children of entry i are 2i + 1 and 2i + 2, and not smaller than it. */
#include "heap.h"

bam_status bam_heap_reserve(bam_heap *heap, int64_t more) {
  int64_t bytes = (heap->count + more) * (int64_t)sizeof(bam_heap_entry);
  return bam_storage_grow(heap->context, &heap->storage, bytes);
}

static bool is_less(bam_heap_entry a, bam_heap_entry b) {
  return a.key != b.key ? a.key < b.key : a.tie < b.tie;
}

void bam_heap_push(bam_heap *heap, bam_heap_entry entry) {
  bam_heap_entry *entries = heap->storage->data;
  int64_t i = heap->count++;
  for (; i > 0 && is_less(entry, entries[(i - 1) / 2]); i = (i - 1) / 2)
    entries[i] = entries[(i - 1) / 2];
  entries[i] = entry;
}

bam_heap_entry bam_heap_pop(bam_heap *heap) {
  bam_heap_entry *entries = heap->storage->data;
  bam_heap_entry top = entries[0];
  int64_t n = --heap->count, i = 0;
  bam_heap_entry last = entries[n];
  for (int64_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && is_less(entries[child + 1], entries[child]))
      child++;
    if (!is_less(entries[child], last))
      break;
    entries[i] = entries[child];
  }
  entries[i] = last;
  return top;
}

void bam_heap_release(bam_heap *heap) {
  bam_storage_release(heap->context, heap->storage);
  heap->storage = NULL;
  heap->count = 0;
}
