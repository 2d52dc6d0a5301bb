/* Elementary functions of one `real` that GCC can vectorise: straight-line arithmetic, no branches,
   no tables and no fused multiply-add, so that every instruction set gives the same bits. In f32
   they are good to about 2 ulp over the whole range, with infinities, NaN and subnormals as in
   libm; f64 calls libm. The polynomials are minimax fits (Remez) on the intervals named beside
   them. */
#ifndef BAM_CPU_VMATH_H
#define BAM_CPU_VMATH_H

#include "cpu.h"

#ifdef BAM_TYPE_f32

static inline float float_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline uint32_t bits_of_float(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

#define LN2_HIGH 0x1.62e4p-1f /* few bits: times an exponent it is exact */
#define LN2_LOW 1.42860677e-6f

/* e^x = 2^n e^r with |r| <= ln(2) / 2; 2^n in two factors, so that subnormal results round once. */
static inline float v_exp(float x) {
  const float shift = 0x1.8p23f; /* adding it rounds to an integer, left in the low bits */
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  float t = x * 1.44269504f + shift;
  float n = t - shift;
  int32_t i = (int32_t)(bits_of_float(t) - bits_of_float(shift));
  float r = (x - n * LN2_HIGH) - n * LN2_LOW;
  float p = 0x1.6a1082p-10f; /* (e^r - 1 - r) / r^2, error 2^-28 */
  p = p * r + 0x1.1245c8p-7f;
  p = p * r + 0x1.55593cp-5f;
  p = p * r + 0x1.555482p-3f;
  p = p * r + 0x1.fffffcp-2f;
  int32_t half = i >> 1;
  float scale = float_of_bits((uint32_t)(half + 127) << 23);
  float rest = float_of_bits((uint32_t)(i - half + 127) << 23);
  return (1.0f + (r + r * r * p)) * scale * rest;
}

/* e^x for x <= 0; 0 below -87.3, where results would be subnormal. */
static inline float v_exp_negative(float x) {
  const float shift = 0x1.8p23f, least = -87.33f;
  float y = x < least ? least : x;
  float t = y * 1.44269504f + shift;
  float n = t - shift;
  float r = (y - n * LN2_HIGH) - n * LN2_LOW;
  float p = 0x1.6a1082p-10f; /* as in v_exp */
  p = p * r + 0x1.1245c8p-7f;
  p = p * r + 0x1.55593cp-5f;
  p = p * r + 0x1.555482p-3f;
  p = p * r + 0x1.fffffcp-2f;
  float scale = float_of_bits((bits_of_float(t) + 127) << 23); /* shifts the bits of `shift` out */
  return x < least ? 0.0f : (1.0f + (r + r * r * p)) * scale;
}

/* 1 / x for 1 <= x <= 2, without a division: a parabola within 1/99 of it, and two Newton steps. */
static inline float v_reciprocal(float x) {
  float y = (0x1.4afd6ap-2f * x - 0x1.745d18p+0f) * x + 0x1.0f83e0p+1f;
  y = y + y * (1.0f - x * y);
  return y + y * (1.0f - x * y);
}

/* (2 atanh(s) / s - 2) / z where z = s * s <= 1/9, error 2^-33. */
static inline float atanh_tail(float z) {
  float p = 0x1.f1aef6p-3f;
  p = p * z + 0x1.b6d69ep-3f;
  p = p * z + 0x1.250972p-2f;
  p = p * z + 0x1.9996a8p-2f;
  return p * z + 0x1.555558p-1f;
}

/* log(1 + f) = f - s (f - z P(z)) with s = f / (2 + f), z = s * s, is e ln(2) away from log x. */
static inline float v_log(float x) {
  const uint32_t root_half = 0x3f3504f3; /* sqrt(1/2): the fraction lies in [sqrt(1/2), sqrt(2)) */
  float subnormal = x < 0x1p-126f ? 0x1p23f : 1.0f;
  float offset = x < 0x1p-126f ? 23.0f : 0.0f;
  uint32_t bits = bits_of_float(x * subnormal) - root_half;
  float e = (float)((int32_t)bits >> 23) - offset;
  float f = float_of_bits((bits & 0x7fffff) + root_half) - 1.0f;
  float s = f / (2.0f + f), z = s * s;
  float tail = s * (f - z * atanh_tail(z));
  float y = e * LN2_HIGH + (f - (tail - e * LN2_LOW));
  y = x > 0 ? y : NAN;
  y = x == 0 ? -INFINITY : y;
  return x == INFINITY ? x : y;
}

/* log(1 + x) for 0 <= x <= 1. */
static inline float v_log1p_unit(float x) {
  float s = x / (2.0f + x), z = s * s;
  return x - s * (x - z * atanh_tail(z));
}

static inline float v_tanh(float x) {
  float a = fabsf(x), z = x * x;
  float p = -0x1.76ab9p-8f; /* (tanh(x) / x - 1) / z for |x| <= 0.625, error 2^-28 */
  p = p * z + 0x1.5256bap-6f;
  p = p * z - 0x1.b84444p-5f;
  p = p * z + 0x1.110768p-3f;
  p = p * z - 0x1.555534p-2f;
  float near = x + x * z * p;
  float far = 1.0f - 2.0f / (v_exp(2.0f * a) + 1.0f);
  return a < 0.625f ? near : copysignf(far, x);
}

/* exp(-x^2 / 2) t Q(t), t = 1 / (1 + 0.3 |x|), is the normal distribution's tail beyond |x|.
   `density` receives exp(-x^2 / 2) / sqrt(2 pi). */
static inline float v_normal_cdf(float x, float *density) {
  float a = fabsf(x), e = v_exp(-0.5f * x * x);
  float t = 1.0f / (1.0f + 0.3f * a);
  float q = -0x1.51e4b4p-6f; /* |x| <= 14.5, error 2^-28 */
  q = q * t + 0x1.cc88cp-4f;
  q = q * t - 0x1.d36108p-3f;
  q = q * t + 0x1.88c586p-3f;
  q = q * t - 0x1.455044p-4f;
  q = q * t + 0x1.89db14p-4f;
  q = q * t + 0x1.4115bap-4f;
  q = q * t + 0x1.c3862ep-4f;
  q = q * t + 0x1.e9c424p-4f;
  q = q * t + 0x1.ea3c98p-4f;
  float tail = e * t * q;
  *density = e * 0.398942280f;
  return x < 0 ? tail : 1.0f - tail;
}

#else

static inline double v_exp(double x) { return exp(x); }
static inline double v_exp_negative(double x) { return exp(x); }
static inline double v_reciprocal(double x) { return 1 / x; }
static inline double v_log(double x) { return log(x); }
static inline double v_log1p_unit(double x) { return log1p(x); }
static inline double v_tanh(double x) { return tanh(x); }

static inline double v_normal_cdf(double x, double *density) {
  *density = exp(-0.5 * x * x) * 0.3989422804014326779;
  return 0.5 * erfc(x * -0.7071067811865475244);
}

#endif

#include "../unary.h"

/* v_sigmoid with a multiplication instead of the division, for layers: as accurate, but where multiply and add fuse it
   has other bits on each instruction set. */
static inline real v_sigmoid_newton(real x) {
  const real e = v_exp_negative(x < 0 ? x : -x), part = v_reciprocal(1 + e);
  return x < 0 ? e * part : part;
}

#endif
