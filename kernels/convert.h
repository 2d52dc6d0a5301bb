/* Conversion of one number between dtypes, the same on every device. Float to integer truncates and
   saturates, and NaN gives 0, so no input is undefined. To bool means "not zero". bf16 and f16 round to
   nearest even, once, from every dtype. For each dtype T, C_T is its C type,
   READ_T(x) widens a stored value, and WRITE_T(v) converts to T.
   bool is called b8 here, because `bool` may be a macro. */
#ifndef BAM_CONVERT_H
#define BAM_CONVERT_H

#include <math.h>
#include <string.h>

#include "function.h"

typedef uint16_t f16;
typedef struct {
  uint16_t bits;
} bf16;

BAM_FUNCTION float from_bf16(bf16 x) {
  uint32_t bits = (uint32_t)x.bits << 16;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

BAM_FUNCTION bf16 to_bf16(float f) {
  uint32_t bits;
  bf16 x;
  memcpy(&bits, &f, sizeof bits);
  x.bits = (uint16_t)(f != f ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  return x;
}

/* to_bf16 in one instruction where the device has one; a NaN may become another. */
#ifdef __CUDA_ARCH__
static __host__ __device__ __forceinline__ bf16 round_to_bf16(float f) {
  bf16 x;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(x.bits) : "f"(f));
  return x;
}
#else
BAM_FUNCTION bf16 round_to_bf16(float f) { return to_bf16(f); }
#endif

BAM_FUNCTION float from_f16(f16 h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = h & 0x7fff, bits;
  float f;
  if (magnitude >= 0x7c00)
    bits = sign | 0x7f800000 | (magnitude & 0x3ff) << 13;
  else if (magnitude >= 0x400)
    bits = sign | ((magnitude << 13) + ((127 - 15) << 23));
  else { /* zero or subnormal: exact in f32 */
    f = (float)magnitude * 0x1p-24f;
    return sign ? -f : f;
  }
  memcpy(&f, &bits, sizeof f);
  return f;
}

BAM_FUNCTION f16 to_f16(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  uint16_t sign = (uint16_t)((bits >> 16) & 0x8000);
  float a = fabsf(f);
  if (f != f)
    return (f16)(sign | 0x7e00);
  if (a >= 65520.0f)
    return (f16)(sign | 0x7c00);
  if (a < 0x1p-14f) /* subnormal: the FPU rounds to a multiple of 2^-24 */
    return (f16)(sign | (uint16_t)lrintf(a * 0x1p24f));
  bits &= 0x7fffffff;
  bits += 0xfff + ((bits >> 13) & 1);
  return (f16)(sign | (uint16_t)((bits >> 13) - ((127 - 15) << 10)));
}

/* Rounding to nearest twice is not rounding once: 1 + 2^-11 + 2^-40 becomes a tie on its way to f16
   through f32. So the first step rounds to odd: an inexact result gets its last bit set, which preserves
   the side of a tie for the second rounding (Boldo and Melquiond 2008). */
BAM_FUNCTION float odd_from_double(double v) {
  float f = (float)v;
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  if ((double)f == v || v != v || (bits & 1))
    return f;
  bits += fabs((double)f) < fabs(v) ? 1 : (uint32_t)-1; /* the neighbour on v's side is odd */
  memcpy(&f, &bits, sizeof f);
  return f;
}

BAM_FUNCTION float odd_from_integer(int64_t v) {
  const uint64_t low = 0x7ff, magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
  uint64_t odd = magnitude;
  if (magnitude >> 53) /* more bits than a double has */
    odd = (magnitude & ~low) | (magnitude & low ? low + 1 : 0);
  return odd_from_double(v < 0 ? -(double)odd : (double)odd);
}

BAM_FUNCTION int64_t to_integer(double v, double low, double high, int64_t min, int64_t max) {
  return v != v ? 0 : v <= low ? min : v >= high ? max : (int64_t)v;
}
#define READ_b8(x) ((int64_t)((x) != 0)) /* the byte may have any value, see kernels/real.h */
#define READ_u8(x) ((int64_t)(x))
#define READ_i32(x) ((int64_t)(x))
#define READ_i64(x) ((int64_t)(x))
#define READ_f16(x) from_f16(x)
#define READ_bf16(x) from_bf16(x)
#define READ_f32(x) (x)
#define READ_f64(x) (x)

#define IS_FLOATING(v) ((__typeof__(v))1 / 2 != 0)
#define INTEGER(v, T, min, max)                                                         \
  ((T)(IS_FLOATING(v) ? to_integer((double)(v), (double)(min), (double)(max), min, max) \
                      : (int64_t)(v)))
#define ODD_FLOAT(v)                                            \
  (!IS_FLOATING(v)             ? odd_from_integer((int64_t)(v)) \
   : sizeof(v) > sizeof(float) ? odd_from_double((double)(v))   \
                               : (float)(v))
#define WRITE_b8(v) ((v) != 0)
#define WRITE_u8(v) INTEGER(v, uint8_t, 0, UINT8_MAX)
#define WRITE_i32(v) INTEGER(v, int32_t, INT32_MIN, INT32_MAX)
#define WRITE_i64(v) INTEGER(v, int64_t, INT64_MIN, INT64_MAX)
#define WRITE_f16(v) to_f16(ODD_FLOAT(v))
#define WRITE_bf16(v) to_bf16(ODD_FLOAT(v))
#define WRITE_f32(v) ((float)(v))
#define WRITE_f64(v) ((double)(v))

#define C_b8 uint8_t
#define C_u8 uint8_t
#define C_i32 int32_t
#define C_i64 int64_t
#define C_f16 f16
#define C_bf16 bf16
#define C_f32 float
#define C_f64 double

#endif
