/* Products of a warpgroup (wgmma). Each of its four warps has 16 rows of the 64 of a product, so
   here each computes them by itself. Operands are read and results written at once or when the product
   is waited for, by schedule; until then the results are NaN. Where an element of an operand lies is what the PTX ISA
   says of matrix descriptors with a swizzle of 128 bytes. */
#include <stdlib.h>

#include "machine.h"
#include "simt_hopper.h"

#define ROWS 16 /* of a warp */
#define K 16
#define MOST_COLUMNS 256

/* What a lane brings to one product. */
struct simt_wgmma {
  simt_collective base;
  float *d;
  const uint32_t *a; /* in registers, or NULL: */
  uint64_t a_matrix, b_matrix;
  int columns;
  bool a_transposed, b_transposed, add;
};

/* A product that was begun and not waited for: what each lane brought, and its results so far, on which the next
   product with the same results goes on. */
struct simt_product {
  simt_wgmma lanes[SIMT_WARP];
  float c[SIMT_WARP][MOST_COLUMNS / 2];
  int64_t group;
};

struct simt_products {
  simt_product *begun[64];
  int count;
  int64_t group, all; /* of the next product; how many there were in this block */
  bool fenced;
};

static simt_products *products_of(int warp) {
  static simt_products products[SIMT_MAX_WARPS];
  return &products[warp];
}

/* ---- where elements are ---- */

#define PIECE 8 /* elements of 16 bytes, which swizzling keeps together */

/* Load the piece at `offset`, one element every `step` floats. */
static void load_piece(float *to, int step, const unsigned char *view, uintptr_t offset) {
  uint16_t bits[PIECE];
  const uintptr_t swizzled = offset ^ (offset >> 7 & 7) << 4;
  const simt_machine *m = simt_running();
  if (swizzled + sizeof bits > m->shared.end) {
    simt_fail(m->thread, "wgmma of a matrix outside of shared memory");
    return;
  }
  memcpy(bits, view + swizzled, sizeof bits);
  if (memcmp(bits, m->shared.bytes + swizzled, sizeof bits) != 0)
    simt_fail(m->thread, "wgmma reads stores that no async_fence has published");
  for (int i = 0; i < PIECE; i++)
    to[i * step] = from_bf16({ bits[i] });
}

uint64_t simt_shared_matrix(const void *data, int leading, int stride, simt_site site) {
  simt_check_shared(data, 16, "a matrix is at", site);
  const uint64_t offset = (uint64_t)((const unsigned char *)data - simt_running()->shared.bytes);
  return offset >> 4 | (uint64_t)(leading >> 4) << 16 | (uint64_t)(stride >> 4) << 32 |
         (uint64_t)1 << 62;
}

/* Load rows (or columns) from .. from + count - 1 of an operand: element k of row i to to[i * row + k * column].
   `transposed`: i runs along the rows in memory. */
static void load_operand(float *to, int row, int column, uint64_t matrix, int from, int count,
                         bool transposed) {
  const unsigned char *view = simt_async_view();
  const uintptr_t start = (matrix & 0x3fff) << 4;
  const uintptr_t leading = (matrix >> 16 & 0x3fff) << 4, stride = (matrix >> 32 & 0x3fff) << 4;
  for (int i = 0; i < count; i += transposed ? PIECE : 1)
    for (int k = 0; k < K; k += transposed ? 1 : PIECE) {
      const unsigned x = (unsigned)(from + i), y = (unsigned)k;
      const uintptr_t offset = transposed
                                 ? x % 64 * 2 + x / 64 * leading + y % 8 * 128 + y / 8 * stride
                                 : x % 8 * 128 + x / 8 * stride + y * 2;
      load_piece(to + i * row + k * column, transposed ? row : column, view, start + offset);
    }
}

static float half_of(uint32_t pair, int i) { return from_bf16({ (uint16_t)(pair >> 16 * i) }); }

/* ---- computing ---- */

struct simt_wide_operands {
  float group[4 * ROWS][K]; /* operand A; a product of a warp may read all of it */
  float a[ROWS][K], b[K][MOST_COLUMNS];
};

static void gather(simt_wide_operands *m, const simt_product *p, int warp) {
  const simt_wgmma *first = &p->lanes[0];
  load_operand(m->b[0], 1, MOST_COLUMNS, first->b_matrix, 0, first->columns, first->b_transposed);
  if (first->a == NULL) {
    load_operand(m->group[0], K, 1, first->a_matrix, 0, 4 * ROWS, first->a_transposed);
    memcpy(m->a, m->group[warp % 4 * ROWS], sizeof m->a);
  } else
    for (int row = 0; row < ROWS; row++)
      for (int k = 0; k < K; k++)
        m->a[row][k] = half_of(p->lanes[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2], k % 2);
}

/* Eight columns of a row. */
static void multiply(float *c, const float *a, const float *b) {
  for (int k = 0; k < K; k++)
    for (int n = 0; n < 8; n++)
      c[n] += a[k] * b[k * MOST_COLUMNS + n];
}

static void compute(simt_product *p, int warp) {
  static simt_wide_operands m;
  const simt_wgmma *first = &p->lanes[0];
  gather(&m, p, warp);
  for (int row = 0; row < ROWS; row++)
    for (int n = 0; n < first->columns; n += 8) {
      float sum[8] = {};
      for (int i = 0; i < 8 && first->add; i++)
        sum[i] = p->c[row % 8 * 4 + i / 2][n / 8 * 4 + row / 8 * 2 + i % 2];
      multiply(sum, m.a[row], m.b[0] + n);
      for (int i = 0; i < 8; i++)
        p->c[row % 8 * 4 + i / 2][n / 8 * 4 + row / 8 * 2 + i % 2] = sum[i];
    }
}

/* ---- beginning and ending ---- */

/* The earlier product, still under way, whose results these are too. */
static simt_product *find_results(const simt_products *all, const float *d) {
  for (int i = all->count - 1; i >= 0; i--)
    if (all->begun[i]->lanes[0].d == d)
      return all->begun[i];
  return NULL;
}

static void copy_results(float c[SIMT_WARP][MOST_COLUMNS / 2], const simt_product *p) {
  for (int lane = 0; lane < SIMT_WARP; lane++)
    memcpy(c[lane], p->lanes[lane].d, (size_t)p->lanes[lane].columns / 2 * sizeof(float));
}

static void write_results(const simt_product *p, bool poison) {
  for (int lane = 0; lane < SIMT_WARP; lane++)
    for (int i = 0; i < p->lanes[lane].columns / 2; i++)
      p->lanes[lane].d[i] = poison ? NAN : p->c[lane][i];
}

static void run_wgmma(simt_collective *const lanes[SIMT_WARP]) {
  simt_machine *m = simt_running();
  simt_products *all = products_of(m->warp);
  simt_product *p = (simt_product *)malloc(sizeof *p);
  if (p == NULL || all->count == 64)
    abort();
  for (int lane = 0; lane < SIMT_WARP; lane++)
    p->lanes[lane] = *(const simt_wgmma *)lanes[lane];
  p->group = all->group;
  const simt_product *before = find_results(all, p->lanes[0].d);
  if (before == NULL)
    copy_results(p->c, p);
  else
    memcpy(p->c, before->c, sizeof p->c); /* final if they are early, else again when they are */
  if (m->lanes_reversed)
    compute(p, m->warp);
  all->begun[all->count++] = p;
  all->all++;
  write_results(p, !m->lanes_reversed);
}

/* The oldest product is done: its results are those of the next one with the same, or the thread's. */
static void finish_first(simt_products *all, int warp) {
  const bool late = !simt_running()->lanes_reversed;
  simt_product *p = all->begun[0], *next = NULL;
  memmove(all->begun, all->begun + 1, (size_t)--all->count * sizeof all->begun[0]);
  if (late)
    compute(p, warp);
  for (int i = all->count - 1; i >= 0; i--)
    if (all->begun[i]->lanes[0].d == p->lanes[0].d)
      next = all->begun[i];
  if (next == NULL)
    write_results(p, false);
  else if (late)
    memcpy(next->c, p->c, sizeof next->c);
  free(p);
}

struct simt_products_wait {
  simt_collective base;
  int pending;
};

static void run_wait(simt_collective *const lanes[SIMT_WARP]) {
  const int warp = simt_running()->warp, pending = ((const simt_products_wait *)lanes[0])->pending;
  simt_products *all = products_of(warp);
  while (all->count > 0 && all->begun[0]->group < all->group - pending)
    finish_first(all, warp);
  all->fenced = false; /* registers may be touched from here on */
}

static void run_commit(simt_collective *const *) { products_of(simt_running()->warp)->group++; }
static void run_fence(simt_collective *const *) {
  products_of(simt_running()->warp)->fenced = true;
}

void simt_wgmma_fence(simt_site site) {
  simt_collective fence = { "wgmma_fence", run_fence };
  simt_sync_collective(&fence, site);
}

void simt_wgmma_commit(simt_site site) {
  simt_collective commit = { "wgmma_commit", run_commit };
  simt_sync_collective(&commit, site);
}

/* Other warps go on first: what they write by then, the product may read. */
struct simt_turn {
  simt_condition base;
  mutable bool asked;
};

static bool others_had_their_turn(const simt_condition *condition) {
  const simt_turn *turn = (const simt_turn *)condition;
  const bool asked = turn->asked;
  turn->asked = true;
  return asked;
}

void simt_wgmma_wait(int pending, simt_site site) {
  const simt_turn turn = { { "wgmma_wait", others_had_their_turn }, false };
  if (!simt_running()->lanes_reversed)
    simt_wait_until(&turn.base, site);
  simt_products_wait wait = { { "wgmma_wait", run_wait }, pending };
  simt_sync_collective(&wait.base, site);
}

static bool has_swizzle_128(uint64_t matrix) {
  return matrix >> 62 == 1 && (matrix >> 49 & 7) == 0;
}

void simt_wgmma_begin(float *d, const uint32_t *a, uint64_t a_matrix, uint64_t b_matrix,
                      int columns, bool a_transposed, bool b_transposed, bool add, simt_site site) {
  simt_machine *m = simt_running();
  simt_wgmma product = { { "wgmma", run_wgmma }, d,  a, a_matrix, b_matrix, columns, a_transposed,
                         b_transposed,           add };
  if (!products_of(m->warp)->fenced)
    simt_fail_at(m->thread, site, "wgmma without a wgmma_fence since the last wait");
  else if (columns % 8 != 0 || columns < 8 || columns > MOST_COLUMNS)
    simt_fail_at(m->thread, site, "wgmma of %d columns", columns);
  else if ((a == NULL && !has_swizzle_128(a_matrix)) || !has_swizzle_128(b_matrix))
    simt_fail_at(m->thread, site, "wgmma of a matrix that is not swizzled by 128 bytes");
  else if (m->threads % 128 != 0)
    simt_fail_at(m->thread, site, "wgmma in a block of %d threads, not whole warpgroups",
                 m->threads);
  if (m->error != cudaSuccess)
    simt_pass_on(m);
  simt_sync_collective(&product.base, site);
}

/* Of a block: all products must have been waited for, and the warps of a group have begun as many. */
void simt_end_products(simt_machine *m) {
  for (int i = 0; i < m->nwarps; i++) {
    simt_products *all = products_of(i);
    if (m->error == cudaSuccess && all->count > 0)
      simt_fail(i * SIMT_WARP, "returns without having waited for %d wgmma", all->count);
    if (m->error == cudaSuccess && all->all != products_of(i / 4 * 4)->all)
      simt_fail(i * SIMT_WARP, "has begun %lld wgmma, the first warp of its group %lld",
                (long long)all->all, (long long)products_of(i / 4 * 4)->all);
  }
  for (int i = 0; i < m->nwarps; i++) {
    simt_products *all = products_of(i);
    while (all->count > 0)
      free(all->begun[--all->count]);
    all->all = 0;
    all->fenced = false;
  }
}
