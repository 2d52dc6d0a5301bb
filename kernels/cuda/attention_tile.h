/* Attention on tensor cores: tiles of rows in shared memory, and products of them whose results stay in registers
   (kernels/cuda/tensor_core.h has the layouts). A block of WARPS warps owns rows of queries, or of keys; each warp
   has M x 16 of them and walks tiles of the others, N x 8 at a time, that asynchronous copies bring into one of two
   stages while the other is worked on.

   A tile has rows of `width` bf16 (64 or 128), as pieces of 16 bytes. Piece p of row r is stored in place p ^ r % 8 of
   the row, so that eight rows of a matrix, or eight pieces of a row, lie in different banks. */
#ifndef BAM_CUDA_ATTENTION_TILE_H
#define BAM_CUDA_ATTENTION_TILE_H

#define BAM_TYPE f32 /* cuda.h wants one; nothing here depends on it */
#define BAM_TYPE_f32
#include "cuda.h"

#include "../convert.h"
#include "tensor_core.h"

#define WARPS 4
#define THREADS (WARPS * BAM_WARP)
#define PIECE 8 /* elements of 16 bytes */
#define LOG2_E 1.4426950408889634

/* Two blocks share a multiprocessor of compute capability 9.0, with 228 KB of shared memory; all devices from 8.0 on
   have room for one. */
#define TWO_BLOCKS_FIT(memory) \
  static_assert(2 * (sizeof(memory) + 1024) <= 228 << 10 && sizeof(memory) <= 99 << 10, "memory")

#define BAM_INLINE static __device__ __forceinline__

/* ---- the place of a thread ---- */

BAM_INLINE int own_lane() { return (int)(threadIdx.x % BAM_WARP); }
BAM_INLINE int own_warp() { return (int)(threadIdx.x / BAM_WARP); }

/* Row and column, in a warp's results, of element i of c[m][n]. */
BAM_INLINE int own_row(int m, int i) { return 16 * m + own_lane() / 4 + i / 2 * 8; }
BAM_INLINE int own_column(int n, int i) { return 8 * n + own_lane() % 4 * 2 + i % 2; }

/* Over the four lanes that share a row: their largest number, which is never NaN, and their sum. */
BAM_INLINE float largest_of_row(float x) {
  x = fmaxf(x, __shfl_xor_sync(BAM_ALL_LANES, x, 1));
  return fmaxf(x, __shfl_xor_sync(BAM_ALL_LANES, x, 2));
}

BAM_INLINE float sum_of_row(float x) {
  x += __shfl_xor_sync(BAM_ALL_LANES, x, 1);
  return x + __shfl_xor_sync(BAM_ALL_LANES, x, 2);
}

/* ---- tiles ---- */

/* A head of a sequence; rows are `stride` elements apart. */
template <class T> struct head_of {
  T *at;
  int stride;

  __device__ T *row(int t) const { return at + (int64_t)t * stride; }
};

/* Of a tensor with the strides of a bam_attention. */
template <class T>
BAM_INLINE head_of<T> find_head(T *x, const int64_t stride[3], int64_t batch, int64_t head) {
  return { x + batch * stride[0] + head * stride[2], (int)stride[1] };
}

/* Of a contiguous tensor [B, T, H, width]. */
template <class T>
BAM_INLINE head_of<T> find_result(T *x, const bam_attention &a, int64_t batch, int64_t head) {
  return { x + (batch * a.time * a.heads + head) * a.width, (int)(a.heads * a.width) };
}

template <int width, class T> BAM_INLINE T *piece_of(T *tile, unsigned row, unsigned piece) {
  return tile + row * width + (piece ^ row % 8) * PIECE;
}

/* Begin to copy rows start .. start + rows - 1 of a head of `time` rows; zeros beyond. */
template <int rows, int width>
BAM_INLINE void copy_tile(bf16 *tile, const head_of<const bf16> &head, int start, int time) {
  const int pieces = width / PIECE, step = THREADS / pieces;
  unsigned x = threadIdx.x;
  keep_apart(x);
  const unsigned piece = x % pieces, top = x / pieces;
  const bf16 *from = head.row(start + (int)top) + piece * PIECE;
  static_assert(rows % step == 0 && step % 8 == 0, "every thread keeps to a column of pieces");
  BAM_UNROLL
  for (int r = 0; r < rows; r += step, from += (int64_t)step * head.stride)
    async_copy(piece_of<width>(tile, top, piece) + r * width, from, start + r + (int)top < time);
}

/* ---- operands ---- */

/* Where a lane finds its rows of matrices in a tile, in elements from the first one. Pieces 2 k of a row are reached by
   changing bits of that offset. */
struct lane_offsets {
  unsigned a, b;
};

template <int width> BAM_INLINE lane_offsets find_offsets() {
  const unsigned lane = threadIdx.x % BAM_WARP, row = lane % 8 + lane / 16 * 8;
  return { lane % 16 * width + (lane / 16 ^ lane % 8) * PIECE,
           row * width + (lane / 8 % 2 ^ row % 8) * PIECE };
}

/* Rows row .. row + 15 and columns 16 k .. 16 k + 15 of a tile, as operand A. */
template <int width>
BAM_INLINE void load_a(uint32_t (&a)[4], const bf16 *tile, lane_offsets at, int row, int k) {
  load_matrix<false>(a, tile + (at.a ^ k * (2 * PIECE)) + row * width);
}

/* The transposes of rows row .. row + 15, columns 16 k .., as two operands B of 8 columns each. */
template <int width>
BAM_INLINE void load_b(uint32_t (&b)[4], const bf16 *tile, lane_offsets at, int row, int k) {
  load_matrix<false>(b, tile + (at.b ^ k * (2 * PIECE)) + row * width);
}

/* Rows row .. row + 15, columns 16 n .. 16 n + 15, as two operands B. */
template <int width>
BAM_INLINE void load_b_rows(uint32_t (&b)[4], const bf16 *tile, lane_offsets at, int row, int n) {
  load_matrix<true>(b, tile + (at.a ^ n * (2 * PIECE)) + row * width);
}

/* Results rounded to bf16, as operands A. */
template <int M, int N>
BAM_INLINE void pack_operand(uint32_t (&a)[M][N / 2][4], const float (&c)[M][N][4]) {
  BAM_UNROLL
  for (int m = 0; m < M; m++)
    BAM_UNROLL
  for (int n = 0; n < N; n++) {
    a[m][n / 2][n % 2 * 2] = pack_bf16(c[m][n][0], c[m][n][1]);
    a[m][n / 2][n % 2 * 2 + 1] = pack_bf16(c[m][n][2], c[m][n][3]);
  }
}

/* ---- products ---- */

template <int M, int N> BAM_INLINE void clear(float (&c)[M][N][4]) {
  BAM_UNROLL
  for (int m = 0; m < M; m++)
    BAM_UNROLL
  for (int n = 0; n < N; n++)
    BAM_UNROLL
  for (int i = 0; i < 4; i++)
    c[m][n][i] = 0;
}

/* Columns 16 k .. 16 k + 15 of both operands, those of `a` loaded. */
template <int width, int M, int N>
BAM_INLINE void multiply_step(float (&c)[M][N][4], const uint32_t (&a)[M][4], const bf16 *tile,
                              lane_offsets at, int k) {
  BAM_UNROLL
  for (int n = 0; n < N; n += 2) {
    uint32_t b[4];
    load_b<width>(b, tile, at, 8 * n, k);
    BAM_UNROLL
    for (int m = 0; m < M; m++) {
      mma_16816(c[m][n], a[m], b[0], b[1]);
      mma_16816(c[m][n + 1], a[m], b[2], b[3]);
    }
  }
}

/* c[i][j] = row i of `a` times row j of `b`. */
template <int width, int M, int N>
BAM_INLINE void multiply_rows(float (&c)[M][N][4], const bf16 *a, const bf16 *b, lane_offsets at) {
  clear(c);
  keep_apart(at.a);
  keep_apart(at.b);
  BAM_UNROLL
  for (int k = 0; k < width / 16; k++) {
    uint32_t x[M][4];
    BAM_UNROLL
    for (int m = 0; m < M; m++)
      load_a<width>(x[m], a, at, 16 * m, k);
    multiply_step<width>(c, x, b, at, k);
  }
}

/* sum[i][j] += row i of the operand times column j of the rows of the tile. */
template <int width, int M, int K>
BAM_INLINE void add_product(float (&sum)[M][width / 8][4], const uint32_t (&a)[M][K][4],
                            const bf16 *tile, lane_offsets at) {
  keep_apart(at.a);
  BAM_UNROLL
  for (int n = 0; n < width / 8; n += 2)
    BAM_UNROLL
  for (int k = 0; k < K; k++) {
    uint32_t b[4];
    load_b_rows<width>(b, tile, at, 16 * k, n / 2);
    BAM_UNROLL
    for (int m = 0; m < M; m++) {
      mma_16816(sum[m][n], a[m][k], b[0], b[1]);
      mma_16816(sum[m][n + 1], a[m][k], b[2], b[3]);
    }
  }
}

/* ---- results ---- */

BAM_INLINE uint32_t *pair_at(bf16 *row, int column) { return (uint32_t *)(row + column); }

BAM_INLINE float first_of_pair(uint32_t pair) { return __uint_as_float(pair << 16); }
BAM_INLINE float second_of_pair(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

/* Multiply a warp's results by `factor`, and add what is in the head's rows from `start` on. */
template <int M, int N>
BAM_INLINE void add_stored(float (&c)[M][N][4], const head_of<bf16> &head, int start, int time,
                           float factor, bool add) {
  BAM_UNROLL
  for (int m = 0; m < M; m++)
    BAM_UNROLL
  for (int i = 0; i < 4; i += 2) {
    const int row = start + own_row(m, i);
    BAM_UNROLL
    for (int n = 0; n < N; n++) {
      uint32_t old = 0;
      if (add && row < time)
        old = *pair_at(head.row(row), own_column(n, i));
      c[m][n][i] = fmaf(c[m][n][i], factor, first_of_pair(old));
      c[m][n][i + 1] = fmaf(c[m][n][i + 1], factor, second_of_pair(old));
    }
  }
}

/* Write a warp's results as rows `start` .. of the head, 16 bytes at a time: they pass through the rows `tile` .. of
   shared memory, which no other warp uses. */
template <int width, int M>
BAM_INLINE void store_rows(bf16 *tile, const float (&c)[M][width / 8][4], const head_of<bf16> &head,
                           int start, int time) {
  const int pieces = width / PIECE, step = BAM_WARP / pieces, lane = own_lane();
  __syncwarp();
  BAM_UNROLL
  for (int m = 0; m < M; m++)
    BAM_UNROLL
  for (int n = 0; n < width / 8; n++)
    BAM_UNROLL
  for (int i = 0; i < 4; i += 2)
    *pair_at(piece_of<width>(tile, own_row(m, i), n), own_column(0, 0)) = pack_bf16(c[m][n][i],
                                                                                    c[m][n][i + 1]);
  __syncwarp();
  BAM_UNROLL
  for (int r = 0; r < 16 * M; r += step) {
    const int row = r + lane / pieces, piece = lane % pieces;
    if (start + row < time)
      *(uint4 *)(head.at + (int64_t)(start + row) * head.stride +
                 piece * PIECE) = *(const uint4 *)piece_of<width>(tile, row, piece);
  }
}

/* ---- which keys a query sees ---- */

/* The document of token `t` of a sequence, by its first token: one for all without documents, none beyond the end. */
BAM_INLINE int32_t document_of(const int32_t *first, int t, int time) {
  return t >= time ? INT32_MAX : first != NULL ? first[t] : 0;
}

BAM_INLINE const int32_t *documents_of(const int32_t *first, int64_t batch, int64_t time) {
  return first != NULL ? first + batch * time : NULL;
}

/* Row i of a warp's tile and column j see each other if after < j - i <= until and their documents are one. */
struct span {
  int after, until;
};

/* Rows are queries from `query` on, columns keys from `key` on; or the other way round. */
BAM_INLINE span span_of_queries(int query, int key, int window) {
  return { query - key - window, query - key };
}
BAM_INLINE span span_of_keys(int key, int query, int window) {
  return { key - query - 1, key - query + window - 1 };
}

/* Whether any, or all, of `rows` rows and `columns` columns see each other, documents aside. */
BAM_INLINE bool any_in_span(span s, int rows, int columns) {
  return columns - 1 > s.after && 1 - rows <= s.until;
}
BAM_INLINE bool all_in_span(span s, int rows, int columns) {
  return 1 - rows > s.after && columns - 1 <= s.until;
}

/* Give the scores of rows and columns that do not see each other weights of 0; their documents are in shared memory. */
template <int M, int N>
BAM_INLINE void mask_scores(float (&c)[M][N][4], const int32_t *rows, const int32_t *columns,
                            span s) {
  BAM_UNROLL
  for (int h = 0; h < 2 * M; h++) {
    unsigned lane = threadIdx.x % BAM_WARP;
    keep_apart(lane);
    const int row = (int)(lane / 4) + 8 * h, column = (int)(lane % 4 * 2);
    const int after = s.after + row - column, until = s.until + row - column;
    const int32_t document = rows[row];
    BAM_UNROLL
    for (int n = 0; n < N; n++) {
      const int2 documents = *(const int2 *)(columns + column + 8 * n);
      BAM_UNROLL
      for (int i = 0; i < 2; i++) {
        const bool seen = (8 * n + i > after) & (8 * n + i <= until) &
                          ((i == 0 ? documents.x : documents.y) == document);
        float &score = c[h / 2][n][h % 2 * 2 + i];
        score = seen ? score : -INFINITY;
      }
    }
  }
}

/* ---- the block ---- */

/* The largest number of a thread of the block. */
template <int warps> BAM_INLINE int largest_of_block(int x, int (&parts)[warps]) {
  for (int step = BAM_WARP / 2; step > 0; step /= 2)
    x = max(x, __shfl_xor_sync(BAM_ALL_LANES, x, step));
  if (own_lane() == 0)
    parts[own_warp()] = x;
  __syncthreads();
  for (int w = 0; w < warps; w++)
    x = max(x, parts[w]);
  return x;
}

/* Of a block's rows: their documents, the only one if they have one, else -1, and the earliest. */
template <int rows, int warps = WARPS> struct block_documents {
  int32_t of[rows];
  int parts[warps];
};

struct document_range {
  int32_t only, earliest;
};

/* Of rows start .. start + rows - 1. Begins a use of the shared memory, and ends with a barrier. */
template <int rows, int warps>
BAM_INLINE document_range load_documents(block_documents<rows, warps> &shared, const int32_t *first,
                                         int start, int time) {
  const int x = (int)threadIdx.x;
  static_assert(rows <= warps * BAM_WARP, "one for each thread");
  const int32_t own = x < rows ? document_of(first, start + x, time) : INT32_MAX;
  const int32_t document = document_of(first, start, time);
  if (x < rows)
    shared.of[x] = own;
  const int earliest = -largest_of_block(-own, shared.parts);
  const bool one = __syncthreads_and(own == document || own == INT32_MAX);
  return { one ? document : -1, earliest };
}

/* ---- walking keys ---- */

template <int keys, int width> struct __align__(16) key_stage {
  bf16 k[keys * width], v[keys * width];
  int32_t first[keys];
};

/* The work of a block of queries, start .. end - 1 of a head, and what it walks on. Kept in shared memory, as registers
   are needed for results. */
struct key_walk {
  int batch, head, start, end, time;
  int32_t only; /* the document of the queries */
  head_of<const bf16> k, v;
  const int32_t *first; /* of the sequence */
};

/* Block n has a tile of queries, from the one with the most to walk on, then of heads, then of sequences. */
template <int queries>
BAM_INLINE key_walk find_walk(int n, const bam_attention &a, const bf16 *k, const bf16 *v,
                              const int32_t *first) {
  const int time = (int)a.time, tiles = (time + queries - 1) / queries, heads = (int)a.heads;
  const int batch = n / tiles / heads, head = n / tiles % heads;
  const int start = (tiles - 1 - n % tiles) * queries, group = heads / (int)a.kv_heads;
  return { batch,
           head,
           start,
           min(start + queries, time),
           time,
           -1,
           find_head(k, a.k, batch, head / group),
           find_head(v, a.v, batch, head / group),
           documents_of(first, batch, a.time) };
}

/* Begin to bring keys key .. to a stage; returns the document of the thread's one. */
template <int keys, int width>
BAM_INLINE int32_t begin_keys(key_stage<keys, width> &to, const key_walk &walk, int key) {
  const int x = (int)threadIdx.x;
  copy_tile<keys, width>(to.k, walk.k, key, walk.time);
  copy_tile<keys, width>(to.v, walk.v, key, walk.time);
  return x < keys ? document_of(walk.first, key + x, walk.time) : 0;
}

/* Wait until the stage has arrived, and all threads have left the other one. Whether its keys and the block's queries
   are of one document. */
template <int keys, int width>
BAM_INLINE bool finish_keys(key_stage<keys, width> &stage, const key_walk &walk, int32_t document) {
  const int x = (int)threadIdx.x;
  async_wait<0>();
  if (x < keys)
    stage.first[x] = document;
  return __syncthreads_and(x >= keys || document == walk.only);
}

/* ---- what backward knows of a query ---- */

/* The weights of a query are 2^(score - lse), lse being in base 2. */
struct query_stats {
  float lse, delta;
};

/* From the members `stats` and `delta` of a kernel's arguments. Queries beyond the end have weights 0. */
template <class arguments>
BAM_INLINE query_stats load_stats(const arguments &p, const bam_attention &a, int64_t batch,
                                  int64_t head, int query) {
  if (query >= a.time)
    return { INFINITY, 0 };
  const int64_t at = (batch * a.time + query) * a.heads + head;
  const float2 stats = *(const float2 *)(p.stats + 2 * at);
  return { stats.x - log2f(stats.y), p.delta[at] };
}

#endif
