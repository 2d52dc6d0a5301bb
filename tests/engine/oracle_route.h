/* Routing in double precision, token by token and expert by expert, with its derivative; and the op
   beside it. */
#ifndef BAM_TEST_ORACLE_ROUTE_H
#define BAM_TEST_ORACLE_ROUTE_H

#include "oracle.h"

enum { GATES, EXPERTS, LOSSES, STATISTICS };

typedef struct {
  int64_t k, aux;
  bool renormalise, dense;
  const bool *mask; /* per token: does it count in losses and statistics? NULL: all do */
} options;

/* What the op gives, and the gradient of sum(dgates * gates) + sum(dlosses * losses). */
typedef struct {
  int64_t tokens, n, width; /* width: of a token's gates */
  int64_t counted;          /* tokens that the mask lets count */
  options with;
  double *logits, *p, *gates, *shares, *statistics, *dlogits; /* shares: [groups, n] */
  int64_t *experts;                                           /* from 0 */
  double losses[2];
} oracle;

enum { THROUGH_GATES = 1, THROUGH_LOSSES = 2, THROUGH_ALL = 3 };

/* To be freed. */
oracle route_oracle(bam_tensor *logits, options with);
void route_free(oracle *o);

/* Fill in dlogits. */
void route_differentiate(oracle *o, const double *dgates, const double *dlosses);

/* The attributes of the op, to be freed. */
bam_attr *route_attrs(options with);

/* The mask as a tensor, owned; NULL for none. */
bam_tensor *route_mask(bam_tensor *logits, options with);

/* The four outputs of the op. */
void route_run(bam_tensor *logits, options with, bam_tensor **out);

/* Backward through the outputs whose seed is not NULL. */
void route_backward(bam_tensor *const *out, bam_tensor *const seeds[4]);

/* The op gives what the oracle does: values, and, when logits is a leaf that wants one, the
   gradient that arrives through some of the outputs. */
void route_compare(bam_tensor *logits, options with, int through, double tolerance);

/* The same for random logits; and for every combination of renormalise and dense. */
void route_check(bam_dtype dtype, bam_shape shape, options with, double tolerance);
void route_check_forms(bam_dtype dtype, bam_shape shape, int64_t k, int64_t aux, double tolerance);

#endif
