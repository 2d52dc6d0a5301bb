/* Arithmetic on several operands, of every dtype that computes, as kernels/scalar.h defines it. */
#include "walk.h"

#include "../scalar.h"

BAM_ARITHMETIC(UNARY, BINARY)

/* A square is a product, as on the CPU. */
BINARY(pow, b == (real)2 ? (real)MUL(a, a) : power(a, b))

/* NaN passes; where the bounds cross, the upper one wins. */
struct clamped {
  real low, high;
  __device__ real operator()(real x) const {
    const real v = x < low ? low : x;
    return v > high ? high : v;
  }
};

void KERNEL(clamp)(bam_stream stream, const bam_loop *loop, void *y, const void *x, double low,
                   double high) {
  const clamped f = { NARROW(low), NARROW(high) };
  walk(stream, loop, f, (element *)y, (const element *)x);
}

struct chosen {
  __device__ real operator()(bool condition, real a, real b) const { return condition ? a : b; }
};

void KERNEL(where)(bam_stream stream, const bam_loop *loop, void *y, const uint8_t *condition,
                   const void *a, const void *b) {
  walk(stream, loop, chosen(), (element *)y, condition, (const element *)a, (const element *)b);
}

#if BAM_FLOATING

BAM_ARITHMETIC_REAL(BINARY, TERNARY)

TERNARY(pow_base_backward, c == (real)2 ? a * (2 * b) : power_slope(a, b, c))

struct within {
  real low, high;
  __device__ real operator()(real g, real x) const { return x >= low && x <= high ? g : (real)0; }
};

void KERNEL(clamp_backward)(bam_stream stream, const bam_loop *loop, void *dx, const void *g,
                            const void *x, double low, double high) {
  const within f = { NARROW(low), NARROW(high) };
  walk(stream, loop, f, (element *)dx, (const element *)g, (const element *)x);
}

#endif
