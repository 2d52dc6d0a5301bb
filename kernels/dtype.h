/* Element types: sizes, names, and type promotion. f32, f64, i32, i64, u8 and bool have kernels on every device, bf16
   on some. f16 only stores values, as bf16 does elsewhere: they can be copied and converted. */
#ifndef BAM_DTYPE_H
#define BAM_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum bam_dtype {
  BAM_BOOL, /* one byte, 0 or 1 */
  BAM_U8,
  BAM_I32,
  BAM_I64,
  BAM_F16,
  BAM_BF16,
  BAM_F32,
  BAM_F64,
  BAM_DTYPES /* their number */
} bam_dtype;

/* Bytes per element. */
int64_t bam_dtype_size(bam_dtype dtype);

/* "f32", "i64", ...: the name scripts and error messages use. */
const char *bam_dtype_name(bam_dtype dtype);

/* The dtype called `name`, or -1. */
int bam_dtype_find(const char *name);

bool bam_dtype_is_float(bam_dtype dtype);   /* f16, bf16, f32, f64 */
bool bam_dtype_is_integer(bam_dtype dtype); /* u8, i32, i64; bool is not one */

/* The dtype that kernels of `dtype` compute in, and that sums and gradients of parameters have: f32 for f16 and bf16,
   else `dtype` itself. */
bam_dtype bam_dtype_arithmetic(bam_dtype dtype);

/* The range of u8, i32 or i64; false for other dtypes. */
bool bam_dtype_range(bam_dtype dtype, int64_t *low, int64_t *high);

/* The dtype that two dtypes promote to, as in PyTorch: the later in bool < u8 < i32 < i64 < f16, bf16 < f32
   < f64, except that f16 and bf16 promote to f32. */
bam_dtype bam_dtype_promote(bam_dtype a, bam_dtype b);

#endif
