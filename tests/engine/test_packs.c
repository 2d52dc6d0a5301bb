/* Rows that a device reads in packs of 16 bytes, beside the same numbers where it cannot: in views that begin one
   element after an aligned address. Lengths are whole packs: for a warp, for a block, and more than a block holds.
   The other suites compare with double precision, at odd lengths mostly. */
#include <math.h>
#include <stdlib.h>

#include "fixture.h"

TestSuite(packs, .init = fixture_open, .fini = fixture_close);

#define MOST 4

/* The same numbers twice; floating-point ones are leaves. */
typedef struct twins {
  bam_tensor *aligned[MOST], *shifted[MOST];
  int n;
} twins;

static void add(twins *t, bam_dtype dtype, bam_shape shape, double low, double high) {
  int64_t stride[BAM_MAX_DIMS], count;
  EXPECT_OK(bam_shape_count(fixture_context(), &shape, &count));
  bam_tensor *flat = make_random(dtype, SHAPE(count + 1), low, high), **view = &t->shifted[t->n];
  bam_shape_strides(&shape, stride);
  EXPECT_OK(bam_tensor_view(flat, &shape, stride, 1, view));
  EXPECT_OK(
    bam_tensor_zeros(flat->context, bam_tensor_device(flat), dtype, &shape, &t->aligned[t->n]));
  EXPECT_OK(bam_tensor_copy(t->aligned[t->n], *view));
  if (dtype != BAM_I64) {
    EXPECT_OK(bam_autograd_require(t->aligned[t->n], true));
    EXPECT_OK(bam_autograd_require(*view, true));
  }
  bam_tensor_release(flat);
  t->n++;
}

/* Sums are taken in another order. */
static void expect_near(bam_tensor *got, bam_tensor *want, bam_dtype dtype) {
  const double rounding = dtype == BAM_BF16 ? BF16_ROUNDING : dtype == BAM_F32 ? 0x1p-23 : 0x1p-52;
  double most = 0;
  for (int64_t i = 0; i < bam_tensor_count(want); i++)
    most = fmax(most, fabs(value_at(want, i)));
  cr_assert(most > 0, "a result of zeros");
  for (int64_t i = 0; i < bam_tensor_count(want); i++)
    cr_assert(fabs(value_at(got, i) - value_at(want, i)) <= 16 * rounding * most,
              "element %lld: %.9g, not %.9g", (long long)i, value_at(got, i), value_at(want, i));
}

/* The result; of an op with two, their sum. */
static bam_tensor *apply(const bam_op *op, bam_tensor **inputs, int n, const bam_attr *attrs) {
  bam_tensor *out[2] = { NULL, NULL };
  EXPECT_OK(fixture_apply(op, inputs, n, attrs, out));
  if (out[1] == NULL)
    return out[0];
  bam_tensor *sum = run2(&bam_op_add, out[0], out[1]);
  RELEASE(out[0], out[1]);
  return sum;
}

/* Results and gradients are alike. Releases the operands. */
static void check(const bam_op *op, twins *t, const bam_attr *attrs) {
  bam_tensor *a = apply(op, t->aligned, t->n, attrs), *b = apply(op, t->shifted, t->n, attrs);
  const bam_dtype dtype = t->aligned[0]->dtype;
  expect_near(a, b, dtype);
  bam_tensor *seed = NULL;
  if (a->shape.ndim > 0)
    seed = make_random(a->dtype, a->shape, -1, 1);
  EXPECT_OK(bam_autograd_backward(a, seed, false));
  EXPECT_OK(bam_autograd_backward(b, seed, false));
  for (int i = 0; i < t->n; i++) {
    if (t->aligned[i]->requires_grad)
      expect_near(t->aligned[i]->grad, t->shifted[i]->grad, dtype);
    RELEASE(t->aligned[i], t->shifted[i]);
  }
  RELEASE(a, b);
  if (seed != NULL)
    bam_tensor_release(seed);
  t->n = 0;
}

/* body(dtype, width) for all dtypes that compute and all lengths. */
static void each_case(void (*body)(bam_dtype, int64_t)) {
  static const bam_dtype dtypes[] = { BAM_F32, BAM_F64, BAM_BF16 };
  static const int64_t widths[] = { 24, 1032, 4104 };
  for (int d = 0; d < 3; d++)
    for (int w = 0; w < 3 && device_computes(dtypes[d]); w++)
      body(dtypes[d], widths[w]);
}

static void check_norms(bam_dtype dtype, int64_t width) {
  twins t = { .n = 0 };
  add(&t, dtype, SHAPE(3, width), 1, 3);
  add(&t, dtype, SHAPE(width), -1, 2);
  add(&t, dtype, SHAPE(width), -1, 1);
  check(&bam_op_layer_norm, &t, NULL);
  add(&t, dtype, SHAPE(3, width), -2, 3);
  add(&t, dtype, SHAPE(3, width), -2, 3);
  add(&t, dtype, SHAPE(width), -1, 2);
  check(&bam_op_add_rms_norm, &t, NULL);
}

Test(packs, norms) { each_case(check_norms); }

static void check_gated(bam_dtype dtype, int64_t width) {
  twins t = { .n = 0 };
  add(&t, dtype, SHAPE(3, 2 * width), -4, 4);
  check(&bam_op_swiglu, &t, NULL);
  add(&t, dtype, SHAPE(3, 2 * width), -4, 4);
  check(&bam_op_geglu, &t, NULL);
}

Test(packs, swiglu_geglu) { each_case(check_gated); }

static void check_cross_entropy(bam_dtype dtype, int64_t width) {
  twins t = { .n = 0 };
  add(&t, dtype, SHAPE(3, width), -4, 4);
  add(&t, BAM_I64, SHAPE(3), 1, 24);
  check(&bam_op_cross_entropy, &t, NULL);
}

Test(packs, cross_entropy) { each_case(check_cross_entropy); }

static void check_elementwise(bam_dtype dtype, int64_t width) {
  twins t = { .n = 0 };
  add(&t, dtype, SHAPE(width + 1), -4, 4); /* one is left after the packs */
  check(&bam_op_silu, &t, NULL);
  add(&t, dtype, SHAPE(width + 1), -4, 4);
  add(&t, dtype, SHAPE(width + 1), -4, 4);
  check(&bam_op_mul, &t, NULL);
  add(&t, dtype, SHAPE(width + 1), -4, 4);
  add(&t, dtype, SHAPE(1), 1, 4); /* repeated */
  check(&bam_op_add, &t, NULL);
}

Test(packs, elementwise) { each_case(check_elementwise); }

static void check_rope(bam_dtype dtype, int64_t heads) {
  twins t = { .n = 0 };
  add(&t, dtype, SHAPE(2, 3, heads % 7, 64), -2, 2);
  add(&t, BAM_I64, SHAPE(2, 3), 1, 5000);
  check(&bam_op_rope, &t, NULL);
}

Test(packs, rope) { each_case(check_rope); }

static void check_softmax(bam_dtype dtype, int64_t width) {
  static const bam_op *const ops[] = { &bam_op_softmax, &bam_op_log_softmax, &bam_op_logsumexp };
  twins t = { .n = 0 };
  for (int i = 0; i < 3; i++) {
    bam_attr *attrs = make_attrs(ops[i]);
    if (i == 2)
      set_list(ops[i], attrs, "dim", 1, (int64_t[]){ 1 });
    add(&t, dtype, SHAPE(3, width), -4, 4);
    check(ops[i], &t, attrs);
    free(attrs);
  }
}

Test(packs, softmax) { each_case(check_softmax); }
