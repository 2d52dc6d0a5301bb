/* Rotary positions: the pair (2i, 2i + 1) of every head is rotated by position times a frequency, the
   interleaved layout of Cohere's models. Angles are computed in double precision, once per token, and kept in a
   table. */
#include "../rope.h"

#include "cpu.h"

#define PI_HALF 1.57079632679489661923

/* sin and cos of any angle a position can give, in straight-line arithmetic that vectorises: the
   angle is brought to [-pi/4, pi/4] in double precision, error 2e-9 there. f64 calls libm. */
static inline void sin_cos(double angle, real *s, real *c) {
#ifdef BAM_TYPE_f32
  const double shift = 6755399441055744.0; /* adding it rounds to an integer */
  double turns = angle * (1 / PI_HALF) + shift;
  double quarter = turns - shift, r = angle - quarter * PI_HALF, z = r * r;
  double sine = r * (1 + z * (-1 / 6.0 + z * (1 / 120.0 + z * (-1 / 5040.0 + z * (1 / 362880.0)))));
  double cosine = 1 + z * (-0.5 + z * (1 / 24.0 +
                                       z * (-1 / 720.0 + z * (1 / 40320.0 - z * (1 / 3628800.0)))));
  uint64_t bits;
  memcpy(&bits, &turns, sizeof bits);
  bool odd = (bits & 1) != 0, negated = (bits & 2) != 0;
  double a = odd ? cosine : sine, b = odd ? -sine : cosine;
  *s = (real)(negated ? -a : a);
  *c = (real)(negated ? -b : b);
#else
  *s = sin(angle);
  *c = cos(angle);
#endif
}

void KERNEL(rope_table)(bam_stream stream, void *table, const int64_t *positions, int64_t count,
                        const bam_rope *rope) {
  (void)stream;
  int64_t half = rope->width / 2;
  double frequency[BAM_ROPE_WIDTH / 2];
  for (int64_t i = 0; i < half; i++)
    frequency[i] = bam_rope_frequency(rope, i);
#pragma omp parallel for schedule(static) if (count * half > BAM_GRAIN)
  for (int64_t n = 0; n < count; n++) {
    real sine[BAM_ROPE_WIDTH / 2], cosine[BAM_ROPE_WIDTH / 2], *row = (real *)table + n * 2 * half;
    double position = positions != NULL ? (double)positions[n] : (double)n;
#pragma omp simd
    for (int64_t i = 0; i < half; i++)
      sin_cos(position * frequency[i], &sine[i], &cosine[i]);
    for (int64_t i = 0; i < half; i++) {
      row[2 * i] = cosine[i];
      row[2 * i + 1] = sine[i];
    }
  }
}

static void rotate_head(real *y, const real *x, const real *sine, const real *cosine,
                        int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; i++) {
    real even = x[2 * i], odd = x[2 * i + 1];
    y[2 * i] = even * cosine[i] - odd * sine[i];
    y[2 * i + 1] = odd * cosine[i] + even * sine[i];
  }
}

void KERNEL(rope)(bam_stream stream, void *y, const void *x, const void *table,
                  const bam_rotation *r) {
  (void)stream;
  int64_t half = r->width / 2, token = r->heads * r->width;
#pragma omp parallel for schedule(static) if (r->batch * r->time * token > BAM_GRAIN)
  for (int64_t n = 0; n < r->batch * r->time; n++) {
    int64_t b = n / r->time, t = n % r->time;
    const real *row = (const real *)table + (b * r->table_batch + t) * r->width;
    real sine[BAM_ROPE_WIDTH / 2], cosine[BAM_ROPE_WIDTH / 2];
    for (int64_t i = 0; i < half; i++) {
      cosine[i] = row[2 * i];
      sine[i] = r->inverse ? -row[2 * i + 1] : row[2 * i + 1];
    }
    for (int64_t h = 0; h < r->heads; h++)
      rotate_head((real *)y + b * r->y[0] + t * r->y[1] + h * r->y[2],
                  (const real *)x + b * r->x[0] + t * r->x[1] + h * r->x[2], sine, cosine, half);
  }
}
