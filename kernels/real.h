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

/* An element as it lies in memory. It differs from `real` for bool: reading a byte other than 0 and 1
   as a bool is undefined, and memory may hold any (an uninitialised tensor). Assigned to a `real`, or
   passed as one, it is true unless it is 0. In C++ it is a type of its own: kernels for u8 have
   templates of the same names. */
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

/* The function of the C library for `real`: REAL_MATH(exp)(x). */
#ifdef BAM_TYPE_f32
#define REAL_MATH(name) name##f
#else
#define REAL_MATH(name) name
#endif

#endif
