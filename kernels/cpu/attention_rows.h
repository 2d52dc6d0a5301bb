/* One row of attention scores at a time: its mask, its weights and their gradients.

   Rows are whole vectors long. Scores are in base 2. */
#ifndef BAM_ATTENTION_ROWS_H
#define BAM_ATTENTION_ROWS_H

#include "tile.h"

#ifdef BAM_TYPE_f32
typedef int32_t lane_integer;
#else
typedef int64_t lane_integer;
#endif
typedef lane_integer lanes __attribute__((vector_size(VECTOR_BYTES)));

static inline vector load(const real *from) { return *(const vector_in_memory *)from; }
static inline void store(real *to, vector x) { *(vector_in_memory *)to = x; }

/* The first `count` lanes of x; the remaining lanes are `other`. */
static inline vector first_lanes(vector x, int64_t count, real other) {
  const vector rest = (vector){ 0 } + other;
  lanes number;
  for (int l = 0; l < LANES; l++)
    number[l] = l;
  const lanes keep = number < (lane_integer)count;
  return (vector)(((lanes)x & keep) | ((lanes)rest & ~keep));
}

INLINE vector larger_lanes(vector a, vector b) {
  const lanes keep = a > b;
  return (vector)(((lanes)a & keep) | ((lanes)b & ~keep));
}

/* Lane l is lane l + half of x, for a constant `half`. */
INLINE vector upper_half(vector x, int half) {
  lanes from;
  UNROLL for (int l = 0; l < LANES; l++) from[l] = (l + half) % (int)LANES;
  return __builtin_shuffle(x, from);
}

/* Combine halves until one lane is left, so that few operations wait for one another. */
#define FOLD(x, combine)                \
  do {                                  \
    if (LANES >= 16)                    \
      x = combine(x, upper_half(x, 8)); \
    if (LANES >= 8)                     \
      x = combine(x, upper_half(x, 4)); \
    if (LANES >= 4)                     \
      x = combine(x, upper_half(x, 2)); \
    x = combine(x, upper_half(x, 1));   \
  } while (0)

INLINE vector add_lanes(vector a, vector b) { return a + b; }

static inline real lane_sum(vector x) {
  FOLD(x, add_lanes);
  return x[0];
}

static inline real lane_max(vector x) {
  FOLD(x, larger_lanes);
  return x[0];
}

/* 2^x for x <= 0 (or only a little above), exactly 0 below -127; NaN stays NaN. Within 2 units in the last place. */
static inline vector exp2_negative(vector x) {
#ifdef BAM_TYPE_f32
  const float shift = 12582912.0f + 127.0f; /* adding it leaves round(x) + 127 in the low bits */
  const vector least = (vector){ 0 } - 127.0f;
  const vector y = larger_lanes(least, x); /* x where x is NaN */
  const vector shifted = y + shift, f = y - (shifted - shift);
  vector p = (vector){ 0 } + 1.327647217e-3f;
  p = p * f + 9.675541331e-3f;
  p = p * f + 5.550713273e-2f;
  p = p * f + 2.402211972e-1f;
  p = p * f + 6.931469671e-1f;
  p = p * f + 1.000000072f;
  return p * (vector)((lanes)shifted << 23);
#else
  for (int l = 0; l < LANES; l++)
    x[l] = exp2(x[l]);
  return x;
#endif
}

/* The columns that a row may see: [from, to) of a tile, and of those only its own document's. */
typedef struct row_mask {
  int64_t from, to;
  const int32_t *first; /* of the tile's columns; NULL: one document */
  int32_t document;
} row_mask;

/* Columns before `to` that the row may not see become `value`: those before `from`, and other documents. */
static inline void mask_start(real *row, const row_mask *mask, real value) {
  for (int64_t j = 0; j < mask->from; j++)
    row[j] = value;
  if (mask->first != NULL)
    for (int64_t j = mask->from; j < mask->to; j++)
      row[j] = mask->first[j] == mask->document ? row[j] : value;
}

/* Columns from `to` on, up to `n`, become `value`. */
static inline void mask_rest(real *row, int64_t to, int64_t n, real value) {
  int64_t j = to / LANES * LANES;
  if (j < to) {
    store(row + j, first_lanes(load(row + j), to - j, value));
    j += LANES;
  }
  for (; j < n; j += LANES)
    store(row + j, (vector){ 0 } + value);
}

/* The running state of a query row's online softmax; o is its unnormalised result. */
typedef struct running {
  real *max, *sum, *o;
  int64_t width;
} running;

/* One step of the online softmax: turn `n` scores into weights relative to the new maximum, and rescale the running
   sum and result to it. */
static inline void softmax_row(real *row, int64_t n, const row_mask *mask, running state) {
  vector most = (vector){ 0 } - (real)INFINITY, total = { 0 };
  mask_start(row, mask, (real)-INFINITY);
  mask_rest(row, mask->to, n, (real)-INFINITY);
  for (int64_t j = 0; j < mask->to; j += LANES)
    most = larger_lanes(load(row + j), most);
  const real seen = lane_max(most), top = seen > *state.max ? seen : *state.max;
  if (top == (real)-INFINITY) {
    memset(row, 0, (size_t)n * sizeof(real));
    return;
  }
  for (int64_t j = 0; j < mask->to; j += LANES) {
    const vector weight = exp2_negative(load(row + j) - top);
    store(row + j, weight);
    total += weight;
  }
  mask_rest(row, round_up(mask->to, LANES), n, 0);
  if (top > *state.max) {
    const real rescale = exp2_negative((vector){ 0 } + (*state.max - top))[0];
    for (int64_t d = 0; d < state.width; d++)
      state.o[d] *= rescale;
    *state.sum *= rescale;
    *state.max = top;
  }
  *state.sum += lane_sum(total);
}

/* Inputs of the gradient of a row's scores; part is 1 / the sum of its weights. */
typedef struct row_stats {
  real max, part, delta;
} row_stats;

/* Weights from scores p, and the gradient of the scores from that of the weights, in place; 0 where masked, up to
   column n. */
static inline void differentiate_row(real *p, real *ds, int64_t n, const row_mask *mask,
                                     row_stats stats) {
  for (int64_t j = 0; j < mask->to; j += LANES) {
    const vector weight = exp2_negative(load(p + j) - stats.max) * stats.part;
    store(p + j, weight);
    store(ds + j, weight * (load(ds + j) - stats.delta));
  }
  mask_start(p, mask, 0);
  mask_start(ds, mask, 0);
  mask_rest(p, mask->to, n, 0);
  mask_rest(ds, mask->to, n, 0);
}
#endif
