/* A sum of squares that does not over- or underflow unless its square root does. For f32, a sum in double
   is enough. For f64 there are three sums, of large, medium and small numbers; the first and the last are
   scaled by powers of two (Blue 1978). */
#ifndef BAM_SQUARES_H
#define BAM_SQUARES_H

#include <math.h>

#include "real.h"

#ifdef BAM_TYPE_f64

#define SQUARES_LARGE 0x1p480 /* sums of squares of smaller numbers cannot overflow */
#define SQUARES_SMALL 0x1p-480
#define SQUARES_SCALE 0x1p600

typedef struct {
  double large, middle, small;
} squares;

BAM_FUNCTION squares squares_of(real v) {
  const double a = fabs(v), down = a / SQUARES_SCALE, up = a * SQUARES_SCALE;
  squares s = { 0, 0, 0 };
  if (a > SQUARES_LARGE)
    s.large = down * down;
  else if (a < SQUARES_SMALL)
    s.small = up * up;
  else
    s.middle = a * a; /* NaN, too */
  return s;
}

BAM_FUNCTION squares squares_add(squares a, squares b) {
  a.large += b.large;
  a.middle += b.middle;
  a.small += b.small;
  return a;
}

BAM_FUNCTION double squares_root(squares s) {
  if (s.large > 0)
    return sqrt(s.large + s.middle / SQUARES_SCALE / SQUARES_SCALE) * SQUARES_SCALE;
  if (s.middle != 0)
    return sqrt(s.middle + s.small / SQUARES_SCALE / SQUARES_SCALE);
  return sqrt(s.small) / SQUARES_SCALE;
}

#else

typedef double squares;

BAM_FUNCTION squares squares_of(real v) { return (double)v * (double)v; }
BAM_FUNCTION squares squares_add(squares a, squares b) { return a + b; }
BAM_FUNCTION double squares_root(squares s) { return sqrt(s); }

#endif

#endif
