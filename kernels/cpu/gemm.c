/* Matrix products.

   C is divided into rectangles, one per thread or more, which are computed independently: each packs the part of B
   that it needs, a strip of columns and a block of the depth at a time, and walks over its rows tile by tile
   (gemm_tile.h). Divisions of the depth are fixed. So the bits of a product depend on the instruction set only, and
   not on the number of threads. Buffers are on the stack: a product allocates nothing. */
#include <omp.h>

#include "gemm_tile.h"
#include "gemm_vector.h"

/* Products with fewer multiplications take plain loops; those with no more than ALONE, one thread. */
#define SMALL 128
#define ALONE (1LL << 18)
/* Elements of B that are packed at a time. They fill half of a small L2 cache, and stay there. */
#define PACKED ((int64_t)(131072 / sizeof(real)))
/* With so few rows, packing B costs more than it saves. */
#define FEW_ROWS (2 * TILE_ROWS)
/* Rows of a transposed A that are further apart than this compete for the same places in the L1 cache, so they are
   packed. */
#define NEAR (int64_t)(2048 / sizeof(real))
/* Rows are shared out in multiples of this, columns in whole vectors. */
#define ROW_UNIT 4

/* A rectangle of C: rows and columns from first to before last. */
typedef struct rectangle {
  int64_t row, last_row, column, last_column;
} rectangle;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* ---- tiles of all heights ---- */

#define TILE(rows)                                                          \
  static void tile_##rows(const gemm_tile *t, bool transposed, bool wide) { \
    if (transposed && wide)                                                 \
      tile_rows_transposed(t, rows, 2);                                     \
    else if (transposed)                                                    \
      tile_rows_transposed(t, rows, 1);                                     \
    else if (wide)                                                          \
      tile_rows(t, rows, 2);                                                \
    else                                                                    \
      tile_rows(t, rows, 1);                                                \
  }
#if TILE_ROWS == 12
TILE(12)
TILE(8)
#else
TILE(6)
#endif
TILE(4)
TILE(2)
TILE(1)

typedef struct tile_height {
  int64_t rows;
  void (*run)(const gemm_tile *t, bool transposed, bool wide);
} tile_height;

static const tile_height heights[] = {
#if TILE_ROWS == 12
  { 12, tile_12 }, { 8, tile_8 },
#else
  { 6, tile_6 },
#endif
  { 4, tile_4 },   { 2, tile_2 }, { 1, tile_1 },
};

static const tile_height *highest(int64_t rows) {
  const tile_height *height = heights;
  while (height->rows > rows)
    height++;
  return height;
}

/* Compute a tile of `columns` columns. Where these do not fill vectors, it goes through a buffer. */
static void run_tile(const tile_height *height, gemm_tile t, bool transposed, int64_t columns) {
  const bool wide = columns > LANES;
  const int64_t whole = wide ? TILE_COLUMNS : LANES;
  if (columns == whole) {
    height->run(&t, transposed, wide);
    return;
  }
  real buffer[TILE_ROWS * TILE_COLUMNS];
  const size_t bytes = sizeof(real) * (size_t)columns;
  gemm_tile inner = t;
  inner.c = buffer;
  inner.ldc = whole;
  for (int64_t r = 0; r < height->rows && t.beta != 0; r++)
    memcpy(buffer + r * whole, t.c + r * t.ldc, bytes);
  height->run(&inner, transposed, wide);
  for (int64_t r = 0; r < height->rows; r++)
    memcpy(t.c + r * t.ldc, buffer + r * whole, bytes);
}

/* ---- packing ---- */

/* Columns of B that are packed at a time. */
static int64_t strip_of(int64_t depth) { return PACKED / depth / TILE_COLUMNS * TILE_COLUMNS; }

/* Copy rows of B to a panel of TILE_COLUMNS columns, with zeros after the last of `columns`. */
static void pack_rows(real *panel, const real *b, int64_t ldb, int64_t depth, int64_t columns) {
  if (columns == TILE_COLUMNS) {
    for (int64_t p = 0; p < depth; p++)
      memcpy(panel + p * TILE_COLUMNS, b + p * ldb, sizeof(real) * TILE_COLUMNS);
    return;
  }
  memset(panel, 0, sizeof(real) * (size_t)(depth * TILE_COLUMNS));
  for (int64_t p = 0; p < depth; p++)
    memcpy(panel + p * TILE_COLUMNS, b + p * ldb, sizeof(real) * (size_t)columns);
}

typedef real quad __attribute__((vector_size(4 * sizeof(real))));
typedef real quad_in_memory
  __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));
#ifdef BAM_TYPE_f32
typedef int32_t quad_index __attribute__((vector_size(16)));
#else
typedef int64_t quad_index __attribute__((vector_size(32)));
#endif

/* Transpose 4 x 4 elements. */
static inline void transpose_quad(real *to, const real *from, int64_t ld) {
  quad a = *(const quad_in_memory *)from, b = *(const quad_in_memory *)(from + ld);
  quad c = *(const quad_in_memory *)(from + 2 * ld), d = *(const quad_in_memory *)(from + 3 * ld);
  const quad_index low = { 0, 4, 1, 5 }, high = { 2, 6, 3, 7 };
  quad ac = __builtin_shuffle(a, c, low), bd = __builtin_shuffle(b, d, low);
  quad ac2 = __builtin_shuffle(a, c, high), bd2 = __builtin_shuffle(b, d, high);
  *(quad_in_memory *)to = __builtin_shuffle(ac, bd, low);
  *(quad_in_memory *)(to + TILE_COLUMNS) = __builtin_shuffle(ac, bd, high);
  *(quad_in_memory *)(to + 2 * TILE_COLUMNS) = __builtin_shuffle(ac2, bd2, low);
  *(quad_in_memory *)(to + 3 * TILE_COLUMNS) = __builtin_shuffle(ac2, bd2, high);
}

/* The same where B is stored transposed: its columns are contiguous, `ldb` apart. */
static void pack_columns(real *panel, const real *b, int64_t ldb, int64_t depth, int64_t columns) {
  if (columns < TILE_COLUMNS)
    memset(panel, 0, sizeof(real) * (size_t)(depth * TILE_COLUMNS));
  const int64_t quads = columns / 4 * 4, whole = depth / 4 * 4;
  for (int64_t p = 0; p < whole; p += 4)
    for (int64_t j = 0; j < quads; j += 4)
      transpose_quad(panel + p * TILE_COLUMNS + j, b + j * ldb + p, ldb);
  for (int64_t p = 0; p < depth; p++)
    for (int64_t j = p < whole ? quads : 0; j < columns; j++)
      panel[p * TILE_COLUMNS + j] = b[j * ldb + p];
}

/* Copy `rows` columns of A, which is stored transposed, so that they are back to back. */
static void pack_a(real *panel, const real *a, int64_t lda, int64_t depth, int64_t rows) {
  if (rows == TILE_ROWS)
    for (int64_t p = 0; p < depth; p++)
      memcpy(panel + p * TILE_ROWS, a + p * lda, sizeof(real) * TILE_ROWS);
  else
    for (int64_t p = 0; p < depth; p++)
      for (int64_t r = 0; r < rows; r++)
        panel[p * TILE_ROWS + r] = a[p * lda + r];
}

/* ---- one rectangle ---- */

typedef struct operands {
  const bam_gemm *g;
  real *c;
  const real *a, *b;
} operands;

/* A block of the depth, and a strip of columns. */
typedef struct block {
  int64_t depth, first_depth, column, columns;
  real beta;
  bool pack_b; /* all of B; else only what does not fill a panel */
} block;

static const real *b_at(const operands *o, int64_t p, int64_t j) {
  return o->g->transpose_b ? o->b + j * o->g->ldb + p : o->b + p * o->g->ldb + j;
}

static void pack_strip(const operands *o, const block *k, real *packed) {
  for (int64_t j = 0; j < k->columns; j += TILE_COLUMNS) {
    const int64_t columns = smaller(k->columns - j, TILE_COLUMNS);
    const real *b = b_at(o, k->first_depth, k->column + j);
    real *panel = packed + j * k->depth;
    if (o->g->transpose_b)
      pack_columns(panel, b, o->g->ldb, k->depth, columns);
    else if (k->pack_b || columns < TILE_COLUMNS)
      pack_rows(panel, b, o->g->ldb, k->depth, columns);
  }
}

/* Prefetch a share of what the next row of tiles reads of a transposed A: a short piece of each of many rows, which the
   processor does not foresee. */
static void prefetch_a(const operands *o, const block *k, int64_t row, int64_t panel,
                       int64_t panels) {
  const bam_gemm *g = o->g;
  const real *a = o->a + k->first_depth * g->lda + row;
  const int64_t last = k->depth * (panel + 1) / panels;
  for (int64_t p = k->depth * panel / panels; p < last; p++)
    __builtin_prefetch(a + p * g->lda, 0, 2);
}

/* One row of tiles across the strip. */
static void multiply_tiles(const operands *o, const block *k, const real *packed, int64_t row,
                           const tile_height *height) {
  const bam_gemm *g = o->g;
  _Alignas(64) real a_panel[GEMM_DEPTH * TILE_ROWS];
  const real *a = g->transpose_a ? o->a + k->first_depth * g->lda + row
                                 : o->a + row * g->lda + k->first_depth;
  const bool pack = g->transpose_a && g->lda > NEAR;
  if (pack)
    pack_a(a_panel, a, g->lda, k->depth, height->rows);
  gemm_tile t = { .ldc = g->ldc,
                  .depth = k->depth,
                  .alpha = (real)g->alpha,
                  .beta = k->beta,
                  .a = pack ? a_panel : a,
                  .lda = pack ? TILE_ROWS : g->lda };
  for (int64_t j = 0; j < k->columns; j += TILE_COLUMNS) {
    const int64_t columns = smaller(k->columns - j, TILE_COLUMNS);
    const bool direct = !k->pack_b && columns == TILE_COLUMNS;
    t.b = direct ? b_at(o, k->first_depth, k->column + j) : packed + j * k->depth;
    t.ldb = direct ? g->ldb : TILE_COLUMNS;
    t.c = o->c + row * g->ldc + k->column + j;
    if (g->transpose_a && row + 2 * height->rows < g->m)
      prefetch_a(o, k, row + 2 * height->rows - 1, j / TILE_COLUMNS,
                 ceiling(k->columns, TILE_COLUMNS));
    run_tile(height, t, g->transpose_a, columns);
  }
}

static void multiply_rectangle(const operands *o, const rectangle *r) {
  _Alignas(64) real packed[PACKED];
  const int64_t depth = gemm_block_depth(o->g->k), strip = strip_of(depth);
  block k = { .pack_b = o->g->transpose_b || r->last_row - r->row > FEW_ROWS };
  if (r->row == r->last_row) /* more threads than rows of tiles */
    return;
  for (k.column = r->column; k.column < r->last_column; k.column += strip) {
    k.columns = smaller(r->last_column - k.column, strip);
    for (k.first_depth = 0; k.first_depth < o->g->k; k.first_depth += depth) {
      k.depth = smaller(o->g->k - k.first_depth, depth);
      k.beta = k.first_depth == 0 ? (real)o->g->beta : 1;
      pack_strip(o, &k, packed);
      for (int64_t row = r->row; row < r->last_row;) {
        const tile_height *height = highest(r->last_row - row);
        multiply_tiles(o, &k, packed, row, height);
        row += height->rows;
      }
    }
  }
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
  const int64_t strips = ceiling(panels * TILE_COLUMNS, strip_of(gemm_block_depth(g->k)));
  const int64_t tiles = ceiling(rows, TILE_ROWS);
  return rows * columns / TILE_COLUMNS + panels * (g->transpose_b ? TILE_COLUMNS / 2 : 4) +
         (g->transpose_a && g->lda > NEAR ? tiles * strips * 3 : 0) +
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

void KERNEL(gemm)(bam_stream stream, const bam_gemm *gemm, void *c, const void *a, const void *b) {
  (void)stream;
  if (gemm->m == 0 || gemm->n == 0)
    return;
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
