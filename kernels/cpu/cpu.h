/* What every CPU kernel file starts with. Each file is compiled once per instruction set
   and dtype: `real` is the element type of the pass, and KERNEL(name) the name of this
   pass's version of a kernel. */
#ifndef BAM_CPU_H
#define BAM_CPU_H

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "../kernels.h"
#include "../real.h"

#define BAM_JOIN4_(a, b, c, d) a##b##_##c##_##d
#define BAM_JOIN4(a, b, c, d) BAM_JOIN4_(a, b, c, d)
#define KERNEL(name) BAM_JOIN4(bam_cpu_, BAM_ISA, BAM_TYPE, name)

/* Work smaller than this many elements stays on one thread. */
#define BAM_GRAIN 32768

/* Make `call`, whose loop says `#pragma omp for`, on all threads if it is `worth` it, else here. An
   if clause on a parallel region would do the same, but libgomp then sets up a team of one, which
   takes a microsecond. */
#define SHARE(worth, call)          \
  do {                              \
    if (worth) {                    \
      _Pragma("omp parallel") call; \
    } else {                        \
      call;                         \
    }                               \
  } while (0)

/* Walk the rows (innermost dimension) of a loop: `offset` receives the element offset of
   row `row` in each operand. */
static inline int64_t loop_rows(const bam_loop *loop) {
  int64_t rows = 1;
  for (int d = 0; d < loop->ndim - 1; d++)
    rows *= loop->size[d];
  return rows;
}

static inline void loop_row(const bam_loop *loop, int64_t row, int operands, int64_t *offset) {
  for (int k = 0; k < operands; k++)
    offset[k] = 0;
  for (int d = loop->ndim - 2; d >= 0; d--) {
    int64_t i = row % loop->size[d];
    row /= loop->size[d];
    for (int k = 0; k < operands; k++)
      offset[k] += i * loop->stride[k][d];
  }
}

#endif
