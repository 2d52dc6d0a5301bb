/* Logic on bools. "and", "or" and "xor" of bools are their product, sum and inequality, which have
   kernels. */
#include "support/elementwise.h"

static bam_status logical(bam_call *call, size_t kernel) {
  BAM_TRY(bam_require_bool(call, 0, "a"));
  BAM_TRY(bam_require_bool(call, 1, "b"));
  return bam_binary(call, kernel, BAM_RESULT_SAME);
}

#define LOGICAL(op, kernel, text)                                                              \
  static bam_status op##_forward(bam_call *call) { return logical(call, BAM_KERNEL(kernel)); } \
  const bam_op bam_op_##op = {                                                                 \
    .name = #op,                                                                               \
    .inputs = { "a", "b" },                                                                    \
    .constant = true,                                                                          \
    .forward = op##_forward,                                                                   \
    .help = text ", element by element, of bool tensors. Shapes broadcast.",                   \
  };

LOGICAL(logical_and, mul, "a and b")
LOGICAL(logical_or, add, "a or b")
LOGICAL(logical_xor, ne, "a or b but not both")

static bam_status logical_not_forward(bam_call *call) {
  BAM_TRY(bam_require_bool(call, 0, "x"));
  return bam_unary(call, BAM_KERNEL(is_zero), BAM_RESULT_BOOL, BAM_KEEP_NOTHING);
}

const bam_op bam_op_logical_not = {
  .name = "logical_not",
  .inputs = { "x" },
  .constant = true,
  .forward = logical_not_forward,
  .help = "not x, element by element, of a bool tensor.",
};
