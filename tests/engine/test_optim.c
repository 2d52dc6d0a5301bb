/* The optimizers' updates against the formulas in double precision. */
#include <math.h>
#include <stdlib.h>

#include "../../engine/optim/optim.h"
#include "fixture.h"
#include "oracle.h"

TestSuite(optim, .init = fixture_open, .fini = fixture_close);

static void step_adamw(double *p, const double *grad, double *m, double *v, int64_t n, double clip,
                       const bam_adamw *s) {
  for (int64_t i = 0; i < n; i++) {
    double d = grad[i] * clip;
    m[i] = s->beta1 * m[i] + (1 - s->beta1) * d;
    v[i] = s->beta2 * v[i] + (1 - s->beta2) * d * d;
    double mean = m[i] / (1 - pow(s->beta1, (double)s->step));
    double square = v[i] / (1 - pow(s->beta2, (double)s->step));
    p[i] -= s->lr * s->weight_decay * p[i];
    p[i] -= s->lr * mean / (sqrt(square) + s->eps);
  }
}

static void check_adamw(bam_dtype dtype, bam_shape shape, double tolerance) {
  bam_tensor *p = make_random(dtype, shape, -1, 1), *m, *v;
  EXPECT_OK(bam_tensor_zeros(fixture_context(), bam_tensor_device(p), dtype, &shape, &m));
  EXPECT_OK(bam_tensor_zeros(fixture_context(), bam_tensor_device(p), dtype, &shape, &v));
  double *want_p = values_of(p), *want_m = values_of(m), *want_v = values_of(v);
  bam_adamw s = { 0.01, 0.9, 0.95, 1e-8, 0.1, 0 };
  bam_tensor *clip = make_float(0.7);
  for (s.step = 1; s.step <= 4; s.step++) {
    bam_tensor *grad = make_random(dtype, shape, -2, 2);
    double *g = values_of(grad);
    step_adamw(want_p, g, want_m, want_v, bam_tensor_count(p), 0.7, &s);
    EXPECT_OK(bam_optim_adamw(p, NULL, grad, m, v, clip, &s));
    bam_tensor_release(grad);
    free(g);
  }
  expect_values(p, want_p, tolerance);
  expect_values(m, want_m, tolerance);
  expect_values(v, want_v, tolerance);
  RELEASE(p, m, v, clip);
  free(want_p);
  free(want_m);
  free(want_v);
}

Test(optim, adamw) {
  check_adamw(BAM_F32, SHAPE(7, 5), 1e-6);
  check_adamw(BAM_F64, SHAPE(37), 1e-14);
  check_adamw(BAM_F32, SHAPE(40001), 1e-6);
  check_adamw(BAM_F32, SHAPE(0), 0);
}

/* A slice of a flat buffer is updated, its neighbours are not. */
Test(optim, slices) {
  bam_tensor *flat = make_values(BAM_F32, SHAPE(4), VALUES(1, 1, 1, 1)), *slice;
  bam_tensor *grad = make_values(BAM_F32, SHAPE(2), VALUES(1, -1));
  bam_tensor *m = make_values(BAM_F32, SHAPE(2), VALUES(0, 0));
  bam_tensor *v = make_values(BAM_F32, SHAPE(2), VALUES(0, 0));
  bam_shape two = SHAPE(2);
  bam_adamw s = { 0.5, 0.9, 0.95, 0, 0, 1 };
  EXPECT_OK(bam_tensor_view(flat, &two, (int64_t[]){ 1 }, 1, &slice));
  uint64_t version = flat->storage->version;
  EXPECT_OK(bam_optim_adamw(slice, NULL, grad, m, v, NULL, &s));
  expect_values(flat, VALUES(1, 0.5, 1.5, 1), 1e-6);
  cr_assert(flat->storage->version > version);
  RELEASE(flat, slice, grad, m, v);
}

static double sign_of(double x) { return (double)((x > 0) - (x < 0)); }

static void step_lion(double *p, const double *grad, double *m, int64_t n, double clip,
                      const bam_lion *s) {
  for (int64_t i = 0; i < n; i++) {
    double d = grad[i] * clip;
    p[i] -= s->lr * s->weight_decay * p[i];
    p[i] -= s->lr * sign_of(s->beta1 * m[i] + (1 - s->beta1) * d);
    m[i] = s->beta2 * m[i] + (1 - s->beta2) * d;
  }
}

static void check_lion(bam_dtype dtype, bam_shape shape, double clip, double tolerance) {
  bam_tensor *p = make_random(dtype, shape, -1, 1), *m, *factor = make_float(clip);
  EXPECT_OK(bam_tensor_zeros(fixture_context(), bam_tensor_device(p), dtype, &shape, &m));
  double *want_p = values_of(p), *want_m = values_of(m);
  const bam_lion s = { 0.01, 0.9, 0.99, 0.1 };
  for (int step = 1; step <= 4; step++) {
    bam_tensor *grad = make_random(dtype, shape, -2, 2);
    double *g = values_of(grad);
    step_lion(want_p, g, want_m, bam_tensor_count(p), clip, &s);
    EXPECT_OK(bam_optim_lion(p, NULL, grad, m, clip == 1 ? NULL : factor, &s));
    bam_tensor_release(grad);
    free(g);
  }
  expect_values(p, want_p, tolerance);
  expect_values(m, want_m, tolerance);
  RELEASE(p, m, factor);
  free(want_p);
  free(want_m);
}

Test(optim, lion) {
  check_lion(BAM_F32, SHAPE(7, 5), 0.7, 1e-6);
  check_lion(BAM_F64, SHAPE(37), 1, 1e-14);
  check_lion(BAM_F32, SHAPE(40001), 1, 1e-6);
  check_lion(BAM_F32, SHAPE(0), 1, 0);
}

/* Where momentum and gradient are 0 the weight only decays; NaN is not hidden by the sign. */
Test(optim, lion_at_0) {
  bam_tensor *p = make_values(BAM_F32, SHAPE(3), VALUES(1, 1, 1));
  bam_tensor *grad = make_values(BAM_F32, SHAPE(3), VALUES(0, -3, (double)NAN));
  bam_tensor *m = make_values(BAM_F32, SHAPE(3), VALUES(0, 0, 0));
  EXPECT_OK(bam_optim_lion(p, NULL, grad, m, NULL, &(bam_lion){ 0.5, 0.9, 0.5, 0.5 }));
  EXPECT_EQ(value_at(p, 0), 0.75);
  EXPECT_EQ(value_at(p, 1), 1.25);
  cr_assert(isnan(value_at(p, 2)));
  EXPECT_EQ(value_at(m, 0), 0);
  EXPECT_EQ(value_at(m, 1), -1.5);
  RELEASE(p, grad, m);
}

static void step_sgd(double *p, const double *grad, double *b, int64_t n, double clip,
                     const bam_sgd *s) {
  for (int64_t i = 0; i < n; i++) {
    double d = grad[i] * clip + s->weight_decay * p[i];
    b[i] = s->step == 1 ? d : s->momentum * b[i] + d;
    p[i] -= s->lr * (s->momentum == 0 ? d : s->nesterov ? d + s->momentum * b[i] : b[i]);
  }
}

static void check_sgd(bam_dtype dtype, bam_sgd s, double clip, double tolerance) {
  bam_tensor *factor = make_float(clip);
  bam_tensor *p = make_random(dtype, SHAPE(33), -1, 1), *b = make_random(dtype, SHAPE(33), -1, 1);
  double *want = values_of(p), *want_b = values_of(b);
  for (s.step = 1; s.step <= 4; s.step++) {
    bam_tensor *grad = make_random(dtype, SHAPE(33), -2, 2);
    double *g = values_of(grad);
    step_sgd(want, g, want_b, 33, clip, &s);
    EXPECT_OK(
      bam_optim_sgd(p, NULL, grad, s.momentum == 0 ? NULL : b, clip == 1 ? NULL : factor, &s));
    bam_tensor_release(grad);
    free(g);
  }
  expect_values(p, want, tolerance);
  if (s.momentum != 0)
    expect_values(b, want_b, tolerance);
  RELEASE(p, b, factor);
  free(want);
  free(want_b);
}

Test(optim, sgd) {
  check_sgd(BAM_F32, (bam_sgd){ 0.1, 0, 0.01, false, 0 }, 0.5, 1e-6);
  check_sgd(BAM_F32, (bam_sgd){ 0.1, 0.9, 0, false, 0 }, 1, 2e-6);
  check_sgd(BAM_F64, (bam_sgd){ 0.1, 0.9, 0.01, true, 0 }, 1, 1e-14);
}

/* A factor of 0, which is what a norm that is not finite gives, changes nothing. */
Test(optim, nothing_when_the_clip_is_0) {
  bam_tensor *p = make_random(BAM_F32, SHAPE(5), -1, 1), *none = make_float(0);
  bam_tensor *m = make_random(BAM_F32, SHAPE(5), -1, 1), *v = make_random(BAM_F32, SHAPE(5), 0, 1);
  bam_tensor *grad = make_values(BAM_F32, SHAPE(5), VALUES(1, (double)INFINITY, 2, (double)NAN, 3));
  double *want_p = values_of(p), *want_m = values_of(m), *want_v = values_of(v);
  EXPECT_OK(
    bam_optim_adamw(p, NULL, grad, m, v, none, &(bam_adamw){ 0.5, 0.9, 0.95, 1e-8, 0.1, 1 }));
  EXPECT_OK(bam_optim_lion(p, NULL, grad, m, none, &(bam_lion){ 0.5, 0.9, 0.99, 0.1 }));
  EXPECT_OK(bam_optim_sgd(p, NULL, grad, m, none, &(bam_sgd){ 0.1, 0.9, 0.1, false, 2 }));
  EXPECT_OK(bam_optim_sgd(p, NULL, grad, NULL, none, &(bam_sgd){ 0.1, 0, 0.1, false, 2 }));
  expect_values(p, want_p, 0);
  expect_values(m, want_m, 0);
  expect_values(v, want_v, 0);
  RELEASE(p, none, m, v, grad);
  free(want_p);
  free(want_m);
  free(want_v);
}

Test(optim, norm) {
  bam_tensor *a = make_random(BAM_F32, SHAPE(300, 500), -1, 1);
  bam_tensor *b = make_random(BAM_F64, SHAPE(3), -9, 9);
  bam_tensor *strided = make_strided(a), *none = make_random(BAM_F32, SHAPE(0), -1, 1);
  bam_tensor *norm, *again;
  double want = 0;
  for (int64_t i = 0; i < bam_tensor_count(a); i++)
    want += 2 * value_at(a, i) * value_at(a, i);
  for (int64_t i = 0; i < 3; i++)
    want += value_at(b, i) * value_at(b, i);
  bam_tensor *all[] = { a, b, NULL, strided, none };
  EXPECT_OK(bam_optim_norm(fixture_context(), all, 5, &norm));
  want = sqrt(want);
  expect_values(norm, &want, 1e-12);
  bam_context_set_threads(fixture_context(), 1);
  EXPECT_OK(bam_optim_norm(fixture_context(), all, 5, &again));
  expect_equal(again, norm, 0);
  RELEASE(a, b, strided, none, norm, again);
}

Test(optim, errors) {
  bam_tensor *p = make_random(BAM_F32, SHAPE(4), -1, 1);
  bam_tensor *wrong = make_random(BAM_F32, SHAPE(3), -1, 1);
  bam_tensor *f64 = make_random(BAM_F64, SHAPE(4), -1, 1);
  bam_tensor *i = make_random(BAM_I64, SHAPE(4), 0, 1);
  bam_tensor *square = make_random(BAM_F32, SHAPE(2, 2), -1, 1), *strided = make_strided(square);
  bam_adamw s = { 0.1, 0.9, 0.95, 1e-8, 0, 1 };
  bam_tensor *norm;
  EXPECT_ERROR(bam_optim_adamw(p, NULL, wrong, p, p, NULL, &s),
               "adamw: the gradient is f32 (3), but the parameters are f32 (4)");
  EXPECT_ERROR(bam_optim_adamw(p, NULL, p, f64, p, NULL, &s), "the first moment is f64");
  EXPECT_ERROR(bam_optim_adamw(i, NULL, i, i, i, NULL, &s),
               "parameters must be f32 or f64, not i64");
  EXPECT_ERROR(bam_optim_adamw(strided, NULL, square, square, square, NULL, &s),
               "is not contiguous");
  s.beta1 = 1;
  EXPECT_ERROR(bam_optim_adamw(p, NULL, p, p, p, NULL, &s), "beta1 is 1");
  s.beta1 = 0.9;
  s.step = 0;
  EXPECT_ERROR(bam_optim_adamw(p, NULL, p, p, p, NULL, &s), "steps count from 1");
  s.step = 1;
  s.lr = (double)NAN;
  EXPECT_ERROR(bam_optim_adamw(p, NULL, p, p, p, NULL, &s), "lr is nan");
  s.lr = 0.1;
  EXPECT_ERROR(bam_optim_adamw(p, NULL, p, p, p, f64, &s), "the clip factor must be f64");
  EXPECT_ERROR(bam_optim_lion(p, NULL, p, wrong, NULL, &(bam_lion){ 0.1, 0.9, 0.99, 0 }),
               "lion: the momentum is f32 (3), but the parameters are f32 (4)");
  EXPECT_ERROR(bam_optim_lion(p, NULL, p, p, NULL, &(bam_lion){ 0.1, 0.9, 1, 0 }), "beta2 is 1");
  EXPECT_ERROR(bam_optim_lion(p, NULL, p, p, NULL, &(bam_lion){ -1, 0.9, 0.99, 0 }),
               "lion: lr is -1");
  EXPECT_ERROR(bam_optim_sgd(p, NULL, p, NULL, NULL, &(bam_sgd){ 0.1, 0.9, 0, false, 1 }),
               "momentum buffer");
  EXPECT_ERROR(bam_optim_norm(fixture_context(), &i, 1, &norm), "not i64");
  RELEASE(p, wrong, f64, i, square, strided);
}
