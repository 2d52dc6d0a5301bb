/* The three products of a linear layer, y = x Wᵀ, dx = dy W and dW = dyᵀ x, in the dtype of their operands or, from
   bf16, in FP8: then each operand is encoded at the moment of use, with a scale from its own largest magnitude
   (kernels/fp8.h), x and W as E4M3 and dy as E5M2. The gradient is that of the product of the encoded operands;
   rounding counts as the identity (straight-through). */
#ifndef BAM_OPS_LINEAR_PRODUCTS_H
#define BAM_OPS_LINEAR_PRODUCTS_H

#include "layer_inputs.h"

/* x is [rows, in], W [out, in] and y [rows, out]; all contiguous, but for rows of x `stride` apart. */
typedef struct bam_linear {
  int64_t rows, in, out;
  int64_t stride;   /* of x; 0: contiguous */
  bool add;         /* forward adds to y, or to: */
  const void *base; /* a residual like y; NULL: y itself */
  float
    *inverse; /* FP8: of the scales of x and W, on the device; forward finds them. NULL: not FP8 */
} bam_linear;

#define BAM_LINEAR_SCALES 2 /* of a layer */

/* Fail if attribute `fp8` is set and the device has no FP8, or input 0 is not bf16. */
bam_status bam_call_check_fp8(bam_call *call, const bam_attr *fp8);

/* Room for the scales of `layers` layers, f32; a temporary of the call, saved in `slot`. NULL if `fp8` is not set. */
bam_status bam_call_fp8_scales(bam_call *call, const bam_attr *fp8, int slot, int layers,
                               bam_tensor **scales);

/* Let the layer use the `i`-th part of `scales`, counted from 0, unless that is NULL or one of its sizes is not a
   multiple of 16: then it is computed in the dtype of its operands. */
void bam_linear_use_fp8(bam_linear *l, bam_tensor *scales, int i);

/* y = x Wᵀ; y has the dtype of x, or the one that kernels of x compute in. */
bam_status bam_linear_forward(bam_scope *scope, const bam_linear *l, bam_tensor *y, bam_tensor *x,
                              bam_tensor *weight);

/* Backward of a layer: dy, and its codes as it lies and transposed. */
typedef struct bam_linear_backward {
  bam_linear l;
  bam_scope *scope;
  bam_tensor *dy, *codes, *transposed, *inverse;
} bam_linear_backward;

/* Prepare dy for the gradients that are wanted. dy outlives the scope. */
bam_status bam_linear_backward_begin(bam_scope *scope, const bam_linear *l, bam_tensor *dy,
                                     bool for_x, bool for_weight, bam_linear_backward *out);

/* target = dy W, or += with `add`, contiguous; dtypes as in forward. Each gradient once: it releases its codes. */
bam_status bam_linear_grad_x(const bam_linear_backward *b, bam_tensor *target, bool add,
                             bam_tensor *weight);

/* target = dyᵀ x, or += with `add`; x is contiguous, whatever l.stride. */
bam_status bam_linear_grad_weight(const bam_linear_backward *b, bam_tensor *target, bool add,
                                  bam_tensor *x);

#endif
