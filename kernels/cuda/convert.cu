/* Conversion between any two dtypes, elementwise over a loop, of what kernels/convert.h says of
   single numbers. One functor per pair. */
#include "convert.h"

#define BAM_TYPE f32 /* walk.h wants one; nothing here depends on it */
#define BAM_TYPE_f32
#include "walk.h"

#include "../convert.h"

#define PAIR(to, from)                                                                    \
  struct from##_to_##to {                                                                 \
    __device__ C_##to operator()(C_##from x) const { return WRITE_##to(READ_##from(x)); } \
  };
/* clang-format off */
#define ALL_FROM(to) PAIR(to, b8) PAIR(to, u8) PAIR(to, i32) PAIR(to, i64)                        \
                     PAIR(to, f16) PAIR(to, bf16) PAIR(to, f32) PAIR(to, f64)
ALL_FROM(b8) ALL_FROM(u8) ALL_FROM(i32) ALL_FROM(i64)
ALL_FROM(f16) ALL_FROM(bf16) ALL_FROM(f32) ALL_FROM(f64)
/* clang-format on */

#define CASE(dtype, to, from)                                               \
  case dtype:                                                               \
    walk(stream, loop, from##_to_##to(), (C_##to *)y, (const C_##from *)x); \
    break;

#define CONVERT_TO(to)                                                                         \
  static void convert_to_##to(bam_stream stream, const bam_loop *loop, void *y, const void *x, \
                              bam_dtype x_dtype) {                                             \
    switch (x_dtype) {                                                                         \
      CASE(BAM_BOOL, to, b8)                                                                   \
      CASE(BAM_U8, to, u8)                                                                     \
      CASE(BAM_I32, to, i32)                                                                   \
      CASE(BAM_I64, to, i64)                                                                   \
      CASE(BAM_F16, to, f16)                                                                   \
      CASE(BAM_BF16, to, bf16)                                                                 \
      CASE(BAM_F32, to, f32)                                                                   \
      CASE(BAM_F64, to, f64)                                                                   \
    default: break;                                                                            \
    }                                                                                          \
  }
  CONVERT_TO(b8) CONVERT_TO(u8) CONVERT_TO(i32) CONVERT_TO(i64) CONVERT_TO(f16) CONVERT_TO(bf16)
    CONVERT_TO(f32) CONVERT_TO(f64)

      void bam_cuda_convert(bam_stream stream, const bam_loop *loop, void *y, bam_dtype y_dtype,
                            const void *x, bam_dtype x_dtype) {
  typedef void converter(bam_stream, const bam_loop *, void *, const void *, bam_dtype);
  static converter *const by_dtype[BAM_DTYPES] = {
    /* in the order of bam_dtype */
    convert_to_b8,  convert_to_u8,   convert_to_i32, convert_to_i64,
    convert_to_f16, convert_to_bf16, convert_to_f32, convert_to_f64,
  };
  by_dtype[y_dtype](stream, loop, y, x, x_dtype);
}
