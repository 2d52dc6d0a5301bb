/* Comparisons of two operands, and questions about the elements of one, of every dtype that
   computes, as kernels/scalar.h lists them. */
#include "walk.h"

#include "../scalar.h"

#define COMPARISON(name, expression) BINARY_TO(bool, name, expression)
#define TEST(name, expression) UNARY_TO(bool, name, expression)

BAM_COMPARISONS(COMPARISON, TEST)

/* Is any element zero, or less than zero? *found, on the device, is set, never cleared: all threads
   that write it write the same. */
template <bool negative, bool line>
static __global__ void find_any(bam_loop loop, int64_t n, bool *found, const element *x) {
  BAM_EACH(i, n) {
    int64_t at[1];
    place<1, line>(loop, n, i, at);
    const real v = x[at[0]];
    if (negative ? IS_NEGATIVE(v) : v == 0)
      *found = true;
  }
}

#define ANY(name, negative)                                                                        \
  void KERNEL(name)(bam_stream stream, const bam_loop *loop, bool *found, const void *x) {         \
    const int64_t n = loop_count(loop);                                                            \
    if (loop->ndim == 1)                                                                           \
      BAM_LAUNCH(stream, (find_any<negative, true>), BAM_BLOCKS(n), BAM_BLOCK, 0, *loop, n, found, \
                 (const element *)x);                                                              \
    else                                                                                           \
      BAM_LAUNCH(stream, (find_any<negative, false>), BAM_BLOCKS(n), BAM_BLOCK, 0, *loop, n,       \
                 found, (const element *)x);                                                       \
  }

ANY(any_zero, false)
ANY(any_negative, true)
