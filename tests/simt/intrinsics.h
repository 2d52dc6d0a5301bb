/* CUDA's device functions, as far as kernels use them; cuda_runtime.h includes this. Those that
   threads take part in together know where they were called, so that threads which wait for each
   other at different places are found out. There are no atomics on floating-point numbers:
   kernels must not use them (kernels/cuda/cuda.h). */
#ifndef SIMT_INTRINSICS_H
#define SIMT_INTRINSICS_H

/* ---- barriers and exchange between threads: simt.cpp ---- */

typedef enum { SIMT_SYNC, SIMT_SHUFFLE, SIMT_BALLOT, SIMT_COLLECTIVE } simt_kind;

/* A place in a source file. */
struct simt_site {
  const char *file;
  int line;
};

/* Wait for all threads of the block; returns how many of them gave a predicate that is true. */
int simt_sync_block(bool predicate, simt_site site);

/* Wait for the lanes of the mask. A shuffle returns the value of lane `source`, a ballot the lanes
   whose value is not 0. */
uint64_t simt_sync_warp(simt_kind kind, unsigned mask, uint64_t value, int source, simt_site site);

/* What all 32 lanes of a warp do together: `run` is called once, with what each lane has brought. */
struct simt_collective {
  const char *name;
  void (*run)(simt_collective *const lanes[32]);
};
void simt_sync_collective(simt_collective *mine, simt_site site);

static inline int simt_lane(void) { return simt_here()->lane; }
int simt_source(int lane, int width, simt_site site); /* checks width; the first of lane's group */

#define SIMT_SITE simt_site site = { __builtin_FILE(), __builtin_LINE() }

static inline void __syncthreads(SIMT_SITE) { simt_sync_block(false, site); }
static inline int __syncthreads_count(int p, SIMT_SITE) { return simt_sync_block(p, site); }
static inline int __syncthreads_or(int p, SIMT_SITE) { return simt_sync_block(p, site) > 0; }
static inline int __syncthreads_and(int p, SIMT_SITE) { return simt_sync_block(!p, site) == 0; }

static inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_SITE) {
  simt_sync_warp(SIMT_SYNC, mask, 0, 0, site);
}

static inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_SITE) {
  return (unsigned)simt_sync_warp(SIMT_BALLOT, mask, predicate != 0, 0, site);
}
static inline int __any_sync(unsigned mask, int predicate, SIMT_SITE) {
  return __ballot_sync(mask, predicate, site) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, SIMT_SITE) {
  return __ballot_sync(mask, !predicate, site) == 0;
}

/* Integers narrower than int become int, as in CUDA, whose shuffles know 4 and 8 bytes. */
template <class T>
static inline auto simt_shuffle(unsigned mask, T x, int source, simt_site site) -> decltype(+x) {
  auto wide = +x;
  static_assert(sizeof wide == 4 || sizeof wide == 8, "shuffles are of 4 or 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &wide, sizeof wide);
  bits = simt_sync_warp(SIMT_SHUFFLE, mask, bits, source, site);
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

template <class T>
static inline auto __shfl_sync(unsigned mask, T x, int source, int width = 32, SIMT_SITE)
  -> decltype(+x) {
  const int first = simt_source(simt_lane(), width, site);
  return simt_shuffle(mask, x, first + (source & (width - 1)), site);
}

template <class T>
static inline auto __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32, SIMT_SITE)
  -> decltype(+x) {
  const int lane = simt_lane(), first = simt_source(lane, width, site);
  const int source = lane ^ bits;
  return simt_shuffle(mask, x, source < first + width ? source : lane, site);
}

template <class T>
static inline auto __shfl_up_sync(unsigned mask, T x, unsigned steps, int width = 32, SIMT_SITE)
  -> decltype(+x) {
  const int lane = simt_lane(), first = simt_source(lane, width, site);
  const int source = lane - (int)steps;
  return simt_shuffle(mask, x, source >= first ? source : lane, site);
}

template <class T>
static inline auto __shfl_down_sync(unsigned mask, T x, unsigned steps, int width = 32, SIMT_SITE)
  -> decltype(+x) {
  const int lane = simt_lane(), first = simt_source(lane, width, site);
  const int source = lane + (int)steps;
  return simt_shuffle(mask, x, source < first + width ? source : lane, site);
}

#undef SIMT_SITE

/* Threads run one after the other: each sees at once what another has written. */
static inline void __threadfence(void) {}
static inline void __threadfence_block(void) {}

/* ---- atomics, which return the old value ---- */

#define SIMT_ATOMIC(name, type, expression)        \
  static inline type name(type *address, type x) { \
    const type old = *address;                     \
    *address = (expression);                       \
    return old;                                    \
  }
#define SIMT_ATOMICS(type)                                             \
  SIMT_ATOMIC(atomicAdd, type, old + x)                                \
  SIMT_ATOMIC(atomicMax, type, old > x ? old : x)                      \
  SIMT_ATOMIC(atomicMin, type, old < x ? old : x)                      \
  SIMT_ATOMIC(atomicOr, type, old | x)                                 \
  SIMT_ATOMIC(atomicAnd, type, old &x)                                 \
  SIMT_ATOMIC(atomicExch, type, x)                                     \
  static inline type atomicCAS(type *address, type expected, type x) { \
    const type old = *address;                                         \
    *address = old == expected ? x : old;                              \
    return old;                                                        \
  }
SIMT_ATOMICS(int)
SIMT_ATOMICS(unsigned)
SIMT_ATOMICS(unsigned long long)
SIMT_ATOMIC(atomicMax, long long, old > x ? old : x)
SIMT_ATOMIC(atomicMin, long long, old < x ? old : x)
#undef SIMT_ATOMICS
#undef SIMT_ATOMIC

/* ---- bits ---- */

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned)x); }
static inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll((unsigned long long)x);
}
static inline unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned)((uint64_t)a * b >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}

#define SIMT_BITS(name, to, from)                         \
  static inline to name(from x) {                         \
    to y;                                                 \
    static_assert(sizeof x == sizeof y, "the same bits"); \
    memcpy(&y, &x, sizeof y);                             \
    return y;                                             \
  }
SIMT_BITS(__float_as_int, int, float)
SIMT_BITS(__float_as_uint, unsigned, float)
SIMT_BITS(__int_as_float, float, int)
SIMT_BITS(__uint_as_float, float, unsigned)
SIMT_BITS(__double_as_longlong, long long, double)
SIMT_BITS(__longlong_as_double, double, long long)
#undef SIMT_BITS

/* ---- arithmetic ---- */

template <class T> static inline T __ldg(const T *address) { return *address; }

static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
static inline float rsqrt(float x) { return 1 / sqrtf(x); }

/* Rounded to nearest, never fused. */
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __dsqrt_rn(double x) { return sqrt(x); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

#define SIMT_EXTREMES(type, least, most)                   \
  static inline type min(type a, type b) { return least; } \
  static inline type max(type a, type b) { return most; }
SIMT_EXTREMES(int, b < a ? b : a, a < b ? b : a)
SIMT_EXTREMES(unsigned, b < a ? b : a, a < b ? b : a)
SIMT_EXTREMES(long, b < a ? b : a, a < b ? b : a)
SIMT_EXTREMES(unsigned long, b < a ? b : a, a < b ? b : a)
SIMT_EXTREMES(long long, b < a ? b : a, a < b ? b : a)
SIMT_EXTREMES(unsigned long long, b < a ? b : a, a < b ? b : a)
SIMT_EXTREMES(float, fminf(a, b), fmaxf(a, b))
SIMT_EXTREMES(double, fmin(a, b), fmax(a, b))
#undef SIMT_EXTREMES

#endif
