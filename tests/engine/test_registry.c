/* What holds for every op, tried on every registered op with its sample (samples.c): gradients,
   strided, empty and broadcast inputs, f32 beside f64, and that a test compares its values.
   Each op is one test. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gradcheck.h"
#include "samples.h"

/* An op with its sample's attributes. */
typedef struct subject {
  const bam_op *op;
  const sample *sample;
  bam_attr *attrs;
  uint64_t random_counter; /* every run starts here: dropout then drops the same */
} subject;

typedef struct result {
  bam_tensor *outputs[BAM_MAX_OUTPUTS];
  int n;
} result;

static bam_status try_op(const subject *s, bam_tensor *const *inputs, int n, result *out) {
  out->n = s->op->outputs == 0 ? 1 : s->op->outputs;
  fixture_context()->random_counter = s->random_counter;
  return bam_op_apply(fixture_context(), s->op, inputs, n, s->attrs, out->outputs);
}

static result run_op(const subject *s, bam_tensor *const *inputs, int n) {
  result out;
  if (try_op(s, inputs, n, &out) != BAM_OK)
    cr_assert_fail("%s failed: %s", s->op->name, fixture_context()->message);
  return out;
}

static void release_result(result *r) { fixture_release(r->outputs, r->n); }

static void expect_same(const result *got, const result *want, double tolerance) {
  for (int k = 0; k < want->n; k++) {
    expect_shape(got->outputs[k], want->outputs[k]->shape);
    for (int64_t i = 0; i < bam_tensor_count(want->outputs[k]); i++) {
      double a = value_at(got->outputs[k], i), b = value_at(want->outputs[k], i);
      cr_assert(is_close(a, b, tolerance), "output %d, element %lld: %.17g, not %.17g", k + 1,
                (long long)i, a, b);
    }
  }
}

/* ---- the checks ---- */

/* What the tests lack for this op, or NULL: its gradient is checked here, its values where VALUES_TESTED says. */
static const char *missing_for(const bam_op *op) {
  if (sample_find(op->name) == NULL)
    return "has no sample in tests/engine/samples.c";
  if (!value_tests_has(op))
    return "has no test of its values: compare them with an oracle, and say VALUES_TESTED there";
  if ((op->backward != NULL) == op->constant)
    return "is either constant or has a backward";
  return NULL;
}

static void check_gradients(const subject *s) {
  if (s->op->constant)
    return;
  bam_tensor *inputs[5], *strided[5];
  int n = sample_inputs(s->sample, false, inputs);
  check_gradient(s->op, inputs, n, s->attrs);
  for (int i = 0; i < n; i++) {
    strided[i] = make_strided(inputs[i]);
    if (inputs[i]->requires_grad)
      EXPECT_OK(bam_autograd_require(strided[i], true));
  }
  if (!s->sample->contiguous)
    check_gradient(s->op, strided, n, s->attrs);
  fixture_release(inputs, n);
  fixture_release(strided, n);
}

/* Layouts must not matter. */
static void check_strided(const subject *s) {
  bam_tensor *inputs[5], *strided[5];
  int n = sample_inputs(s->sample, false, inputs);
  result want = run_op(s, inputs, n), got;
  for (int i = 0; i < n; i++)
    strided[i] = make_strided(inputs[i]);
  bam_status status = try_op(s, strided, n, &got);
  cr_assert(status == BAM_OK || s->sample->contiguous, "%s of strided inputs: %s", s->op->name,
            fixture_context()->message);
  if (status == BAM_OK) {
    expect_same(&got, &want, 1e-12);
    release_result(&got);
  }
  release_result(&want);
  fixture_release(inputs, n);
  fixture_release(strided, n);
}

/* Nothing, in every dimension or in the first alone: a result that can be differentiated, or an
   error. */
static void check_empty(const subject *s, bool everywhere) {
  bam_tensor *inputs[5];
  result out;
  int n = sample_inputs(s->sample, everywhere, inputs);
  if (!everywhere && inputs[0]->shape.ndim > 0) {
    bam_shape shape = inputs[0]->shape;
    shape.size[0] = 0;
    bam_tensor_release(inputs[0]);
    inputs[0] = make_random(s->sample->inputs[0].dtype, shape, 0, 1);
  }
  if (try_op(s, inputs, n, &out) == BAM_OK) {
    if (out.outputs[0]->requires_grad) {
      bam_tensor *seed = make_random(out.outputs[0]->dtype, out.outputs[0]->shape, 1, 1);
      EXPECT_OK(bam_autograd_backward(out.outputs[0], seed, false));
      bam_tensor_release(seed);
    }
    release_result(&out);
  } else {
    const char *message = fixture_context()->message;
    cr_assert(strncmp(message, s->op->name, strlen(s->op->name)) == 0, "of empty inputs: \"%s\"",
              message);
  }
  fixture_release(inputs, n);
}

/* `x` with only the first position of its first dimension, and that repeated as often as before. */
static void make_broadcast(bam_tensor *x, bam_tensor **narrow, bam_tensor **wide) {
  bam_shape shape = x->shape;
  bam_tensor *repeated;
  int64_t stride[BAM_MAX_DIMS];
  memcpy(stride, x->stride, sizeof stride);
  stride[0] = 0;
  EXPECT_OK(bam_tensor_view(x, &shape, stride, x->offset, &repeated));
  EXPECT_OK(bam_tensor_contiguous(repeated, wide));
  shape.size[0] = 1;
  EXPECT_OK(bam_tensor_view(x, &shape, x->stride, x->offset, narrow));
  bam_tensor_release(repeated);
}

static void check_broadcast(const subject *s) {
  bam_tensor *inputs[5], *narrow, *wide;
  int n = s->sample->broadcasts ? sample_inputs(s->sample, false, inputs) : 0;
  for (int i = 0; i < n; i++) {
    bam_tensor *full = inputs[i];
    make_broadcast(full, &narrow, &wide);
    inputs[i] = narrow;
    result got = run_op(s, inputs, n);
    if (!s->op->constant) {
      if (full->requires_grad)
        EXPECT_OK(bam_autograd_require(narrow, true));
      check_gradient(s->op, inputs, n, s->attrs);
    }
    inputs[i] = wide;
    result want = run_op(s, inputs, n);
    expect_same(&got, &want, 1e-12);
    release_result(&got);
    release_result(&want);
    RELEASE(narrow, wide);
    inputs[i] = full;
  }
  fixture_release(inputs, n);
}

/* The inputs of the sample rounded to `dtype`, in `single`, and the same numbers as f64, in `twice`; both leaves.
   Returns how many. */
static int rounded_inputs(const subject *s, bam_dtype dtype, bam_tensor **single,
                          bam_tensor **twice) {
  bam_tensor *inputs[5];
  int n = sample_inputs(s->sample, false, inputs);
  for (int i = 0; i < n; i++) {
    bool real = bam_dtype_is_float(inputs[i]->dtype);
    EXPECT_OK(bam_tensor_convert(inputs[i], real ? dtype : inputs[i]->dtype, &single[i]));
    EXPECT_OK(bam_tensor_convert(single[i], inputs[i]->dtype, &twice[i]));
    if (real) {
      EXPECT_OK(bam_autograd_require(single[i], true));
      EXPECT_OK(bam_autograd_require(twice[i], true));
    }
  }
  fixture_release(inputs, n);
  return n;
}

/* f32 is f64 with fewer digits. The inputs are f32 numbers in both. */
static void check_single(const subject *s) {
  bam_tensor *single[5], *twice[5];
  int n = rounded_inputs(s, BAM_F32, single, twice);
  result got = run_op(s, single, n), want = run_op(s, twice, n);
  expect_same(&got, &want, s->sample->f32_tolerance > 0 ? s->sample->f32_tolerance : 1e-5);
  release_result(&got);
  release_result(&want);
  fixture_release(single, n);
  fixture_release(twice, n);
}

/* Backward from every output of both, with the same numbers as seeds. */
static void backward_alike(result *got, result *want) {
  for (int k = 0; k < got->n; k++) {
    if (!want->outputs[k]->requires_grad)
      continue;
    bam_tensor *seed = make_random(BAM_BF16, want->outputs[k]->shape, -1, 1);
    EXPECT_OK(bam_autograd_backward(got->outputs[k], seed, true));
    EXPECT_OK(bam_autograd_backward(want->outputs[k], seed, true));
    bam_tensor_release(seed);
  }
}

/* What backward gave to the leaves: in f32, though computed by kernels of bf16. */
static void expect_same_gradients(bam_tensor *const *got, bam_tensor *const *want, int n,
                                  double tolerance) {
  for (int i = 0; i < n; i++) {
    if (want[i]->grad == NULL)
      continue;
    result a = { { got[i]->grad }, 1 }, b = { { want[i]->grad }, 1 };
    cr_assert_not_null(got[i]->grad, "input %d has no gradient", i + 1);
    expect_dtype(got[i]->grad, BAM_F32);
    cr_log_info("gradient %d", i + 1);
    expect_same(&a, &b, tolerance);
  }
}

/* A device without kernels for bf16 says so, and which dtype to take. */
static void expect_refusal(const subject *s, bam_tensor *const *inputs, int n) {
  result out;
  if (try_op(s, inputs, n, &out) == BAM_OK)
    release_result(&out); /* copies, views and conversions of what is stored */
  else
    EXPECT_CONTAINS(fixture_context()->message, "f32");
}

/* bf16 is f64 rounded to 8 bits, where kernels read and write; what they keep to themselves has more digits. The
   inputs are bf16 numbers in both. A result is rounded once, and so is its gradient; ops that round on the way, as
   between two products, say how often in their sample. */
static void check_bf16(const subject *s) {
  bam_tensor *single[5], *twice[5];
  int n = rounded_inputs(s, BAM_BF16, single, twice);
  if (!device_computes(BAM_BF16)) {
    expect_refusal(s, single, n);
  } else {
    const double roundings = s->sample->bf16_tolerance > 0 ? s->sample->bf16_tolerance : 2;
    result got = run_op(s, single, n), want = run_op(s, twice, n);
    expect_same(&got, &want, roundings * BF16_ROUNDING);
    backward_alike(&got, &want);
    expect_same_gradients(single, twice, n, 2 * roundings * BF16_ROUNDING);
    release_result(&got);
    release_result(&want);
  }
  fixture_release(single, n);
  fixture_release(twice, n);
}

/* ---- one test per op ---- */

typedef struct {
  char name[40];
} op_name;

ParameterizedTestParameters(registry, ops) {
  int n = 0;
  while (bam_op_at(n) != NULL)
    n++;
  op_name *names = cr_calloc((size_t)n, sizeof *names);
  for (int i = 0; i < n; i++)
    snprintf(names[i].name, sizeof names[i].name, "%s", bam_op_at(i)->name);
  return cr_make_param_array(op_name, names, (size_t)n);
}

ParameterizedTest(op_name *name, registry, ops, .init = fixture_open, .fini = fixture_close) {
  subject s = { .op = bam_op_find(name->name), .sample = sample_find(name->name) };
  cr_log_info("%s", name->name);
  const char *missing = missing_for(s.op);
  cr_assert(missing == NULL, "%s %s", name->name, missing);
  s.attrs = sample_attrs(s.sample, s.op);
  s.random_counter = fixture_context()->random_counter;
  check_strided(&s);
  check_empty(&s, true);
  check_empty(&s, false);
  check_single(&s);
  check_bf16(&s);
  check_gradients(&s);
  check_broadcast(&s);
  free(s.attrs);
}

/* Planted ops: like an op that is tested, but for one thing. */
Test(registry, finds_ops_without_tests) {
  const bam_op *tested = bam_op_find("tanh");
  bam_op planted = *tested;
  cr_assert(missing_for(tested) == NULL, "tanh %s", missing_for(tested));
  EXPECT_CONTAINS(missing_for(&planted), "no test of its values");
  planted.name = "planted";
  EXPECT_CONTAINS(missing_for(&planted), "no sample");
  cr_assert(!value_tests_has(NULL), "padding counts as an op");
}

Test(registry, has_help_for_every_op) {
  const bam_op *op;
  for (int i = 0; (op = bam_op_at(i)) != NULL; i++) {
    size_t length = op->help == NULL ? 0 : strlen(op->help);
    cr_assert(length > 0 && op->help[length - 1] == '.', "the help of %s is no sentence", op->name);
    cr_assert_eq(bam_op_find(op->name), op, "there are two ops %s", op->name);
  }
}
