/* How elementwise kernels visit their elements: a kernel is a row function over strided operands,
   and walk() calls it for every innermost row, on several threads when there is much to do. The
   macros make row functions with separate loops for the strides that occur in hot code, which the
   compiler vectorises. */
#ifndef BAM_CPU_WALK_H
#define BAM_CPU_WALK_H

#include <omp.h>

#include "cpu.h"

/* n elements of operands p[k] with strides s[k] (in elements); `extra` is the kernel's own. */
typedef void row_function(void *const *p, const int64_t *s, int64_t n, const void *extra);

typedef struct {
  const bam_loop *loop;
  int operands;
  void *const *data;
  const int64_t *bytes; /* of one element, per operand */
  row_function *row;
  const void *extra;
} elementwise;

/* Rows first .. last - 1, one after the other: positions step like an odometer. */
static void walk_rows(const elementwise *e, int64_t first, int64_t last) {
  const bam_loop *loop = e->loop;
  int inner = loop->ndim - 1;
  int64_t index[BAM_MAX_DIMS], s[BAM_MAX_OPERANDS], rest = first;
  char *p[BAM_MAX_OPERANDS];
  for (int k = 0; k < e->operands; k++) {
    p[k] = e->data[k];
    s[k] = loop->stride[k][inner];
  }
  for (int d = inner - 1; d >= 0; d--) {
    index[d] = rest % loop->size[d];
    rest /= loop->size[d];
    for (int k = 0; k < e->operands; k++)
      p[k] += index[d] * loop->stride[k][d] * e->bytes[k];
  }
  for (int64_t row = first; row < last; row++) {
    e->row((void *const *)p, s, loop->size[inner], e->extra);
    for (int d = inner - 1; d >= 0; d--) {
      bool wraps = ++index[d] == loop->size[d];
      for (int k = 0; k < e->operands; k++)
        p[k] += loop->stride[k][d] * e->bytes[k] * (wraps ? 1 - loop->size[d] : 1);
      if (!wraps)
        break;
      index[d] = 0;
    }
  }
}

/* One long row, cut into pieces for the threads; it begins at `offset` in each operand. */
static void walk_pieces(const elementwise *e, const int64_t *offset) {
  const int inner = e->loop->ndim - 1;
  const int64_t n = e->loop->size[inner], piece = BAM_GRAIN / 4, pieces = (n + piece - 1) / piece;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < pieces; i++) {
    int64_t start = i * piece, s[BAM_MAX_OPERANDS];
    void *p[BAM_MAX_OPERANDS];
    for (int k = 0; k < e->operands; k++) {
      s[k] = e->loop->stride[k][inner];
      p[k] = (char *)e->data[k] + (offset[k] + start * s[k]) * e->bytes[k];
    }
    e->row(p, s, start + piece < n ? piece : n - start, e->extra);
  }
}

static void walk(const elementwise *e) {
  int64_t rows = loop_rows(e->loop), n = e->loop->size[e->loop->ndim - 1];
  if (rows * n == 0)
    return;
  if (rows * n <= BAM_GRAIN) {
    walk_rows(e, 0, rows);
  } else if (n > BAM_GRAIN) {
    for (int64_t row = 0; row < rows; row++) {
      int64_t offset[BAM_MAX_OPERANDS];
      loop_row(e->loop, row, e->operands, offset);
      walk_pieces(e, offset);
    }
  } else {
    int64_t shares = omp_get_max_threads();
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < shares; i++)
      walk_rows(e, rows * i / shares, rows * (i + 1) / shares);
  }
}

/* Walk `loop` (of the kernel around it) over the operands listed last; `bytes_` are the sizes of
   their elements. */
#define WALK(row_, extra_, bytes_, ...)                                                            \
  walk(&(elementwise){ .loop = loop,                                                               \
                       .data = (void *const[]){ __VA_ARGS__ },                                     \
                       .bytes = (bytes_),                                                          \
                       .operands = (int)(sizeof((void *const[]){ __VA_ARGS__ }) / sizeof(void *)), \
                       .row = (row_),                                                              \
                       .extra = (extra_) })
#define BYTES(...) ((const int64_t[]){ __VA_ARGS__ })
#define REAL_BYTES BYTES(sizeof(real), sizeof(real), sizeof(real), sizeof(real))

/* Row functions; `expression` is in x (or a and b, or a, b and c), of type real, and gives a Y. */
#define UNARY_ROW(name, Y, expression)                                               \
  static void name(void *const *p, const int64_t *s, int64_t n, const void *extra) { \
    (void)extra;                                                                     \
    Y *y_ = p[0];                                                                    \
    const element *x_ = p[1];                                                        \
    const int64_t sy = s[0], sx = s[1];                                              \
    if (sy == 1 && sx == 1) {                                                        \
      _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                          \
        const real x = x_[i];                                                        \
        y_[i] = (Y)(expression);                                                     \
      }                                                                              \
    } else {                                                                         \
      for (int64_t i = 0; i < n; i++) {                                              \
        const real x = x_[i * sx];                                                   \
        y_[i * sy] = (Y)(expression);                                                \
      }                                                                              \
    }                                                                                \
  }

#define BINARY_ROW(name, Y, expression)                                              \
  static void name(void *const *p, const int64_t *s, int64_t n, const void *extra) { \
    (void)extra;                                                                     \
    Y *y_ = p[0];                                                                    \
    const element *a_ = p[1];                                                        \
    const element *b_ = p[2];                                                        \
    const int64_t sy = s[0], sa = s[1], sb = s[2];                                   \
    if (sy == 1 && sa == 1 && sb == 1) {                                             \
      _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                          \
        const real a = a_[i];                                                        \
        const real b = b_[i];                                                        \
        y_[i] = (Y)(expression);                                                     \
      }                                                                              \
    } else if (sy == 1 && sa == 1 && sb == 0) {                                      \
      const real b = b_[0];                                                          \
      _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                          \
        const real a = a_[i];                                                        \
        y_[i] = (Y)(expression);                                                     \
      }                                                                              \
    } else if (sy == 1 && sa == 0 && sb == 1) {                                      \
      const real a = a_[0];                                                          \
      _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                          \
        const real b = b_[i];                                                        \
        y_[i] = (Y)(expression);                                                     \
      }                                                                              \
    } else {                                                                         \
      for (int64_t i = 0; i < n; i++) {                                              \
        const real a = a_[i * sa];                                                   \
        const real b = b_[i * sb];                                                   \
        y_[i * sy] = (Y)(expression);                                                \
      }                                                                              \
    }                                                                                \
  }

#define TERNARY_ROW(name, Y, expression)                                             \
  static void name(void *const *p, const int64_t *s, int64_t n, const void *extra) { \
    (void)extra;                                                                     \
    Y *y_ = p[0];                                                                    \
    const element *a_ = p[1];                                                        \
    const element *b_ = p[2];                                                        \
    const element *c_ = p[3];                                                        \
    const int64_t sy = s[0], sa = s[1], sb = s[2], sc = s[3];                        \
    if (sy == 1 && sa == 1 && sb == 1 && sc == 1) {                                  \
      _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                          \
        const real a = a_[i];                                                        \
        const real b = b_[i];                                                        \
        const real c = c_[i];                                                        \
        y_[i] = (Y)(expression);                                                     \
      }                                                                              \
    } else {                                                                         \
      for (int64_t i = 0; i < n; i++) {                                              \
        const real a = a_[i * sa];                                                   \
        const real b = b_[i * sb];                                                   \
        const real c = c_[i * sc];                                                   \
        y_[i * sy] = (Y)(expression);                                                \
      }                                                                              \
    }                                                                                \
  }

/* Whole kernels whose operands are all of the pass's dtype. */
#define UNARY(name, expression)                       \
  UNARY_ROW(name##_row, real, expression)             \
  void KERNEL(name) BAM_UNARY {                       \
    (void)stream;                                     \
    WALK(name##_row, NULL, REAL_BYTES, y, (void *)x); \
  }

#define BINARY(name, expression)                                 \
  BINARY_ROW(name##_row, real, expression)                       \
  void KERNEL(name) BAM_BINARY {                                 \
    (void)stream;                                                \
    WALK(name##_row, NULL, REAL_BYTES, y, (void *)a, (void *)b); \
  }

#define TERNARY(name, expression)                                           \
  TERNARY_ROW(name##_row, real, expression)                                 \
  void KERNEL(name) BAM_TERNARY {                                           \
    (void)stream;                                                           \
    WALK(name##_row, NULL, REAL_BYTES, y, (void *)a, (void *)b, (void *)c); \
  }

#endif
