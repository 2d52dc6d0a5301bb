/* What elementwise ops have in common: promote, broadcast, run one kernel over the result. Kernels
   are named by their place in the table: BAM_KERNEL(add). */
#ifndef BAM_ELEMENTWISE_H
#define BAM_ELEMENTWISE_H

#include <stddef.h>

#include "promote.h"

#define BAM_KERNEL(name) offsetof(bam_kernels, name)

typedef enum bam_result {
  BAM_RESULT_SAME,  /* of the promoted dtype */
  BAM_RESULT_FLOAT, /* the same, but integers and bool become f32 before they enter */
  BAM_RESULT_BOOL   /* computed in the promoted dtype, answered in bool */
} bam_result;

typedef enum bam_keep { BAM_KEEP_NOTHING, BAM_KEEP_INPUT, BAM_KEEP_OUTPUT } bam_keep;

/* outputs[0] = kernel(inputs[0]), a BAM_UNARY or BAM_TEST kernel; slot 0 saves what `keep` says. */
bam_status bam_unary(bam_call *call, size_t kernel, bam_result result, bam_keep keep);

/* outputs[0] = kernel(inputs[0], inputs[1]), a BAM_BINARY or BAM_COMPARISON kernel. */
bam_status bam_binary(bam_call *call, size_t kernel, bam_result result);

/* Save input i in slot i when the other input of the two wants a gradient. */
bam_status bam_binary_save(bam_call *call, int i);

/* Fail with `advice` when every input is bool. */
bam_status bam_refuse_bool(bam_call *call, const char *advice);

/* Fail when input i is not bool; `role` names it. */
bam_status bam_require_bool(bam_call *call, int i, const char *role);

/* Give input 0 the gradient kernel(grads[0], saved[0]): all there is to do for most unary ops. */
bam_status bam_unary_backward(bam_backward *pass, size_t kernel);

/* Give input i kernel(g, a, b), where g decides shape and dtype, and a and b broadcast and are
   converted. */
bam_status bam_ternary_accumulate(bam_backward *pass, int i, size_t kernel, bam_tensor *g,
                                  bam_tensor *a, bam_tensor *b);

/* Give input i condition ? a : b, each broadcast; NULL stands for 0. */
bam_status bam_where_accumulate(bam_backward *pass, int i, bam_tensor *condition, bam_tensor *a,
                                bam_tensor *b);

/* Give zeros to every input that wants a gradient: the op is constant almost everywhere. */
bam_status bam_zero_backward(bam_backward *pass);

/* Functions for ops that need no more than the above. */
#define BAM_UNARY_OP(op, result, keep, text)                    \
  static bam_status op##_forward(bam_call *call) {              \
    return bam_unary(call, BAM_KERNEL(op), result, keep);       \
  }                                                             \
  static bam_status op##_backward(bam_backward *pass) {         \
    return bam_unary_backward(pass, BAM_KERNEL(op##_backward)); \
  }                                                             \
  const bam_op bam_op_##op = { .name = #op,                     \
                               .help = text,                    \
                               .inputs = { "x" },               \
                               .forward = op##_forward,         \
                               .backward = op##_backward };

#endif
