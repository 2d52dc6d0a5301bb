/* Scopes: what they own is released once, early or at their end, also when memory runs out. */
#include "fixture.h"

TestSuite(scopes, .init = fixture_open, .fini = fixture_close);

#define MANY (3 * BAM_SCOPE_TENSORS + 1) /* several blocks, and one in the scope itself */

static int64_t live(void) { return fixture_context()->memory.live_objects; }

static bam_tensor *temporary(bam_scope *scope) {
  bam_tensor *made = NULL;
  const bam_shape shape = SHAPE(3);
  EXPECT_OK(bam_temp_new(scope, &fixture_context()->cpu, BAM_F32, &shape, &made));
  return made;
}

Test(scopes, release_all_that_they_own_at_their_end) {
  bam_scope scope;
  const int64_t before = live();
  bam_scope_begin(&scope, fixture_context());
  for (int i = 0; i < MANY; i++)
    temporary(&scope);
  EXPECT_COMPARE(live(), >=, before + 2 * MANY); /* a tensor and its storage each */
  bam_scope_end(&scope);
  EXPECT_EQ(live(), before);
}

Test(scopes, release_early_from_the_scope_and_from_blocks) {
  bam_scope scope;
  bam_tensor *made[MANY];
  const int64_t before = live();
  bam_scope_begin(&scope, fixture_context());
  for (int i = 0; i < MANY; i++)
    made[i] = temporary(&scope);
  const int64_t full = live();
  bam_temp_release(&scope, made[0]);
  bam_temp_release(&scope, made[MANY / 2]);
  bam_temp_release(&scope, made[MANY - 1]);
  bam_temp_release(&scope, NULL);
  EXPECT_EQ(live(), full - 6);
  bam_scope_end(&scope);
  EXPECT_EQ(live(), before);
}

Test(scopes, need_no_room_for_what_was_released) {
  bam_scope scope;
  bam_scope_begin(&scope, fixture_context());
  for (int i = 0; i < MANY; i++)
    bam_temp_release(&scope, temporary(&scope));
  EXPECT_EQ(scope.count, 0);
  EXPECT_SAME(scope.blocks, NULL);
  bam_scope_end(&scope);
}

Test(scopes, hand_out_a_tensor_that_fits_itself_and_do_not_own_it) {
  bam_scope scope;
  bam_tensor *x = make_random(BAM_F32, SHAPE(2, 3), -1, 1), *strided = make_strided(x), *got = NULL;
  bam_scope_begin(&scope, fixture_context());
  EXPECT_OK(bam_temp_contiguous(&scope, x, &got));
  EXPECT_SAME(got, x);
  bam_temp_release(&scope, x); /* not the scope's */
  EXPECT_EQ(x->refs, 1);
  EXPECT_OK(bam_temp_contiguous(&scope, strided, &got));
  cr_assert(bam_tensor_is_contiguous(got), "the copy is contiguous");
  expect_equal(got, x, 0);
  EXPECT_OK(bam_temp_convert(&scope, x, BAM_F64, &got));
  expect_dtype(got, BAM_F64);
  bam_scope_end(&scope);
  RELEASE(x, strided);
}

/* The request that fails is that of the tensor, its storage, or the block. */
Test(scopes, leave_nothing_behind_when_memory_runs_out) {
  bam_memory *memory = &fixture_context()->memory;
  const int64_t before = live();
  const bam_shape shape = SHAPE(3);
  int failed = 0;
  for (int k = 1; k <= 3 * MANY; k++) {
    bam_scope scope;
    bam_status status = BAM_OK;
    bam_tensor *made = NULL;
    bam_scope_begin(&scope, fixture_context());
    memory->fail_at = memory->requests + k;
    for (int i = 0; i < MANY && status == BAM_OK; i++)
      status = bam_temp_new(&scope, &fixture_context()->cpu, BAM_F32, &shape, &made);
    memory->fail_at = 0;
    bam_scope_end(&scope);
    EXPECT_EQ(live(), before);
    failed += status == BAM_ERROR_MEMORY;
  }
  EXPECT_COMPARE(failed, >, 2 * MANY);
}
