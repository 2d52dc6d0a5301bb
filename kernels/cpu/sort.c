/* Stable sorting of rows with the positions (from 1) that the elements came from. NaN counts as
   larger than everything; elements that compare equal stay in the order of their positions. */
#include "cpu.h"

#define RUN 16 /* rows are sorted by insertion in runs of this length, which are then merged */

static inline bool less(real a, real b) {
#if BAM_FLOATING
  return !(a >= b) & (a == a); /* a NaN is less than nothing, everything less than a NaN */
#else
  return a < b;
#endif
}

/* Must `a` stand before `b`? False for equals. */
static inline bool before(real a, real b, bool descending) {
  return descending ? less(b, a) : less(a, b);
}

/* A row or part of one: elements and where they came from. */
typedef struct row {
  element *value;
  int64_t *position;
} row;

static inline row row_at(row r, int64_t i) { return (row){ r.value + i, r.position + i }; }

static void insertion_sort(row r, int64_t n, bool descending) {
  for (int64_t i = 1; i < n; i++) {
    real value = r.value[i];
    int64_t position = r.position[i], j = i;
    for (; j > 0 && before(value, r.value[j - 1], descending); j--) {
      r.value[j] = r.value[j - 1];
      r.position[j] = r.position[j - 1];
    }
    r.value[j] = value;
    r.position[j] = position;
  }
}

/* Merge the sorted from[0, half) and from[half, n) into `to`; of equals the left comes first. */
static void merge(row to, row from, int64_t half, int64_t n, bool descending) {
  int64_t left = 0, right = half, i = 0;
  for (; left < half && right < n; i++) {
    bool take_right = before(from.value[right], from.value[left], descending);
    int64_t at = left + (right - left) * take_right; /* no branch: it could not be foreseen */
    to.value[i] = from.value[at];
    to.position[i] = from.position[at];
    right += take_right;
    left += !take_right;
  }
  int64_t rest = left < half ? left : right; /* the side that is left over ends at the end of to */
  memcpy(to.value + i, from.value + rest, (size_t)(n - i) * sizeof(real));
  memcpy(to.position + i, from.position + rest, (size_t)(n - i) * sizeof(int64_t));
}

static int64_t at_most(int64_t n, int64_t limit) { return n < limit ? n : limit; }

/* Sort `r`, using `spare` of the same length. */
static void sort_row(row r, row spare, int64_t n, bool descending) {
  for (int64_t i = 0; i < n; i += RUN)
    insertion_sort(row_at(r, i), at_most(n - i, RUN), descending);
  row from = r, to = spare;
  for (int64_t width = RUN; width < n; width *= 2) {
    for (int64_t i = 0; i < n; i += 2 * width) {
      int64_t length = at_most(n - i, 2 * width);
      merge(row_at(to, i), row_at(from, i), at_most(length, width), length, descending);
    }
    row swap = from;
    from = to;
    to = swap;
  }
  if (from.value != r.value) {
    memcpy(r.value, from.value, (size_t)n * sizeof(real));
    memcpy(r.position, from.position, (size_t)n * sizeof(int64_t));
  }
}

void KERNEL(sort)(bam_stream stream, const bam_sort *args) {
  const int64_t rows = args->rows, n = args->n;
  (void)stream;
#pragma omp parallel for if (rows * n > BAM_GRAIN / 8) schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    row to = { (element *)args->y + r * n, args->positions + r * n };
    row other = { (element *)args->spare + r * n, args->spare_positions + r * n };
    memcpy(to.value, (const element *)args->x + r * n, (size_t)n * sizeof(real));
    for (int64_t i = 0; i < n; i++)
      to.position[i] = i + 1;
    sort_row(to, other, n, args->descending);
  }
}

/* Put the first k of a row in sorted order, 1 <= k <= n, by insertion: for small k. */
static void top_row(row to, const element *x, int64_t n, int64_t k, bool largest) {
  int64_t held = 0;
  for (int64_t i = 0; i < n; i++) {
    if (held == k && !before(x[i], to.value[k - 1], largest))
      continue;
    int64_t j = held < k ? held++ : k - 1;
    for (; j > 0 && before(x[i], to.value[j - 1], largest); j--) {
      to.value[j] = to.value[j - 1];
      to.position[j] = to.position[j - 1];
    }
    to.value[j] = x[i];
    to.position[j] = i + 1;
  }
}

void KERNEL(topk)(bam_stream stream, void *y, int64_t *positions, const void *x, int64_t rows,
                  int64_t n, int64_t k, bool largest) {
  (void)stream;
#pragma omp parallel for if (rows * n > BAM_GRAIN)
  for (int64_t r = 0; r < rows; r++)
    top_row((row){ (element *)y + r * k, positions + r * k }, (const element *)x + r * n, n, k,
            largest);
}
