/* Element types, one row of the table each. */
#include "dtype.h"

#include <string.h>

static const struct {
  const char *name;
  int64_t size;
  bool is_float, is_integer;
} table[BAM_DTYPES] = {
  [BAM_BOOL] = { "bool", 1, false, false }, [BAM_U8] = { "u8", 1, false, true },
  [BAM_I32] = { "i32", 4, false, true },    [BAM_I64] = { "i64", 8, false, true },
  [BAM_F16] = { "f16", 2, true, false },    [BAM_BF16] = { "bf16", 2, true, false },
  [BAM_F32] = { "f32", 4, true, false },    [BAM_F64] = { "f64", 8, true, false },
};

int64_t bam_dtype_size(bam_dtype dtype) { return table[dtype].size; }

const char *bam_dtype_name(bam_dtype dtype) { return table[dtype].name; }

int bam_dtype_find(const char *name) {
  for (int i = 0; i < BAM_DTYPES; i++)
    if (strcmp(table[i].name, name) == 0)
      return i;
  return -1;
}

bool bam_dtype_is_float(bam_dtype dtype) { return table[dtype].is_float; }

bool bam_dtype_is_integer(bam_dtype dtype) { return table[dtype].is_integer; }

bool bam_dtype_range(bam_dtype dtype, int64_t *low, int64_t *high) {
  if (!table[dtype].is_integer)
    return false;
  *high = dtype == BAM_U8 ? UINT8_MAX : dtype == BAM_I32 ? INT32_MAX : INT64_MAX;
  *low = dtype == BAM_U8 ? 0 : -*high - 1;
  return true;
}

bam_dtype bam_dtype_arithmetic(bam_dtype dtype) {
  return dtype == BAM_F16 || dtype == BAM_BF16 ? BAM_F32 : dtype;
}

bam_dtype bam_dtype_promote(bam_dtype a, bam_dtype b) {
  if ((a == BAM_F16 && b == BAM_BF16) || (a == BAM_BF16 && b == BAM_F16))
    return BAM_F32;
  return a > b ? a : b; /* the enumeration is in promotion order */
}
