/* The soft mixture of attention experts in double precision, expert by expert and head by head,
   with its derivative; and the op beside it. */
#ifndef BAM_TEST_ORACLE_MIXTURE_H
#define BAM_TEST_ORACLE_MIXTURE_H

#include "oracle.h"

enum { X, QKV, OUT, GATES, DOCUMENTS, POSITIONS, QKV_BIAS, OUT_BIAS, INPUTS };

/* What a test needs of all sizes: those of the inputs, and whether each expert has its own key and
   value heads. E is the width of the result. */
typedef struct {
  int64_t B, T, D, N, H, G, K, E;
  bool own;
} sizes;

/* All arrays are row-major. heads: the three parts of x * qkv, rotated, [B, T, N*H + 2*KV, K];
   z: the results of the query heads, [B, T, N*H, K]; the d's are gradients of sum(dy * y). */
typedef struct {
  sizes s;
  int64_t KV, total; /* total: N*H + 2*KV */
  int64_t window;    /* T for all */
  int64_t rotated;   /* elements of a head that rotate */
  double base, factor, scale;
  double *in[INPUTS], *dy, *heads, *z, *y, *dheads, *dz, *grad[INPUTS];
} oracle;

/* From inputs of which those left out are NULL, and the gradient of y. To be freed. */
oracle mixture_oracle(bam_tensor *const in[INPUTS], bam_tensor *dy, const bam_attr *attrs);
void mixture_free(oracle *o);

/* The attributes of the op, to be freed. */
bam_attr *mixture_attrs(int64_t heads, int64_t kv_heads);

bam_tensor *mixture_run(bam_tensor *const in[INPUTS], const bam_attr *attrs);

/* Leaves got the oracle's gradient, others none; gradients are cleared. */
void mixture_expect_gradients(bam_tensor *const in[INPUTS], const oracle *o, double tolerance);

/* Values and gradients of the op are those of the oracle. */
void mixture_compare(bam_tensor *const in[INPUTS], const bam_attr *attrs, double tolerance);

/* x, qkv, out and gates as leaves; and with biases. */
void mixture_inputs(bam_dtype dtype, const sizes *s, bam_tensor *in[INPUTS]);
void mixture_biased_inputs(bam_dtype dtype, const sizes *s, bam_tensor *in[INPUTS]);

/* Gates of top-1 routing: exactly 0 but for one expert, which is never the last. */
bam_tensor *mixture_sparse_gates(bam_dtype dtype, bam_shape shape);

/* mixture_compare with shared and own keys and values, dense and sparse gates. */
void mixture_check(bam_dtype dtype, sizes s, double tolerance);

#endif
