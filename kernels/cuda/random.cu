/* Random numbers from counters, the same as on the CPU: element i of a sequence comes from block
   counter + i / (elements per block), and each thread makes whole blocks. Uniform numbers, integers
   and booleans are so to the bit, normal ones to a few ulp. */
#include "vmath.h"
#include "walk.h"

#include "../random.h"

/* The elements of one block, stored at once where memory is aligned for it. */
template <class T, int count> struct drawn { __align__(sizeof(T) * count) T element[count]; };

/* y[n]; `make` turns a block's words into `count` elements. */
template <class T, int count, class F>
static __global__ void draw(T *y, int64_t n, uint64_t seed, uint64_t counter, F make) {
  const bool aligned = (uintptr_t)y % sizeof(drawn<T, count>) == 0;
  BAM_EACH(i, (n + count - 1) / count) {
    uint32_t word[4];
    drawn<T, count> some;
    philox_block(word, seed, counter + (uint64_t)i);
    make(word, some.element);
    if (aligned && (i + 1) * count <= n)
      *(drawn<T, count> *)(y + i * count) = some;
    else
      for (int k = 0; k < count && i * count + k < n; k++)
        y[i * count + k] = some.element[k];
  }
}

template <int count, class T, class F>
static void launch_draw(bam_stream stream, T *y, int64_t n, uint64_t seed, uint64_t counter,
                        F make) {
  const int64_t blocks = (n + count - 1) / count;
  BAM_LAUNCH(stream, (draw<T, count, F>), BAM_BLOCKS(blocks), BAM_BLOCK, 0, y, n, seed, counter,
             make);
}

/* What number k of a block is made of. */
static __device__ __forceinline__ random_bits bits_of(const uint32_t *word, int k) {
#if BAM_SINGLE
  return word[k];
#else
  return long_word(word[2 * k], word[2 * k + 1]);
#endif
}

struct make_uniform {
  real low, high, width;
  __device__ void operator()(const uint32_t *word, element *y) const {
    for (int k = 0; k < PER_BLOCK; k++)
      y[k] = uniform(bits_of(word, k), low, high, width);
  }
};

void KERNEL(random_uniform)(bam_stream stream, void *y, int64_t n, uint64_t seed, uint64_t counter,
                            double low, double high) {
  const make_uniform make = { (real)low, (real)high, (real)(high - low) };
  launch_draw<PER_BLOCK>(stream, (element *)y, n, seed, counter, make);
}

/* Box-Muller: two uniform numbers are the squared radius' logarithm and the angle of two normal
   ones. */
struct make_normal {
  real mean, deviation;
  __device__ void operator()(const uint32_t *word, element *y) const {
    for (int k = 0; k < PER_BLOCK; k += 2) {
      const real logarithm = v_log(unit_above_zero(bits_of(word, k)));
      const real radius = REAL_MATH(sqrt)(-2 * logarithm) * deviation;
      const real angle = unit(bits_of(word, k + 1)) * TWO_PI;
      y[k] = mean + radius * REAL_MATH(cos)(angle);
      y[k + 1] = mean + radius * REAL_MATH(sin)(angle);
    }
  }
};

void KERNEL(random_normal)(bam_stream stream, void *y, int64_t n, uint64_t seed, uint64_t counter,
                           double mean, double deviation) {
  const make_normal make = { (real)mean, (real)deviation };
  launch_draw<PER_BLOCK>(stream, (element *)y, n, seed, counter, make);
}

struct make_integers {
  int64_t low;
  uint64_t width; /* 0: every 64-bit integer is wanted */
  __device__ void operator()(const uint32_t *word, int64_t *y) const {
    for (int k = 0; k < 2; k++) {
      const uint64_t bits = long_word(word[2 * k], word[2 * k + 1]);
      y[k] = width == 0 ? (int64_t)bits : integer_from(bits, low, width);
    }
  }
};

void KERNEL(random_integers)(bam_stream stream, int64_t *y, int64_t n, uint64_t seed,
                             uint64_t counter, int64_t low, int64_t high) {
  const make_integers make = { low, (uint64_t)high - (uint64_t)low + 1 };
  launch_draw<2>(stream, y, n, seed, counter, make);
}

struct make_booleans {
  uint64_t threshold;
  __device__ void operator()(const uint32_t *word, bool *y) const {
    for (int k = 0; k < 4; k++)
      y[k] = word[k] < threshold;
  }
};

void KERNEL(random_booleans)(bam_stream stream, bool *y, int64_t n, uint64_t seed, uint64_t counter,
                             double probability) {
  const make_booleans make = { (uint64_t)(probability * 0x1p32) };
  launch_draw<4>(stream, y, n, seed, counter, make);
}

/* What dropout does to values going forward and to gradients coming back. */
struct kept {
  real scale;
  __device__ real operator()(real x, bool keep) const { return keep ? x * scale : (real)0; }
};

void KERNEL(dropout)(bam_stream stream, const bam_loop *loop, void *y, const void *x,
                     const uint8_t *keep, double scale) {
  const kept f = { (real)scale };
  walk(stream, loop, f, (element *)y, (const element *)x, keep);
}
