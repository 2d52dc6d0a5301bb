/* Tensors of bf16 as codes of FP8 (kernels/fp8.h): the largest magnitude in one pass over the tensor, then the codes in
   a second, as they lie and transposed, because cuBLASLt multiplies FP8 along contiguous elements only. Between the
   passes are partial maxima, which every block of the second reduces for itself: nothing waits for the host, and a
   maximum does not depend on an order. Sizes are multiples of BAM_FP8_MULTIPLE. */
#define BAM_TYPE bf16
#define BAM_TYPE_bf16
#include "fp8.h"

#include "pack.h"

#define ELEMENTS_PER_PART 8192 /* of a tensor that has fewer than BAM_FP8_PARTS of them */
#define TILE 64                /* rows and columns of a tile */
#define CODES 16               /* of a thread, one access */
#define TILE_WORDS \
  (TILE / 4 + 1) /* per row; odd, so that a column's words lie in different banks */

static int parts_of(int64_t elements) {
  return (int)bam_blocks(elements, ELEMENTS_PER_PART, BAM_FP8_PARTS);
}

/* ---- the largest magnitude ---- */

template <int width>
static __global__ void find_amax(uint32_t *parts, const element *x, int64_t packs, int64_t per_row,
                                 int64_t ld) {
  uint32_t most = 0;
  BAM_EACH(i, packs) {
    const int64_t row = row_of(i, per_row);
    const auto p = load_pack<width>(x + row * ld + (i - row * per_row) * width);
    BAM_EACH_IN_PACK(k) {
      const uint32_t magnitude = p.at[k].stored.bits & 0x7fffu; /* as integers: NaN is largest */
      most = most < magnitude ? magnitude : most;
    }
  }
  most = block_max(most);
  if (threadIdx.x == 0)
    parts[blockIdx.x] = most << 16;
}

template <int width>
static void launch_amax(bam_stream stream, uint32_t *parts, const element *x, int64_t rows,
                        int64_t columns, int64_t ld) {
  const int64_t elements = rows * columns;
  BAM_LAUNCH(stream, (find_amax<width>), (unsigned)parts_of(elements), BAM_BLOCK, 0, parts, x,
             elements / width, (ld == columns ? elements : columns) / width, ld);
}

void bam_cuda_fp8_amax(bam_stream stream, uint32_t *parts, const void *x, int64_t rows,
                       int64_t columns, int64_t ld) {
  if (pack_aligned(x) && ld % PACK == 0)
    launch_amax<PACK>(stream, parts, (const element *)x, rows, columns, ld);
  else
    launch_amax<1>(stream, parts, (const element *)x, rows, columns, ld);
}

/* ---- codes ---- */

struct codes {
  uint32_t words[CODES / 4];
};

template <bam_fp8_format format>
static __device__ float find_scale(const bam_fp8_quantize &q, int n_parts) {
  uint32_t most = 0;
  if (q.parts == NULL)
    return bam_fp8_inverse(*q.inverse);
  for (int i = (int)threadIdx.x; i < n_parts; i += (int)blockDim.x)
    most = most < q.parts[i] ? q.parts[i] : most;
  return bam_fp8_scale(block_max(most), format);
}

template <int width, bam_fp8_format format>
static __device__ __forceinline__ codes encode(const element *x, float scale) {
  codes c;
  real numbers[CODES];
  BAM_UNROLL
  for (int i = 0; i < CODES; i += width) {
    const auto p = load_pack<width>(x + i);
    BAM_EACH_IN_PACK(k) numbers[i + k] = p.at[k] * scale;
  }
  BAM_UNROLL
  for (int i = 0; i < CODES; i += 4)
    c.words[i / 4] = bam_to_fp8_pair(numbers[i], numbers[i + 1], format) |
                     bam_to_fp8_pair(numbers[i + 2], numbers[i + 3], format) << 16;
  return c;
}

static __device__ __forceinline__ void store_codes(uint8_t *to, const codes &c) {
  BAM_STORE_16(to, make_uint4(c.words[0], c.words[1], c.words[2], c.words[3]));
}

/* The codes of a column of the tile, from row `first` on. */
static __device__ __forceinline__ codes take_column(const uint32_t *tile, int column, int first) {
  const int shift = column % 4 * 8;
  codes c = {};
  BAM_UNROLL
  for (int i = 0; i < CODES; i++) {
    const uint32_t word = tile[(first + i) * TILE_WORDS + column / 4];
    c.words[i / 4] |= (word >> shift & 0xffu) << (i % 4 * 8);
  }
  return c;
}

/* Two neighbouring threads write 32 bytes of a row of the transpose: a whole sector. */
static __device__ void write_transposed(const bam_fp8_quantize &q, const uint32_t *tile,
                                        int64_t row, int64_t column) {
  const int pair = (int)threadIdx.x / 2, first = (pair / TILE * 2 + (int)threadIdx.x % 2) * CODES;
  if (row + first < q.rows && column + pair % TILE < q.columns)
    store_codes(q.transposed + (column + pair % TILE) * q.rows + row + first,
                take_column(tile, pair % TILE, first));
}

/* The tile at (row, column): a thread encodes 16 elements of a row, and writes 16 of a column. */
template <int width, bam_fp8_format format>
static __device__ void quantize_tile(const bam_fp8_quantize &q, uint32_t *tile, float scale,
                                     int64_t row, int64_t column) {
  const int own_row = (int)threadIdx.x / (TILE / CODES);
  const int own_column = (int)threadIdx.x % (TILE / CODES) * CODES;
  const int64_t r = row + own_row, c = column + own_column;
  if (r < q.rows && c < q.columns) {
    const codes own = encode<width, format>((const element *)q.x + r * q.ld + c, scale);
    if (q.y != NULL)
      store_codes(q.y + r * q.columns + c, own);
    BAM_UNROLL
    for (int i = 0; i < CODES / 4; i++)
      tile[own_row * TILE_WORDS + own_column / 4 + i] = own.words[i];
  }
  if (q.transposed == NULL)
    return;
  __syncthreads();
  write_transposed(q, tile, row, column);
  __syncthreads();
}

template <int width, bam_fp8_format format>
static __global__ void quantize(bam_fp8_quantize q, int n_parts) {
  BAM_SHARED(uint32_t, tile, TILE * TILE_WORDS);
  const float scale = find_scale<format>(q, n_parts);
  const int64_t across = (q.columns + TILE - 1) / TILE, tiles = (q.rows + TILE - 1) / TILE * across;
  if (q.parts != NULL && blockIdx.x == 0 && threadIdx.x == 0)
    *q.inverse = bam_fp8_inverse(scale);
  BAM_EACH_ROW(i, tiles)
  quantize_tile<width, format>(q, tile, scale, i / across * TILE, i % across * TILE);
}

template <int width, bam_fp8_format format>
static void launch_quantize(bam_stream stream, const bam_fp8_quantize *q) {
  const int64_t across = (q->columns + TILE - 1) / TILE, down = (q->rows + TILE - 1) / TILE;
  BAM_LAUNCH(stream, (quantize<width, format>), BAM_ROW_BLOCKS(across * down), TILE * TILE / CODES,
             0, *q, parts_of(q->rows * q->columns));
}

void bam_cuda_fp8_quantize(bam_stream stream, const bam_fp8_quantize *q) {
  const bool packed = pack_aligned((const char *)q->x) && q->ld % PACK == 0;
  if (q->format == BAM_E4M3)
    (packed ? launch_quantize<PACK, BAM_E4M3> : launch_quantize<1, BAM_E4M3>)(stream, q);
  else
    (packed ? launch_quantize<PACK, BAM_E5M2> : launch_quantize<1, BAM_E5M2>)(stream, q);
}
