/* The order of assignments by expert, against a stable sort done by counting one expert after the other; and
   routed_ffn, which takes it in place of the choices. */
#include "../../engine/core/devices.h"
#include "../../engine/core/facts.h"
#include "oracle_routed_ffn.h"

TestSuite(expert_order, .init = fixture_open, .fini = fixture_close);

static bam_tensor *order_of(bam_tensor *experts, int64_t n) {
  bam_attr *attrs = make_attrs(&bam_op_expert_order);
  set_integer(&bam_op_expert_order, attrs, "n", n);
  bam_tensor *order = run(&bam_op_expert_order, &experts, 1, attrs);
  free(attrs);
  return order;
}

/* Rows in order, each choice's place among them, and where experts begin. */
static void check_order(bam_tensor *experts, int64_t n) {
  bam_tensor *order = order_of(experts, n);
  const int64_t count = bam_tensor_count(experts);
  int64_t next = 0;
  EXPECT_EQ(order->dtype, BAM_I64);
  EXPECT_EQ(bam_tensor_count(order), 2 * count + n + 1);
  for (int64_t e = 1; e <= n; e++) {
    EXPECT_EQ(integer_at(order, 2 * count + e - 1), next);
    for (int64_t i = 0; i < count; i++)
      if (integer_at(experts, i) == e) {
        EXPECT_EQ(integer_at(order, next), i);
        EXPECT_EQ(integer_at(order, count + i), next);
        next++;
      }
  }
  EXPECT_EQ(integer_at(order, 2 * count + n), next);
  for (int64_t i = next; i < count; i++)
    EXPECT_EQ(integer_at(order, i), -1);
  for (int64_t i = 0; i < count; i++)
    if (integer_at(experts, i) == 0)
      EXPECT_EQ(integer_at(order, count + i), -1);
  bam_tensor_release(order);
}

Test(expert_order, values) {
  VALUES_TESTED(&bam_op_expert_order);
  for (int none = 0; none < 2; none++) {
    bam_tensor *few = make_random(BAM_I64, SHAPE(7, 2), 1 - none, 3);
    bam_tensor *many = make_random(BAM_I32, SHAPE(3, 700), 1 - none, 40);
    bam_tensor *mixed = make_strided(few);
    check_order(few, 3);
    check_order(few, 9);
    check_order(mixed, 3);
    check_order(many, 40);
    RELEASE(few, many, mixed);
  }
  bam_tensor *nothing = make_random(BAM_I64, SHAPE(0, 2), 1, 3);
  check_order(nothing, 3);
  bam_tensor_release(nothing);
}

/* The same bits and gradients as from the choices, also when all of them are known to name an expert. */
static void check_layer(double low, bool known) {
  const sizes s = { .tokens = 45, .D = 6, .N = 5, .F = 4, .k = 2, .E = 6 };
  bam_tensor *in[INPUTS], *dy = make_random(BAM_F32, SHAPE(45, 6), -1, 1), *grads[INPUTS];
  ffn_inputs(BAM_F32, &s, low, in);
  bam_tensor *a = ffn_run(in);
  EXPECT_OK(bam_autograd_backward(a, dy, false));
  for (int i = 0; i < INPUTS; i++) {
    grads[i] = in[i]->grad != NULL ? bam_tensor_retain(in[i]->grad) : NULL;
    EXPECT_OK(bam_autograd_set_grad(in[i], NULL));
  }
  bam_tensor *choices = in[EXPERTS];
  if (known)
    bam_facts_bound(choices, (int64_t)low, s.N);
  in[EXPERTS] = order_of(choices, s.N);
  EXPECT_EQ(bam_facts_of_order(in[EXPERTS])->order.is_complete, known && low == 1);
  bam_tensor *b = ffn_run(in);
  EXPECT_OK(bam_autograd_backward(b, dy, false));
  for (int64_t i = 0; i < bam_tensor_count(a); i++)
    EXPECT_EQ(value_at(a, i), value_at(b, i));
  for (int g = 0; g < INPUTS; g++)
    for (int64_t i = 0; grads[g] != NULL && i < bam_tensor_count(grads[g]); i++)
      EXPECT_EQ(value_at(grads[g], i), value_at(in[g]->grad, i));
  fixture_release(grads, INPUTS);
  fixture_release(in, INPUTS);
  RELEASE(a, b, dy, choices);
}

Test(expert_order, of_a_layer) {
  check_layer(0, false);
  check_layer(1, false);
  check_layer(0, true);
  check_layer(1, true);
}

/* More orders at a time than a device keeps the counts of: those that are gone are copied when they are needed. */
Test(expert_order, many_at_once) {
  enum { MANY = 40 };
  sizes s = { .tokens = 20, .D = 3, .N = 3, .F = 2, .k = 1, .E = 3 };
  bam_tensor *in[MANY][INPUTS], *choices[MANY];
  for (int i = 0; i < MANY; i++) {
    ffn_inputs(BAM_F32, &s, 1, in[i]);
    choices[i] = in[i][EXPERTS];
    in[i][EXPERTS] = order_of(choices[i], s.N);
  }
  for (int i = 0; i < MANY; i++) {
    bam_tensor *y = ffn_run(in[i]), *order = in[i][EXPERTS];
    in[i][EXPERTS] = choices[i];
    bam_tensor *want = ffn_run(in[i]);
    for (int64_t j = 0; j < bam_tensor_count(y); j++)
      EXPECT_EQ(value_at(y, j), value_at(want, j));
    RELEASE(y, order, want);
    fixture_release(in[i], INPUTS);
  }
}

/* Counts that do not fit a slot of early copies. */
Test(expert_order, many_experts) {
  const sizes s = { .tokens = 9, .D = 2, .N = 600, .F = 1, .k = 2, .E = 2 };
  bam_tensor *in[INPUTS];
  ffn_inputs(BAM_F32, &s, 0, in);
  ffn_compare(in, 2e-5);
  fixture_release(in, INPUTS);
}

/* ---- errors ---- */

static void expect_error(const char *words, bam_tensor *experts, int64_t n) {
  bam_attr *attrs = make_attrs(&bam_op_expert_order);
  set_integer(&bam_op_expert_order, attrs, "n", n);
  expect_op_error(words, &bam_op_expert_order, &experts, 1, attrs);
  free(attrs);
  bam_tensor_release(experts);
}

Test(expert_order, errors) {
  expect_error("expert 4 (element 2 of `experts`) is outside 0 .. 3",
               make_values(BAM_I64, SHAPE(3), VALUES(1, 4, 0)), 3);
  expect_error("expert -1", make_values(BAM_I32, SHAPE(1), VALUES(-1)), 3);
  expect_error("integers", make_random(BAM_F32, SHAPE(4), 1, 3), 3);
  expect_error("0 experts", make_random(BAM_I64, SHAPE(4), 0, 0), 0);
}

/* An order of other choices or experts, and one that was changed, whose rows could be anything. */
Test(expert_order, errors_of_a_layer) {
  sizes s = { .tokens = 4, .D = 3, .N = 3, .F = 2, .k = 2, .E = 5 };
  bam_tensor *in[INPUTS], *half = make_random(BAM_I64, SHAPE(4), 1, 3);
  ffn_inputs(BAM_F32, &s, 1, in);
  bam_tensor *choices = in[EXPERTS];
  in[EXPERTS] = order_of(half, 3);
  expect_op_error("order of 4 choices among 3 experts; here are 8 gates and 3 experts",
                  &bam_op_routed_ffn, in, INPUTS, NULL);
  bam_tensor_release(in[EXPERTS]);
  in[EXPERTS] = order_of(choices, 4);
  expect_op_error("among 4 experts", &bam_op_routed_ffn, in, INPUTS, NULL);
  bam_tensor_release(in[EXPERTS]);
  in[EXPERTS] = order_of(choices, 3);
  bam_tensor *same = run1(&bam_op_clone, in[EXPERTS]);
  EXPECT_OK(bam_tensor_copy(in[EXPERTS], same));
  expect_op_error("one expert per gate", &bam_op_routed_ffn, in, INPUTS, NULL);
  fixture_release(in, INPUTS);
  RELEASE(same, choices, half);
}
