/* Comparisons of two operands, and questions about the elements of one, of every dtype that
   computes, as kernels/scalar.h lists them. */
#include "../scalar.h"
#include "walk.h"

#define TEST_BYTES BYTES(sizeof(bool), sizeof(real), sizeof(real))

#define COMPARISON(name, expression)                             \
  BINARY_ROW(name##_row, bool, expression)                       \
  void KERNEL(name) BAM_COMPARISON {                             \
    (void)stream;                                                \
    WALK(name##_row, NULL, TEST_BYTES, y, (void *)a, (void *)b); \
  }

#define TEST(name, expression)                        \
  UNARY_ROW(name##_row, bool, expression)             \
  void KERNEL(name) BAM_TEST {                        \
    (void)stream;                                     \
    WALK(name##_row, NULL, TEST_BYTES, y, (void *)x); \
  }

BAM_COMPARISONS(COMPARISON, TEST)

/* Is any element zero, or less than zero? *found is set, never cleared. */
#define ANY(name, expression)                                                              \
  static void name##_row(void *const *p, const int64_t *s, int64_t n, const void *extra) { \
    const element *x = p[0];                                                               \
    bool any = false;                                                                      \
    for (int64_t i = 0; i < n; i++)                                                        \
      any |= (expression);                                                                 \
    if (any) {                                                                             \
      bool *found = *(bool *const *)extra;                                                 \
      _Pragma("omp atomic write") *found = true;                                           \
    }                                                                                      \
  }                                                                                        \
  void KERNEL(name)(bam_stream stream, const bam_loop *loop, bool *found, const void *x) { \
    (void)stream;                                                                          \
    WALK(name##_row, &found, REAL_BYTES, (void *)x);                                       \
  }

ANY(any_zero, x[i * s[0]] == 0)
ANY(any_negative, IS_NEGATIVE(x[i * s[0]]))
