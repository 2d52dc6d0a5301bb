/* The types of a compilation. Each kernel file is compiled once per dtype, with -DBAM_TYPE=f32 and
   -DBAM_TYPE_f32, for example. `real` is the type in which kernels compute, `element` the type of an element in
   memory: the same, but for bool and bf16. Shared by all devices. */
#ifndef BAM_REAL_H
#define BAM_REAL_H

#include "function.h"

#define BAM_REAL_f32 float
#define BAM_REAL_f64 double
#define BAM_REAL_bf16 float
#define BAM_REAL_i32 int32_t
#define BAM_REAL_i64 int64_t
#define BAM_REAL_u8 uint8_t
#define BAM_REAL_b8 bool /* `bool` itself may be a macro and cannot be pasted */
#define BAM_REAL_OF_(type) BAM_REAL_##type
#define BAM_REAL_OF(type) BAM_REAL_OF_(type)
typedef BAM_REAL_OF(BAM_TYPE) real;

/* An element becomes a real when it is read, and is made of one when it is assigned.
   bf16 computes in float, and a stored result is rounded to the nearest bf16, halves to even.
   bool: reading a byte other than 0 or 1 as a bool is undefined, and an uninitialized tensor may hold any byte.
   Converted to `real`, a nonzero byte is true. In C++ its type is a distinct one, because kernels for u8 have
   templates of the same names. The two structs have different names for the same reason. */
#if !defined(BAM_TYPE_b8) && !defined(BAM_TYPE_bf16)
typedef real element;
#elif defined(BAM_TYPE_bf16) && defined(__cplusplus)
#include "convert.h"
typedef struct bf16_element {
  bf16 stored;
  bf16_element() = default;
  __host__ __device__ explicit bf16_element(float value) : stored(round_to_bf16(value)) {}
  __host__ __device__ operator float() const { return from_bf16(stored); }
  __host__ __device__ bf16_element &operator=(float value) {
    stored = round_to_bf16(value);
    return *this;
  }
} element;
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
#elif defined(BAM_TYPE_b8)
typedef uint8_t element;
#else
typedef uint16_t element; /* C has kernels of bf16 in tables only */
#endif

/* A number as an element, rounded once; saturation is the caller's. */
#if defined(BAM_TYPE_bf16) && defined(__cplusplus)
static inline element element_of(double value) {
  element x;
  x.stored = WRITE_bf16(value);
  return x;
}
#else
#define element_of(value) ((element)(real)(value))
#endif

/* Whether `real` is float, and whether it is float or double. */
#if defined(BAM_TYPE_f32) || defined(BAM_TYPE_bf16)
#define BAM_SINGLE 1
#else
#define BAM_SINGLE 0
#endif
#if BAM_SINGLE || defined(BAM_TYPE_f64)
#define BAM_FLOATING 1
#else
#define BAM_FLOATING 0
#endif

/* The C library's function for `real`: REAL_MATH(exp)(x) is expf(x) for float. */
#if BAM_SINGLE
#define REAL_MATH(name) name##f
#else
#define REAL_MATH(name) name
#endif

#endif
