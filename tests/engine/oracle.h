/* Plain double-precision arithmetic that the oracles of several suites are made of. Arrays are
   row-major, made by malloc and freed by the caller. */
#ifndef BAM_TEST_ORACLE_H
#define BAM_TEST_ORACLE_H

#include "fixture.h"

/* The elements of a tensor of any dtype and layout. */
double *values_of(bam_tensor *x);

double *zeros(int64_t n);

double dot(const double *a, const double *b, int64_t n);

double sigmoid(double x);

/* The leaf `x` got the gradient `want`, or none when it wants none; it is cleared. */
void expect_gradient(bam_tensor *x, const double *want, double tolerance);

/* to += factor * from */
void add_scaled(double *to, const double *from, double factor, int64_t n);

#endif
