/* Causal attention, backward: the weights again from stats, then the gradients of the scores. Two
   kernels write without adding up between blocks: one owns TILE queries and walks the keys that
   they see, for dq; the other owns TILE keys and walks the queries that see them, of all heads that
   share the key head, for dk and dv. Tiles and products are those of attention.h. */
#include "attention.h"
#include "attention_hopper.h"
#include "attention_mma.h"

typedef struct gradients {
  element *dq, *dk, *dv;
  const element *grad_out, *q, *k, *v;
  const real *stats, *delta;
  const int32_t *first;
} gradients;

static __device__ __forceinline__ const int32_t *documents_of(const gradients &p, int64_t batch,
                                                              int64_t time) {
  return p.first != NULL ? p.first + batch * time : NULL;
}

/* The tile of gradients of the results that begins at query `start`. */
static __device__ __forceinline__ head_rows grad_out_rows(const gradients &p,
                                                          const bam_attention &a, int64_t batch,
                                                          int64_t head, int64_t start) {
  const element *rows = p.grad_out + (batch * a.time * a.heads + head) * a.width;
  return tile_rows(rows, a.heads * a.width, start, a.time);
}

/* What is known of each query of the tile. Returns whether one may see keys before `end`, for the
   thread's own query. */
static __device__ __forceinline__ bool load_queries(tile_memory &m, const gradients &p,
                                                    const bam_attention &a, int64_t batch,
                                                    int64_t head, int64_t start, int64_t end) {
  const int x = threadIdx.x;
  if (x >= TILE)
    return false;
  const int64_t t = start + x, at = (batch * a.time + t) * a.heads + head;
  m.query_first[x] = document_of(documents_of(p, batch, a.time), t, a.time);
  m.most[x] = t < a.time ? p.stats[2 * at] : (real)0;
  m.part[x] = t < a.time ? p.stats[2 * at + 1] : (real)0;
  m.delta[x] = t < a.time ? p.delta[at] : (real)0;
  return m.query_first[x] < end && t + 1 - a.window < end;
}

static __device__ __forceinline__ void load_keys(tile_memory &m, const gradients &p, int64_t batch,
                                                 int64_t start, int64_t time) {
  const int x = threadIdx.x;
  if (x < TILE)
    m.key_first[x] = document_of(documents_of(p, batch, time), start + x, time);
}

/* Weights from scores. Rows of the tile are queries, or keys. */
template <bool queries, int rows>
static __device__ __forceinline__ void weigh(tile_memory &m, const real (&scores)[rows][SCORES],
                                             real factor, tile_span span) {
  BAM_UNROLL
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < SCORES; j++) {
      const int row = own_row<rows>(i), column = own_column(j);
      const int query = queries ? row : column, key = queries ? column : row;
      const real weight = REAL_MATH(exp2)(scores[i][j] * factor - m.most[query]) * m.part[query];
      m.weights[row * SCORE_PITCH + column] = visible(m, query, key, span) ? weight : (real)0;
    }
}

/* From weights, and the gradients of the weights, to the gradients of the scores; each thread has
   written the weights that it reads. */
template <bool queries, int rows>
static __device__ __forceinline__ void differentiate(tile_memory &m,
                                                     const real (&grads)[rows][SCORES]) {
  BAM_UNROLL
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < SCORES; j++) {
      const int row = own_row<rows>(i), column = own_column(j);
      real &weight = m.weights[row * SCORE_PITCH + column];
      if (weight != 0)
        weight *= grads[i][j] - m.delta[queries ? row : column];
    }
}

template <int rows, int columns>
static __global__ void __launch_bounds__(THREADS(rows), BLOCKS(rows))
  find_dq(bam_attention a, gradients p) {
  BAM_SHARED(tile_memory, memory, 1);
  tile_memory &m = memory[0];
  BAM_EACH_ROW(n, a.batch * a.heads * TILES(a.time) * PARTS(a.width, columns)) {
    const tile_task task = find_task(n, a, a.heads, columns, true);
    const int64_t b = task.batch, h = task.head, g = h / (a.heads / a.kv_heads);
    const head_rows q = tile_rows(head_at(p.q, a.q, b, h), a.q[1], task.start, a.time);
    const head_rows grad_out = grad_out_rows(p, a, b, h, task.start);
    real dq[rows][columns] = {};
    __syncthreads();
    load_queries(m, p, a, b, h, task.start, 0);
    __syncthreads();
    for (int64_t key = earliest_key(m, task.start, a.window) / TILE * TILE; key <= task.start;
         key += TILE) {
      const head_rows k = tile_rows(head_at(p.k, a.k, b, g), a.k[1], key, a.time);
      const head_rows v = tile_rows(head_at(p.v, a.v, b, g), a.v[1], key, a.time);
      real scores[rows][SCORES];
      load_keys(m, p, b, key, a.time);
      multiply_rows(scores, m.slices, q, k, a.width);
      weigh<true>(m, scores, (real)(a.scale * LOG2_E), span_of(task.start, key, a.window));
      multiply_rows(scores, m.slices, grad_out, v, a.width);
      differentiate<true>(m, scores);
      add_product(dq, m.weights, m.slices, k, task.from, a.width);
    }
    store_rows(head_at(p.dq, a.dq, b, h) + task.start * a.dq[1], a.dq[1], dq, q.count, task.from,
               a.width, (real)a.scale, a.add_dq);
  }
}

template <int rows, int columns>
static __global__ void __launch_bounds__(THREADS(rows), BLOCKS(rows))
  find_dk_dv(bam_attention a, gradients p) {
  BAM_SHARED(tile_memory, memory, 1);
  tile_memory &m = memory[0];
  const int64_t group = a.heads / a.kv_heads;
  BAM_EACH_ROW(n, a.batch * a.kv_heads * TILES(a.time) * PARTS(a.width, columns)) {
    const tile_task task = find_task(n, a, a.kv_heads, columns, false);
    const int64_t b = task.batch, g = task.head, key = task.start;
    const head_rows k = tile_rows(head_at(p.k, a.k, b, g), a.k[1], key, a.time);
    const head_rows v = tile_rows(head_at(p.v, a.v, b, g), a.v[1], key, a.time);
    real dk[rows][columns] = {}, dv[rows][columns] = {};
    __syncthreads();
    load_keys(m, p, b, key, a.time);
    for (int64_t h = g * group; h < (g + 1) * group; h++)
      for (int64_t query = key; query < a.time; query += TILE) {
        if (!__syncthreads_or(load_queries(m, p, a, b, h, query, key + TILE)))
          continue;
        const head_rows q = tile_rows(head_at(p.q, a.q, b, h), a.q[1], query, a.time);
        const head_rows grad_out = grad_out_rows(p, a, b, h, query);
        real scores[rows][SCORES];
        multiply_rows(scores, m.slices, k, q, a.width);
        weigh<false>(m, scores, (real)(a.scale * LOG2_E), span_of(query, key, a.window));
        add_product(dv, m.weights, m.slices, grad_out, task.from, a.width);
        multiply_rows(scores, m.slices, v, grad_out, a.width);
        differentiate<false>(m, scores);
        add_product(dk, m.weights, m.slices, q, task.from, a.width);
      }
    store_rows(head_at(p.dk, a.dk, b, g) + key * a.dk[1], a.dk[1], dk, k.count, task.from, a.width,
               (real)a.scale, a.add_dk);
    store_rows(head_at(p.dv, a.dv, b, g) + key * a.dv[1], a.dv[1], dv, k.count, task.from, a.width,
               (real)1, a.add_dv);
  }
}

#define BACKWARD(kernel, heads, rows, columns)                                            \
  BAM_LAUNCH(stream, (kernel<rows, columns>),                                             \
             BAM_ROW_BLOCKS(a->batch *(heads)*TILES(a->time) * PARTS(a->width, columns)), \
             THREADS(rows), 0, *a, p)

void KERNEL(attention_backward)(bam_stream stream, const bam_attention_gradients *args,
                                const bam_attention *a) {
  const gradients p = { (element *)args->dq,       (element *)args->dk,
                        (element *)args->dv,       (const element *)args->grad_out,
                        (const element *)args->q,  (const element *)args->k,
                        (const element *)args->v,  (const real *)args->stats,
                        (const real *)args->delta, args->first };
  if (IS_BF16 && bam_cuda_attention_mma_backward_fits(stream, args, a)) {
    if (!bam_cuda_attention_hopper_chosen(stream) ||
        !bam_cuda_attention_hopper_backward(stream, args, a))
      bam_cuda_attention_mma_backward(stream, args, a);
  } else if (a->width <= 4 * ACROSS) {
    BACKWARD(find_dq, a->heads, MOST_ROWS, 4);
    BACKWARD(find_dk_dv, a->kv_heads, MOST_ROWS, 4);
  } else {
    BACKWARD(find_dq, a->heads, 4, MOST_COLUMNS);
    BACKWARD(find_dk_dv, a->kv_heads, 4, MOST_COLUMNS);
  }
}
