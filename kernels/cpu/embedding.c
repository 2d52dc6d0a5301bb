/* Rows of a table by token id, and the gradients back into the rows. In backward each thread owns a
   range of columns and goes through all tokens in order: every sum has one order, whatever the
   number of threads, and frequent tokens do not unbalance them. */
#include "cpu.h"

#define COLUMNS 64 /* the least that a thread takes: some cache lines, never shared */

void KERNEL(check_ids)(bam_stream stream, int64_t *bad, const int64_t *ids, int64_t n,
                       int64_t limit, int64_t ignore) {
  (void)stream;
  int64_t first = n;
#pragma omp parallel for schedule(static) reduction(min : first) if (n > BAM_GRAIN)
  for (int64_t i = 0; i < n; i++)
    if ((ids[i] < 0 || ids[i] >= limit) && ids[i] != ignore && i < first)
      first = i;
  *bad = first < n ? first : -1;
}

void KERNEL(embedding)(bam_stream stream, void *y, const void *weight, const int64_t *ids,
                       int64_t n, int64_t width) {
  (void)stream;
#pragma omp parallel for schedule(static) if (n * width > BAM_GRAIN)
  for (int64_t i = 0; i < n; i++)
    memcpy((real *)y + i * width, (const real *)weight + ids[i] * width,
           (size_t)width * sizeof(real));
}

void KERNEL(embedding_backward)(bam_stream stream, void *dweight, const void *dy,
                                const int64_t *ids, int64_t n, int64_t width) {
  (void)stream;
  int64_t parts = (width + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for schedule(static) if (n * width > BAM_GRAIN)
  for (int64_t part = 0; part < parts; part++) {
    int64_t from = part * COLUMNS, to = from + COLUMNS < width ? from + COLUMNS : width;
    for (int64_t i = 0; i < n; i++) {
      real *sum = (real *)dweight + ids[i] * width;
      const real *grad = (const real *)dy + i * width;
#pragma omp simd
      for (int64_t j = from; j < to; j++)
        sum[j] += grad[j];
    }
  }
}
