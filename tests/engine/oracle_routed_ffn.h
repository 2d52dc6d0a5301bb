/* The routed FFN experts in double precision, token by token and expert by expert, with their
   derivative; and the op beside them. */
#ifndef BAM_TEST_ORACLE_ROUTED_FFN_H
#define BAM_TEST_ORACLE_ROUTED_FFN_H

#include "oracle.h"

enum { X, GATES, EXPERTS, GATE_UP, DOWN, INPUTS };

/* The names of the op's description; E is the width of the result. */
typedef struct {
  int64_t tokens, D, N, F, k, E;
} sizes;

/* All arrays are row-major; grad are the gradients of sum(dy * y). */
typedef struct {
  sizes s;
  double *in[INPUTS], *dy, *y, *grad[INPUTS];
} oracle;

/* From inputs and the gradient of y. To be freed. */
oracle ffn_oracle(bam_tensor *const in[INPUTS], bam_tensor *dy);
void ffn_free(oracle *o);

bam_tensor *ffn_run(bam_tensor *const in[INPUTS]);

/* Leaves got the oracle's gradient, others none; gradients are cleared. */
void ffn_expect_gradients(bam_tensor *const in[INPUTS], const oracle *o, double tolerance);

/* Values and gradients of the op are those of the oracle. */
void ffn_compare(bam_tensor *const in[INPUTS], double tolerance);

/* Floats as leaves; experts are `low` .. N. The tokens have this shape, or one dimension. */
void ffn_shaped(bam_dtype dtype, bam_shape tokens, const sizes *s, double low,
                bam_tensor *in[INPUTS]);
void ffn_inputs(bam_dtype dtype, const sizes *s, double low, bam_tensor *in[INPUTS]);

/* ffn_compare with expert 0 (none) among the others, and without. */
void ffn_check(bam_dtype dtype, sizes s, double tolerance);

/* The same call with other experts; values as many as there are. */
void ffn_set_experts(bam_tensor *in[INPUTS], const double *values);

#endif
