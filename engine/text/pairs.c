/* Open addressing with linear probing. Entries are never removed. */
#include "pairs.h"

typedef struct slot {
  uint64_t key;
  int64_t value; /* -1: the slot is free */
} slot;

/* The first slot to probe. Taken from the high bits of the product, because the low bits depend only on the
   right word. */
static int64_t first_slot(const bam_pairs *pairs, uint64_t key) {
  uint64_t product = key * 0x9e3779b97f4a7c15;
  return (int64_t)(product >> 32 ^ product) & (pairs->room - 1);
}

static void insert(bam_pairs *pairs, uint64_t key, int64_t value) {
  slot *slots = pairs->slots->data;
  int64_t i = first_slot(pairs, key);
  while (slots[i].value >= 0)
    i = (i + 1) & (pairs->room - 1);
  slots[i] = (slot){ key, value };
}

bam_status bam_pairs_reserve(bam_pairs *pairs, int64_t more) {
  bam_pairs grown = { pairs->context, NULL, pairs->count, pairs->room > 0 ? pairs->room : 256 };
  while (grown.room <= 2 * (pairs->count + more))
    grown.room *= 2;
  if (grown.room == pairs->room)
    return BAM_OK;
  BAM_TRY(bam_storage_alloc(pairs->context, &pairs->context->cpu,
                            grown.room * (int64_t)sizeof(slot), &grown.slots));
  for (int64_t i = 0; i < grown.room; i++)
    ((slot *)grown.slots->data)[i].value = -1;
  const slot *old = pairs->slots != NULL ? pairs->slots->data : NULL;
  for (int64_t i = 0; i < pairs->room && old != NULL; i++)
    if (old[i].value >= 0)
      insert(&grown, old[i].key, old[i].value);
  bam_storage_release(pairs->context, pairs->slots);
  *pairs = grown;
  return BAM_OK;
}

void bam_pairs_add(bam_pairs *pairs, uint64_t key, int64_t value) {
  insert(pairs, key, value);
  pairs->count++;
}

int64_t bam_pairs_find(const bam_pairs *pairs, uint64_t key) {
  if (pairs->slots == NULL)
    return -1;
  const slot *slots = pairs->slots->data;
  int64_t i = first_slot(pairs, key);
  while (slots[i].value >= 0 && slots[i].key != key)
    i = (i + 1) & (pairs->room - 1);
  return slots[i].value;
}

void bam_pairs_release(bam_pairs *pairs) {
  bam_storage_release(pairs->context, pairs->slots);
  *pairs = (bam_pairs){ .context = pairs->context };
}
