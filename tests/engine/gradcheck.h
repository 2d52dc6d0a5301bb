/* Gradients against central differences, in double precision. */
#ifndef BAM_TEST_GRADCHECK_H
#define BAM_TEST_GRADCHECK_H

#include "fixture.h"

/* The gradients that backward gives every f64 leaf among `inputs` that requires one, compared with
   central differences of sum(weights * outputs) over all float outputs, with fixed random weights.
   Inputs may be NULL where the op allows it, and strided; values must keep away from kinks by more
   than 1e-4. Gradients of the leaves are cleared. The random generator starts every evaluation at
   the same place. attrs may be NULL. Fails the test on any difference beyond 1e-6, relative
   above 1. */
void check_gradient(const bam_op *op, bam_tensor *const *inputs, int n, const bam_attr *attrs);

/* The same with another tolerance, for ops that are less smooth. */
void check_gradient_within(const bam_op *op, bam_tensor *const *inputs, int n,
                           const bam_attr *attrs, double tolerance);

/* Backward from y, of three dimensions: its gradient dy arrives as a view with the dimensions the
   other way round. */
void backward_reversed(bam_tensor *y, bam_tensor *dy);

#endif
