#include "oracle.h"

#include <math.h>
#include <stdlib.h>

double *values_of(bam_tensor *x) {
  double *values = malloc(sizeof(double) * (size_t)(bam_tensor_count(x) + 1));
  for (int64_t i = 0; i < bam_tensor_count(x); i++)
    values[i] = value_at(x, i);
  return values;
}

double *zeros(int64_t n) { return calloc((size_t)n + 1, sizeof(double)); }

double dot(const double *a, const double *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += a[i] * b[i];
  return sum;
}

double sigmoid(double x) { return 1 / (1 + exp(-x)); }

void add_scaled(double *to, const double *from, double factor, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    to[i] += from[i] * factor;
}

void expect_gradient(bam_tensor *x, const double *want, double tolerance) {
  if (!x->requires_grad) {
    EXPECT_SAME(x->grad, NULL);
    return;
  }
  if (x->grad == NULL && bam_tensor_count(x) == 0)
    return;
  expect_shape(x->grad, x->shape);
  expect_dtype(x->grad, x->dtype);
  expect_values(x->grad, want, tolerance);
  EXPECT_OK(bam_autograd_set_grad(x, NULL));
}
