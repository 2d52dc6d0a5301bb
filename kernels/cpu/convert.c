/* Conversion between any two dtypes, elementwise over a loop: one function per pair, made by
   macros and kept in a table (bool is called b8 here: it is a macro). Float to integer truncates
   and saturates (NaN gives 0), so that no input is undefined; to bool is "not zero"; bf16 and
   f16 round to nearest even. */
#include <math.h>
#include <string.h>

#include "../../engine/device.h"

typedef uint16_t f16;
typedef struct { uint16_t bits; } bf16;

static inline float from_bf16(bf16 x) {
  uint32_t bits = (uint32_t)x.bits << 16;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static inline bf16 to_bf16(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  if (f != f)
    return (bf16){ (uint16_t)((bits >> 16) | 0x40) };
  return (bf16){ (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) };
}

static inline float from_f16(f16 h) {
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

static inline f16 to_f16(float f) {
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

/* Through which type each dtype is read (R) and how a value becomes it. */
static inline int64_t to_integer(double v, double low, double high, int64_t min, int64_t max) {
  return v != v ? 0 : v <= low ? min : v >= high ? max : (int64_t)v;
}
#define READ_b8(x) ((int64_t)(x))
#define READ_u8(x) ((int64_t)(x))
#define READ_i32(x) ((int64_t)(x))
#define READ_i64(x) ((int64_t)(x))
#define READ_f16(x) from_f16(x)
#define READ_bf16(x) from_bf16(x)
#define READ_f32(x) (x)
#define READ_f64(x) (x)

#define IS_FLOATING(v) _Generic((v), float: 1, double: 1, default: 0)
#define INTEGER(v, T, min, max)                                                                   \
  ((T)(IS_FLOATING(v) ? to_integer((double)(v), (double)(min), (double)(max), min, max)           \
                      : (int64_t)(v)))
#define WRITE_b8(v) ((v) != 0)
#define WRITE_u8(v) INTEGER(v, uint8_t, 0, UINT8_MAX)
#define WRITE_i32(v) INTEGER(v, int32_t, INT32_MIN, INT32_MAX)
#define WRITE_i64(v) INTEGER(v, int64_t, INT64_MIN, INT64_MAX)
#define WRITE_f16(v) to_f16((float)(v))
#define WRITE_bf16(v) to_bf16((float)(v))
#define WRITE_f32(v) ((float)(v))
#define WRITE_f64(v) ((double)(v))

#define C_b8 bool
#define C_u8 uint8_t
#define C_i32 int32_t
#define C_i64 int64_t
#define C_f16 f16
#define C_bf16 bf16
#define C_f32 float
#define C_f64 double

typedef void row_function(void *y, int64_t sy, const void *x, int64_t sx, int64_t n);

#define PAIR(to, from)                                                                            \
  static void from##_to_##to(void *y_, int64_t sy, const void *x_, int64_t sx, int64_t n) {       \
    C_##to *y = y_;                                                                               \
    const C_##from *x = x_;                                                                       \
    if (sy == 1 && sx == 1)                                                                       \
      for (int64_t i = 0; i < n; i++)                                                             \
        y[i] = WRITE_##to(READ_##from(x[i]));                                                     \
    else                                                                                          \
      for (int64_t i = 0; i < n; i++)                                                             \
        y[i * sy] = WRITE_##to(READ_##from(x[i * sx]));                                           \
  }
#define ALL_FROM(to) PAIR(to, b8) PAIR(to, u8) PAIR(to, i32) PAIR(to, i64) \
                     PAIR(to, f16) PAIR(to, bf16) PAIR(to, f32) PAIR(to, f64)
ALL_FROM(b8) ALL_FROM(u8) ALL_FROM(i32) ALL_FROM(i64)
ALL_FROM(f16) ALL_FROM(bf16) ALL_FROM(f32) ALL_FROM(f64)

#define ROW(to)                                                                                   \
  { [BAM_BOOL] = b8_to_##to, [BAM_U8] = u8_to_##to, [BAM_I32] = i32_to_##to,                    \
    [BAM_I64] = i64_to_##to, [BAM_F16] = f16_to_##to, [BAM_BF16] = bf16_to_##to,                  \
    [BAM_F32] = f32_to_##to, [BAM_F64] = f64_to_##to }
static row_function *const convert_row[BAM_DTYPES][BAM_DTYPES] = {
  [BAM_BOOL] = ROW(b8), [BAM_U8] = ROW(u8),     [BAM_I32] = ROW(i32), [BAM_I64] = ROW(i64),
  [BAM_F16] = ROW(f16),   [BAM_BF16] = ROW(bf16), [BAM_F32] = ROW(f32), [BAM_F64] = ROW(f64),
};

void bam_cpu_convert(bam_stream stream, const bam_loop *loop, void *y, bam_dtype y_dtype,
                     const void *x, bam_dtype x_dtype) {
  (void)stream;
  row_function *row = convert_row[y_dtype][x_dtype];
  int64_t y_size = bam_dtype_size(y_dtype), x_size = bam_dtype_size(x_dtype);
  int inner = loop->ndim - 1;
  int64_t n = loop->size[inner], rows = 1;
  for (int d = 0; d < inner; d++)
    rows *= loop->size[d];
  if (rows == 1) { /* most often; even a refused parallel region costs a microsecond */
    row(y, loop->stride[0][inner], x, loop->stride[1][inner], n);
    return;
  }
#pragma omp parallel for if (rows * n > 32768)
  for (int64_t r = 0; r < rows; r++) {
    int64_t rest = r, y_offset = 0, x_offset = 0;
    for (int d = inner - 1; d >= 0; d--) {
      int64_t i = rest % loop->size[d];
      rest /= loop->size[d];
      y_offset += i * loop->stride[0][d];
      x_offset += i * loop->stride[1][d];
    }
    row((char *)y + y_offset * y_size, loop->stride[0][inner], (const char *)x + x_offset * x_size,
        loop->stride[1][inner], n);
  }
}
