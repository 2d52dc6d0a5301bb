/* Large storages of a device that is not the host, in blocks of any size: best fit, split when larger than needed,
   merged with free neighbors when released. All work of a device is ordered, so that a block may be taken again as
   soon as it is released.

   A device that can place pages of memory (device.h) has one range of addresses, far larger than its memory. When no
   free block is large enough, a hole in the range gets pages: new ones, or those of free blocks elsewhere, which become
   holes. So a block can be had as long as enough whole pages are free, wherever they are. Other devices allocate
   segments. */
#ifndef BAM_ARENA_H
#define BAM_ARENA_H

#include "blocks.h"
#include "spans.h"

struct bam_device;

#define BAM_ARENA_ALIGN 512 /* sizes of blocks are multiples of this */

typedef struct bam_arena {
  char *range; /* NULL: the device allocates segments */
  int64_t range_bytes;
  bam_blocks blocks;
  int64_t used_bytes, peak_bytes; /* of blocks in use: now, and the most so far */
  int64_t moves;                  /* how often free pages were moved to a hole so far */
  bam_spans captured;             /* where blocks were during the capture of the device */
  bool notes_are_lost;            /* for want of memory */
} bam_arena;

/* Take a block of at least `bytes` > 0 bytes, of which the device may get up to `room` more bytes from the system.
   NULL if there is not enough memory. */
bam_block *bam_arena_take(struct bam_device *device, int64_t bytes, int64_t room);

/* How much of a block may be used. */
int64_t bam_arena_capacity(const struct bam_device *device, const bam_block *block);

/* Release a block that was taken. */
void bam_arena_release(struct bam_device *device, bam_block *block);

/* After a capture of the device (capture.h), during which pages do not move: take a free block whose addresses were in
   use during it. NULL if there is none left, or no memory. */
bam_block *bam_arena_claim(struct bam_device *device);

/* Forget what was in use during the last capture. False if that was not known completely. */
bool bam_arena_end_notes(struct bam_device *device);

/* Return the memory of free blocks to the system: whole pages, or whole segments. Waits for the device once. */
void bam_arena_trim(struct bam_device *device);

/* Return everything to the system. Every block must have been released. */
void bam_arena_destroy(struct bam_device *device);

/* The bytes that the device holds, used and free. */
int64_t bam_arena_reserved(const struct bam_device *device);

/* How often free pages were moved to a hole so far. */
int64_t bam_arena_moves(const struct bam_device *device);

/* The size of the largest free block; 0 if none is free. */
int64_t bam_arena_largest(const struct bam_device *device);

/* Check all invariants; for tests. */
bool bam_arena_is_sound(const struct bam_device *device);

#endif
