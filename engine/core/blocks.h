/* Adjacent blocks of memory: the lists of those that are not in use, splitting and merging. Blocks in use are in no
   list. No two neighbors are both free, or both holes (addresses without memory). */
#ifndef BAM_BLOCKS_H
#define BAM_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BAM_BLOCK_BINS 64 /* free blocks by powers of two of their sizes */

typedef enum bam_block_state { BAM_BLOCK_USED, BAM_BLOCK_FREE, BAM_BLOCK_HOLE } bam_block_state;

typedef struct bam_block {
  struct bam_block *before, *after;  /* neighbors by address, or NULL */
  struct bam_block *next, *previous; /* in a list */
  char *data;
  int64_t bytes;
  bam_block_state state;
} bam_block;

typedef struct bam_blocks {
  bam_block *bins[BAM_BLOCK_BINS]; /* free blocks, sorted by size, then by address */
  uint64_t nonempty;               /* bit i: bin i has blocks */
  int64_t free_bytes;
  bam_block *holes; /* sorted in the same way */
  bam_block *spare; /* unused records */
} bam_blocks;

/* Have at least `count` spare records. False if memory is short. */
bool bam_blocks_ensure(bam_blocks *blocks, int count);

/* Make a block right behind `before`, or without neighbors if that is NULL, of a spare record, of which there must be
   one. It is in no list. */
bam_block *bam_block_new(bam_blocks *blocks, bam_block *before, char *data, int64_t bytes,
                         bam_block_state state);

/* Make the record of a block that is in no list a spare one; its neighbors become neighbors. */
void bam_block_drop(bam_blocks *blocks, bam_block *block);

/* Put a free block or hole into its list, or take it out. */
void bam_block_list(bam_blocks *blocks, bam_block *block);
void bam_block_unlist(bam_blocks *blocks, bam_block *block);

/* Put a free block or hole that is in no list into its list, merged with its neighbors. Returns the merged block. */
bam_block *bam_block_settle(bam_blocks *blocks, bam_block *block);

/* Give the part [from, from + bytes) of a free block or hole another state; it is merged with its neighbors unless it
   is used. Returns the block with that part. Needs two spare records. */
bam_block *bam_block_change(bam_blocks *blocks, bam_block *block, char *from, int64_t bytes,
                            bam_block_state state);

/* The smallest free block of at least `bytes`, the one with the lowest address among equals; or NULL. */
bam_block *bam_block_find(const bam_blocks *blocks, int64_t bytes);

/* Go through all free blocks: the first one after `block`, or of all if that is NULL. */
bam_block *bam_block_next(const bam_blocks *blocks, const bam_block *block);

/* Are the blocks from `first` on adjacent, and in their lists? Adds up their sizes by state. For tests. */
bool bam_blocks_are_sound(const bam_blocks *blocks, const bam_block *first, int64_t bytes[3]);

#endif
