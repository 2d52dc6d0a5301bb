/* A short piece is searched for its best merge again and again. A longer one becomes a linked list of symbols, whose
   pairs are merged in the order of a heap; an entry whose pair no longer exists is stale and skipped. */
#include "merges.h"

#include <string.h>

enum { SHORT = 14, END = 30 }; /* bytes of short pieces, of which many are shorter still */

#define BYTE_MERGES (65536 * (int64_t)sizeof(int64_t))
#define MOST_MOVES 1000
#define NO_MERGE ((uint64_t)UINT32_MAX << 32) /* or more */

/* A node of the linked list of words that represents a piece during merging. */
typedef struct symbol {
  int32_t id;             /* -1: merged into the previous symbol */
  int32_t previous, next; /* -1: none */
} symbol;

/* ---- the tables ---- */

/* Allocate an empty narrow table of 2^bits slots. */
static bam_status make_narrow(bam_merges *m, int bits) {
  const int64_t bytes = (int64_t)sizeof(uint64_t) << bits;
  BAM_TRY(bam_storage_alloc(m->context, &m->context->cpu, bytes, &m->narrow));
  m->narrow_bits = bits;
  memset(m->narrow->data, 0, (size_t)bytes);
  return BAM_OK;
}

/* The number of bits for `n` merges: a third of the slots is used, or less. */
static int narrow_bits(int64_t n) {
  int bits = 8;
  while ((int64_t)1 << bits < 3 * n)
    bits++;
  return bits;
}

bam_status bam_merges_make(bam_merges *merges, int64_t words, int64_t n) {
  bam_merges *m = merges;
  m->pairs.context = m->heap.context = m->context;
  if (n > INT32_MAX)
    return bam_fail(m->context, BAM_ERROR_ARGUMENT, "more than 2^31 merges");
  BAM_TRY(bam_pairs_reserve(&m->pairs, n));
  BAM_TRY(bam_storage_grow(m->context, &m->byte_of, words * (int64_t)sizeof(uint16_t)));
  memset(m->byte_of->data, 0, (size_t)words * sizeof(uint16_t));
  for (int i = 0; i < 256; i++)
    ((uint16_t *)m->byte_of->data)[m->bytes[i]] = (uint16_t)(i + 1);
  BAM_TRY(bam_storage_grow(m->context, &m->byte_merges, BYTE_MERGES));
  memset(m->byte_merges->data, 0xff, BYTE_MERGES);
  return words <= UINT16_MAX && n <= UINT16_MAX ? make_narrow(m, narrow_bits(n)) : BAM_OK;
}

/* A slot of the narrow table: the pair, the rank and the word, of 16 bits each. 0 is a free slot: no merge of two
   words gives one of them, unless it is empty and in no piece. A pair is in one of two slots (cuckoo hashing), so that
   finding it takes no branch: how long a search is could not be predicted. */
typedef struct two_slots {
  size_t first, second;
} two_slots;

static inline two_slots slots_of(const bam_merges *m, uint32_t pair) {
  const uint64_t hash = pair * 0x9e3779b97f4a7c15;
  const int bits = m->narrow_bits;
  return (two_slots){ hash >> (64 - bits), hash << bits >> (64 - bits) };
}

/* Put a slot into the table; what was there moves to its other place. False if that goes on for too long: *slot is then
   what has no place. */
static bool place_narrow(bam_merges *m, uint64_t *slot) {
  uint64_t *slots = m->narrow->data;
  size_t at = slots_of(m, (uint32_t)(*slot >> 32)).first;
  for (int moves = 0; moves < MOST_MOVES; moves++) {
    const uint64_t other = slots[at];
    slots[at] = *slot;
    if (other == 0)
      return true;
    const two_slots both = slots_of(m, (uint32_t)(other >> 32));
    at = at == both.first ? both.second : both.first;
    *slot = other;
  }
  return false;
}

/* Add a slot. If it has no place the narrow table is given up: `pairs` has everything. */
static void add_narrow(bam_merges *m, uint64_t slot) {
  if (place_narrow(m, &slot))
    return;
  bam_storage_release(m->context, m->narrow);
  m->narrow = NULL;
}

void bam_merges_add(bam_merges *merges, int64_t rank, int32_t left, int32_t right, int32_t word) {
  bam_merges *m = merges;
  const int64_t merge = rank << 32 | word;
  bam_pairs_add(&m->pairs, bam_pair_key(left, right), merge);
  if (m->narrow != NULL)
    add_narrow(m, (uint64_t)left << 48 | (uint64_t)right << 32 | (uint64_t)rank << 16 |
                    (uint64_t)word);
  const uint16_t *byte_of = m->byte_of->data;
  if (byte_of[left] > 0 && byte_of[right] > 0)
    ((int64_t *)m->byte_merges->data)[(byte_of[left] - 1) << 8 | (byte_of[right] - 1)] = merge;
}

/* The merge of two words, or -1. The word -1 is in none. */
static inline int64_t find(const bam_merges *m, bool is_narrow, int32_t left, int32_t right) {
  if (!is_narrow)
    return bam_pairs_find(&m->pairs, bam_pair_key(left, right));
  const uint64_t *slots = m->narrow->data;
  const uint32_t pair = (uint32_t)left << 16 | ((uint32_t)right & 0xffff);
  const two_slots at = slots_of(m, pair);
  const uint64_t first = slots[at.first], second = slots[at.second];
  const uint64_t found = (first & -(uint64_t)(first >> 32 == pair)) |
                         (second & -(uint64_t)(second >> 32 == pair));
  return (int64_t)((found & 0xffff0000) << 16 | (found & 0xffff) | -(uint64_t)(found == 0));
}

/* ---- a short piece ---- */

/* A piece of at most END bytes while it is merged, as a linked list. A word has the number of its first byte; END is
   before the first word and after the last. */
typedef struct short_piece {
  uint64_t
    merges[END + 1]; /* with the next word: the rank, and in the lower half the word's number */
  int32_t ids[END + 1], results[END + 1];
  uint8_t next[END + 1], previous[END + 1];
} short_piece;

/* Set the merge of word `i` with the next, or -1. */
static inline void set_merge(short_piece *p, int i, int64_t merge) {
  p->merges[i] = ((uint64_t)merge & NO_MERGE) | (uint64_t)i;
  p->results[i] = (int32_t)(uint32_t)merge;
}

static inline void find_merge(const bam_merges *m, bool is_narrow, short_piece *p, int i) {
  set_merge(p, i, find(m, is_narrow, p->ids[i], p->ids[p->next[i]]));
}

static inline void begin_short(const bam_merges *m, short_piece *p, const unsigned char *bytes,
                               int size, int most) {
  const int64_t *byte_merges = m->byte_merges->data;
  for (int i = 0; i < most; i++)
    p->merges[i] = NO_MERGE;
  for (int i = 0; i < size; i++) {
    p->ids[i] = m->bytes[bytes[i]];
    p->next[i] = (uint8_t)(i + 1);
    p->previous[i] = (uint8_t)(i - 1);
  }
  for (int i = 0; i + 1 < size; i++)
    set_merge(p, i, byte_merges[bytes[i] << 8 | bytes[i + 1]]);
  p->next[size - 1] = p->previous[0] = p->next[END] = END;
  p->ids[END] = -1;
}

/* Append the words of a piece of at most `most` bytes. `most` and `is_narrow` are constants: a loop whose length
   does not depend on the piece is unrolled, and its end predicted. */
static inline __attribute__((always_inline)) void merge_short(const bam_merges *m, bool is_narrow,
                                                              const char *piece, int size, int most,
                                                              bam_tokens *out) {
  short_piece p;
  begin_short(m, &p, (const unsigned char *)piece, size, most);
  for (;;) {
    uint64_t best = NO_MERGE;
#pragma GCC unroll 30
    for (int i = 0; i < most; i++)
      best = p.merges[i] < best ? p.merges[i] : best;
    if (best >= NO_MERGE)
      break;
    const int left = (int)(uint8_t)best, right = p.next[left], after = p.next[right];
    p.ids[left] = p.results[left];
    p.next[left] = (uint8_t)after;
    p.previous[after] = (uint8_t)left;
    p.merges[right] = NO_MERGE;
    find_merge(m, is_narrow, &p, left);
    find_merge(m, is_narrow, &p, p.previous[left]);
  }
  for (int i = 0; i != END; i = p.next[i])
    bam_tokens_push(out, p.ids[i]);
}

/* ---- a longer piece ---- */

/* Push the pair that begins at `left` onto the heap, if there is a merge for it. */
static void propose(bam_merges *m, const symbol *symbols, int32_t left) {
  if (left < 0 || symbols[left].next < 0)
    return;
  const uint64_t pair = bam_pair_key(symbols[left].id, symbols[symbols[left].next].id);
  const int64_t merge = bam_pairs_find(&m->pairs, pair);
  if (merge >= 0)
    bam_heap_push(&m->heap,
                  (bam_heap_entry){ ((uint64_t)merge & NO_MERGE) | (uint32_t)left, pair });
}

/* Merge pairs until no merge applies. The heap must have room. */
static void merge_symbols(bam_merges *m, symbol *symbols, int32_t n) {
  for (int32_t i = 0; i + 1 < n; i++)
    propose(m, symbols, i);
  while (m->heap.count > 0) {
    bam_heap_entry top = bam_heap_pop(&m->heap);
    int32_t left = (int32_t)(uint32_t)top.key, right = symbols[left].next;
    if (right < 0 || bam_pair_key(symbols[left].id, symbols[right].id) != top.tie)
      continue;
    int32_t after = symbols[right].next;
    symbols[left].id = (int32_t)(uint32_t)bam_pairs_find(&m->pairs, top.tie);
    symbols[left].next = after;
    symbols[right].id = symbols[right].next = -1;
    if (after >= 0)
      symbols[after].previous = left;
    propose(m, symbols, symbols[left].previous);
    propose(m, symbols, left);
  }
}

/* Each merge removes one of the n - 1 pairs and pushes at most two, which bounds the heap. */
static bam_status merge_long(bam_merges *m, const char *piece, int64_t size, bam_tokens *out) {
  BAM_TRY(bam_storage_grow(m->context, &m->symbols, size * (int64_t)sizeof(symbol)));
  BAM_TRY(bam_heap_reserve(&m->heap, 3 * size));
  symbol *symbols = m->symbols->data;
  int32_t n = (int32_t)size;
  for (int32_t i = 0; i < n; i++)
    symbols[i] = (symbol){ m->bytes[(unsigned char)piece[i]], i - 1, i + 1 < n ? i + 1 : -1 };
  merge_symbols(m, symbols, n);
  for (int32_t i = 0; i >= 0; i = symbols[i].next)
    bam_tokens_push(out, symbols[i].id);
  return BAM_OK;
}

bam_status bam_merges_apply(bam_merges *merges, const char *piece, int64_t size, bam_tokens *out) {
  const bool is_narrow = merges->narrow != NULL;
  if (size > END)
    return merge_long(merges, piece, size, out);
  if (is_narrow && size <= SHORT)
    merge_short(merges, true, piece, (int)size, SHORT, out);
  else if (is_narrow)
    merge_short(merges, true, piece, (int)size, END, out);
  else if (size <= SHORT)
    merge_short(merges, false, piece, (int)size, SHORT, out);
  else
    merge_short(merges, false, piece, (int)size, END, out);
  return BAM_OK;
}

void bam_merges_trim(bam_merges *merges, int64_t kept) {
  if (merges->symbols == NULL || merges->symbols->bytes <= kept)
    return;
  bam_storage_release(merges->context, merges->symbols);
  merges->symbols = NULL;
  bam_heap_release(&merges->heap);
}

void bam_merges_release(bam_merges *merges) {
  bam_pairs_release(&merges->pairs);
  bam_heap_release(&merges->heap);
  bam_storage_release(merges->context, merges->byte_of);
  bam_storage_release(merges->context, merges->byte_merges);
  bam_storage_release(merges->context, merges->narrow);
  bam_storage_release(merges->context, merges->symbols);
}
