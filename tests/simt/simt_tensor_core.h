/* kernels/cuda/tensor_core.h for g++, with the same contracts. Products and loads of matrices are done by the
   last lane of the warp that arrives (tensor_core.cpp). Copies land late or early by schedule: when they are
   waited for, with NaN in their place until then, or at once (async_copy.cpp). */
#ifndef SIMT_TENSOR_CORE_H
#define SIMT_TENSOR_CORE_H

#include <simt.h>

#include "../../kernels/convert.h"

void simt_mma_16816(float *c, const uint32_t *a, const uint32_t *b, simt_site site);
void simt_load_matrix(uint32_t *x, int count, bool transposed, const void *row, simt_site site);
void simt_async_copy(void *shared, const void *global, bool valid, simt_site site);
void simt_async_commit(void);
void simt_async_wait(int pending);

#define SIMT_SITE simt_site site = { __builtin_FILE(), __builtin_LINE() }

static inline void mma_16816(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                             SIMT_SITE) {
  const uint32_t b[2] = { b0, b1 };
  simt_mma_16816(c, a, b, site);
}

template <bool transposed, int count>
static inline void load_matrix(uint32_t (&x)[count], const void *row, SIMT_SITE) {
  static_assert(count == 1 || count == 2 || count == 4, "ldmatrix has .x1, .x2 and .x4");
  simt_load_matrix(x, count, transposed, row, site);
}

static inline void async_copy(void *shared, const void *global, bool valid, SIMT_SITE) {
  simt_async_copy(shared, global, valid, site);
}

#undef SIMT_SITE

static inline void async_commit() { simt_async_commit(); }
template <int pending> static inline void async_wait() { simt_async_wait(pending); }

static inline uint32_t pack_bf16(float low, float high) {
  return to_bf16(low).bits | (uint32_t)to_bf16(high).bits << 16;
}

static inline void keep_apart(unsigned &) {}

static inline float fast_exp2(float x) { return exp2f(x); }

#endif
