/* The arena (engine/core/arena.h) against a plain model: a list of the blocks in use, and a table of pages. The device
   is only a table: its memory is never touched, and it complains when pages are used in a way that CUDA forbids. */
#include <stdlib.h>
#include <string.h>

#include "../../engine/core/arena.h"
#include "fixture.h"

#define MB (1LL << 20)
#define PAGE (4 * MB)
#define PAGES 4096 /* of the range */
#define MOST 200   /* blocks in use at once */

static bam_device device;
static bool has_memory[PAGES];
static int64_t capacity, mapped, segments; /* in bytes */
static int waits, maps_left, moves_left;   /* the map or move after so many fails */
static bool is_busy;                       /* work may still use what was released */
static char *const base = (char *)((uintptr_t)1 << 40);

static struct {
  bam_block *blocks[MOST];
  int64_t bytes[MOST];
  int count;
} used;

/* ---- the device ---- */

static void *reserve(bam_stream stream, int64_t bytes) {
  (void)stream;
  cr_assert_eq(bytes, PAGES * PAGE);
  return base;
}

static void unreserve(bam_stream stream, void *data, int64_t bytes) {
  (void)stream;
  cr_assert(data == base && bytes == PAGES * PAGE && mapped == 0);
}

static void set_pages(void *data, int64_t bytes, bool to) {
  const int64_t offset = (char *)data - base;
  cr_assert(offset >= 0 && offset % PAGE == 0 && bytes > 0 && bytes % PAGE == 0);
  for (int64_t i = offset / PAGE; i < (offset + bytes) / PAGE; i++) {
    cr_assert(has_memory[i] != to, "page %lld", (long long)i);
    has_memory[i] = to;
  }
  mapped += to ? bytes : -bytes;
}

static int64_t map(bam_stream stream, void *data, int64_t bytes) {
  (void)stream;
  const int64_t room = maps_left-- == 0 ? 0 : capacity - mapped;
  bytes = bytes < room ? bytes : room / PAGE * PAGE;
  if (bytes > 0)
    set_pages(data, bytes, true);
  return bytes;
}

static void unmap(bam_stream stream, void *data, int64_t bytes) {
  (void)stream;
  cr_assert(!is_busy);
  set_pages(data, bytes, false);
}

static bool move(bam_stream stream, void *to, void *from, int64_t bytes) {
  unmap(stream, from, bytes);
  if (moves_left-- == 0)
    return false;
  set_pages(to, bytes, true);
  return true;
}

static void synchronize(bam_stream stream) {
  (void)stream;
  waits++;
  is_busy = false;
}

static void *take_segment(bam_stream stream, int64_t bytes) {
  static int64_t next;
  (void)stream;
  if (mapped + bytes > capacity)
    return NULL;
  mapped += bytes;
  segments++;
  char *data = base + next;
  next = (next + bytes + PAGE) / PAGE * PAGE; /* with a gap */
  return data;
}

static void give_segment(bam_stream stream, void *data, int64_t bytes) {
  (void)stream;
  (void)data;
  mapped -= bytes;
  segments--;
}

static void open_arena(bool has_pages) {
  device = (bam_device){ .page_bytes = PAGE, .total_bytes = PAGES * PAGE / 8 };
  device.system_alloc = take_segment;
  device.system_free = give_segment;
  device.synchronize = synchronize;
  if (has_pages) {
    device.reserve = reserve;
    device.unreserve = unreserve;
    device.map = map;
    device.unmap = unmap;
    device.move = move;
  }
  capacity = 100 * PAGE;
  maps_left = moves_left = -1;
}

static void open_pages(void) { open_arena(true); }

static void close_arena(void) {
  while (used.count > 0)
    bam_arena_release(&device, used.blocks[--used.count]);
  is_busy = true;
  bam_arena_destroy(&device);
  cr_assert_eq(mapped, 0);
  cr_assert_eq(segments, 0);
  cr_assert(device.arena == NULL);
}

TestSuite(arena, .init = open_pages, .fini = close_arena);

/* ---- the model ---- */

static int64_t sum_of_blocks(void) {
  int64_t sum = 0;
  for (int i = 0; i < used.count; i++)
    sum += used.blocks[i]->bytes;
  return sum;
}

static void check_block(int at) {
  const bam_block *block = used.blocks[at];
  const char *start = block->data, *end = start + block->bytes;
  cr_assert(block->bytes >= used.bytes[at] && block->bytes < used.bytes[at] + BAM_ARENA_ALIGN);
  cr_assert_eq((uintptr_t)start % BAM_ARENA_ALIGN, 0);
  for (int i = 0; i < used.count; i++)
    cr_assert(i == at || used.blocks[i]->data >= end ||
              used.blocks[i]->data + used.blocks[i]->bytes <= start);
  for (int64_t i = (start - base) / PAGE; device.reserve != NULL && i * PAGE < end - base; i++)
    cr_assert(has_memory[i]);
}

static void check_counts(void) {
  cr_assert(bam_arena_is_sound(&device));
  cr_assert_eq(device.arena->used_bytes, sum_of_blocks());
  cr_assert_eq(bam_arena_reserved(&device), mapped);
}

/* How many pages of the device's memory no block in use touches. */
static int64_t count_idle_pages(void) {
  static bool touched[PAGES];
  int64_t count = capacity / PAGE;
  memset(touched, 0, sizeof touched);
  for (int i = 0; i < used.count; i++) {
    const int64_t start = used.blocks[i]->data - base, end = start + used.blocks[i]->bytes;
    for (int64_t page = start / PAGE; page * PAGE < end; page++) {
      count -= !touched[page];
      touched[page] = true;
    }
  }
  return count;
}

/* Take a block; NULL if there is no memory. */
static bam_block *take(int64_t bytes) {
  bam_block *block = bam_arena_take(&device, bytes, INT64_MAX);
  if (block != NULL) {
    used.blocks[used.count] = block;
    used.bytes[used.count++] = bytes;
    check_block(used.count - 1);
  }
  return block;
}

static void release(int at) {
  is_busy = true;
  bam_arena_release(&device, used.blocks[at]);
  used.count--;
  used.blocks[at] = used.blocks[used.count];
  used.bytes[at] = used.bytes[used.count];
}

static uint64_t next_random(void) {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 33;
}

/* From 1 byte to 32 MB, small ones as often as large ones. */
static int64_t random_size(void) {
  const int64_t most = 1LL << (next_random() % 26);
  return 1 + (int64_t)(next_random() % (uint64_t)most);
}

/* Take and release blocks at random. Returns how often memory was short. */
static int run_random(int operations) {
  int failures = 0;
  for (int i = 0; i < operations; i++) {
    const int64_t bytes = random_size(), idle = device.reserve != NULL ? count_idle_pages() : 0;
    if (used.count == MOST || (used.count > 0 && next_random() % 64 < 30))
      release((int)(next_random() % (uint64_t)used.count));
    else if (take(bytes) == NULL) {
      failures++;
      cr_assert(idle * PAGE < bytes, "%lld bytes, %lld pages idle", (long long)bytes,
                (long long)idle);
      for (int k = 0; k < 3; k++)
        release((int)(next_random() % (uint64_t)used.count));
    }
    check_counts();
  }
  return failures;
}

/* ---- tests ---- */

Test(arena, random_blocks) {
  cr_assert(run_random(30000) > 10, "memory was short too seldom");
  cr_assert(device.arena->moves > 10, "pages moved too seldom");
}

Test(arena, random_blocks_in_segments) {
  device.reserve = NULL;
  cr_assert(run_random(30000) > 10);
  cr_assert(segments > 1);
  for (int i = used.count; i > 0; i--)
    release(0);
  bam_arena_trim(&device);
  cr_assert_eq(mapped, 0);
}

Test(arena, merges_to_one_block) {
  capacity = PAGES * PAGE;
  for (int i = 0; i < MOST; i++)
    cr_assert_not_null(take(random_size() + MB));
  while (used.count > 0)
    release((int)(next_random() % (uint64_t)used.count));
  check_counts();
  cr_assert_eq(device.arena->moves, 0);
  cr_assert_eq(bam_arena_largest(&device), mapped);
  waits = 0;
  bam_arena_trim(&device);
  cr_assert_eq(waits, 1);
  cr_assert_eq(bam_arena_reserved(&device), 0);
  check_counts();
}

/* The smallest free block that is large enough; of equals the first. */
Test(arena, best_fit) {
  bam_block *a, *b, *c;
  const int64_t sizes[] = { 30 * MB, MB, 10 * MB, MB, 12 * MB, MB, 10 * MB, MB };
  for (int i = 0; i < 8; i++)
    take(sizes[i]);
  a = used.blocks[2], b = used.blocks[4], c = used.blocks[6];
  const char *at_a = a->data, *at_b = b->data, *at_c = c->data;
  bam_arena_release(&device, c);
  bam_arena_release(&device, b);
  bam_arena_release(&device, a);
  bam_arena_release(&device, used.blocks[0]);
  used.blocks[0] = used.blocks[7];
  used.blocks[2] = used.blocks[5];
  used.count = 4;
  cr_assert(take(9 * MB)->data == at_a);
  cr_assert(take(9 * MB)->data == at_c);
  cr_assert(take(9 * MB)->data == at_b);
  check_counts();
}

/* Of blocks in the order of their addresses. */
static void release_every_second(void) {
  for (int i = used.count - 2; i >= 0; i -= 2)
    release(i); /* the last one takes its place */
}

/* A device that is full gives a large block from pages that are free in many places. */
Test(arena, moves_pages_when_the_device_is_full) {
  for (int i = 0; i < 100; i++)
    cr_assert_not_null(take(PAGE));
  cr_assert(take(MB) == NULL);
  release_every_second();
  const int64_t reserved = bam_arena_reserved(&device);
  waits = 0;
  cr_assert_not_null(take(50 * PAGE));
  cr_assert_eq(waits, 1);
  cr_assert_eq(bam_arena_reserved(&device), reserved);
  cr_assert(take(MB) == NULL);
  check_counts();
}

/* Before it takes more from a device with plenty of memory, it moves what is idle. */
Test(arena, reserves_little_more_than_the_peak) {
  capacity = PAGES * PAGE;
  for (int step = 0; step < 6; step++) {
    for (int i = 0; i < 100; i++)
      take((8 + step) * PAGE + i * 512);
    for (int i = 0; i < 100; i++)
      release((int)(next_random() % (uint64_t)used.count));
  }
  const int64_t peak = device.arena->peak_bytes;
  cr_assert(mapped < peak + peak / 32 + 16 * PAGE, "%lld of %lld", (long long)mapped,
            (long long)peak);
  const int64_t moves = device.arena->moves;
  for (int i = 0; i < 100; i++)
    take(13 * PAGE + i * 512);
  cr_assert_eq(device.arena->moves, moves, "the same sizes again move nothing");
}

/* Idle pages that are not enough are moved all the same; only the rest is new. */
Test(arena, moves_pages_and_maps_the_rest) {
  capacity = PAGES * PAGE;
  for (int i = 0; i < 100; i++)
    cr_assert_not_null(take(PAGE));
  release_every_second();
  cr_assert_not_null(take(80 * PAGE));
  cr_assert_eq(mapped, 130 * PAGE);
  check_counts();
}

/* When the driver fails to map or move, what is left is sound, and the next try may succeed. */
Test(arena, failures) {
  maps_left = 0;
  cr_assert(take(MB) == NULL);
  check_counts();
  for (int i = 0; i < 100; i++)
    cr_assert_not_null(take(PAGE));
  release_every_second();
  moves_left = 3;
  cr_assert(take(50 * PAGE) == NULL);
  check_counts();
  cr_assert_not_null(take(50 * PAGE));
  check_counts();
  cr_assert(bam_arena_take(&device, 200 * PAGE, INT64_MAX) == NULL);
  check_counts();
}

/* A limit below the device's own. */
Test(arena, room) {
  cr_assert(bam_arena_take(&device, 3 * PAGE, 2 * PAGE) == NULL);
  cr_assert_eq(mapped, 0);
  cr_assert_not_null(take(3 * PAGE));
}
