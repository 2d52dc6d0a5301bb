/* Matrix products.

   C is divided into rectangles, one per thread or more, which are computed independently: each packs the part of B
   that it needs, a strip of columns and a block of the depth at a time, and walks over its rows tile by tile
   (gemm_tile.h). Divisions of the depth are fixed. So the bits of a product depend on the instruction set only, and
   not on the number of threads. Packed operands lie in a workspace that each thread keeps, so a product allocates
   nothing after a thread's first. */
#include <omp.h>

#include "features.h"
#include "gemm_pack.h"
#include "gemm_vector.h"
#include "workspace.h"

/* Products with fewer multiplications take plain loops; those with no more than ALONE, one thread. */
#define SMALL 128
#define ALONE (1LL << 18)
/* Bytes of B that are packed at a time: a part of the L2 cache, where they stay, within these bounds. */
#define L2_PART 4
#define LEAST_PACKED 131072
#define MOST_PACKED 524288
/* With so few rows, packing B costs more than it saves. */
#define FEW_ROWS (2 * TILE_ROWS)
/* Rows of a transposed A that are further apart than this compete for the same places in the L1 cache, so they are
   packed. */
#define NEAR (int64_t)(1024 / sizeof(real))
/* Products of at least this depth are computed transposed where that is faster: it costs reading and writing C. */
#define TRANSPOSE_DEPTH 768
/* Elements of the transposed result that are held at a time: what MOST_PACKED leaves of the workspace. */
#define TRANSPOSED ((int64_t)((BAM_WORKSPACE_BYTES - MOST_PACKED) / sizeof(real)))
/* Elements of a cache line, and how many lines of each row of A are prefetched: the hardware prefetches the rest. */
#define LINE (64 / (int64_t)sizeof(real))
#define FEW_LINES 8
/* Rows are shared out in multiples of this, columns in whole vectors. */
#define ROW_UNIT 4

/* A rectangle of C: rows and columns from first to before last. */
typedef struct rectangle {
  int64_t row, last_row, column, last_column;
} rectangle;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* ---- one strip ---- */

/* Where a thread packs B, and holds a transposed result. */
typedef struct buffers {
  real *packed;
  int64_t bytes; /* of packed B at a time */
  real *transposed;
} buffers;

/* Bytes of B that are packed at a time. */
static int64_t packed_bytes(void) {
  const int64_t bytes = smaller(bam_l2_bytes() / L2_PART, MOST_PACKED);
  return bytes > LEAST_PACKED ? bytes : LEAST_PACKED;
}

/* How many columns of B, in whole panels, fit in `bytes`. */
static int64_t strip_of(int64_t bytes, int64_t depth) {
  return bytes / (int64_t)sizeof(real) / depth / TILE_COLUMNS * TILE_COLUMNS;
}

/* A product of `rows` rows, and of the columns that are packed together. The matrices begin with them. */
typedef struct strip {
  int64_t rows, columns, depth;
  bool transpose_a, transpose_b;
  bool pack_b; /* all of B; else only what does not fill a panel */
  real alpha, beta;
  const real *a, *b;
  real *c;
  int64_t lda, ldb, ldc;
  const real *next; /* B of the strip after this one; NULL: there is none */
} strip;

/* A block of its depth. */
typedef struct block {
  const strip *s;
  int64_t depth;
  real beta;
  const real *a, *b;
  const real *next; /* B of the block after this one; NULL: not prefetched */
} block;

static void pack_b(const block *k, real *packed) {
  const strip *s = k->s;
  for (int64_t j = 0; j < s->columns; j += TILE_COLUMNS) {
    const int64_t columns = smaller(s->columns - j, TILE_COLUMNS);
    real *panel = packed + j * k->depth;
    if (s->transpose_b)
      pack_columns(panel, k->b + j * s->ldb, s->ldb, k->depth, columns);
    else if (s->pack_b || columns < TILE_COLUMNS)
      pack_rows(panel, k->b + j, s->ldb, k->depth, columns);
  }
}

/* Prefetching, where the hardware prefetcher fails: short pieces of many rows, a share with each tile. These functions
   must be inlined: GCC drops calls of functions that do nothing but prefetch. */

/* A share of the rows of tiles after the next one, of a transposed A. */
INLINE void prefetch_a(const block *k, int64_t row, int64_t share, int64_t shares) {
  const strip *s = k->s;
  const int64_t last = k->depth * (share + 1) / shares;
  for (int64_t p = k->depth * share / shares; p < last; p++)
    __builtin_prefetch(k->a + p * s->lda + row, 0, 2);
}

/* A share of the starts of the rows of A that the next row of tiles reads. */
INLINE void prefetch_rows(const block *k, int64_t row, int64_t share, int64_t shares) {
  const int64_t from = row + TILE_ROWS * share / shares,
                to = row + TILE_ROWS * (share + 1) / shares;
  const int64_t length = smaller(k->depth, FEW_LINES * LINE);
  for (int64_t i = from; i < smaller(k->s->rows, to); i++)
    for (int64_t p = 0; p < length; p += LINE)
      __builtin_prefetch(k->a + i * k->s->lda + p, 0, 2);
}

/* A share of the next block of B. */
INLINE void prefetch_b(const block *k, int64_t share, int64_t shares) {
  const strip *s = k->s;
  const int64_t last = k->depth * (share + 1) / shares;
  for (int64_t p = k->depth * share / shares; p < last; p++)
    for (int64_t j = 0; j < s->columns; j += LINE)
      __builtin_prefetch(k->next + p * s->ldb + j, 0, 2);
}

/* The share of tile `i` of the row of tiles at `row`. */
INLINE void prefetch_share(const block *k, int64_t row, int64_t i, int64_t panels) {
  const int64_t rows = k->s->rows;
  if (k->next != NULL)
    prefetch_b(k, row / TILE_ROWS * panels + i, ceiling(rows, TILE_ROWS) * panels);
  if (!k->s->transpose_a)
    prefetch_rows(k, row + TILE_ROWS, i, panels);
  else if (row + 2 * TILE_ROWS <= rows)
    prefetch_a(k, row + 2 * TILE_ROWS, i, panels);
}

/* One row of tiles across the strip. */
static void multiply_tiles(const block *k, const real *packed, int64_t row,
                           const tile_height *height) {
  const strip *s = k->s;
  _Alignas(64) real a_panel[GEMM_DEPTH * TILE_ROWS];
  const real *a = s->transpose_a ? k->a + row : k->a + row * s->lda;
  const bool pack = s->transpose_a && s->lda > NEAR;
  const int64_t panels = ceiling(s->columns, TILE_COLUMNS);
  if (pack)
    pack_a(a_panel, a, s->lda, k->depth, height->rows);
  gemm_tile t = { .ldc = s->ldc,
                  .depth = k->depth,
                  .alpha = s->alpha,
                  .beta = k->beta,
                  .a = pack ? a_panel : a,
                  .lda = pack ? TILE_ROWS : s->lda };
  for (int64_t i = 0; i < panels; i++) {
    const int64_t j = i * TILE_COLUMNS, columns = smaller(s->columns - j, TILE_COLUMNS);
    const bool direct = !s->pack_b && columns == TILE_COLUMNS;
    t.b = direct ? k->b + j : packed + j * k->depth;
    t.ldb = direct ? s->ldb : TILE_COLUMNS;
    t.c = s->c + row * s->ldc + j;
    prefetch_share(k, row, i, panels);
    run_tile(height, t, s->transpose_a, columns);
  }
}

static void multiply_strip(const strip *s, real *packed) {
  const int64_t depth = gemm_block_depth(s->depth);
  for (int64_t first = 0; first < s->depth; first += depth) {
    block k = { .s = s,
                .depth = smaller(s->depth - first, depth),
                .beta = first == 0 ? s->beta : 1,
                .a = s->transpose_a ? s->a + first * s->lda : s->a + first,
                .b = s->transpose_b ? s->b + first : s->b + first * s->ldb };
    if (s->transpose_a && !s->transpose_b)
      k.next = first + depth < s->depth ? k.b + depth * s->ldb : s->next;
    pack_b(&k, packed);
    for (int64_t row = 0; row < s->rows;) {
      const tile_height *height = highest(s->rows - row);
      multiply_tiles(&k, packed, row, height);
      row += height->rows;
    }
  }
}

/* ---- one rectangle ---- */

typedef struct operands {
  const bam_gemm *g;
  real *c;
  const real *a, *b;
} operands;

/* Whether to compute C transposed, see multiply_transposed. */
static bool computes_transpose(const bam_gemm *g) {
  return g->transpose_a && !g->transpose_b && g->lda > NEAR && g->ldb <= NEAR &&
         g->k >= TRANSPOSE_DEPTH;
}

/* A gradient of weights: both matrices are read along their rows. Packing A, in pieces of TILE_ROWS elements, is slow,
   so the transposed product is computed, in which the matrix with long rows is packed in pieces of TILE_COLUMNS. The
   products and the order of their sums are the same. */
static void multiply_transposed(const operands *o, const rectangle *r, const buffers *b) {
  const bam_gemm *g = o->g;
  strip s = { .rows = r->last_column - r->column,
              .depth = g->k,
              .transpose_a = true,
              .pack_b = true,
              .alpha = (real)g->alpha,
              .beta = (real)g->beta,
              .a = o->b + r->column,
              .lda = g->ldb,
              .ldb = g->lda,
              .c = b->transposed };
  const int64_t width = smaller(strip_of(b->bytes, gemm_block_depth(g->k)),
                                TRANSPOSED / s.rows / TILE_COLUMNS * TILE_COLUMNS);
  for (int64_t row = r->row; row < r->last_row; row += width) {
    real *c = o->c + row * g->ldc + r->column;
    s.columns = smaller(r->last_row - row, width);
    s.ldc = round_up(s.columns, TILE_COLUMNS);
    s.b = o->a + row;
    s.next = row + width < r->last_row ? s.b + width : NULL;
    if (g->beta != 0)
      transpose(b->transposed, s.ldc, c, g->ldc, s.rows, s.columns);
    multiply_strip(&s, b->packed);
    transpose(c, g->ldc, b->transposed, s.ldc, s.columns, s.rows);
  }
}

static void multiply_plain(const operands *o, const rectangle *r, const buffers *b) {
  const bam_gemm *g = o->g;
  const int64_t width = strip_of(b->bytes, gemm_block_depth(g->k));
  strip s = { .rows = r->last_row - r->row,
              .depth = g->k,
              .transpose_a = g->transpose_a,
              .transpose_b = g->transpose_b,
              .pack_b = g->transpose_b || r->last_row - r->row > FEW_ROWS,
              .alpha = (real)g->alpha,
              .beta = (real)g->beta,
              .a = g->transpose_a ? o->a + r->row : o->a + r->row * g->lda,
              .lda = g->lda,
              .ldb = g->ldb,
              .ldc = g->ldc };
  for (int64_t column = r->column; column < r->last_column; column += width) {
    s.columns = smaller(r->last_column - column, width);
    s.b = g->transpose_b ? o->b + column * g->ldb : o->b + column;
    s.c = o->c + r->row * g->ldc + column;
    multiply_strip(&s, b->packed);
  }
}

/* Without memory for a workspace, a little of the stack does. Not inlined: only this call takes it. */
static __attribute__((noinline)) void multiply_in_little(const operands *o, const rectangle *r) {
  _Alignas(64) real packed[LEAST_PACKED / sizeof(real)];
  multiply_plain(o, r, &(buffers){ packed, LEAST_PACKED, NULL });
}

static void multiply_rectangle(const operands *o, const rectangle *r) {
  if (r->row == r->last_row || r->column == r->last_column) /* more threads than rows of tiles */
    return;
  real *memory = bam_cpu_workspace();
  if (memory == NULL) {
    multiply_in_little(o, r);
    return;
  }
  const buffers b = { memory, packed_bytes(), memory + MOST_PACKED / sizeof(real) };
  if (computes_transpose(o->g))
    multiply_transposed(o, r, &b);
  else
    multiply_plain(o, r, &b);
}

/* ---- special shapes ---- */

/* C = beta C, where beta = 0 clears whatever was there. */
static void scale_rows(const operands *o) {
  const bam_gemm *g = o->g;
  for (int64_t i = 0; i < g->m && g->beta != 1; i++)
    for (int64_t j = 0; j < g->n; j++)
      o->c[i * g->ldc + j] = g->beta == 0 ? 0 : (real)g->beta * o->c[i * g->ldc + j];
}

static void multiply_small(const operands *o) {
  const bam_gemm *g = o->g;
  int64_t a_row = g->transpose_a ? 1 : g->lda, a_column = g->transpose_a ? g->lda : 1;
  int64_t b_row = g->transpose_b ? 1 : g->ldb, b_column = g->transpose_b ? g->ldb : 1;
  for (int64_t i = 0; i < g->m; i++)
    for (int64_t j = 0; j < g->n; j++) {
      real sum = 0;
      for (int64_t p = 0; p < g->k; p++)
        sum += o->a[i * a_row + p * a_column] * o->b[p * b_row + j * b_column];
      real *to = &o->c[i * g->ldc + j];
      *to = (real)g->alpha * sum + (g->beta == 0 ? 0 : (real)g->beta * *to);
    }
}

/* A row times a matrix, or a matrix times a column, as the product of a vector and a matrix. */
static gemm_vector as_vector(const operands *o) {
  const bam_gemm *g = o->g;
  gemm_vector v = { .depth = g->k, .alpha = (real)g->alpha, .beta = (real)g->beta, .y = o->c };
  if (g->m == 1) {
    v.x = o->a, v.x_step = g->transpose_a ? g->lda : 1;
    v.matrix = o->b, v.ld = g->ldb, v.count = g->n, v.y_step = 1;
    v.along_depth = g->transpose_b;
  } else {
    v.x = o->b, v.x_step = g->transpose_b ? 1 : g->ldb;
    v.matrix = o->a, v.ld = g->lda, v.count = g->m, v.y_step = g->ldc;
    v.along_depth = !g->transpose_a;
  }
  return v;
}

/* ---- sharing ---- */

/* The numbers of rows and columns of a grid of rectangles, as many as there are threads. */
typedef struct share_grid {
  int64_t rows, columns;
} share_grid;

/* About how many cycles per unit of depth the largest rectangle of the grid takes: its multiply-adds, packing, and
   reading A and B from beyond the L2 cache. */
static int64_t cost(const bam_gemm *g, share_grid grid) {
  const int64_t rows = ceiling(ceiling(g->m, ROW_UNIT), grid.rows) * ROW_UNIT;
  const int64_t columns = ceiling(ceiling(g->n, LANES), grid.columns) * LANES;
  const int64_t panels = ceiling(columns, TILE_COLUMNS);
  const int64_t strips = ceiling(panels * TILE_COLUMNS,
                                 strip_of(packed_bytes(), gemm_block_depth(g->k)));
  const int64_t tiles = ceiling(rows, TILE_ROWS);
  return rows * columns / TILE_COLUMNS + panels * (g->transpose_b ? TILE_COLUMNS / 2 : 4) +
         (g->transpose_a && g->lda > NEAR && !computes_transpose(g) ? tiles * strips * 3 : 0) +
         (rows + columns) * (int64_t)sizeof(real) / 8;
}

static share_grid grid_for(const bam_gemm *g, int64_t threads) {
  share_grid best = { threads, 1 };
  for (int64_t columns = 2; columns <= threads; columns++) {
    const share_grid other = { threads / columns, columns };
    if (threads % columns == 0 && cost(g, other) < cost(g, best))
      best = other;
  }
  return best;
}

/* The part of 0 .. n - 1 that belongs to share `i` of `shares`, in multiples of `unit`. */
static void part_of(int64_t n, int64_t unit, int64_t i, int64_t shares, int64_t *first,
                    int64_t *last) {
  const int64_t units = ceiling(n, unit);
  *first = smaller(n, units * i / shares * unit);
  *last = smaller(n, units * (i + 1) / shares * unit);
}

static rectangle cell_of(const bam_gemm *g, share_grid grid, int64_t i) {
  rectangle r;
  part_of(g->m, ROW_UNIT, i / grid.columns, grid.rows, &r.row, &r.last_row);
  part_of(g->n, LANES, i % grid.columns, grid.columns, &r.column, &r.last_column);
  return r;
}

/* Share `i` of `grid` of one product. */
static void multiply_share(const operands *o, share_grid grid, int64_t i) {
  const bam_gemm *g = o->g;
  if (g->m == 1 || g->n == 1) {
    gemm_vector v = as_vector(o);
    int64_t first, last;
    part_of(v.count, GEMM_VECTOR_UNIT, i, grid.rows * grid.columns, &first, &last);
    multiply_vector(&v, first, last);
  } else {
    const rectangle r = cell_of(g, grid, i);
    multiply_rectangle(o, &r);
  }
}

static void multiply_one(const operands *o, share_grid grid, int64_t i) {
  const bam_gemm *g = o->g;
  if (g->k == 0 || g->m * g->n * g->k < SMALL) {
    if (i == 0 && g->k == 0)
      scale_rows(o);
    else if (i == 0)
      multiply_small(o);
  } else {
    multiply_share(o, grid, i);
  }
}

/* All shares of all products of the batch. */
static void multiply_all(const operands *o, share_grid grid) {
  const bam_gemm *g = o->g;
  const int64_t shares = grid.rows * grid.columns;
#pragma omp for schedule(static)
  for (int64_t i = 0; i < g->batch * shares; i++) {
    const int64_t entry = i / shares;
    const operands one = { g, o->c + entry * g->stride_c, o->a + entry * g->stride_a,
                           o->b + entry * g->stride_b };
    multiply_one(&one, grid, i % shares);
  }
}

/* C = base, to which the product is then added. */
static void copy_base(const bam_gemm *gemm, real *c) {
  const real *base = gemm->base;
  for (int64_t i = 0; i < gemm->batch; i++)
    for (int64_t row = 0; row < gemm->m; row++) {
      const int64_t at = i * gemm->stride_c + row * gemm->ldc;
      memcpy(c + at, base + at, (size_t)gemm->n * sizeof *c);
    }
}

void KERNEL(gemm)(bam_stream stream, const bam_gemm *gemm, void *c, const void *a, const void *b) {
  (void)stream;
  if (gemm->m == 0 || gemm->n == 0)
    return;
  if (gemm->base != NULL && gemm->beta != 0)
    copy_base(gemm, c);
  const int64_t threads = omp_get_max_threads();
  const operands o = { gemm, c, a, b };
  const double work = (double)gemm->batch * (double)gemm->m * (double)gemm->n * (double)gemm->k;
  const bool share = threads > 1 && work > (double)ALONE;
  const bool whole = !share || gemm->batch >= 4 * threads;
  const share_grid grid = whole ? (share_grid){ 1, 1 } : grid_for(gemm, threads);
  SHARE(share, multiply_all(&o, grid));
}

/* ---- experts ---- */

static operands expert_of(const bam_grouped_gemm *gemm, const operands *all, bam_gemm *g,
                          const int64_t *offsets, int64_t e) {
  const int64_t from = offsets[e], rows = offsets[e + 1] - from, matrix = e * gemm->n * gemm->k;
  *(gemm->weights ? &g->k : &g->m) = rows;
  return (operands){ g, all->c + (gemm->weights ? matrix : from * gemm->n),
                     all->a + from * (gemm->weights ? gemm->n : gemm->k),
                     all->b + (gemm->weights ? from * gemm->k : matrix) };
}

/* Rows [first, last) of all experts' rows together, which are C's too. */
static void multiply_rows(const bam_grouped_gemm *gemm, const operands *all, const int64_t *offsets,
                          int64_t first, int64_t last) {
  for (int64_t e = 0; e < gemm->experts; e++) {
    bam_gemm g = *all->g;
    const operands o = expert_of(gemm, all, &g, offsets, e);
    const int64_t from = first - offsets[e], to = smaller(last - offsets[e], g.m);
    const rectangle r = { from > 0 ? from : 0, to, 0, g.n };
    if (r.row < r.last_row && g.k > 0)
      multiply_rectangle(&o, &r);
    else if (r.row < r.last_row && !gemm->add)
      for (int64_t i = r.row; i < r.last_row; i++)
        memset(o.c + i * g.ldc, 0, sizeof(real) * (size_t)g.n);
  }
}

/* A share of each expert's C. */
static void multiply_weights(const bam_grouped_gemm *gemm, const operands *all,
                             const int64_t *offsets, share_grid grid, int64_t i) {
  for (int64_t e = 0; e < gemm->experts; e++) {
    bam_gemm g = *all->g;
    const operands o = expert_of(gemm, all, &g, offsets, e);
    if (g.k > 0) {
      const rectangle r = cell_of(&g, grid, i);
      multiply_rectangle(&o, &r);
    } else if (i == 0) {
      scale_rows(&o);
    }
  }
}

static void multiply_experts(const bam_grouped_gemm *gemm, const operands *all,
                             const int64_t *offsets, int64_t shares) {
  const share_grid grid = grid_for(all->g, shares);
#pragma omp for schedule(static)
  for (int64_t i = 0; i < shares; i++) {
    int64_t first, last;
    if (gemm->weights) {
      multiply_weights(gemm, all, offsets, grid, i);
    } else {
      part_of(offsets[gemm->experts], ROW_UNIT, i, shares, &first, &last);
      multiply_rows(gemm, all, offsets, first, last);
    }
  }
}

void KERNEL(grouped_gemm)(bam_stream stream, const bam_grouped_gemm *gemm, void *c, const void *a,
                          const void *b, const int64_t *offsets) {
  (void)stream;
  bam_gemm g = { .transpose_b = gemm->transpose_b,
                 .n = gemm->n,
                 .k = gemm->k,
                 .lda = gemm->k,
                 .ldb = gemm->transpose_b ? gemm->k : gemm->n,
                 .ldc = gemm->n,
                 .alpha = 1,
                 .beta = gemm->add };
  if (gemm->weights)
    g = (bam_gemm){ .transpose_a = true,
                    .m = gemm->n,
                    .n = gemm->k,
                    .lda = gemm->n,
                    .ldb = gemm->k,
                    .ldc = gemm->k,
                    .alpha = 1,
                    .beta = gemm->add };
  const operands all = { &g, c, a, b };
  const double work = (double)offsets[gemm->experts] * (double)gemm->n * (double)gemm->k;
  const int64_t threads = omp_get_max_threads();
  const bool share = threads > 1 && work > (double)ALONE;
  SHARE(share, multiply_experts(gemm, &all, offsets, share ? threads : 1));
}
