/* Blocks of device memory (blocks.h). A hole consists of whole pages without memory; all other pages of the range have
   some. A function that needs records of blocks makes sure of them first, so that it cannot fail halfway. */
#include "arena.h"

#include <stdlib.h>

#include "../../kernels/device.h"
#include "assert.h"

#define SEGMENT_BYTES (64LL << 20) /* at least; and in steps of: */
#define SEGMENT_STEP (2LL << 20)
#define RANGE_FACTOR 8          /* size of a range, in multiples of the device's memory */
#define RANGE_BYTES (1LL << 40) /* if the device's memory is unknown */

static int64_t round_up(int64_t bytes, int64_t step) { return (bytes + step - 1) / step * step; }

static int64_t round_down(int64_t bytes, int64_t step) { return bytes / step * step; }

/* ---- pages ---- */

/* The whole pages within a block, which may be none. */
static int64_t find_pages(const bam_device *device, const bam_block *block, char **from) {
  const bam_arena *arena = device->arena;
  const int64_t start = round_up(block->data - arena->range, device->page_bytes);
  const int64_t end = round_down(block->data + block->bytes - arena->range, device->page_bytes);
  *from = arena->range + start;
  return end > start ? end - start : 0;
}

static bool is_free(const bam_block *block) {
  return block != NULL && block->state == BAM_BLOCK_FREE;
}

/* How much of a hole needs memory so that there is a free block of `bytes`, including the free blocks around it; -1 if
   there is not enough room. */
static int64_t count_missing(const bam_device *device, const bam_block *hole, int64_t bytes) {
  const int64_t lead = is_free(hole->before) ? hole->before->bytes : 0;
  const int64_t behind = is_free(hole->after) ? hole->after->bytes : 0;
  const int64_t missing = round_up(bytes - lead, device->page_bytes);
  if (missing <= hole->bytes)
    return missing;
  return bytes <= lead + hole->bytes + behind ? hole->bytes : -1;
}

/* The hole that needs the least memory for `bytes`, or NULL. */
static bam_block *find_hole(const bam_device *device, int64_t bytes, int64_t *missing) {
  bam_block *best = NULL;
  for (bam_block *hole = device->arena->blocks.holes; hole != NULL; hole = hole->next) {
    const int64_t needs = count_missing(device, hole, bytes);
    if (needs >= 0 && (best == NULL || needs < *missing)) {
      *missing = needs;
      best = hole;
    }
  }
  return best;
}

static bool is_next_to(const bam_block *block, const bam_block *hole) {
  return hole != NULL && (block->after == hole || block->before == hole);
}

/* The free block with the most whole pages, other than those next to `hole`; and how many bytes of whole pages all of
   them have. NULL if there is none. */
static bam_block *find_donor(const bam_device *device, const bam_block *hole, int64_t *all) {
  bam_block *best = NULL;
  int64_t most = 0;
  char *from;
  *all = 0;
  for (bam_block *b = NULL; (b = bam_block_next(&device->arena->blocks, b)) != NULL;) {
    const int64_t pages = is_next_to(b, hole) ? 0 : find_pages(device, b, &from);
    *all += pages;
    if (pages > most) {
      most = pages;
      best = b;
    }
  }
  return best;
}

/* Make the first `bytes` bytes of a hole free, now that they have memory. Returns what is left of the hole, if any. */
static bam_block *fill_hole(bam_arena *arena, bam_block *hole, int64_t bytes) {
  return bam_block_change(&arena->blocks, hole, hole->data, bytes, BAM_BLOCK_FREE)->after;
}

/* Move pages of free blocks to the start of a hole until it has `bytes` more. False if that failed, with fewer. */
static bool move_pages(bam_device *device, bam_block *hole, int64_t bytes) {
  bam_arena *arena = device->arena;
  int64_t all;
  device->synchronize(device->stream); /* they may still be read */
  arena->moves++;
  while (bytes > 0) {
    bam_block *donor = find_donor(device, hole, &all);
    char *from;
    if (donor == NULL || !bam_blocks_ensure(&arena->blocks, 4))
      return false;
    int64_t pages = find_pages(device, donor, &from);
    pages = pages < bytes ? pages : bytes;
    const bool moved = device->move(device->stream, hole->data, from, pages);
    bam_block_change(&arena->blocks, donor, from, pages, BAM_BLOCK_HOLE);
    if (!moved)
      return false; /* the system has them back */
    hole = fill_hole(arena, hole, pages);
    bytes -= pages;
  }
  return true;
}

/* The hole at the end of the range; it has room for more than the device has memory. */
static bam_block *find_end(const bam_arena *arena) {
  bam_block *hole = arena->blocks.holes;
  while (hole != NULL && hole->after != NULL)
    hole = hole->next;
  return hole;
}

/* Give the start of a hole new pages: `bytes` bytes, or as many as the device and `room` allow. Returns how many. *hole
   is then what is left of it. */
static int64_t map_pages(bam_device *device, int64_t bytes, int64_t room, bam_block **hole) {
  const int64_t most = round_down(room > 0 ? room : 0, device->page_bytes);
  const int64_t wanted = bytes < most ? bytes : most;
  const int64_t got = wanted > 0 ? device->map(device->stream, (*hole)->data, wanted) : 0;
  if (got > 0)
    *hole = fill_hole(device->arena, *hole, got);
  return got;
}

/* The reverse: return pages right before a hole to the system. */
static void unmap_pages(bam_device *device, int64_t bytes, const bam_block *hole) {
  char *from = hole->data - bytes;
  if (bytes == 0)
    return;
  device->synchronize(device->stream);
  device->unmap(device->stream, from, bytes);
  bam_block_change(&device->arena->blocks, hole->before, from, bytes, BAM_BLOCK_HOLE);
}

/* Should a block of `bytes` get pages that are free elsewhere first, although the device may have more? So that what is
   reserved stays near the most that was ever used at once: within a 64th and 4 pages, and more with every time that
   this was not enough, since each time waits for the device. */
static bool is_enough(const bam_arena *arena, int64_t page_bytes, int64_t bytes, int64_t missing) {
  const int64_t used = arena->used_bytes + bytes;
  const int64_t peak = used > arena->peak_bytes ? used : arena->peak_bytes;
  const int64_t slack = peak / 64 * (1 + arena->moves / 32) + 4 * page_bytes;
  return arena->used_bytes + arena->blocks.free_bytes + missing > peak + slack;
}

/* This hole, or the end of the range, if there are free pages elsewhere for all that is missing there; or NULL. */
static bam_block *find_place(bam_device *device, bam_block *hole, int64_t bytes, int64_t *missing) {
  bam_block *const places[] = { hole, find_end(device->arena) };
  for (int i = 0; i < 2; i++) {
    int64_t all;
    find_donor(device, places[i], &all);
    *missing = places[i] != NULL ? count_missing(device, places[i], bytes) : 0;
    if (*missing > 0 && *missing <= all)
      return places[i];
  }
  return NULL;
}

/* Make a free block of at least `bytes` in the range. False if the memory is not enough. */
static bool grow_range(bam_device *device, int64_t bytes, int64_t room) {
  bam_arena *arena = device->arena;
  int64_t missing = 0, all;
  bam_block *hole = find_hole(device, bytes, &missing);
  if (hole == NULL || !bam_blocks_ensure(&arena->blocks, 4))
    return false;
  find_donor(device, hole, &all);
  const bool move = !device->capturing && is_enough(arena, device->page_bytes, bytes, missing);
  const int64_t fresh = !move ? missing : missing > all ? missing - all : 0;
  const int64_t got = map_pages(device, fresh, room, &hole);
  if (got == missing || device->capturing)
    return got == missing; /* what a graph uses stays where it is */
  bam_block *place = find_place(device, hole, bytes, &missing);
  if (place != NULL)
    return move_pages(device, place, missing);
  unmap_pages(device, got, hole);
  return false;
}

/* ---- segments, of devices that cannot place pages ---- */

static bool grow_segments(bam_device *device, int64_t bytes, int64_t room) {
  const int64_t least = round_up(bytes, SEGMENT_STEP);
  const int64_t sizes[] = { least > SEGMENT_BYTES ? least : SEGMENT_BYTES, least, bytes };
  if (!bam_blocks_ensure(&device->arena->blocks, 1))
    return false;
  for (int i = 0; i < 3; i++) {
    char *data = sizes[i] <= room ? device->system_alloc(device->stream, sizes[i]) : NULL;
    if (data != NULL) {
      bam_block_list(&device->arena->blocks,
                     bam_block_new(&device->arena->blocks, NULL, data, sizes[i], BAM_BLOCK_FREE));
      return true;
    }
  }
  return false;
}

/* A free block that is a whole segment, or NULL. */
static bam_block *find_segment(const bam_arena *arena) {
  for (bam_block *b = NULL; (b = bam_block_next(&arena->blocks, b)) != NULL;)
    if (b->before == NULL && b->after == NULL)
      return b;
  return NULL;
}

/* ---- the arena ---- */

/* Make the arena at first use, and reserve its range. If that fails, the device allocates segments from then on. */
static bool open_arena(bam_device *device) {
  if (device->arena != NULL)
    return true;
  bam_arena *arena = calloc(1, sizeof *arena);
  if (arena == NULL || !bam_blocks_ensure(&arena->blocks, 1)) {
    free(arena);
    return false;
  }
  device->arena = arena;
  if (device->reserve == NULL)
    return true;
  const int64_t wanted = device->total_bytes > 0 ? RANGE_FACTOR * device->total_bytes : RANGE_BYTES;
  arena->range_bytes = round_up(wanted, device->page_bytes);
  arena->range = device->reserve(device->stream, arena->range_bytes);
  if (arena->range != NULL)
    bam_block_list(&arena->blocks, bam_block_new(&arena->blocks, NULL, arena->range,
                                                 arena->range_bytes, BAM_BLOCK_HOLE));
  return true;
}

/* Does a checker want to know of blocks? It knows segments by itself. */
static bool is_marked(const bam_device *device) {
  return device->mark != NULL && device->arena->range != NULL;
}

static int64_t gap(const bam_device *device) { return is_marked(device) ? BAM_ARENA_ALIGN : 0; }

int64_t bam_arena_capacity(const bam_device *device, const bam_block *block) {
  return block->bytes - gap(device);
}

static void mark(bam_device *device, const bam_block *block, bool used) {
  if (is_marked(device) && bam_arena_capacity(device, block) > 0)
    device->mark(device->stream, block->data, bam_arena_capacity(device, block), used);
}

static void count_used(bam_arena *arena, int64_t bytes) {
  arena->used_bytes += bytes;
  if (arena->used_bytes > arena->peak_bytes)
    arena->peak_bytes = arena->used_bytes;
}

bam_block *bam_arena_take(bam_device *device, int64_t bytes, int64_t room) {
  if (!open_arena(device))
    return NULL;
  bam_arena *arena = device->arena;
  bytes = round_up(bytes, BAM_ARENA_ALIGN) + gap(device);
  bam_block *block = bam_block_find(&arena->blocks, bytes);
  if (block == NULL && (arena->range != NULL ? grow_range : grow_segments)(device, bytes, room))
    block = bam_block_find(&arena->blocks, bytes);
  if (block == NULL || !bam_blocks_ensure(&arena->blocks, 2))
    return NULL;
  count_used(arena, bytes);
  block = bam_block_change(&arena->blocks, block, block->data, bytes, BAM_BLOCK_USED);
  mark(device, block, true);
  if (device->capturing && !bam_spans_add(&arena->captured, block->data, block->data + bytes))
    arena->notes_are_lost = true;
  return block;
}

static char *later(char *a, char *b) { return a > b ? a : b; }

static char *earlier(char *a, char *b) { return a < b ? a : b; }

bam_block *bam_arena_claim(bam_device *device) {
  bam_arena *arena = device->arena;
  for (int i = 0; arena != NULL && i < arena->captured.count; i++) {
    const bam_span *span = &arena->captured.list[i];
    for (bam_block *b = NULL; (b = bam_block_next(&arena->blocks, b)) != NULL;) {
      char *from = later(b->data, span->from), *to = earlier(b->data + b->bytes, span->to);
      if (from >= to)
        continue;
      if (!bam_blocks_ensure(&arena->blocks, 2))
        return NULL;
      count_used(arena, to - from);
      b = bam_block_change(&arena->blocks, b, from, to - from, BAM_BLOCK_USED);
      mark(device, b, true);
      return b;
    }
  }
  return NULL;
}

bool bam_arena_end_notes(bam_device *device) {
  bam_arena *arena = device->arena;
  if (arena == NULL)
    return true;
  const bool complete = !arena->notes_are_lost && bam_blocks_ensure(&arena->blocks, 2);
  bam_spans_clear(&arena->captured);
  arena->notes_are_lost = false;
  return complete;
}

void bam_arena_release(bam_device *device, bam_block *block) {
  bam_assert(block->state == BAM_BLOCK_USED);
  mark(device, block, false);
  device->arena->used_bytes -= block->bytes;
  block->state = BAM_BLOCK_FREE;
  bam_block_settle(&device->arena->blocks, block);
}

static void trim_range(bam_device *device) {
  bam_arena *arena = device->arena;
  int64_t all;
  bam_block *block = find_donor(device, NULL, &all);
  if (block != NULL)
    device->synchronize(device->stream); /* they may still be read */
  for (; block != NULL && bam_blocks_ensure(&arena->blocks, 2);
       block = find_donor(device, NULL, &all)) {
    char *from;
    const int64_t pages = find_pages(device, block, &from);
    device->unmap(device->stream, from, pages);
    bam_block_change(&arena->blocks, block, from, pages, BAM_BLOCK_HOLE);
  }
}

void bam_arena_trim(bam_device *device) {
  bam_arena *arena = device->arena;
  if (arena == NULL)
    return;
  if (arena->range != NULL)
    trim_range(device);
  for (bam_block *b; arena->range == NULL && (b = find_segment(arena)) != NULL;) {
    bam_block_unlist(&arena->blocks, b);
    device->system_free(device->stream, b->data, b->bytes);
    bam_block_drop(&arena->blocks, b);
  }
}

void bam_arena_destroy(bam_device *device) {
  bam_arena *arena = device->arena;
  if (arena == NULL)
    return;
  bam_arena_trim(device);
  bam_assert(arena->used_bytes == 0 && arena->blocks.free_bytes == 0);
  if (arena->range != NULL)
    device->unreserve(device->stream, arena->range, arena->range_bytes);
  for (bam_block *hole; (hole = arena->blocks.holes) != NULL;) {
    bam_block_unlist(&arena->blocks, hole);
    bam_block_drop(&arena->blocks, hole);
  }
  for (bam_block *spare; (spare = arena->blocks.spare) != NULL;) {
    arena->blocks.spare = spare->next;
    free(spare);
  }
  bam_spans_clear(&arena->captured);
  free(arena);
  device->arena = NULL;
}

int64_t bam_arena_reserved(const bam_device *device) {
  const bam_arena *arena = device->arena;
  return arena != NULL ? arena->used_bytes + arena->blocks.free_bytes : 0;
}

int64_t bam_arena_moves(const bam_device *device) {
  return device->arena != NULL ? device->arena->moves : 0;
}

int64_t bam_arena_largest(const bam_device *device) {
  int64_t bytes = 0;
  for (bam_block *b = NULL;
       device->arena != NULL && (b = bam_block_next(&device->arena->blocks, b)) != NULL;)
    bytes = b->bytes; /* the last one */
  return bytes;
}

bool bam_arena_is_sound(const bam_device *device) {
  const bam_arena *arena = device->arena;
  int64_t bytes[3] = { 0, 0, 0 };
  if (arena == NULL || arena->range == NULL)
    return true;
  const bam_block *first = arena->blocks.holes;
  while (first->before != NULL)
    first = first->before;
  return bam_blocks_are_sound(&arena->blocks, first, bytes) &&
         bytes[BAM_BLOCK_USED] == arena->used_bytes &&
         bytes[BAM_BLOCK_FREE] == arena->blocks.free_bytes &&
         bytes[0] + bytes[1] + bytes[2] == arena->range_bytes;
}
