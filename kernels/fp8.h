/* FP8 (Micikevicius et al. 2022, arXiv 2209.05433), the operands of products with `--dtype fp8`: E4M3 for activations
   and weights, E5M2, which reaches further, for gradients. A tensor has one scale, a power of two, by which it is
   multiplied before it is rounded: so scaling rounds nothing, and its inverse is exact.

   Numbers round to the nearest code, ties to even, and finite ones saturate. Whatever is not finite becomes NaN in both
   formats: an infinity must not turn into a number, and E4M3 has none. Numbers get the same code on every device. */
#ifndef BAM_FP8_H
#define BAM_FP8_H

#include <math.h>
#include <string.h>

#include "function.h"
#include "kernels.h"

typedef enum bam_fp8_format { BAM_E4M3, BAM_E5M2 } bam_fp8_format;

#define BAM_FP8_NAN 0x7f     /* the code that numbers which are not finite get */
#define BAM_FP8_MULTIPLE 16  /* all sizes of a product are multiples of it */
#define BAM_FP8_PARTS 1024   /* the most partial maxima of one tensor */
#define BAM_FP8_EXPONENT 126 /* of a scale, at most: its inverse is a normal number too */
#define BAM_FP8_TOP \
  0x600000u /* the fraction bits, as f32, of the largest number of both formats: 1.75 * 2^n */

BAM_FUNCTION uint32_t bam_fp8_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

BAM_FUNCTION float bam_fp8_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

BAM_FUNCTION int bam_fp8_fraction(bam_fp8_format format) { return format == BAM_E4M3 ? 3 : 2; }
BAM_FUNCTION int bam_fp8_bias(bam_fp8_format format) { return format == BAM_E4M3 ? 7 : 15; }

/* The code of the largest number: 448, and 57344. */
BAM_FUNCTION uint32_t bam_fp8_largest(bam_fp8_format format) {
  return format == BAM_E4M3 ? 0x7e : 0x7b;
}

BAM_FUNCTION uint8_t bam_to_fp8(float x, bam_fp8_format format) {
  const int shift = 23 - bam_fp8_fraction(format), rebias = 127 - bam_fp8_bias(format);
  const uint32_t bits = bam_fp8_bits(x), magnitude = bits & 0x7fffffffu;
  const uint32_t most = bam_fp8_largest(format);
  uint32_t code;
  if (magnitude >= 0x7f800000u)
    return BAM_FP8_NAN;
  if (magnitude < (uint32_t)(rebias + 1) << 23) {
    /* Subnormal: adding 2^n, whose last bit is the last one of the format, rounds; the sum's last bits are the code. */
    const float to = bam_fp8_float((uint32_t)(rebias + 1 + shift) << 23);
    code = bam_fp8_bits(bam_fp8_float(magnitude) + to) - bam_fp8_bits(to);
  } else {
    code = (magnitude + (1u << (shift - 1)) - 1 + (magnitude >> shift & 1)) >> shift;
    code -= (uint32_t)rebias << (23 - shift);
  }
  return (uint8_t)((bits >> 24 & 0x80) | (code < most ? code : most));
}

/* The codes of two numbers, `low` in the low byte: bam_to_fp8, in one instruction where the device has one. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
static __device__ __forceinline__ uint32_t bam_to_fp8_pair(float low, float high,
                                                           bam_fp8_format format) {
  uint16_t codes;
  low = fmaf(low, 0.0f, low); /* an infinity becomes NaN; the instruction would saturate it */
  high = fmaf(high, 0.0f, high);
  if (format == BAM_E4M3)
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
  else
    asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
  return codes;
}
#else
BAM_FUNCTION uint32_t bam_to_fp8_pair(float low, float high, bam_fp8_format format) {
  return bam_to_fp8(low, format) | (uint32_t)bam_to_fp8(high, format) << 8;
}
#endif

BAM_FUNCTION float bam_from_fp8(uint8_t code, bam_fp8_format format) {
  const int fraction = bam_fp8_fraction(format), rebias = 127 - bam_fp8_bias(format);
  const uint32_t sign = (uint32_t)(code & 0x80) << 24, magnitude = code & 0x7fu;
  if (magnitude > bam_fp8_largest(format)) /* E5M2's code of an infinity is never made */
    return bam_fp8_float(format == BAM_E5M2 && magnitude == 0x7c ? sign | 0x7f800000u
                                                                 : sign | 0x7fc00000u);
  if (magnitude >> fraction == 0) /* subnormal */
    return bam_fp8_float(sign | (uint32_t)(rebias + 1 - fraction) << 23) * (float)magnitude;
  return bam_fp8_float(sign | ((magnitude << (23 - fraction)) + ((uint32_t)rebias << 23)));
}

/* The scale of a tensor: the largest power of two by which `amax`, the bits of its largest magnitude, stays within the
   format. 1 if that is 0, or not finite: then finite elements saturate, and the others become NaN. */
BAM_FUNCTION float bam_fp8_scale(uint32_t amax, bam_fp8_format format) {
  const int top = format == BAM_E4M3 ? 8 : 15;
  int exponent = top - ((int)(amax >> 23) - 127) - ((amax & 0x7fffffu) > BAM_FP8_TOP);
  if (amax == 0 || amax >= 0x7f800000u)
    return 1;
  exponent = exponent < BAM_FP8_EXPONENT ? exponent : BAM_FP8_EXPONENT;
  return bam_fp8_float((uint32_t)(exponent + 127) << 23);
}

/* 1 / scale; every scale lies within 2^-119 .. 2^126. */
BAM_FUNCTION float bam_fp8_inverse(float scale) {
  return bam_fp8_float((254u << 23) - bam_fp8_bits(scale));
}

/* ---- kernels, of devices that multiply FP8 ---- */

/* x [rows, columns], bf16 with rows `ld` apart, as codes: y [rows, columns], transposed [columns, rows]; one of
   them may be NULL. The scale is found from `parts`, the partial maxima of `amax`, and its inverse is written;
   without parts it is the one whose inverse is there. All operands are in the device's memory. */
typedef struct bam_fp8_quantize {
  uint8_t *y, *transposed;
  float *inverse;
  const uint32_t *parts;
  const void *x;
  int64_t rows, columns, ld;
  bam_fp8_format format;
} bam_fp8_quantize;

/* C [m, n] = A [m, k] B [n, k]ᵀ times both inverses, or += with `add`. B is E4M3; C is bf16, or f32 with
   `real_c`. */
typedef struct bam_fp8_product {
  void *c;
  const void *base; /* as in bam_gemm */
  const uint8_t *a, *b;
  const float *a_inverse, *b_inverse; /* on the device */
  int64_t m, n, k;
  bam_fp8_format a_format;
  bool add, real_c;
} bam_fp8_product;

typedef struct bam_fp8_kernels {
  /* The bits of the largest magnitudes of parts of x, as f32. `parts` has room for BAM_FP8_PARTS. */
  void (*amax)(bam_stream stream, uint32_t *parts, const void *x, int64_t rows, int64_t columns,
               int64_t ld);
  void (*quantize)(bam_stream stream, const bam_fp8_quantize *args);
  void (*product)(bam_stream stream, const bam_fp8_product *product);
} bam_fp8_kernels;

#endif
