/* What a warp does with matrices, all at once: lanes bring their registers, and the last one that arrives does
   the work for all. Where a lane's registers belong in a matrix is what the PTX ISA says of mma.m16n8k16 and
   ldmatrix; tests/gpu/tensor_cores.cu compares with a device. */
#include "machine.h"
#include "simt_tensor_core.h"

static float low_half(uint32_t pair) { return from_bf16({ (uint16_t)pair }); }
static float high_half(uint32_t pair) { return from_bf16({ (uint16_t)(pair >> 16) }); }

/* ---- products ---- */

struct simt_mma {
  simt_collective base;
  float *c;
  const uint32_t *a, *b;
};

struct simt_operands {
  float a[16][16], b[16][8], c[16][8];
};

static void gather_operands(simt_operands *m, const simt_mma *from, int lane) {
  const int row = lane / 4, column = lane % 4 * 2;
  for (int i = 0; i < 4; i++) {
    float *pair = &m->a[row + i % 2 * 8][column + i / 2 * 8];
    pair[0] = low_half(from->a[i]);
    pair[1] = high_half(from->a[i]);
    m->c[row + i / 2 * 8][column + i % 2] = from->c[i];
  }
  for (int i = 0; i < 2; i++) {
    m->b[column + i * 8][row] = low_half(from->b[i]);
    m->b[column + i * 8 + 1][row] = high_half(from->b[i]);
  }
}

static void multiply(simt_operands *m) {
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < 16; k++)
      for (int j = 0; j < 8; j++)
        m->c[i][j] += m->a[i][k] * m->b[k][j];
}

static void run_mma(simt_collective *const lanes[SIMT_WARP]) {
  simt_operands m;
  for (int lane = 0; lane < SIMT_WARP; lane++)
    gather_operands(&m, (const simt_mma *)lanes[lane], lane);
  multiply(&m);
  for (int lane = 0; lane < SIMT_WARP; lane++)
    for (int i = 0; i < 4; i++)
      ((simt_mma *)lanes[lane])->c[i] = m.c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

void simt_mma_16816(float *c, const uint32_t *a, const uint32_t *b, simt_site site) {
  simt_mma mma = { { "mma_16816", run_mma }, c, a, b };
  simt_sync_collective(&mma.base, site);
}

/* ---- loads ---- */

struct simt_loads {
  simt_collective base;
  uint32_t *x;
  int count;
  bool transposed;
  const void *row;
};

/* The lane's part of a matrix whose rows lanes `first` .. `first` + 7 point to. */
static uint32_t matrix_part(simt_collective *const *first, int lane, bool transposed) {
  uint16_t pair[2];
  for (int i = 0; i < 2; i++) {
    const int row = transposed ? lane % 4 * 2 + i : lane / 4;
    const int column = transposed ? lane / 4 : lane % 4 * 2 + i;
    memcpy(&pair[i], (const uint16_t *)((const simt_loads *)first[row])->row + column, 2);
  }
  return pair[0] | (uint32_t)pair[1] << 16;
}

static void run_loads(simt_collective *const lanes[SIMT_WARP]) {
  for (int lane = 0; lane < SIMT_WARP; lane++) {
    const simt_loads *to = (const simt_loads *)lanes[lane];
    for (int i = 0; i < to->count; i++)
      to->x[i] = matrix_part(lanes + 8 * i, lane, to->transposed);
  }
}

void simt_load_matrix(uint32_t *x, int count, bool transposed, const void *row, simt_site site) {
  simt_loads loads = { { "load_matrix", run_loads }, x, count, transposed, row };
  if (simt_lane() < 8 * count)
    simt_check_shared(row, 16, "load_matrix reads", site);
  simt_sync_collective(&loads.base, site);
}
