/* kernels/cuda/hopper.h for g++, with the same contracts (conditions.cpp, bulk_copy.cpp, warpgroup.cpp). */
#ifndef SIMT_HOPPER_H
#define SIMT_HOPPER_H

#include <simt_tensor_core.h>

#define SIMT_TENSOR_RANK 5

/* As large as CUDA's CUtensorMap. */
struct simt_tensor_map {
  uint64_t words[16];
};
typedef simt_tensor_map tensor_map;

void simt_barrier_init(uint64_t *barrier, int count, simt_site site);
void simt_barriers_ready(void);
bool simt_barrier_is_ready(uint64_t *barrier, simt_site site);
void simt_barrier_arrive(uint64_t *barrier, int bytes, simt_site site);
void simt_barrier_complete(uint64_t *barrier, int bytes);
void simt_barrier_wait(uint64_t *barrier, unsigned parity, simt_site site);
void simt_named_barrier_sync(int number, int threads, bool wait, simt_site site);
void simt_bulk_copy_begin(void *shared, const void *global, int bytes, uint64_t *barrier,
                          simt_site site);
void simt_tensor_copy_begin(void *shared, const simt_tensor_map *map, const int *at,
                            uint64_t *barrier, simt_site site);
bool simt_encode_tensor(simt_tensor_map *map, const void *data, int rank, const int64_t *size,
                        const int64_t *stride, const int *box, bool swizzled);
void simt_wgmma_fence(simt_site site);
void simt_wgmma_commit(simt_site site);
void simt_wgmma_wait(int pending, simt_site site);
void simt_wgmma_begin(float *d, const uint32_t *a, uint64_t a_matrix, uint64_t b_matrix,
                      int columns, bool a_transposed, bool b_transposed, bool add, simt_site site);
uint64_t simt_shared_matrix(const void *data, int leading, int stride, simt_site site);

#define SIMT_SITE simt_site site = { __builtin_FILE(), __builtin_LINE() }

/* ---- barriers ---- */

static inline void barrier_init(uint64_t *barrier, int count, SIMT_SITE) {
  simt_barrier_init(barrier, count, site);
}
static inline void barriers_ready() { simt_barriers_ready(); }
static inline void barrier_arrive(uint64_t *barrier, SIMT_SITE) {
  simt_barrier_arrive(barrier, 0, site);
}
static inline void barrier_expect(uint64_t *barrier, int bytes, SIMT_SITE) {
  simt_barrier_arrive(barrier, bytes, site);
}
static inline void barrier_wait(uint64_t *barrier, unsigned parity, SIMT_SITE) {
  simt_barrier_wait(barrier, parity, site);
}
static inline void named_barrier(int number, int threads, SIMT_SITE) {
  simt_named_barrier_sync(number, threads, true, site);
}
static inline void named_barrier_arrive(int number, int threads, SIMT_SITE) {
  simt_named_barrier_sync(number, threads, false, site);
}

/* ---- copies ---- */

void simt_async_publish(void);
static inline void async_fence() { simt_async_publish(); }

static inline void bulk_copy(void *shared, const void *global, int bytes, uint64_t *barrier,
                             SIMT_SITE) {
  simt_bulk_copy_begin(shared, global, bytes, barrier, site);
}
static inline void tensor_copy(void *shared, const tensor_map &map, int x, int y, int z, int w,
                               uint64_t *barrier, SIMT_SITE) {
  const int at[4] = { x, y, z, w };
  simt_tensor_copy_begin(shared, &map, at, barrier, site);
}
static inline bool make_tensor_map(tensor_map *map, const void *data, const int64_t (&size)[4],
                                   const int64_t (&stride)[3], const int (&box)[4], bool swizzled) {
  return simt_encode_tensor(map, data, 4, size, stride, box, swizzled);
}

/* ---- products of a warpgroup ---- */

static inline uint64_t shared_matrix(const void *data, int leading, int stride, SIMT_SITE) {
  return simt_shared_matrix(data, leading, stride, site);
}
static inline uint64_t move_matrix(uint64_t matrix, int bytes) {
  return matrix + (uint64_t)(bytes >> 4);
}
static inline void wgmma_fence(SIMT_SITE) { simt_wgmma_fence(site); }
static inline void wgmma_commit(SIMT_SITE) { simt_wgmma_commit(site); }
template <int pending> static inline void wgmma_wait(SIMT_SITE) { simt_wgmma_wait(pending, site); }

template <bool a_transposed, bool b_transposed, int n>
static inline void wgmma(float (&d)[n], uint64_t a, uint64_t b, bool add, SIMT_SITE) {
  simt_wgmma_begin(d, NULL, a, b, 2 * n, a_transposed, b_transposed, add, site);
}
template <bool b_transposed, int n>
static inline void wgmma(float (&d)[n], const uint32_t (&a)[4], uint64_t b, bool add, SIMT_SITE) {
  simt_wgmma_begin(d, a, 0, b, 2 * n, false, b_transposed, add, site);
}

template <int n> static inline void pin(float (&)[n]) {}
static inline void anchor(float x, float *place) { *place = x; }
template <int n> static inline void anchor(const float (&x)[n], float *place) { *place = x[0]; }
template <int> static inline void more_registers() {}
template <int> static inline void fewer_registers() {}

#undef SIMT_SITE

#endif
