/* Conversion between any two dtypes, elementwise over a loop: one function per pair, made by
   macros of what kernels/convert.h says of single numbers, and kept in a table. */
#include "../convert.h"

#include "../device.h"

typedef void row_function(void *y, int64_t sy, const void *x, int64_t sx, int64_t n);

#define PAIR(to, from)                                                                      \
  static void from##_to_##to(void *y_, int64_t sy, const void *x_, int64_t sx, int64_t n) { \
    C_##to *y = y_;                                                                         \
    const C_##from *x = x_;                                                                 \
    if (sy == 1 && sx == 1)                                                                 \
      for (int64_t i = 0; i < n; i++)                                                       \
        y[i] = WRITE_##to(READ_##from(x[i]));                                               \
    else                                                                                    \
      for (int64_t i = 0; i < n; i++)                                                       \
        y[i * sy] = WRITE_##to(READ_##from(x[i * sx]));                                     \
  }
/* clang-format off */
#define ALL_FROM(to) PAIR(to, b8) PAIR(to, u8) PAIR(to, i32) PAIR(to, i64) \
                     PAIR(to, f16) PAIR(to, bf16) PAIR(to, f32) PAIR(to, f64)
ALL_FROM(b8) ALL_FROM(u8) ALL_FROM(i32) ALL_FROM(i64)
ALL_FROM(f16) ALL_FROM(bf16) ALL_FROM(f32) ALL_FROM(f64)
/* clang-format on */

#define ROW(to)                                                                  \
  {                                                                              \
    [BAM_BOOL] = b8_to_##to, [BAM_U8] = u8_to_##to, [BAM_I32] = i32_to_##to,     \
    [BAM_I64] = i64_to_##to, [BAM_F16] = f16_to_##to, [BAM_BF16] = bf16_to_##to, \
    [BAM_F32] = f32_to_##to, [BAM_F64] = f64_to_##to                             \
  }
  static row_function *const convert_row[BAM_DTYPES][BAM_DTYPES] = {
    [BAM_BOOL] = ROW(b8), [BAM_U8] = ROW(u8),     [BAM_I32] = ROW(i32), [BAM_I64] = ROW(i64),
    [BAM_F16] = ROW(f16), [BAM_BF16] = ROW(bf16), [BAM_F32] = ROW(f32), [BAM_F64] = ROW(f64),
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
