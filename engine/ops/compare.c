/* Comparisons, and tests for values that are not numbers: all answer in bool. */
#include "support/elementwise.h"

#define COMPARISON(op, sign)                                                               \
  static bam_status op##_forward(bam_call *call) {                                         \
    return bam_binary(call, BAM_KERNEL(op), BAM_RESULT_BOOL);                              \
  }                                                                                        \
  const bam_op bam_op_##op = {                                                             \
    .name = #op,                                                                           \
    .inputs = { "a", "b" },                                                                \
    .constant = true,                                                                      \
    .forward = op##_forward,                                                               \
    .help = "a " sign " b element by element, as bool. Shapes broadcast, dtypes promote.", \
  };

COMPARISON(eq, "==")
COMPARISON(ne, "~=")
COMPARISON(lt, "<")
COMPARISON(le, "<=")
COMPARISON(gt, ">")
COMPARISON(ge, ">=")

#define TEST(op, kernel, text)                                                     \
  static bam_status op##_forward(bam_call *call) {                                 \
    return bam_unary(call, BAM_KERNEL(kernel), BAM_RESULT_BOOL, BAM_KEEP_NOTHING); \
  }                                                                                \
  const bam_op bam_op_##op = { .name = #op,                                        \
                               .inputs = { "x" },                                  \
                               .constant = true,                                   \
                               .forward = op##_forward,                            \
                               .help = text };

TEST(isnan, is_nan, "Is each element NaN? A bool tensor.")
TEST(isinf, is_infinite, "Is each element infinite, of either sign? A bool tensor.")
TEST(isfinite, is_finite, "Is each element neither infinite nor NaN? A bool tensor.")
