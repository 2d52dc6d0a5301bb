/* The dtype of a pass: each kernel file is compiled once per dtype, with -DBAM_TYPE=f32 and
   -DBAM_TYPE_f32, and `real` is then the type of its elements. Shared by all devices. */
#ifndef BAM_REAL_H
#define BAM_REAL_H

#include "function.h"

#define BAM_REAL_f32 float
#define BAM_REAL_f64 double
#define BAM_REAL_i32 int32_t
#define BAM_REAL_i64 int64_t
#define BAM_REAL_u8 uint8_t
#define BAM_REAL_b8 bool /* `bool` itself may be a macro and cannot be pasted */
#define BAM_REAL_OF_(type) BAM_REAL_##type
#define BAM_REAL_OF(type) BAM_REAL_OF_(type)
typedef BAM_REAL_OF(BAM_TYPE) real;

#if defined(BAM_TYPE_f32) || defined(BAM_TYPE_f64)
#define BAM_FLOATING 1
#else
#define BAM_FLOATING 0
#endif

/* The function of the C library for `real`: REAL_MATH(exp)(x). */
#ifdef BAM_TYPE_f32
#define REAL_MATH(name) name##f
#else
#define REAL_MATH(name) name
#endif

#endif
