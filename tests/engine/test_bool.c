/* A bool in memory may be any byte: all but 0 are true. Every op gives the same for such bytes as for 0
   and 1, on every device. */
#include <stdlib.h>

#include "../../engine/ops/assign.h"
#include "samples.h"

TestSuite(bools, .init = fixture_open, .fini = fixture_close);

#define MOST 512

/* A bool tensor with these bytes, whatever they are. */
static bam_tensor *make_bytes(bam_shape shape, const uint8_t *bytes) {
  bam_tensor *x = make_random(BAM_BOOL, shape, 0, 1);
  bam_device *device = bam_tensor_device(x);
  device->copy_in(device->stream, bam_tensor_data(x), bytes, bam_tensor_count(x));
  return x;
}

/* Two tensors of the same truth: one of 0 and 1, one of 0 and any other byte. */
static void make_pair(bam_shape shape, int salt, bam_tensor **clean, bam_tensor **dirty) {
  uint8_t zero_one[MOST], any[MOST];
  for (int i = 0; i < MOST; i++) {
    zero_one[i] = (uint8_t)((i * 7 + salt * 3) % 5 > 1);
    any[i] = (uint8_t)(zero_one[i] * (1 + (i * 37 + salt * 101) % 255));
  }
  *clean = make_bytes(shape, zero_one);
  EXPECT_COMPARE(bam_tensor_count(*clean), <=, MOST);
  *dirty = make_bytes(shape, any);
}

/* The sample's inputs, with bools (and real numbers too, when `reals`) replaced by pairs. */
static int make_inputs(const sample *s, bool reals, bam_tensor **clean, bam_tensor **dirty) {
  int n = sample_inputs(s, false, clean);
  for (int i = 0; i < n; i++) {
    const bam_shape shape = clean[i]->shape;
    if (s->inputs[i].dtype == BAM_BOOL || (reals && bam_dtype_is_float(s->inputs[i].dtype))) {
      bam_tensor_release(clean[i]);
      make_pair(shape, i, &clean[i], &dirty[i]);
    } else {
      dirty[i] = bam_tensor_retain(clean[i]);
    }
  }
  return n;
}

/* Does `op` take bools (where its sample has real numbers, when `reals`)? If so, it must give the same
   for both inputs of each pair. */
static bool check_op(const bam_op *op, bool reals) {
  bam_tensor *clean[5], *dirty[5], *want[BAM_MAX_OUTPUTS], *got[BAM_MAX_OUTPUTS];
  const sample *s = sample_find(op->name);
  bam_attr *attrs = sample_attrs(s, op);
  int n = make_inputs(s, reals, clean, dirty), outputs = op->outputs > 0 ? op->outputs : 1;
  bam_context *context = fixture_context();
  const uint64_t counter = context->random_counter;
  bool takes = bam_op_apply(context, op, clean, n, attrs, want) == BAM_OK;
  if (takes) {
    context->random_counter = counter; /* dropout drops the same */
    cr_assert_eq(bam_op_apply(context, op, dirty, n, attrs, got), BAM_OK, "%s", op->name);
    for (int k = 0; k < outputs; k++) {
      expect_shape(got[k], want[k]->shape);
      for (int64_t i = 0; i < bam_tensor_count(want[k]); i++)
        cr_assert(is_close(value_at(got[k], i), value_at(want[k], i), 0),
                  "%s: element %d is %g, not %g", op->name, (int)i, value_at(got[k], i),
                  value_at(want[k], i));
    }
    fixture_release(want, outputs);
    fixture_release(got, outputs);
  }
  fixture_release(clean, n);
  fixture_release(dirty, n);
  free(attrs);
  return takes;
}

Test(bools, every_op_reads_bytes) {
  const bam_op *op;
  int on_bools = 0;
  for (int i = 0; (op = bam_op_at(i)) != NULL; i++) {
    check_op(op, false);
    on_bools += check_op(op, true);
  }
  cr_assert(on_bools >= 40, "only %d ops took bools: the rest of this test says nothing", on_bools);
}

Test(bools, conversions_read_bytes) {
  bam_tensor *clean, *dirty;
  make_pair(SHAPE(7, 9), 0, &clean, &dirty);
  for (int dtype = 0; dtype < BAM_DTYPES; dtype++) {
    bam_tensor *want, *got;
    EXPECT_OK(bam_tensor_convert(clean, (bam_dtype)dtype, &want));
    EXPECT_OK(bam_tensor_convert(dirty, (bam_dtype)dtype, &got));
    expect_equal(got, want, 0);
    RELEASE(want, got);
  }
  RELEASE(clean, dirty);
}

Test(bools, masks_choose_and_assign_by_bytes) {
  bam_tensor *clean, *dirty, *want, *got;
  bam_tensor *a = make_random(BAM_F32, SHAPE(64), -1, 1), *b = run1(&bam_op_clone, a),
             *value = make_float(7);
  make_pair(SHAPE(64), 1, &clean, &dirty);
  EXPECT_OK(bam_mask_positions("test", clean, &want));
  EXPECT_OK(bam_mask_positions("test", dirty, &got));
  expect_equal(got, want, 0);
  EXPECT_OK(bam_masked_assign(a, clean, value));
  EXPECT_OK(bam_masked_assign(b, dirty, value));
  expect_equal(b, a, 0);
  RELEASE(clean, dirty, want, got, a, b, value);
}
