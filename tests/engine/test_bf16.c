/* bf16 at sizes where kernels take several tiles, chunks or passes: every op beside itself in f64 on the same numbers,
   and what must not be rounded to 8 bits. The suite `registry` tries all ops on small samples. A device that only
   stores bf16 must say so. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "fixture.h"

TestSuite(bf16, .init = fixture_open, .fini = fixture_close);

#define MOST 8

/* The inputs of an op in bf16, and the same numbers in f64. Floating-point ones are leaves. */
typedef struct twins {
  const bam_op *op;
  bam_attr *attrs;
  bam_tensor *narrow[MOST], *wide[MOST];
  int n;
} twins;

static twins begin(const bam_op *op) { return (twins){ .op = op, .attrs = make_attrs(op) }; }

static void add_leaf(twins *t, bam_shape shape, double low, double high) {
  bam_tensor *x = make_random(BAM_F64, shape, low, high);
  EXPECT_OK(bam_tensor_convert(x, BAM_BF16, &t->narrow[t->n]));
  EXPECT_OK(bam_tensor_convert(t->narrow[t->n], BAM_F64, &t->wide[t->n]));
  EXPECT_OK(bam_autograd_require(t->narrow[t->n], true));
  EXPECT_OK(bam_autograd_require(t->wide[t->n], true));
  t->n++;
  bam_tensor_release(x);
}

/* f32 in the one, f64 in the other: gates. */
static void add_gates(twins *t, bam_shape shape) {
  add_leaf(t, shape, 0.1, 1);
  bam_tensor *gates = t->narrow[t->n - 1];
  EXPECT_OK(bam_tensor_convert(gates, BAM_F32, &t->narrow[t->n - 1]));
  EXPECT_OK(bam_autograd_require(t->narrow[t->n - 1], true));
  bam_tensor_release(gates);
}

static void add_whole(twins *t, bam_shape shape, double low, double high) {
  t->narrow[t->n] = t->wide[t->n] = make_random(BAM_I64, shape, low, high);
  bam_tensor_retain(t->wide[t->n++]);
}

static double largest(bam_tensor *x) {
  double most = 0;
  for (int64_t i = 0; i < bam_tensor_count(x); i++)
    most = fmax(most, fabs(value_at(x, i)));
  return most;
}

/* Errors are measured against the largest element: a small one may be the difference of large ones. */
static void expect_near(const char *what, bam_tensor *got, bam_tensor *want, double tolerance) {
  const double most = largest(want);
  expect_shape(got, want->shape);
  for (int64_t i = 0; i < bam_tensor_count(want); i++) {
    const double a = value_at(got, i), b = value_at(want, i);
    cr_assert(fabs(a - b) <= tolerance * most, "%s, element %lld: %.9g, not %.9g", what,
              (long long)i, a, b);
  }
}

/* Whether the device only stores bf16; then the op says so. */
static bool refuses(const twins *t) {
  if (device_computes(BAM_BF16))
    return false;
  expect_op_error("bf16", t->op, t->narrow, t->n, t->attrs);
  return true;
}

/* Results within `roundings` of f64's, and gradients of the leaves within twice as many, or, those of `exact` (bits),
   within what f32 sums lose. */
static void compare(twins *t, double roundings, unsigned exact) {
  if (refuses(t))
    return;
  bam_tensor *got = run(t->op, t->narrow, t->n, t->attrs),
             *want = run(t->op, t->wide, t->n, t->attrs);
  bam_tensor *seed = make_random(BAM_BF16, want->shape, -1, 1);
  char what[40];
  expect_near("result", got, want, roundings * BF16_ROUNDING);
  EXPECT_OK(bam_autograd_backward(got, seed, false));
  EXPECT_OK(bam_autograd_backward(want, seed, false));
  for (int i = 0; i < t->n; i++) {
    if (t->wide[i] == NULL || !t->wide[i]->requires_grad)
      continue;
    snprintf(what, sizeof what, "gradient %d", i + 1);
    expect_dtype(t->narrow[i]->grad, BAM_F32);
    expect_near(what, t->narrow[i]->grad, t->wide[i]->grad,
                exact >> i & 1 ? 1e-5 : 2 * roundings * BF16_ROUNDING);
  }
  RELEASE(got, want, seed);
}

static void end(twins *t) {
  for (int i = 0; i < t->n; i++)
    if (t->narrow[i] != NULL)
      RELEASE(t->narrow[i], t->wide[i]);
  free(t->attrs);
}

/* Gradients of weights are sums in f32, of as many products as there are rows. */
Test(bf16, linear) {
  twins t = begin(&bam_op_linear);
  add_leaf(&t, SHAPE(300, 70), -1, 1);
  add_leaf(&t, SHAPE(33, 70), -1, 1);
  add_leaf(&t, SHAPE(33), -1, 1);
  compare(&t, 2, 1 << 0 | 1 << 1 | 1 << 2);
  end(&t);
}

/* The sum with a residual is rounded once. */
Test(bf16, add_linear) {
  twins t = begin(&bam_op_add_linear);
  add_leaf(&t, SHAPE(300, 70), -1, 1);
  add_leaf(&t, SHAPE(33, 70), -1, 1);
  add_leaf(&t, SHAPE(300, 33), -4, 4);
  compare(&t, 1, 1 << 0 | 1 << 1);
  end(&t);
}

/* The result may stay f32: what a router makes of it is not rounded. */
Test(bf16, linear_to_f32) {
  twins t = begin(&bam_op_linear);
  add_leaf(&t, SHAPE(40, 70), -1, 1);
  add_leaf(&t, SHAPE(5, 70), -1, 1);
  set_integer(t.op, t.attrs, "dtype", BAM_F32);
  if (!refuses(&t)) {
    bam_tensor *got = run(t.op, t.narrow, t.n, t.attrs), *want = run(t.op, t.wide, t.n, NULL);
    expect_dtype(got, BAM_F32);
    expect_near("result", got, want, 1e-6);
    set_integer(t.op, t.attrs, "dtype", BAM_F64);
    expect_op_error("y:to \"f64\"", t.op, t.narrow, t.n, t.attrs);
    RELEASE(got, want);
  }
  end(&t);
}

Test(bf16, matmul) {
  twins t = begin(&bam_op_matmul);
  add_leaf(&t, SHAPE(3, 40, 70), -1, 1);
  add_leaf(&t, SHAPE(70, 33), -1, 1);
  compare(&t, 1, 1 << 0 | 1 << 1);
  end(&t);
}

/* Thousands of rows meet in a few: runs of moves over several rounds. */
Test(bf16, embedding) {
  twins t = begin(&bam_op_embedding);
  add_whole(&t, SHAPE(3000), 0, 2);
  add_leaf(&t, SHAPE(3, 24), -1, 1);
  compare(&t, 1, 1 << 1);
  end(&t);
}

Test(bf16, norms) {
  for (int64_t width = 40; width <= 1500; width += 1460) {
    twins t = begin(&bam_op_add_layer_norm);
    add_leaf(&t, SHAPE(70, width), -1, 1);
    add_leaf(&t, SHAPE(70, width), -1, 1);
    add_leaf(&t, SHAPE(width), 0.5, 2);
    add_leaf(&t, SHAPE(width), -1, 1);
    if (!refuses(&t)) {
      bam_tensor *got[2], *want[2];
      EXPECT_OK(fixture_apply(t.op, t.narrow, t.n, t.attrs, got));
      EXPECT_OK(fixture_apply(t.op, t.wide, t.n, t.attrs, want));
      expect_near("norm", got[0], want[0], 3 * BF16_ROUNDING); /* the sum is rounded first */
      expect_near("sum", got[1], want[1], BF16_ROUNDING);
      RELEASE(got[0], got[1], want[0], want[1]);
    }
    end(&t);
    twins u = begin(&bam_op_rms_norm);
    add_leaf(&u, SHAPE(70, width), -1, 1);
    add_leaf(&u, SHAPE(width), 0.5, 2);
    compare(&u, 1, 1 << 1);
    end(&u);
  }
}

/* Several tiles of queries and keys, documents, heads that share keys; not of the tensor cores' widths. */
Test(bf16, attention) {
  twins t = begin(&bam_op_attention);
  add_leaf(&t, SHAPE(2, 150, 4, 24), -1, 1);
  add_leaf(&t, SHAPE(2, 150, 2, 24), -1, 1);
  add_leaf(&t, SHAPE(2, 150, 2, 24), -1, 1);
  add_whole(&t, SHAPE(2, 150), 1, 2);
  compare(&t, 2, 0);
  end(&t);
}

Test(bf16, mixture_of_attention) {
  twins t = begin(&bam_op_mixture_of_attention);
  add_leaf(&t, SHAPE(2, 70, 24), -1, 1);
  add_leaf(&t, SHAPE(6 * 16, 24), -0.5,
           0.5); /* 2 experts of 2 heads, and a shared key and value head */
  add_leaf(&t, SHAPE(24, 4 * 16), -0.5, 0.5);
  add_gates(&t, SHAPE(2, 70, 2));
  add_whole(&t, SHAPE(2, 70), 1, 2);
  set_integer(t.op, t.attrs, "heads", 2);
  set_integer(t.op, t.attrs, "kv_heads", 1);
  compare(&t, 6, 0); /* of queries, keys, values, results and gated results, too */
  end(&t);
}

Test(bf16, routed_ffn) {
  twins t = begin(&bam_op_routed_ffn);
  add_leaf(&t, SHAPE(90, 24), -1, 1);
  add_gates(&t, SHAPE(90, 2));
  add_whole(&t, SHAPE(90, 2), 0, 3);
  add_leaf(&t, SHAPE(3, 64, 24), -0.5, 0.5);
  add_leaf(&t, SHAPE(3, 20, 32), -0.5, 0.5);
  compare(&t, 6, 0); /* of both products, the hidden layer and each expert's result, too */
  end(&t);
}

/* The loss is f32: it is not rounded, though the logits are. */
Test(bf16, linear_cross_entropy) {
  twins t = begin(&bam_op_linear_cross_entropy);
  add_leaf(&t, SHAPE(100, 24), -1, 1);
  add_leaf(&t, SHAPE(1200, 24), -1, 1);
  add_whole(&t, SHAPE(100), 0, 1199);
  set_integer(t.op, t.attrs, "chunk", 30);
  if (!refuses(&t)) {
    bam_tensor *got = run(t.op, t.narrow, t.n, t.attrs), *want = run(t.op, t.wide, t.n, t.attrs);
    expect_dtype(got, BAM_F32);
    EXPECT_CLOSE(value_at(got, 0), value_at(want, 0),
                 BF16_ROUNDING / 10); /* of 100 rounded logits and sums */
    RELEASE(got, want);
  }
  compare(&t, 3, 0); /* of logits and their gradients, too */
  end(&t);
}

/* A gradient is collected in f32 over several backward passes, and by views of a leaf. */
Test(bf16, leaves_collect_in_f32) {
  bam_tensor *x = make_leaf(BAM_BF16, SHAPE(4), 1, 2),
             *seed = make_values(BAM_BF16, SHAPE(4), VALUES(1, 1, 1, 1));
  EXPECT_OK(bam_autograd_backward(x, seed, false));
  bam_tensor *small = make_values(BAM_F32, SHAPE(4), VALUES(0x1p-12, 0x1p-12, 0x1p-12, 0x1p-12));
  EXPECT_OK(bam_autograd_backward(x, small, false));
  expect_dtype(x->grad, BAM_F32);
  expect_values(x->grad, VALUES(1 + 0x1p-12, 1 + 0x1p-12, 1 + 0x1p-12, 1 + 0x1p-12), 0);
  bam_tensor *wrong = make_values(BAM_BF16, SHAPE(4), VALUES(1, 1, 1, 1));
  EXPECT_ERROR(bam_autograd_set_grad(x, wrong), "a gradient of bf16");
  EXPECT_OK(bam_autograd_set_grad(x, small));
  RELEASE(x, seed, small, wrong);
}
