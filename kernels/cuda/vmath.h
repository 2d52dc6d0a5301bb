/* The elementary functions of one `real` that kernels/cpu/vmath.h has, by the same names, from
   CUDA's accurate library: within a few ulp, with infinities, NaN and subnormals as in libm. */
#ifndef BAM_CUDA_VMATH_H
#define BAM_CUDA_VMATH_H

#include "cuda.h"

BAM_FUNCTION real v_exp(real x) { return REAL_MATH(exp)(x); }
BAM_FUNCTION real v_log(real x) { return REAL_MATH(log)(x); }
BAM_FUNCTION real v_log1p_unit(real x) { return REAL_MATH(log1p)(x); }
BAM_FUNCTION real v_tanh(real x) { return REAL_MATH(tanh)(x); }

/* The share of the normal distribution below x, and its density there. */
BAM_FUNCTION real v_normal_cdf(real x, real *density) {
  *density = v_exp((real)-0.5 * x * x) * (real)0.3989422804014326779;
  return (real)0.5 * REAL_MATH(erfc)(x * (real)-0.7071067811865475244);
}

#include "../unary.h"

#endif
