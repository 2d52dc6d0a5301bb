/* Routing against its definition in double precision, token by token and expert by expert. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle_route.h"

TestSuite(route, .init = fixture_open, .fini = fixture_close);

/* ---- values ---- */

/* Four equal logits. */
Test(route, by_hand) {
  bam_tensor *logits = make_values(BAM_F64, SHAPE(2, 4), VALUES(7, 7, 7, 7, 0, 0, 0, 0)), *out[4];
  double ln = log(4);
  route_run(logits, (options){ .k = 1 }, out);
  expect_values(out[GATES], VALUES(0.25, 0.25), 1e-14);
  expect_values(out[EXPERTS], VALUES(1, 1), 0);
  expect_values(out[LOSSES], VALUES(1, ((7 + ln) * (7 + ln) + ln * ln) / 2), 1e-14);
  expect_values(out[STATISTICS],
                VALUES(1, 0, 0, 0, 0.25, 0.25, 0.25, 0.25, ln / 4, ln / 4, ln / 4, ln / 4), 1e-14);
  fixture_release(out, 4);
  route_run(logits, (options){ .k = 2, .renormalise = true, .dense = true }, out);
  expect_values(out[GATES], VALUES(0.5, 0.5, 0, 0, 0.5, 0.5, 0, 0), 1e-14);
  expect_values(out[EXPERTS], VALUES(1, 2, 1, 2), 0);
  fixture_release(out, 4);
  bam_tensor_release(logits);
}

/* Odd sizes, and around the widths of vectors. */
Test(route, values_f32) {
  const int64_t widths[] = { 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 33, 64, 100 };
  for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
    int64_t n = widths[i];
    route_check_forms(BAM_F32, SHAPE(13, n), 1, 0, 2e-5);
    route_check_forms(BAM_F32, SHAPE(3, 5, n), (n + 1) / 2, 5, 2e-5);
    route_check_forms(BAM_F32, SHAPE(2, 3, n), n, 2, 2e-5);
  }
}

Test(route, values_f64) {
  VALUES_TESTED(&bam_op_route);
  route_check_forms(BAM_F64, SHAPE(2, 3, 7, 5), 2, 6, 1e-12);
  route_check_forms(BAM_F64, SHAPE(37, 19), 3, 0, 1e-12);
  route_check_forms(BAM_F64, SHAPE(1, 4), 4, 1, 1e-12);
}

/* A token alone, without any dimension of tokens. */
Test(route, values_of_one) {
  route_check_forms(BAM_F64, SHAPE(5), 2, 0, 1e-12);
  route_check_forms(BAM_F32, SHAPE(1), 1, 1, 2e-5);
}

/* Sums over many tokens keep their digits. */
Test(route, values_of_many) { route_check(BAM_F32, SHAPE(5, 3001, 6), (options){ .k = 2 }, 2e-5); }

/* More groups than fit one block of work, of one token and of very many. */
Test(route, groups_of_any_size) {
  const int64_t sizes[] = { 1, 2, 3, 50, 120, 200, 300, 600 };
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    route_check(BAM_F64, SHAPE(2, 300, 5), (options){ .k = 2, .aux = sizes[i] }, 1e-12);
}

/* One group of all tokens is what aux_tokens = 0 means, to the bit. */
Test(route, one_group) {
  bam_tensor *logits = make_random(BAM_F32, SHAPE(7, 5, 4), -3, 3), *a[4], *b[4];
  route_run(logits, (options){ .k = 1 }, a);
  route_run(logits, (options){ .k = 1, .aux = 35 }, b);
  for (int i = 0; i < 4; i++)
    expect_equal(a[i], b[i], 0);
  fixture_release(a, 4);
  fixture_release(b, 4);
  bam_tensor_release(logits);
}

/* Cut into batches of whole groups: the mean of their losses is the loss of all. */
Test(route, losses_do_not_depend_on_batches) {
  bam_tensor *logits = make_random(BAM_F64, SHAPE(12, 5), -3, 3), *out[4];
  double sum[2] = { 0, 0 };
  for (int64_t from = 0; from < 12; from += 4) {
    bam_shape shape = SHAPE(4, 5);
    bam_tensor *part;
    EXPECT_OK(bam_tensor_view(logits, &shape, logits->stride, from * 5, &part));
    route_run(part, (options){ .k = 2, .aux = 2 }, out);
    for (int i = 0; i < 2; i++)
      sum[i] += value_at(out[LOSSES], i) / 3;
    fixture_release(out, 4);
    bam_tensor_release(part);
  }
  route_run(logits, (options){ .k = 2, .aux = 2 }, out);
  expect_values(out[LOSSES], sum, 1e-13);
  fixture_release(out, 4);
  bam_tensor_release(logits);
}

/* ---- masks ---- */

/* Random masks, of groups in which some, all or none of the tokens count. */
static bool *make_mask(int64_t tokens, int64_t group, unsigned seed) {
  bool *mask = malloc((size_t)tokens + 1);
  for (int64_t t = 0; t < tokens; t++) {
    seed = seed * 1103515245u + 12345u;
    int64_t kind = t / group % 4;
    mask[t] = kind == 1 || (kind != 2 && (seed >> 16) % 3 != 0);
  }
  return mask;
}

static void check_mask(bam_dtype dtype, bam_shape shape, int64_t k, int64_t aux, double tolerance) {
  bam_tensor *logits = make_leaf(dtype, shape, -3, 3);
  int64_t tokens = bam_tensor_count(logits) / shape.size[shape.ndim - 1];
  bool *mask = make_mask(tokens, aux > 0 ? aux : 1, 5);
  for (int form = 0; form < 4; form++)
    route_compare(logits, (options){ k, aux, form & 1, form & 2, mask }, THROUGH_ALL, tolerance);
  bam_tensor_release(logits);
  free(mask);
}

Test(route, mask) {
  check_mask(BAM_F64, SHAPE(3, 7, 5), 2, 0, 1e-12);
  check_mask(BAM_F64, SHAPE(4, 6, 5), 1, 6, 1e-12);
  check_mask(BAM_F64, SHAPE(24, 3), 3, 2, 1e-12);
  check_mask(BAM_F64, SHAPE(8, 4), 2, 1, 1e-12);
  check_mask(BAM_F32, SHAPE(2, 600, 5), 2, 300, 2e-5);
  check_mask(BAM_F32, SHAPE(5, 700, 6), 2, 700, 2e-5);
  check_mask(BAM_F32, SHAPE(3001, 6), 2, 0, 2e-5);
}

/* By hand: of three tokens the middle one does not count. */
Test(route, mask_by_hand) {
  bam_tensor *out[4];
  bam_tensor *logits = make_values(BAM_F64, SHAPE(3, 2), VALUES(log(3), 0, 50, -50, 0, log(3)));
  const bool mask[] = { true, false, true };
  double ln4 = log(4), entropy = -(0.75 * log(0.75) + 0.25 * log(0.25)) / 2;
  route_run(logits, (options){ .k = 1, .mask = mask }, out);
  expect_values(out[LOSSES], VALUES(1, ln4 * ln4), 1e-14);
  expect_values(out[EXPERTS], VALUES(1, 1, 2), 0);
  double p = 0.75 * log(0.75), q = 0.25 * log(0.25);
  EXPECT_CLOSE(-(p + q) / 2, entropy, 1e-14);
  expect_values(out[STATISTICS], VALUES(0.5, 0.5, 0.5, 0.5, entropy, entropy), 1e-14);
  fixture_release(out, 4);
  bam_tensor_release(logits);
}

/* What the mask leaves out may be cut off instead, in groups of their own. */
Test(route, mask_is_like_cutting_off) {
  bam_tensor *logits = make_random(BAM_F64, SHAPE(12, 5), -3, 3), *part, *a[4], *b[4];
  const bool mask[] = { 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0 };
  bam_shape shape = SHAPE(8, 5);
  EXPECT_OK(bam_tensor_view(logits, &shape, logits->stride, 0, &part));
  for (int64_t aux = 0; aux <= 4; aux += 4) {
    route_run(logits, (options){ .k = 2, .aux = aux, .mask = mask }, a);
    route_run(part, (options){ .k = 2, .aux = aux }, b);
    expect_equal(a[LOSSES], b[LOSSES], 1e-14);
    expect_equal(a[STATISTICS], b[STATISTICS], 1e-14);
    fixture_release(a, 4);
    fixture_release(b, 4);
  }
  RELEASE(logits, part);
}

/* A mask that leaves nothing out changes no bit. */
Test(route, mask_of_all) {
  bool *mask = malloc(1400);
  memset(mask, 1, 1400);
  for (int64_t aux = 0; aux <= 700; aux += 350) {
    bam_tensor *logits = make_leaf(BAM_F32, SHAPE(2, 700, 5), -3, 3), *out[2][4], *grad[2];
    bam_tensor *dlosses = make_values(BAM_F32, SHAPE(2), VALUES(2000, 1000));
    for (int i = 0; i < 2; i++) {
      route_run(logits, (options){ .k = 2, .aux = aux, .mask = i == 0 ? NULL : mask }, out[i]);
      route_backward(out[i], (bam_tensor *[]){ NULL, NULL, dlosses, NULL });
      grad[i] = bam_tensor_retain(logits->grad);
      EXPECT_OK(bam_autograd_set_grad(logits, NULL));
    }
    for (int i = 0; i < 4; i++)
      expect_equal(out[0][i], out[1][i], 0);
    expect_equal(grad[0], grad[1], 0);
    fixture_release(out[0], 4);
    fixture_release(out[1], 4);
    RELEASE(logits, dlosses, grad[0], grad[1]);
  }
  free(mask);
}

/* Nothing counts, be it NaN: the losses, the statistics and their gradients are 0; gates are as
   ever. */
Test(route, mask_of_none) {
  const bool mask[6] = { false };
  const double nan = (double)NAN;
  for (int64_t aux = 0; aux <= 3; aux += 3) {
    bam_tensor *logits = make_leaf(BAM_F64, SHAPE(6, 5), -3, 3);
    route_compare(logits, (options){ .k = 2, .aux = aux, .mask = mask }, THROUGH_ALL, 1e-12);
    bam_tensor_release(logits);
  }
  bam_tensor *bad = make_values(BAM_F32, SHAPE(3, 2), VALUES(1, 2, nan, nan, 0, 1)), *out[4];
  const bool others[] = { true, false, true };
  EXPECT_OK(bam_autograd_require(bad, true));
  route_run(bad, (options){ .k = 1, .aux = 1, .mask = others }, out);
  bam_tensor *sum = run1(&bam_op_sum, out[LOSSES]);
  cr_assert(isfinite(value_at(sum, 0)));
  EXPECT_OK(bam_autograd_backward(sum, NULL, false));
  for (int i = 0; i < 6; i++)
    cr_assert(i / 2 == 1 || isfinite(value_at(bad->grad, i)));
  fixture_release(out, 4);
  RELEASE(bad, sum);
}

Test(route, mask_strided) {
  bam_tensor *plain = make_random(BAM_F64, SHAPE(6, 4, 5), -3, 3), *logits = make_strided(plain);
  bool *mask = make_mask(24, 4, 9);
  bam_tensor *inputs[] = { logits, NULL }, *out[4], *want[4];
  options with = { .k = 2, .aux = 4, .mask = mask };
  bam_tensor *dense = route_mask(plain, with);
  inputs[1] = make_strided(dense);
  bam_attr *attrs = route_attrs(with);
  EXPECT_OK(fixture_apply(&bam_op_route, inputs, 2, attrs, out));
  route_run(plain, with, want);
  for (int i = 0; i < 4; i++)
    expect_equal(out[i], want[i], 0);
  fixture_release(out, 4);
  fixture_release(want, 4);
  RELEASE(plain, logits, dense, inputs[1]);
  free(attrs);
  free(mask);
}

/* Equal logits: the lowest index first, also beside larger ones and where vectors end. */
Test(route, ties) {
  for (int64_t n = 2; n < 40; n += 3) {
    double values[20 * 40];
    for (int64_t i = 0; i < 20 * n; i++)
      values[i] = (double)(i * i % 7 % 3);
    bam_tensor *logits = make_values(BAM_F32, SHAPE(20, n), values);
    route_compare(logits, (options){ .k = 1, .dense = true }, 0, 2e-5);
    route_compare(logits, (options){ .k = (n + 1) / 2, .renormalise = true }, 0, 2e-5);
    route_compare(logits, (options){ .k = n }, 0, 2e-5);
    bam_tensor_release(logits);
  }
}

Test(route, strided) {
  bam_tensor *plain = make_random(BAM_F32, SHAPE(3, 7, 5), -3, 3), *logits = make_strided(plain);
  bam_tensor *twice = make_random(BAM_F64, SHAPE(9, 12), -3, 3), *columns;
  bam_shape shape = SHAPE(9, 5);
  EXPECT_OK(bam_tensor_view(twice, &shape, twice->stride, 4, &columns));
  EXPECT_OK(bam_autograd_require(logits, true));
  EXPECT_OK(bam_autograd_require(columns, true));
  for (int form = 0; form < 4; form++) {
    route_compare(logits, (options){ 2, 3, form & 1, form & 2, NULL }, THROUGH_ALL, 2e-5);
    route_compare(columns, (options){ 2, 0, form & 1, form & 2, NULL }, THROUGH_ALL, 1e-12);
  }
  RELEASE(plain, logits, twice, columns);
}

/* Nothing is recorded: the same values, and no output wants a gradient. */
Test(route, values_without_recording) {
  bam_tensor *logits = make_leaf(BAM_F32, SHAPE(30, 5), -3, 3), *a[4], *b[4];
  route_run(logits, (options){ .k = 2, .renormalise = true }, a);
  fixture_context()->no_grad = true;
  route_run(logits, (options){ .k = 2, .renormalise = true }, b);
  fixture_context()->no_grad = false;
  for (int i = 0; i < 4; i++) {
    expect_equal(b[i], a[i], 0);
    cr_assert(!b[i]->requires_grad);
  }
  fixture_release(a, 4);
  fixture_release(b, 4);
  bam_tensor_release(logits);
}

/* ---- special cases ---- */

/* The bits do not depend on the number of threads. */
Test(route, deterministic) {
  bam_tensor *logits = make_leaf(BAM_F32, SHAPE(4, 5000, 6), -3, 3), *out[2][4], *grad[2];
  bam_tensor *dgates = make_random(BAM_F32, SHAPE(4, 5000, 2), -1, 1);
  bam_tensor *dlosses = make_values(BAM_F32, SHAPE(2), VALUES(20000, 10000));
  for (int i = 0; i < 2; i++) {
    bam_context_set_threads(fixture_context(), 1 + 2 * i);
    route_run(logits, (options){ .k = 2, .aux = 2500 }, out[i]);
    route_backward(out[i], (bam_tensor *[]){ dgates, NULL, dlosses, NULL });
    grad[i] = bam_tensor_retain(logits->grad);
    EXPECT_OK(bam_autograd_set_grad(logits, NULL));
  }
  for (int i = 0; i < 4; i++)
    expect_equal(out[0][i], out[1][i], 0);
  expect_equal(grad[0], grad[1], 0);
  for (int i = 0; i < 2; i++)
    fixture_release(out[i], 4);
  RELEASE(logits, dgates, dlosses, grad[0], grad[1]);
}

/* Large logits neither overflow nor lose the digits of their differences. */
Test(route, extremes) {
  const bam_dtype dtypes[] = { BAM_F32, BAM_F64 };
  for (int i = 0; i < 2; i++) {
    bam_tensor *large = make_values(dtypes[i], SHAPE(3, 3),
                                    VALUES(1e4, -1e4, 0, -500, -510, -520, 0, 1e4, 9999));
    EXPECT_OK(bam_autograd_require(large, true));
    route_compare(large, (options){ .k = 1 }, THROUGH_ALL, 2e-5);
    bam_tensor_release(large);
  }
}

/* A logit of -inf has no weight, no entropy and no gradient. */
Test(route, masked) {
  const double inf = (double)INFINITY;
  const bam_dtype dtypes[] = { BAM_F32, BAM_F64 };
  for (int i = 0; i < 2; i++) {
    bam_tensor *masked = make_values(dtypes[i], SHAPE(2, 4), VALUES(1, -inf, 3, 2, -inf, 5, 4, -2));
    EXPECT_OK(bam_autograd_require(masked, true));
    route_compare(masked, (options){ .k = 2, .renormalise = true }, THROUGH_ALL, 2e-5);
    route_compare(masked, (options){ .k = 3, .dense = true, .aux = 1 }, THROUGH_ALL, 2e-5);
    bam_tensor_release(masked);
  }
}

/* What must hold when token `bad` has no softmax: its experts are experts, and different ones; its
   gates show it; others have theirs. */
static void expect_contained(bam_tensor *const *got, bam_tensor *const *want, int64_t bad,
                             int64_t n, const options *with) {
  int64_t k = with->k, width = with->dense ? n : k, shown = 0;
  for (int64_t i = 0; i < bam_tensor_count(want[EXPERTS]); i++) {
    int64_t e = integer_at(got[EXPERTS], i);
    cr_assert(e >= 1 && e <= n, "expert %lld of %lld", (long long)e, (long long)n);
    cr_assert(i / k == bad || e == integer_at(want[EXPERTS], i));
    for (int64_t j = i / k * k; j < i; j++)
      cr_assert(integer_at(got[EXPERTS], j) != e, "expert %lld twice in a token", (long long)e);
  }
  for (int64_t i = 0; i < bam_tensor_count(want[GATES]); i++)
    if (i / width == bad)
      shown += isnan(value_at(got[GATES], i));
    else
      EXPECT_EQ(value_at(got[GATES], i), value_at(want[GATES], i));
  cr_assert(shown > 0, "the NaN of a token has vanished from its gates");
}

/* The same logits, but for one token. */
static void check_contained(bam_tensor *logits, const double *row, options with) {
  bam_tensor *got[4], *want[4];
  int64_t n = logits->shape.size[1], bad = 2;
  double *values = values_of(logits);
  for (int64_t i = 0; i < n; i++)
    values[bad * n + i] = row[i];
  bam_tensor *damaged = make_values(logits->dtype, logits->shape, values);
  EXPECT_OK(bam_autograd_require(damaged, true));
  route_run(logits, with, want);
  route_run(damaged, with, got);
  expect_contained(got, want, bad, n, &with);
  bam_tensor *sum = run1(&bam_op_sum, got[GATES]);
  EXPECT_OK(bam_autograd_backward(sum, NULL, false));
  for (int64_t i = 0; i < bam_tensor_count(logits); i++)
    cr_assert(i / n == bad || isfinite(value_at(damaged->grad, i)));
  fixture_release(got, 4);
  fixture_release(want, 4);
  RELEASE(damaged, sum);
  free(values);
}

Test(route, nan) {
  const double nan = (double)NAN, inf = (double)INFINITY;
  const double rows[][5] = { { nan, nan, nan, nan, nan }, { 1, 2, nan, 0, 1 },
                             { nan, 1, 2, 3, 4 },         { 4, 3, 2, 1, nan },
                             { inf, 1, inf, 2, 3 },       { -inf, -inf, -inf, -inf, -inf } };
  const bam_dtype dtypes[] = { BAM_F32, BAM_F64 };
  for (int d = 0; d < 2; d++) {
    bam_tensor *logits = make_random(dtypes[d], SHAPE(6, 5), -3, 3);
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
      for (int form = 0; form < 4; form++)
        for (int64_t k = 1; k <= 5; k += 2)
          check_contained(logits, rows[r], (options){ k, 0, form & 1, form & 2, NULL });
    bam_tensor_release(logits);
  }
}

/* A NaN does not vanish from the means. */
Test(route, nan_losses) {
  bam_tensor *logits = make_values(BAM_F32, SHAPE(2, 2), VALUES(1, 2, (double)NAN, 0)), *out[4];
  route_run(logits, (options){ .k = 1, .aux = 1 }, out);
  expect_values(out[LOSSES], VALUES((double)NAN, (double)NAN), 0);
  fixture_release(out, 4);
  bam_tensor_release(logits);
}

/* No tokens: every number is 0, and there is a gradient, of nothing. */
Test(route, empty) {
  const bam_shape shapes[] = { SHAPE(0, 5), SHAPE(2, 0, 5), SHAPE(0, 3, 1) };
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    route_check_forms(BAM_F64, shapes[i], 1, 0, 0);
    route_check_forms(BAM_F32, shapes[i], 1, 4, 0);
  }
}

static void expect_failure(const char *words, bam_tensor *logits, options with) {
  bam_attr *attrs = route_attrs(with);
  expect_op_error(words, &bam_op_route, &logits, 1, attrs);
  free(attrs);
}

Test(route, errors) {
  bam_tensor *logits = make_leaf(BAM_F32, SHAPE(2, 3, 4), -1, 1);
  bam_tensor *none = make_random(BAM_F32, SHAPE(3, 0), -1, 1);
  bam_tensor *scalar = make_random(BAM_F32, SCALAR, -1, 1);
  bam_tensor *whole = make_random(BAM_I64, SHAPE(3, 4), 0, 9);
  bam_tensor *half = make_random(BAM_F16, SHAPE(3, 4), 0, 9);
  expect_failure("k is 5", logits, (options){ .k = 5 });
  expect_failure("k is 0", logits, (options){ .k = 0 });
  expect_failure("k is -1", logits, (options){ .k = -1 });
  expect_failure("aux_tokens", logits, (options){ .k = 1, .aux = 4 });
  expect_failure("aux_tokens", logits, (options){ .k = 1, .aux = 12 });
  expect_failure("aux_tokens", logits, (options){ .k = 1, .aux = -2 });
  expect_failure("", none, (options){ .k = 1 });
  expect_failure("", scalar, (options){ .k = 1 });
  expect_failure("", whole, (options){ .k = 1 });
  expect_failure("", half, (options){ .k = 1 });
  bam_tensor *masks[] = { make_random(BAM_BOOL, SHAPE(2, 4), 0, 1),
                          make_random(BAM_BOOL, SHAPE(2, 3, 4), 0, 1),
                          make_random(BAM_I64, SHAPE(2, 3), 0, 1) };
  bam_attr *attrs = route_attrs((options){ .k = 1 });
  for (int i = 0; i < 3; i++) {
    bam_tensor *inputs[] = { logits, masks[i] };
    expect_op_error("it must be bool (2, 3), a value per token", &bam_op_route, inputs, 2, attrs);
  }
  RELEASE(logits, none, scalar, whole, half, masks[0], masks[1], masks[2]);
  free(attrs);
}
