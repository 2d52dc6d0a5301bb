/* Open addressing with linear probing. Entries are never removed. */
#include "pairs.h"

static void insert(bam_pairs *pairs, uint64_t key, int64_t value) {
  bam_pair_slot *slots = pairs->slots->data;
  int64_t i = bam_pairs_first(pairs, key);
  while (slots[i].value >= 0)
    i = (i + 1) & (pairs->room - 1);
  slots[i] = (bam_pair_slot){ key, value };
}

bam_status bam_pairs_reserve(bam_pairs *pairs, int64_t more) {
  bam_pairs grown = { pairs->context, NULL, pairs->count, pairs->room > 0 ? pairs->room : 256 };
  while (grown.room <= 2 * (pairs->count + more))
    grown.room *= 2;
  if (grown.room == pairs->room)
    return BAM_OK;
  BAM_TRY(bam_storage_alloc(pairs->context, &pairs->context->cpu,
                            grown.room * (int64_t)sizeof(bam_pair_slot), &grown.slots));
  for (int64_t i = 0; i < grown.room; i++)
    ((bam_pair_slot *)grown.slots->data)[i].value = -1;
  const bam_pair_slot *old = pairs->slots != NULL ? pairs->slots->data : NULL;
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

void bam_pairs_release(bam_pairs *pairs) {
  bam_storage_release(pairs->context, pairs->slots);
  *pairs = (bam_pairs){ .context = pairs->context };
}
