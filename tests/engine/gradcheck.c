#include "gradcheck.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
  const bam_op *op;
  bam_tensor *const *inputs;
  int n;
  const bam_attr *attrs;
  uint64_t random_counter;
  bam_tensor *weights[BAM_MAX_OUTPUTS]; /* NULL for outputs that carry no gradient */
} check;

static int output_count(const bam_op *op) { return op->outputs == 0 ? 1 : op->outputs; }

static void evaluate(const check *c, bam_tensor **outputs) {
  bam_context *context = fixture_context();
  context->random_counter = c->random_counter;
  if (bam_op_apply(context, c->op, c->inputs, c->n, c->attrs, outputs) != BAM_OK)
    cr_assert_fail("%s failed: %s", c->op->name, context->message);
}

static void make_weights(check *c) {
  bam_tensor *outputs[BAM_MAX_OUTPUTS];
  evaluate(c, outputs);
  for (int k = 0; k < output_count(c->op); k++) {
    if (outputs[k]->requires_grad)
      c->weights[k] = make_random(outputs[k]->dtype, outputs[k]->shape, 0.5, 1.5);
    bam_tensor_release(outputs[k]);
  }
}

/* sum(weights * outputs), nothing recorded. */
static double objective(const check *c) {
  bam_context *context = fixture_context();
  bam_tensor *outputs[BAM_MAX_OUTPUTS];
  double sum = 0;
  context->no_grad = true;
  evaluate(c, outputs);
  context->no_grad = false;
  for (int k = 0; k < output_count(c->op); k++) {
    for (int64_t i = 0; c->weights[k] != NULL && i < bam_tensor_count(outputs[k]); i++)
      sum += value_at(c->weights[k], i) * value_at(outputs[k], i);
    bam_tensor_release(outputs[k]);
  }
  return sum;
}

/* One output: its weights are the seed. */
static void differentiate_one(const check *c, bam_tensor *output) {
  cr_assert(output->requires_grad, "%s recorded nothing", c->op->name);
  EXPECT_OK(bam_autograd_backward(output, c->weights[0], false));
}

/* Several: one backward through the sum of all products, as a training step would do it. */
static void differentiate_all(const check *c, bam_tensor *const *outputs) {
  bam_tensor *total = NULL;
  for (int k = 0; k < output_count(c->op); k++) {
    if (c->weights[k] == NULL)
      continue;
    bam_tensor *product = run2(&bam_op_mul, outputs[k], c->weights[k]);
    bam_tensor *sum = run1(&bam_op_sum, product), *old = total;
    total = old == NULL ? bam_tensor_retain(sum) : run2(&bam_op_add, old, sum);
    RELEASE(product, sum, old);
  }
  EXPECT_OK(bam_autograd_backward(total, NULL, false));
  bam_tensor_release(total);
}

static void differentiate(const check *c) {
  bam_tensor *outputs[BAM_MAX_OUTPUTS];
  evaluate(c, outputs);
  if (output_count(c->op) == 1)
    differentiate_one(c, outputs[0]);
  else
    differentiate_all(c, outputs);
  fixture_release(outputs, output_count(c->op));
}

/* In element `e` of input x. */
static double central_difference(const check *c, bam_tensor *x, int64_t e) {
  double value = value_at(x, e), h = 1e-5 * fmax(1, fabs(value));
  set_value(x, e, value + h);
  double above = objective(c);
  set_value(x, e, value - h);
  double below = objective(c);
  set_value(x, e, value);
  return (above - below) / (2 * h);
}

static void compare_input(const check *c, int i, double tolerance) {
  bam_tensor *x = c->inputs[i];
  cr_assert(x->dtype == BAM_F64, "input %d of %s is not f64", i + 1, c->op->name);
  cr_assert(x->grad != NULL || bam_tensor_count(x) == 0, "input %d of %s got no gradient", i + 1,
            c->op->name);
  for (int64_t e = 0; e < bam_tensor_count(x); e++) {
    double want = central_difference(c, x, e), got = value_at(x->grad, e);
    cr_assert(is_close(got, want, tolerance),
              "%s: the gradient of element %lld of input %d is %.12g, by differences %.12g",
              c->op->name, (long long)e, i + 1, got, want);
  }
  EXPECT_OK(bam_autograd_set_grad(x, NULL));
}

/* The same leaf may be given twice; it is compared once. */
static bool is_first(bam_tensor *const *inputs, int i) {
  for (int k = 0; k < i; k++)
    if (inputs[k] == inputs[i])
      return false;
  return true;
}

void check_gradient_within(const bam_op *op, bam_tensor *const *inputs, int n,
                           const bam_attr *attrs, double tolerance) {
  check c = { .op = op,
              .inputs = inputs,
              .n = n,
              .attrs = attrs,
              .random_counter = fixture_context()->random_counter };
  make_weights(&c);
  differentiate(&c);
  int checked = 0;
  for (int i = 0; i < n; i++)
    if (inputs[i] != NULL && inputs[i]->requires_grad && is_first(inputs, i)) {
      compare_input(&c, i, tolerance);
      checked++;
    }
  cr_assert(checked > 0, "%s: no input requires a gradient", op->name);
  fixture_release(c.weights, BAM_MAX_OUTPUTS);
}

void check_gradient(const bam_op *op, bam_tensor *const *inputs, int n, const bam_attr *attrs) {
  check_gradient_within(op, inputs, n, attrs, 1e-6);
}

void backward_reversed(bam_tensor *y, bam_tensor *dy) {
  bam_attr *attrs = make_attrs(&bam_op_permute);
  set_list(&bam_op_permute, attrs, "dims", 3, (int64_t[]){ 2, 1, 0 });
  bam_tensor *z = run(&bam_op_permute, &y, 1, attrs), *seed = run(&bam_op_permute, &dy, 1, attrs);
  EXPECT_OK(bam_autograd_backward(z, seed, false));
  RELEASE(z, seed);
  free(attrs);
}
