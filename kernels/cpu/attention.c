/* Causal attention with grouped key/value heads, in tiles: the scores of TILE_ROWS queries against
   a block of keys are the most that ever exists. Forward keeps a running maximum and sum per row
   and saves the maximum and 1 / the sum (see loss.c): backward computes the weights again.

   Keys are packed transposed, so that both products run over contiguous vectors. Scores are in base
   2: the packed keys carry scale * log2(e). Every result is written by one thread in a fixed order,
   so the bits do not depend on the number of threads. Documents arrive as `first`: for each token
   the earliest one of its document (NULL: all one document), which names the document and bounds
   the keys at once. */
#include "attention_rows.h"
#include "transpose.h"

#define QUERIES 96 /* query rows per task */
#define KEYS 384   /* keys per block of the forward pass */
#define EDGE 96    /* queries and keys per tile of the backward pass; tile sizes divide it */
#define AHEAD 12   /* rows that loading fetches ahead */
#define LOG2_E 1.4426950408889634

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Row length of a tile `width` wide: whole vectors, and an odd number of them, so that rows spread
   over the sets of the cache. */
static int64_t pitch_of(int64_t width) {
  int64_t vectors = (width + LANES - 1) / LANES;
  return (vectors | 1) * LANES;
}

/* Little work stays on one thread. */
static int threads_for(const bam_attention *a) {
  int64_t work = a->batch * a->heads * a->time * a->width;
  return work * a->time > 8 * BAM_GRAIN ? a->threads : 1;
}

/* ---- moving heads into tiles ---- */

/* Rows of a head may lie kilobytes apart, which the hardware does not foresee. */
INLINE void prefetch_row(const real *head, int64_t stride, int64_t row, int64_t rows,
                         int64_t width) {
  for (int64_t d = 0; row < rows && d < width; d += 64 / (int64_t)sizeof(real))
    __builtin_prefetch(head + row * stride + d);
}

/* Fetch rows that will be written much later. Inlined: GCC drops calls of functions that only prefetch. */
INLINE void prefetch_written(const real *head, int64_t stride, int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t d = 0; d < width; d += 64 / (int64_t)sizeof(real))
      __builtin_prefetch(head + i * stride + d, 1);
}

/* Rows [0, rows) of a head into `tile`, times `factor`; the rest of the `height` rows, and of the last vector of each,
   is 0. */
static void load_rows(real *tile, int64_t pitch, int64_t height, const real *head, int64_t stride,
                      int64_t rows, int64_t width, real factor) {
  const int64_t whole = round_up(width, LANES);
  for (int64_t i = 0; i < rows; i++) {
    prefetch_row(head, stride, i + AHEAD, rows, width);
    for (int64_t d = 0; d < width; d++)
      tile[i * pitch + d] = head[i * stride + d] * factor;
    for (int64_t d = width; d < whole; d++)
      tile[i * pitch + d] = 0;
  }
  if (rows < height)
    memset(tile + rows * pitch, 0, (size_t)((height - rows) * pitch) * sizeof(real));
}

/* The same transposed: tile[width][pitch], columns from `rows` on are 0. */
static void load_columns(real *tile, int64_t pitch, const real *head, int64_t stride, int64_t rows,
                         int64_t width, real factor) {
  for (int64_t j = 0; j < rows; j += 4) {
    for (int64_t ahead = j + AHEAD; ahead < j + AHEAD + 4; ahead++)
      prefetch_row(head, stride, ahead, rows, width);
    transpose(tile + j, pitch, head + j * stride, stride, width, smaller(4, rows - j));
  }
  for (int64_t d = 0; d < width; d++) {
    real *row = tile + d * pitch;
    for (int64_t j = 0; factor != 1 && j < rows; j++)
      row[j] *= factor;
    memset(row + rows, 0, (size_t)(pitch - rows) * sizeof(real));
  }
}

/* Rows of a tile into a head, times `factor`; added to it with `add`. */
static void store_rows(real *head, int64_t stride, const real *tile, int64_t pitch, int64_t rows,
                       int64_t width, real factor, bool add) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t d = 0; d < width; d++)
      head[i * stride + d] = (add ? head[i * stride + d] : 0) + tile[i * pitch + d] * factor;
}

/* ---- forward ---- */

/* How the scratch of the forward pass is divided. */
typedef struct forward_plan {
  int64_t pitch;    /* of tiles of heads */
  int64_t block;    /* keys per block */
  int64_t row;      /* pitch of a packed block of keys */
  int64_t blocks;   /* per sequence */
  int64_t keys;     /* reals of one packed block of keys */
  int64_t sequence; /* reals of one packed sequence of one key/value head: keys, then values */
  int64_t own;      /* reals of each thread */
} forward_plan;

static forward_plan plan_forward(const bam_attention *a) {
  forward_plan plan;
  plan.pitch = pitch_of(a->width);
  plan.block = smaller(KEYS, round_up(a->time, TILE_COLUMNS));
  plan.blocks = (a->time + plan.block - 1) / plan.block;
  plan.row = pitch_of(plan.block);
  plan.keys = a->width * plan.row;
  plan.sequence = plan.blocks * (plan.keys + plan.block * plan.pitch);
  plan.own = 2 * QUERIES * plan.pitch + TILE_ROWS * KEYS + 2 * QUERIES;
  return plan;
}

static void pack_block(real *packed, const forward_plan *plan, const bam_attention *a,
                       const real *k, const real *v, int64_t block) {
  int64_t start = block * plan->block, rows = smaller(plan->block, a->time - start);
  real *values = packed + plan->blocks * plan->keys + start * plan->pitch;
  load_columns(packed + block * plan->keys, plan->row, k + start * a->k[1], a->k[1], rows, a->width,
               (real)(a->scale * LOG2_E));
  load_rows(values, plan->pitch, plan->block, v + start * a->v[1], a->v[1], rows, a->width, 1);
}

static void pack_all(real *packed, const forward_plan *plan, const bam_attention *a, const real *k,
                     const real *v) {
  int64_t tasks = a->batch * a->kv_heads * plan->blocks;
#pragma omp parallel for schedule(static) num_threads(threads_for(a))
  for (int64_t task = 0; task < tasks; task++) {
    int64_t pair = task / plan->blocks, b = pair / a->kv_heads, g = pair % a->kv_heads;
    pack_block(packed + pair * plan->sequence, plan, a, k + b * a->k[0] + g * a->k[2],
               v + b * a->v[0] + g * a->v[2], task % plan->blocks);
  }
}

/* Row `i` of the sequence against the columns that start at key `start`, `n` of them. */
static row_mask mask_of(const int32_t *first, int64_t window, int64_t i, int64_t start, int64_t n) {
  row_mask mask = { 0, larger(0, smaller(n, i + 1 - start)), NULL, 0 };
  mask.from = smaller(mask.to, larger(0, i + 1 - window - start));
  if (first != NULL) {
    mask.document = first[i];
    mask.from = smaller(mask.to, larger(mask.from, first[i] - start));
    mask.first = first + start;
  }
  return mask;
}

/* One task of the forward pass: QUERIES rows of one head. */
typedef struct query_task {
  const forward_plan *plan;
  const bam_attention *a;
  const int32_t *first; /* of this sequence */
  const real *packed;   /* of this sequence and key/value head */
  int64_t start, rows;
  real *q, *o, *scores, *max, *sum;
} query_task;

/* The earliest key that any of `rows` rows from `start` on sees. */
static int64_t earliest_key(const int32_t *first, int64_t window, int64_t start, int64_t rows) {
  int64_t earliest = start + rows, within = larger(0, start + 1 - window);
  if (first == NULL)
    return within;
  for (int64_t i = start; i < start + rows; i++)
    earliest = smaller(earliest, first[i]);
  return larger(earliest, within);
}

/* TILE_ROWS query rows from `r` on against one block of keys. */
static void attend_block(const query_task *task, int64_t r, int64_t earliest, int64_t block) {
  const forward_plan *plan = task->plan;
  int64_t rows = smaller(TILE_ROWS, task->rows - r), begin = block * plan->block;
  int64_t from = larger(0, earliest - begin) / LANES * LANES;
  int64_t to = smaller(plan->block, task->start + r + rows - begin);
  if (from >= to)
    return;
  const real *keys = task->packed + block * plan->keys + from;
  const real *values = task->packed + plan->blocks * plan->keys + (begin + from) * plan->pitch;
  tile_row(task->scores, KEYS, (tile_view){ task->q + r * plan->pitch, plan->pitch, 1 }, keys,
           plan->row, to - from, task->a->width, false);
  for (int64_t i = r; i < r + rows; i++) {
    row_mask mask = mask_of(task->first, task->a->window, task->start + i, begin + from, to - from);
    running state = { task->max + i, task->sum + i, task->o + i * plan->pitch, task->a->width };
    softmax_row(task->scores + (i - r) * KEYS, round_up(to - from, LANES), &mask, state);
  }
  tile_row(task->o + r * plan->pitch, plan->pitch, (tile_view){ task->scores, KEYS, 1 }, values,
           plan->pitch, task->a->width, to - from, true);
}

static void attend(query_task *task) {
  const forward_plan *plan = task->plan;
  memset(task->o, 0, (size_t)(QUERIES * plan->pitch) * sizeof(real));
  memset(task->sum, 0, QUERIES * sizeof(real));
  for (int64_t i = 0; i < QUERIES; i++)
    task->max[i] = (real)-INFINITY;
  int64_t begin = earliest_key(task->first, task->a->window, task->start, task->rows);
  int64_t last = (task->start + task->rows - 1) / plan->block;
  for (int64_t block = begin / plan->block; block <= last; block++)
    for (int64_t r = 0; r < task->rows; r += TILE_ROWS) {
      int64_t rows = smaller(TILE_ROWS, task->rows - r);
      int64_t earliest = earliest_key(task->first, task->a->window, task->start + r, rows);
      attend_block(task, r, earliest, block);
    }
}

/* Divide by the sums; o and stats are those of the task's first row and head, `heads` rows apart. */
static void finish(const query_task *task, real *o, real *stats) {
  int64_t heads = task->a->heads, width = task->a->width;
  for (int64_t i = 0; i < task->rows; i++) {
    const real part = 1 / task->sum[i];
    store_rows(o + i * heads * width, 0, task->o + i * task->plan->pitch, 0, 1, width, part, false);
    stats[2 * i * heads] = task->max[i];
    stats[2 * i * heads + 1] = part;
  }
}

void KERNEL(attention)(bam_stream stream, const bam_attention_tensors *args,
                       const bam_attention *a) {
  (void)stream;
  forward_plan plan = plan_forward(a);
  real *packed = args->scratch, *own = packed + a->batch * a->kv_heads * plan.sequence;
  int64_t parts = (a->time + QUERIES - 1) / QUERIES, tasks = parts * a->batch * a->heads;
  pack_all(packed, &plan, a, args->k, args->v);
  /* The last rows see the most keys: they go first,
      so that no thread is left with a long one at the end. */
#pragma omp parallel for schedule(dynamic) num_threads(threads_for(a))
  for (int64_t n = 0; n < tasks; n++) {
    int64_t head = n % (a->batch * a->heads), b = head / a->heads, h = head % a->heads;
    int64_t start = (parts - 1 - n / (a->batch * a->heads)) * QUERIES;
    int64_t pair = b * a->kv_heads + h / (a->heads / a->kv_heads);
    real *mine = own + thread_number() * plan.own;
    query_task task = { &plan,
                        a,
                        args->first != NULL ? args->first + b * a->time : NULL,
                        packed + pair * plan.sequence,
                        start,
                        smaller(QUERIES, a->time - start),
                        mine,
                        mine + QUERIES * plan.pitch,
                        mine + 2 * QUERIES * plan.pitch,
                        mine + plan.own - 2 * QUERIES,
                        mine + plan.own - QUERIES };
    const real *rows = (const real *)args->q + b * a->q[0] + start * a->q[1] + h * a->q[2];
    load_rows(task.q, plan.pitch, QUERIES, rows, a->q[1], task.rows, a->width, 1);
    const int64_t at = (b * a->time + start) * a->heads + h;
    real *o = (real *)args->o + at * a->width;
    prefetch_written(o, a->heads * a->width, task.rows, a->width);
    attend(&task);
    finish(&task, o, (real *)args->stats + 2 * at);
  }
}

/* ---- backward ---- */

/* One key/value head of one sequence: everything that its gradients depend on. Tiles are EDGE rows
   or columns; `pitch` is that of the tiles of heads. */
typedef struct kv_task {
  const bam_attention *a;
  const int32_t *first;
  const real *stats, *delta; /* of the sequence's first row, head 0 */
  int64_t pitch;
  int64_t key, keys;   /* the block of keys */
  int64_t query, rows; /* the block of queries */
  bool add_dq;         /* these queries have seen an earlier block of keys */
  real *kt, *vt, *k;   /* keys and values transposed, and keys times scale */
  real *dk, *dv;       /* not yet scaled */
  real *q, *grad_out;  /* queries and the gradients of their results */
  real *p, *ds;        /* weights, and the gradients of the scores */
  real *dq;            /* TILE_ROWS rows */
} kv_task;

static int64_t backward_own(const bam_attention *a) {
  int64_t pitch = pitch_of(a->width);
  return EDGE * (2 * a->width + 5 * pitch + 2 * EDGE) + TILE_ROWS * pitch;
}

static kv_task divide_scratch(real *mine, const bam_attention *a) {
  int64_t pitch = pitch_of(a->width), rows = EDGE * pitch;
  kv_task task = { .a = a, .pitch = pitch, .kt = mine, .vt = mine + a->width * EDGE };
  task.k = task.vt + a->width * EDGE;
  task.dk = task.k + rows;
  task.dv = task.dk + rows;
  task.q = task.dv + rows;
  task.grad_out = task.q + rows;
  task.p = task.grad_out + rows;
  task.ds = task.p + EDGE * EDGE;
  task.dq = task.ds + EDGE * EDGE;
  return task;
}

/* Weights and score gradients of TILE_ROWS rows from `r` on, and what they give to dq. */
static void backward_rows(const kv_task *task, int64_t r, int64_t h, real *dq) {
  const bam_attention *a = task->a;
  int64_t rows = smaller(TILE_ROWS, task->rows - r), i0 = task->query + r;
  int64_t to = smaller(task->keys, i0 + rows - task->key);
  real *p = task->p + r * EDGE, *ds = task->ds + r * EDGE;
  prefetch_written(dq + r * a->dq[1], a->dq[1], rows, a->width);
  tile_row(p, EDGE, (tile_view){ task->q + r * task->pitch, task->pitch, 1 }, task->kt, EDGE, to,
           a->width, false);
  tile_row(ds, EDGE, (tile_view){ task->grad_out + r * task->pitch, task->pitch, 1 }, task->vt,
           EDGE, to, a->width, false);
  for (int64_t i = 0; i < rows; i++) {
    row_mask mask = mask_of(task->first, a->window, i0 + i, task->key, to);
    int64_t at = (i0 + i) * a->heads + h;
    const row_stats stats = { task->stats[2 * at], task->stats[2 * at + 1], task->delta[at] };
    differentiate_row(p + i * EDGE, ds + i * EDGE, EDGE, &mask, stats);
  }
  tile_row(task->dq, task->pitch, (tile_view){ ds, EDGE, 1 }, task->k, task->pitch, a->width, to,
           false);
  store_rows(dq + r * a->dq[1], a->dq[1], task->dq, task->pitch, rows, a->width, 1, task->add_dq);
}

/* One tile: EDGE queries of head `h` against EDGE keys. */
static void backward_tile(const kv_task *task, int64_t h, real *dq) {
  int64_t pitch = task->pitch, width = task->a->width;
  for (int64_t r = 0; r < task->rows; r += TILE_ROWS)
    backward_rows(task, r, h, dq);
  for (int64_t c = 0; c < task->keys; c += TILE_ROWS) {
    int64_t from = larger(0,
                          task->key + c - task->query); /* earlier queries do not see these keys */
    if (from >= task->rows)
      break;
    tile_view p = { task->p + from * EDGE + c, 1, EDGE },
              ds = { task->ds + from * EDGE + c, 1, EDGE };
    tile_row(task->dv + c * pitch, pitch, p, task->grad_out + from * pitch, pitch, width,
             task->rows - from, true);
    tile_row(task->dk + c * pitch, pitch, ds, task->q + from * pitch, pitch, width,
             task->rows - from, true);
  }
}

/* All queries of the group's heads that see the current block of keys. */
static void backward_block(kv_task *task, int64_t b, int64_t g, real *dq, const real *grad_out,
                           const real *q) {
  const bam_attention *a = task->a;
  int64_t group = a->heads / a->kv_heads;
  for (int64_t h = g * group; h < (g + 1) * group; h++)
    for (task->query = task->key; task->query < a->time; task->query += EDGE) {
      task->rows = smaller(EDGE, a->time - task->query);
      const int64_t earliest = earliest_key(task->first, a->window, task->query, task->rows);
      if (earliest >= task->key + task->keys)
        continue;
      task->add_dq = a->add_dq || earliest < task->key;
      real *dq_rows = dq + b * a->dq[0] + task->query * a->dq[1] + h * a->dq[2];
      const real *q_rows = q + b * a->q[0] + task->query * a->q[1] + h * a->q[2];
      const real *do_rows = grad_out + ((b * a->time + task->query) * a->heads + h) * a->width;
      load_rows(task->q, task->pitch, EDGE, q_rows, a->q[1], task->rows, a->width, 1);
      load_rows(task->grad_out, task->pitch, EDGE, do_rows, a->heads * a->width, task->rows,
                a->width, 1);
      backward_tile(task, h, dq_rows);
    }
}

static void backward_sequence(kv_task *task, int64_t b, int64_t g, real *const grads[3],
                              const real *grad_out, const real *const inputs[3]) {
  const bam_attention *a = task->a;
  const real *k = inputs[1] + b * a->k[0] + g * a->k[2], *v = inputs[2] + b * a->v[0] + g * a->v[2];
  real *dk = grads[1] + b * a->dk[0] + g * a->dk[2], *dv = grads[2] + b * a->dv[0] + g * a->dv[2];
  for (task->key = 0; task->key < a->time; task->key += EDGE) {
    int64_t at = task->key, rows = smaller(EDGE, a->time - at);
    task->keys = rows;
    load_columns(task->kt, EDGE, k + at * a->k[1], a->k[1], rows, a->width,
                 (real)(a->scale * LOG2_E));
    load_columns(task->vt, EDGE, v + at * a->v[1], a->v[1], rows, a->width, 1);
    load_rows(task->k, task->pitch, EDGE, k + at * a->k[1], a->k[1], rows, a->width,
              (real)a->scale);
    memset(task->dk, 0, (size_t)(2 * EDGE * task->pitch) * sizeof(real));
    prefetch_written(dk + at * a->dk[1], a->dk[1], rows, a->width);
    prefetch_written(dv + at * a->dv[1], a->dv[1], rows, a->width);
    backward_block(task, b, g, grads[0], grad_out, inputs[0]);
    store_rows(dk + at * a->dk[1], a->dk[1], task->dk, task->pitch, rows, a->width, (real)a->scale,
               a->add_dk);
    store_rows(dv + at * a->dv[1], a->dv[1], task->dv, task->pitch, rows, a->width, 1, a->add_dv);
  }
}

void KERNEL(attention_backward)(bam_stream stream, const bam_attention_gradients *args,
                                const bam_attention *a) {
  (void)stream;
  int64_t tasks = a->batch * a->kv_heads;
#pragma omp parallel for schedule(dynamic) num_threads(threads_for(a))
  for (int64_t n = 0; n < tasks; n++) {
    int64_t b = n / a->kv_heads, g = n % a->kv_heads;
    kv_task task = divide_scratch((real *)args->scratch + thread_number() * backward_own(a), a);
    task.first = args->first != NULL ? args->first + b * a->time : NULL;
    task.stats = (const real *)args->stats + 2 * b * a->time * a->heads;
    task.delta = (const real *)args->delta + b * a->time * a->heads;
    backward_sequence(&task, b, g, (real *const[3]){ args->dq, args->dk, args->dv }, args->grad_out,
                      (const real *const[3]){ args->q, args->k, args->v });
  }
}

/* ---- what both passes need beforehand ---- */

void KERNEL(attention_scratch)(bam_stream stream, int64_t *forward, int64_t *backward,
                               const bam_attention *a) {
  (void)stream;
  forward_plan plan = plan_forward(a);
  *forward = a->batch * a->kv_heads * plan.sequence + a->threads * plan.own;
  *backward = a->threads * backward_own(a);
}

void KERNEL(attention_delta)(bam_stream stream, void *delta, const void *o, const void *grad_out,
                             int64_t rows, int64_t width) {
  (void)stream;
  real *to = delta;
  const real *a = o, *b = grad_out;
#pragma omp parallel for schedule(static) if (rows * width > BAM_GRAIN)
  for (int64_t i = 0; i < rows; i++) {
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < width; d++)
      sum += a[i * width + d] * b[i * width + d];
    to[i] = sum;
  }
}

/* The earliest token of t's document. Within a run of equal ids it is the run's first token, so
   that only the starts of runs search. */
static int32_t find_first(const int64_t *documents, const int32_t *first, int64_t t) {
  if (t > 0 && documents[t] == documents[t - 1])
    return first[t - 1];
  for (int64_t j = 0; j < t; j++)
    if (documents[j] == documents[t])
      return (int32_t)j;
  return (int32_t)t;
}

void KERNEL(document_starts)(bam_stream stream, int32_t *first, const int64_t *documents,
                             int64_t batch, int64_t time) {
  (void)stream;
#pragma omp parallel for schedule(static) if (batch * time > BAM_GRAIN)
  for (int64_t b = 0; b < batch; b++)
    for (int64_t t = 0; t < time; t++)
      first[b * time + t] = find_first(documents + b * time, first + b * time, t);
}
