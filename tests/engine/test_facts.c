/* What is known about integers without asking the device: it must be true, and end when they change. */
#include "fixture.h"

#include "../../engine/core/devices.h"

TestSuite(facts, .init = fixture_open, .fini = fixture_close);

/* A tensor in host memory and what is found out when it is moved; measured directly, since there may be no device. */
static bam_tensor *measured(bam_shape shape, const int64_t *values) {
  bam_tensor *x = make_tensor(BAM_I64, shape, values);
  if (bam_tensor_device(x)->is_host)
    bam_facts_measure(x, x);
  return x;
}

Test(facts, bounds) {
  bam_tensor *x = measured(SHAPE(4), (int64_t[]){ 3, 0, 7, 2 });
  cr_assert(bam_facts_within(x, 0, 7, 0));
  cr_assert(!bam_facts_within(x, 0, 6, 0));
  cr_assert(!bam_facts_within(x, 1, 7, 1));
  cr_assert(bam_facts_within(x, 1, 7, 0));
  bam_tensor_release(x);
}

/* One negative value is that of padding; two are out of every range. */
Test(facts, padding) {
  bam_tensor *x = measured(SHAPE(4), (int64_t[]){ 3, -100, 7, -100 });
  cr_assert(bam_facts_within(x, 3, 7, -100));
  cr_assert(!bam_facts_within(x, 3, 7, -1));
  cr_assert(!bam_facts_within(x, 4, 7, -100));
  bam_tensor *y = measured(SHAPE(4), (int64_t[]){ 3, -100, 7, -99 });
  cr_assert(!bam_facts_within(y, 0, 7, -100));
  cr_assert(!bam_facts_within(y, 0, 7, -99));
  bam_tensor *all = measured(SHAPE(2), (int64_t[]){ -100, -100 });
  cr_assert(bam_facts_within(all, 0, 7, -100));
  cr_assert(!bam_facts_within(all, 0, 7, -1));
  RELEASE(x, y, all);
}

Test(facts, end_when_the_tensor_changes) {
  bam_tensor *x = measured(SHAPE(3), (int64_t[]){ 1, 2, 3 });
  EXPECT_OK(bam_tensor_fill(x, 9));
  cr_assert(!bam_facts_within(x, 0, 7, 0));
  bam_tensor_release(x);
}

/* The memory goes to the next tensor, what was known about it does not. */
Test(facts, end_with_the_tensor) {
  bam_tensor *x = measured(SHAPE(3), (int64_t[]){ 1, 2, 3 });
  bam_tensor_release(x);
  bam_tensor *y = make_tensor(BAM_I64, SHAPE(3), (int64_t[]){ 1, 2, 30 });
  cr_assert(!bam_facts_within(y, 0, 7, 0));
  bam_tensor_release(y);
}
