/* Attention for compute capability 9.0: what its passes share. A block has a warpgroup that brings tiles, and others
   that own 64 rows each and walk them. A tile has boxes of 64 columns side by side, each of all rows, as copies bring
   them and products of warpgroups want them (kernels/cuda/hopper.h). */
#ifndef BAM_CUDA_ATTENTION_GROUP_H
#define BAM_CUDA_ATTENTION_GROUP_H

#include "attention_tile.h"
#include "hopper.h"

#define GROUP (4 * BAM_WARP)
#define GROUP_ROWS 64
#define STAGES 2
#define BOX 64
#define EIGHT_ROWS 1024 /* bytes of a box */

/* A block with `groups` groups that own rows: a multiprocessor has room for one. Registers of a thread: at the start,
   of the group that brings tiles, and of the others, which take what it leaves. */
template <int groups, int bringers> struct block_shape {
  static const int threads = (1 + groups) * GROUP, warps = threads / BAM_WARP;
  static const int owners = 4 * groups; /* warps */
  static const int rows = groups * GROUP_ROWS;
  static const int registers = groups == 2 ? 168 : 128;
  static const int fewer = bringers, more = registers + (registers - fewer) / groups / 8 * 8;
  static_assert(registers * threads <= 65536 && more <= 240, "what a multiprocessor has");
};

/* The number of a group that owns rows. */
BAM_INLINE int own_group() { return own_warp() / 4 - 1; }

/* ---- tiles ---- */

/* One thread begins to bring rows start .. of a head, and expects their bytes at the barrier. */
template <int rows, int width>
BAM_INLINE void begin_tile(bf16 *tile, const tensor_map &map, int start, int head, int batch,
                           uint64_t *full) {
  barrier_expect(full, rows * width * 2);
  for (int c = 0; c < width; c += BOX)
    tensor_copy(tile + c * rows, map, c, start, head, batch, full);
}

/* All lanes of the warp are done with a stage. */
BAM_INLINE void leave(uint64_t *empty) {
  __syncwarp();
  if (own_lane() == 0)
    barrier_arrive(empty);
}

/* What two own tiles, and stages of two tiles and what is known of their rows, need. */
struct stage_barriers {
  uint64_t own_full, full[STAGES], empty[STAGES];
};

/* One thread, before the block meets; `owners` warps leave each stage. */
BAM_INLINE void init_stages(stage_barriers &barriers, int owners) {
  barrier_init(&barriers.own_full, 2);
  for (int s = 0; s < STAGES; s++) {
    barrier_init(&barriers.full[s], 3);
    barrier_init(&barriers.empty[s], owners);
  }
  barriers_ready();
}

BAM_INLINE void wait_for_stage(stage_barriers &barriers, int turn) {
  barrier_wait(&barriers.full[turn % STAGES], (unsigned)(turn / STAGES));
}
BAM_INLINE void leave_stage(stage_barriers &barriers, int turn) {
  leave(&barriers.empty[turn % STAGES]);
}

/* A stage that the group has no use for. */
BAM_INLINE void pass_stage(stage_barriers &barriers, int turn) {
  wait_for_stage(barriers, turn);
  leave_stage(barriers, turn);
}

/* ---- taking turns ---- */

/* Groups that own rows issue their products in turn, so that each finds the tensor cores busy with another's while it
   does arithmetic. A turn begins when the group before has ended its own: that is barrier 1 + the group's number. */
BAM_INLINE void begin_turn(int group) { named_barrier(1 + group, 2 * GROUP); }
template <int groups> BAM_INLINE void end_turn(int group) {
  named_barrier_arrive(1 + (group + 1) % groups, 2 * GROUP);
}

/* All four warps of the group. */
BAM_INLINE void meet_group(int group) { named_barrier(8 + group, GROUP); }

/* ---- products ---- */

/* Results of a warp, as attention_tile.h has them, for a product of the group. */
template <int N> BAM_INLINE float (&flat(float (&c)[1][N][4]))[4 * N] {
  return *(float(*)[4 * N]) & c;
}

/* Begin c = the group's 64 rows of a tile of `a_rows` rows times the transposed rows of another. */
template <int width, int a_rows, int N>
BAM_INLINE void multiply_group(float (&c)[1][N][4], const bf16 *a, const bf16 *b) {
  const int b_rows = 8 * N;
  const uint64_t a_matrix = shared_matrix(a, 16, EIGHT_ROWS);
  const uint64_t b_matrix = shared_matrix(b, 16, EIGHT_ROWS);
  BAM_UNROLL
  for (int k = 0; k < width / 16; k++) {
    const int box = k / 4 * BOX, column = k % 4 * 16;
    wgmma<false, false>(flat(c), move_matrix(a_matrix, 2 * (box * a_rows + column)),
                        move_matrix(b_matrix, 2 * (box * b_rows + column)), k > 0);
  }
}

/* Begin sum += the operand, of 64 rows, times a tile of 16 K rows. */
template <int N, int K>
BAM_INLINE void add_group_product(float (&sum)[1][N][4], const uint32_t (&a)[1][K][4],
                                  const bf16 *tile) {
  const uint64_t matrix = shared_matrix(tile, 16 * K * BOX * 2, EIGHT_ROWS);
  BAM_UNROLL
  for (int k = 0; k < K; k++)
    wgmma<true>(flat(sum), a[0][k], move_matrix(matrix, 2 * (k * 16 * BOX)), true);
}

/* ---- results ---- */

/* Write `factor` times the warp's results as rows `start` .. of a head, added to what is there with `add`. They pass
   through the same rows of a tile of `tile_rows` rows, which begin at `rows`; the group has read them before. */
template <int tile_rows, int N>
BAM_INLINE void store_group(bf16 *rows, const float (&c)[1][N][4], const head_of<bf16> &head,
                            int start, int time, float factor, bool add) {
  BAM_UNROLL
  for (int b = 0; b < N / 8; b++) {
    const head_of<bf16> to = { head.at + b * BOX, head.stride };
    float box[1][8][4];
    BAM_UNROLL
    for (int n = 0; n < 8; n++)
      for (int i = 0; i < 4; i++)
        box[0][n][i] = c[0][8 * b + n][i];
    add_stored(box, to, start, time, factor, add);
    store_rows<BOX>(rows + b * BOX * tile_rows, box, to, start, time);
  }
}

/* ---- which keys a query sees ---- */

BAM_INLINE int32_t least_of_warp(int32_t x) {
  for (int step = BAM_WARP / 2; step > 0; step /= 2)
    x = min(x, __shfl_xor_sync(BAM_ALL_LANES, x, step));
  return x;
}

/* Whether the columns of a tile, in shared memory, are all of a document. */
template <int columns> BAM_INLINE bool are_all(const int32_t *documents, int32_t document) {
  bool all = true;
  for (int i = own_lane(); i < columns; i += BAM_WARP)
    all &= documents[i] == document;
  return __all_sync(BAM_ALL_LANES, all);
}

/* ---- the host's side ---- */

/* Heads of a tensor with the strides of a bam_attention, in boxes of `rows` rows. False when strides do not allow
   it. */
static inline bool describe_heads(tensor_map *map, const void *data, const bam_attention *a,
                                  const int64_t stride[3], int64_t heads, int rows) {
  const int64_t size[4] = { a->width, a->time, heads, a->batch };
  const int64_t strides[3] = { stride[1], stride[2],
                               a->batch > 1 ? stride[0] : a->time * stride[1] };
  const int box[4] = { BOX, rows, 1, 1 };
  for (int d = 0; d < 3; d++)
    if (strides[d] <= 0 || strides[d] % PIECE != 0)
      return false;
  return make_tensor_map(map, data, size, strides, box, true);
}

template <class kernel_type>
static inline void allow_shared(bam_stream stream, kernel_type *kernel, size_t bytes) {
  bam_cuda_note(
    stream, "attention",
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
}

#endif
