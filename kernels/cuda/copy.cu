/* Copies and fills within one dtype. The dimensions of a copy may be visited in any order: the one
   along which y lies together becomes the innermost, and where x lies together along another one,
   square tiles are turned around in shared memory, so that both sides are accessed in whole
   lines. */
#include "walk.h"

/* ---- fill ---- */

template <class T> struct always {
  T value;
  __device__ T operator()() const { return value; }
};

/* Whether all bytes of `value` are the same. */
static bool is_one_byte(const element *value) {
  const unsigned char *byte = (const unsigned char *)value;
  for (size_t i = 1; i < sizeof *value; i++)
    if (byte[i] != byte[0])
      return false;
  return true;
}

void KERNEL(fill)(bam_stream stream, const bam_loop *loop, void *y, double value) {
  const always<element> f = { element_of(value) };
  const int64_t n = loop_count(loop);
  if (loop->ndim != 1 || loop->stride[0][0] != 1 || !is_one_byte(&f.value))
    walk(stream, loop, f, (element *)y);
  else if (n > 0 && bam_cuda_enter(stream))
    bam_cuda_note(stream, "fill",
                  cudaMemsetAsync(y, *(const unsigned char *)&f.value, (size_t)n * sizeof(element),
                                  stream->queue));
}

/* ---- copy ---- */

template <class T> struct itself {
  __device__ T operator()(T x) const { return x; }
};

static void swap_dimensions(bam_loop *loop, int a, int b) {
  const int64_t size = loop->size[a];
  loop->size[a] = loop->size[b];
  loop->size[b] = size;
  for (int k = 0; k < 2; k++) {
    const int64_t stride = loop->stride[k][a];
    loop->stride[k][a] = loop->stride[k][b];
    loop->stride[k][b] = stride;
  }
}

/* The last dimension along which operand k lies together, or the innermost. */
static int unit_dimension(const bam_loop *loop, int k) {
  for (int d = loop->ndim - 1; d >= 0; d--)
    if (loop->stride[k][d] == 1)
      return d;
  return loop->ndim - 1;
}

#define TILE BAM_WARP
#define TILE_ROWS (BAM_BLOCK / TILE) /* that a block moves at once */

/* y[i, j] = x[i, j] for matrices of which y lies together along j and x along i. */
typedef struct matrices {
  bam_loop outer;                 /* where they begin; it may have no dimensions */
  int64_t count;                  /* of matrices */
  int64_t rows, columns;          /* i and j */
  int64_t y_stride, x_stride;     /* along i and j */
  int64_t tiles_down, tiles_over; /* in one matrix */
} matrices;

static __global__ void copy_tiles(matrices all, element *y, const element *x) {
  BAM_SHARED(element, part, TILE * (TILE + 1));
  const int64_t along = threadIdx.x % TILE, across = threadIdx.x / TILE;
  const int64_t per_matrix = all.tiles_down * all.tiles_over;
  BAM_EACH_ROW(tile, all.count * per_matrix) {
    const int64_t first_row = tile % per_matrix / all.tiles_over * TILE;
    const int64_t first_column = tile % all.tiles_over * TILE;
    int64_t at[2];
    place<2, false>(all.outer, all.count, tile / per_matrix, at);
    __syncthreads(); /* the last tile has been written */
    for (int64_t c = across; c < TILE; c += TILE_ROWS) {
      const int64_t i = first_row + along, j = first_column + c;
      if (i < all.rows && j < all.columns)
        part[c * (TILE + 1) + along] = x[at[1] + i + j * all.x_stride];
    }
    __syncthreads();
    for (int64_t r = across; r < TILE; r += TILE_ROWS) {
      const int64_t i = first_row + r, j = first_column + along;
      if (i < all.rows && j < all.columns)
        y[at[0] + i * all.y_stride + j] = part[along * (TILE + 1) + r];
    }
  }
}

static void copy_matrices(bam_stream stream, const bam_loop *loop, element *y, const element *x) {
  const int i = loop->ndim - 2, j = loop->ndim - 1;
  matrices all = { *loop, 1, loop->size[i], loop->size[j], loop->stride[0][i], loop->stride[1][j],
                   0,     0 };
  all.outer.ndim = loop->ndim - 2;
  all.count = loop_count(&all.outer);
  all.tiles_down = (all.rows + TILE - 1) / TILE;
  all.tiles_over = (all.columns + TILE - 1) / TILE;
  BAM_LAUNCH(stream, copy_tiles, BAM_ROW_BLOCKS(all.count * all.tiles_down * all.tiles_over),
             BAM_BLOCK, 0, all, y, x);
}

#define WIDE (int64_t)(sizeof(uint4) / sizeof(element))

/* When both operands lie together along the innermost dimension: the loop over pieces of 16 bytes;
   false where some piece would not be aligned. */
static bool widen(bam_loop *loop, const element *y, const element *x) {
  const int inner = loop->ndim - 1;
  bool fits = (uintptr_t)y % sizeof(uint4) == 0 && (uintptr_t)x % sizeof(uint4) == 0 &&
              loop->size[inner] % WIDE == 0;
  for (int k = 0; k < 2; k++) {
    fits = fits && loop->stride[k][inner] == 1;
    for (int d = 0; d < inner; d++)
      fits = fits && loop->stride[k][d] % WIDE == 0;
  }
  for (int d = 0; fits && d < inner; d++)
    for (int k = 0; k < 2; k++)
      loop->stride[k][d] /= WIDE;
  if (fits)
    loop->size[inner] /= WIDE;
  return fits;
}

static bool is_transposed(const bam_loop *loop, int x_unit) {
  const int inner = loop->ndim - 1;
  return x_unit != inner && loop->stride[0][inner] == 1 && loop->size[x_unit] >= TILE / 2 &&
         loop->size[inner] >= TILE / 2;
}

static void copy_line(bam_stream stream, int64_t n, element *y, const element *x) {
  if (n > 0 && bam_cuda_enter(stream))
    bam_cuda_note(
      stream, "copy",
      cudaMemcpyAsync(y, x, (size_t)n * sizeof(element), cudaMemcpyDeviceToDevice, stream->queue));
}

void KERNEL(copy)(bam_stream stream, const bam_loop *loop_, void *y_, const void *x_) {
  element *y = (element *)y_;
  const element *x = (const element *)x_;
  bam_loop loop = *loop_;
  const int inner = loop.ndim - 1;
  swap_dimensions(&loop, unit_dimension(&loop, 0), inner);
  const int x_unit = unit_dimension(&loop, 1);
  if (loop.ndim == 1 && loop.stride[0][0] == 1 && loop.stride[1][0] == 1) {
    copy_line(stream, loop.size[0], y, x);
  } else if (is_transposed(&loop, x_unit)) {
    swap_dimensions(&loop, x_unit, inner - 1);
    copy_matrices(stream, &loop, y, x);
  } else if (widen(&loop, y, x)) {
    walk(stream, &loop, itself<uint4>(), (uint4 *)y, (const uint4 *)x);
  } else {
    walk(stream, &loop, itself<element>(), y, x);
  }
}
