/* Random numbers from counters: element i of a sequence comes from block counter + i / (elements
   per block), so the numbers do not depend on the number of threads. A block gives 4 f32, booleans,
   or 2 f64, i64. */
#include "../random.h"
#include "vmath.h"
#include "walk.h"

#define PHILOX_LANES 16 /* blocks made together, a vector of them */

typedef struct {
  uint32_t word[4][PHILOX_LANES]; /* word[w][j] is word w of block j */
} philox_blocks;

/* Blocks counter .. counter + PHILOX_LANES - 1 of the stream `seed`. */
static inline void philox_fill(philox_blocks *blocks, uint64_t seed, uint64_t counter) {
#pragma omp simd
  for (int j = 0; j < PHILOX_LANES; j++) {
    uint32_t c[4];
    philox_block(c, seed, counter + (uint64_t)j);
    blocks->word[0][j] = c[0];
    blocks->word[1][j] = c[1];
    blocks->word[2][j] = c[2];
    blocks->word[3][j] = c[3];
  }
}

typedef struct {
  uint64_t seed, counter;
  double a, b; /* what the distribution needs */
} origin;

/* Make one group of up to PHILOX_LANES * per_block elements at y; all of them are made, `n` are
   wanted. */
typedef void group_function(void *y, const philox_blocks *blocks, const origin *from);

/* Fill y[n], `bytes` each, group by group; the last group goes through a buffer. */
static void generate_groups(void *y, int64_t n, int64_t bytes, int64_t per_block,
                            const origin *from, group_function *make) {
  const int64_t group = PHILOX_LANES * per_block, groups = (n + group - 1) / group;
#pragma omp for schedule(static)
  for (int64_t i = 0; i < groups; i++) {
    philox_blocks blocks;
    double buffer[PHILOX_LANES * 4];
    char *place = (char *)y + i * group * bytes;
    int64_t left = n - i * group;
    philox_fill(&blocks, from->seed, from->counter + (uint64_t)(i * PHILOX_LANES));
    make(left >= group ? (void *)place : buffer, &blocks, from);
    if (left < group)
      memcpy(place, buffer, (size_t)(left * bytes));
  }
}

static void generate(void *y, int64_t n, int64_t bytes, int64_t per_block, const origin *from,
                     group_function *make) {
  SHARE(n > BAM_GRAIN, generate_groups(y, n, bytes, per_block, from, make));
}

static inline uint64_t long_word_of(const philox_blocks *blocks, int j, int k) {
  return long_word(blocks->word[2 * k][j], blocks->word[2 * k + 1][j]);
}

/* What number k of block j is made of. */
static inline random_bits bits_of(const philox_blocks *blocks, int j, int k) {
#ifdef BAM_TYPE_f32
  return blocks->word[k][j];
#else
  return long_word_of(blocks, j, k);
#endif
}

static void make_uniform(void *y_, const philox_blocks *blocks, const origin *from) {
  real *y = y_;
  const real low = (real)from->a, high = (real)from->b, width = (real)(from->b - from->a);
  for (int k = 0; k < PER_BLOCK; k++)
    for (int j = 0; j < PHILOX_LANES; j++)
      y[PER_BLOCK * j + k] = uniform(bits_of(blocks, j, k), low, high, width);
}

void KERNEL(random_uniform)(bam_stream stream, void *y, int64_t n, uint64_t seed, uint64_t counter,
                            double low, double high) {
  (void)stream;
  generate(y, n, sizeof(real), PER_BLOCK, &(origin){ seed, counter, low, high }, make_uniform);
}

/* Box-Muller: two uniform numbers are the squared radius' logarithm and the angle of two normal
   ones. */
static void make_normal(void *y_, const philox_blocks *blocks, const origin *from) {
  real *y = y_, radius[PHILOX_LANES];
  const real mean = (real)from->a, deviation = (real)from->b;
  for (int k = 0; k < PER_BLOCK; k += 2) {
#pragma omp simd
    for (int j = 0; j < PHILOX_LANES; j++)
      radius[j] = REAL_MATH(sqrt)(-2 * v_log(unit_above_zero(bits_of(blocks, j, k)))) * deviation;
    for (int j = 0; j < PHILOX_LANES; j++) {
      real angle = unit(bits_of(blocks, j, k + 1)) * TWO_PI;
      y[PER_BLOCK * j + k] = mean + radius[j] * REAL_MATH(cos)(angle);
      y[PER_BLOCK * j + k + 1] = mean + radius[j] * REAL_MATH(sin)(angle);
    }
  }
}

void KERNEL(random_normal)(bam_stream stream, void *y, int64_t n, uint64_t seed, uint64_t counter,
                           double mean, double deviation) {
  (void)stream;
  generate(y, n, sizeof(real), PER_BLOCK, &(origin){ seed, counter, mean, deviation }, make_normal);
}

static void make_integers(void *y_, const philox_blocks *blocks, const origin *from) {
  (void)from;
  uint64_t *y = y_;
  for (int j = 0; j < PHILOX_LANES; j++)
    for (int k = 0; k < 2; k++)
      y[2 * j + k] = long_word_of(blocks, j, k);
}

static void scale_integers(int64_t *y, int64_t n, int64_t low, uint64_t width) {
#pragma omp for schedule(static)
  for (int64_t i = 0; i < n; i++)
    y[i] = integer_from((uint64_t)y[i], low, width);
}

void KERNEL(random_integers)(bam_stream stream, int64_t *y, int64_t n, uint64_t seed,
                             uint64_t counter, int64_t low, int64_t high) {
  (void)stream;
  generate(y, n, sizeof *y, 2, &(origin){ seed, counter, 0, 0 }, make_integers);
  const uint64_t width = (uint64_t)high - (uint64_t)low + 1;
  if (width != 0) /* else every 64-bit integer is wanted */
    SHARE(n > BAM_GRAIN, scale_integers(y, n, low, width));
}

static void make_booleans(void *y_, const philox_blocks *blocks, const origin *from) {
  bool *y = y_;
  const uint64_t threshold = (uint64_t)(from->a * 0x1p32);
  for (int k = 0; k < 4; k++)
    for (int j = 0; j < PHILOX_LANES; j++)
      y[4 * j + k] = blocks->word[k][j] < threshold;
}

void KERNEL(random_booleans)(bam_stream stream, bool *y, int64_t n, uint64_t seed, uint64_t counter,
                             double probability) {
  (void)stream;
  generate(y, n, sizeof *y, 4, &(origin){ seed, counter, probability, 0 }, make_booleans);
}

/* What dropout does to values going forward and to gradients coming back: a scaled, or 0 where b is
   not set. */
typedef struct {
  real scale;
} dropout_scale;

static void dropout_row(void *const *p, const int64_t *s, int64_t n, const void *extra) {
  real *y = p[0];
  const real *x = p[1], scale = ((const dropout_scale *)extra)->scale;
  const uint8_t *keep = p[2];
  const int64_t sy = s[0], sx = s[1], sk = s[2];
  if (sy == 1 && sx == 1 && sk == 1) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      y[i] = keep[i] ? x[i] * scale : (real)0;
  } else {
    for (int64_t i = 0; i < n; i++)
      y[i * sy] = keep[i * sk] ? x[i * sx] * scale : (real)0;
  }
}

void KERNEL(dropout)(bam_stream stream, const bam_loop *loop, void *y, const void *x,
                     const uint8_t *keep, double scale) {
  (void)stream;
  WALK(dropout_row, (&(dropout_scale){ (real)scale }),
       BYTES(sizeof(real), sizeof(real), sizeof(uint8_t)), y, (void *)x, (void *)keep);
}
