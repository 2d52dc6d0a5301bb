/* The element type of a compilation. Each kernel file is compiled once per dtype, with -DBAM_TYPE=f32 and
   -DBAM_TYPE_f32, for example; `real` is the C type of that dtype. Shared by all devices. */
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

/* The type of an element in memory. It differs from `real` only for bool: reading a byte other than 0 or 1
   as a bool is undefined, and an uninitialized tensor may hold any byte. Converted to `real`, a nonzero
   byte is true. In C++ it is a distinct type, because kernels for u8 have templates of the same
   names. */
#if !defined(BAM_TYPE_b8)
typedef real element;
#elif defined(__cplusplus)
struct element {
  uint8_t byte;
  element() = default;
  __host__ __device__ explicit element(bool value) : byte(value) {}
  __host__ __device__ operator bool() const { return byte != 0; }
  __host__ __device__ element &operator=(bool value) {
    byte = value;
    return *this;
  }
};
#else
typedef uint8_t element;
#endif

#if defined(BAM_TYPE_f32) || defined(BAM_TYPE_f64)
#define BAM_FLOATING 1
#else
#define BAM_FLOATING 0
#endif

/* The C library's function for `real`: REAL_MATH(exp)(x) is expf(x) for f32. */
#ifdef BAM_TYPE_f32
#define REAL_MATH(name) name##f
#else
#define REAL_MATH(name) name
#endif

#endif
