/* Lists of free blocks and holes, merging and splitting. */
#include "blocks.h"

#include <stdlib.h>

/* ---- records ---- */

bool bam_blocks_ensure(bam_blocks *blocks, int count) {
  int have = 0;
  for (const bam_block *b = blocks->spare; b != NULL && have < count; b = b->next)
    have++;
  for (; have < count; have++) {
    bam_block *block = malloc(sizeof *block);
    if (block == NULL)
      return false;
    block->next = blocks->spare;
    blocks->spare = block;
  }
  return true;
}

bam_block *bam_block_new(bam_blocks *blocks, bam_block *before, char *data, int64_t bytes,
                         bam_block_state state) {
  bam_block *block = blocks->spare;
  blocks->spare = block->next;
  *block = (bam_block){ .before = before, .data = data, .bytes = bytes, .state = state };
  if (before != NULL) {
    block->after = before->after;
    before->after = block;
  }
  if (block->after != NULL)
    block->after->before = block;
  return block;
}

void bam_block_drop(bam_blocks *blocks, bam_block *block) {
  if (block->before != NULL)
    block->before->after = block->after;
  if (block->after != NULL)
    block->after->before = block->before;
  block->next = blocks->spare;
  blocks->spare = block;
}

/* ---- lists ---- */

static int bin_of(int64_t bytes) { return 63 - __builtin_clzll((unsigned long long)bytes); }

static bam_block **list_of(bam_blocks *blocks, const bam_block *block) {
  return block->state == BAM_BLOCK_HOLE ? &blocks->holes : &blocks->bins[bin_of(block->bytes)];
}

static bool is_sorted(const bam_block *a, const bam_block *b) {
  return a->bytes < b->bytes || (a->bytes == b->bytes && a->data < b->data);
}

void bam_block_list(bam_blocks *blocks, bam_block *block) {
  bam_block **at = list_of(blocks, block), *previous = NULL;
  for (; *at != NULL && is_sorted(*at, block); at = &(*at)->next)
    previous = *at;
  block->next = *at;
  block->previous = previous;
  if (block->next != NULL)
    block->next->previous = block;
  *at = block;
  if (block->state == BAM_BLOCK_FREE) {
    blocks->nonempty |= 1ULL << bin_of(block->bytes);
    blocks->free_bytes += block->bytes;
  }
}

void bam_block_unlist(bam_blocks *blocks, bam_block *block) {
  bam_block **list = list_of(blocks, block);
  if (block->previous != NULL)
    block->previous->next = block->next;
  else
    *list = block->next;
  if (block->next != NULL)
    block->next->previous = block->previous;
  if (block->state == BAM_BLOCK_FREE) {
    blocks->free_bytes -= block->bytes;
    if (*list == NULL)
      blocks->nonempty &= ~(1ULL << bin_of(block->bytes));
  }
}

/* The first free block of this bin or a larger one, or NULL. */
static bam_block *first_from(const bam_blocks *blocks, int bin) {
  const uint64_t larger = bin < BAM_BLOCK_BINS ? blocks->nonempty >> bin << bin : 0;
  return larger != 0 ? blocks->bins[__builtin_ctzll(larger)] : NULL;
}

bam_block *bam_block_next(const bam_blocks *blocks, const bam_block *block) {
  if (block == NULL)
    return first_from(blocks, 0);
  return block->next != NULL ? block->next : first_from(blocks, bin_of(block->bytes) + 1);
}

bam_block *bam_block_find(const bam_blocks *blocks, int64_t bytes) {
  bam_block *block = first_from(blocks, bin_of(bytes));
  while (block != NULL && block->bytes < bytes)
    block = bam_block_next(blocks, block);
  return block;
}

/* ---- merging and splitting ---- */

bam_block *bam_block_settle(bam_blocks *blocks, bam_block *block) {
  bam_block *before = block->before, *after = block->after;
  if (before != NULL && before->state == block->state) {
    bam_block_unlist(blocks, before);
    before->bytes += block->bytes;
    bam_block_drop(blocks, block);
    block = before;
  }
  if (after != NULL && after->state == block->state) {
    bam_block_unlist(blocks, after);
    block->bytes += after->bytes;
    bam_block_drop(blocks, after);
  }
  bam_block_list(blocks, block);
  return block;
}

bam_block *bam_block_change(bam_blocks *blocks, bam_block *block, char *from, int64_t bytes,
                            bam_block_state state) {
  const int64_t lead = from - block->data, rest = block->bytes - lead - bytes;
  bam_block_unlist(blocks, block);
  if (rest > 0) {
    bam_block_list(blocks, bam_block_new(blocks, block, from + bytes, rest, block->state));
    block->bytes -= rest;
  }
  if (lead > 0) {
    bam_block *part = bam_block_new(blocks, block, from, bytes, state);
    block->bytes = lead;
    bam_block_list(blocks, block);
    block = part;
  }
  block->state = state;
  if (state != BAM_BLOCK_USED)
    block = bam_block_settle(blocks, block);
  return block;
}

/* ---- for tests ---- */

/* Is the block in the list of its state and size? */
static bool is_listed(const bam_blocks *blocks, const bam_block *block) {
  const bam_block *at = block->state == BAM_BLOCK_HOLE ? blocks->holes
                                                       : blocks->bins[bin_of(block->bytes)];
  while (at != NULL && at != block)
    at = at->next;
  return at == block;
}

bool bam_blocks_are_sound(const bam_blocks *blocks, const bam_block *first, int64_t bytes[3]) {
  for (const bam_block *block = first, *after; block != NULL; block = after) {
    after = block->after;
    if (block->bytes <= 0 || (block->state != BAM_BLOCK_USED && !is_listed(blocks, block)))
      return false;
    if (after != NULL && (after->data != block->data + block->bytes || after->before != block ||
                          (after->state == block->state && block->state != BAM_BLOCK_USED)))
      return false;
    bytes[block->state] += block->bytes;
  }
  return true;
}
