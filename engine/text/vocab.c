/* The bytes of all words lie in one arena. The hash table uses open addressing with linear probing. Slots
   store the word's hash, so few bytes are compared, and growing the table does not read the words. */
#include "vocab.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct slot {
  uint32_t hash;
  int32_t word; /* -1: the slot is free */
} slot;

static uint32_t hash_of(const char *bytes, int64_t size) {
  return (uint32_t)XXH3_64bits(bytes, (size_t)size);
}

/* The slot of a word, or the free slot where it would be inserted. */
static slot *find_slot(const bam_vocab *words, uint32_t hash, const char *bytes, int64_t size) {
  slot *slots = words->slots->data;
  int64_t found, i = hash & (words->room - 1);
  for (; slots[i].word >= 0; i = (i + 1) & (words->room - 1))
    if (slots[i].hash == hash) {
      const char *word = bam_vocab_get(words, slots[i].word, &found);
      if (found == size && memcmp(word, bytes, (size_t)size) == 0)
        break;
    }
  return &slots[i];
}

/* Rehash `words` into a table of `room` slots. */
static bam_status grow_slots(bam_vocab *words, int64_t room) {
  bam_storage *grown;
  size_t bytes = (size_t)room * sizeof(slot);
  BAM_TRY(bam_storage_alloc(words->context, &words->context->cpu, (int64_t)bytes, &grown));
  slot *to = memset(grown->data, 0xff, bytes);
  const slot *from = words->slots != NULL ? words->slots->data : NULL;
  for (int64_t k = 0; k < words->room; k++) {
    if (from[k].word < 0)
      continue;
    int64_t i = from[k].hash & (room - 1);
    while (to[i].word >= 0)
      i = (i + 1) & (room - 1);
    to[i] = from[k];
  }
  bam_storage_release(words->context, words->slots);
  words->slots = grown;
  words->room = room;
  return BAM_OK;
}

bam_status bam_vocab_reserve(bam_vocab *words, int64_t count, int64_t bytes) {
  int64_t wanted = words->count + count, room = words->room > 0 ? words->room : 256;
  if (wanted > INT32_MAX)
    return bam_fail(words->context, BAM_ERROR_MEMORY, "more than 2^31 different words");
  while (room < 2 * wanted)
    room *= 2;
  if (room > words->room)
    BAM_TRY(grow_slots(words, room));
  BAM_TRY(bam_storage_grow(words->context, &words->ends, wanted * (int64_t)sizeof(int64_t)));
  return bam_storage_grow(words->context, &words->bytes, words->used + bytes);
}

bool bam_vocab_has_room(const bam_vocab *words, int64_t size) {
  return words->bytes != NULL && words->used + size <= words->bytes->bytes &&
         (words->count + 1) * (int64_t)sizeof(int64_t) <= words->ends->bytes &&
         2 * (words->count + 1) <= words->room && words->count < INT32_MAX;
}

int64_t bam_vocab_add(bam_vocab *words, const char *bytes, int64_t size) {
  uint32_t hash = hash_of(bytes, size);
  slot *s = find_slot(words, hash, bytes, size);
  if (s->word >= 0)
    return s->word;
  *s = (slot){ hash, (int32_t)words->count };
  memcpy((char *)words->bytes->data + words->used, bytes, (size_t)size);
  words->used += size;
  ((int64_t *)words->ends->data)[words->count] = words->used;
  return words->count++;
}

int64_t bam_vocab_find(const bam_vocab *words, const char *bytes, int64_t size) {
  return words->slots == NULL ? -1 : find_slot(words, hash_of(bytes, size), bytes, size)->word;
}

const char *bam_vocab_get(const bam_vocab *words, int64_t i, int64_t *size) {
  const int64_t *ends = words->ends->data;
  int64_t start = i > 0 ? ends[i - 1] : 0;
  *size = ends[i] - start;
  return (const char *)words->bytes->data + start;
}

void bam_vocab_release(bam_vocab *words) {
  bam_storage_release(words->context, words->slots);
  bam_storage_release(words->context, words->ends);
  bam_storage_release(words->context, words->bytes);
  *words = (bam_vocab){ .context = words->context };
}
