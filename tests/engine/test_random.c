/* The random generator: published vectors, independence of threads and layout, distributions,
   state. */
#include <math.h>

#include "../../engine/core/random.h"
#include "../../kernels/philox.h"
#include "fixture.h"

TestSuite(random_numbers, .init = fixture_open, .fini = fixture_close);

static bam_tensor *empty_tensor(bam_dtype dtype, bam_shape shape) {
  bam_tensor *x;
  EXPECT_OK(bam_tensor_zeros(fixture_context(), fixture_context()->device, dtype, &shape, &x));
  return x;
}

static void check_block(uint32_t counter, uint64_t key, const uint32_t *want) {
  uint32_t c[4] = { counter, counter, counter, counter };
  philox(c, key);
  for (int i = 0; i < 4; i++)
    EXPECT_EQ(c[i], want[i]);
}

/* The known answers that come with the authors' Random123 library. */
Test(random_numbers, known_answers) {
  check_block(0, 0, (uint32_t[]){ 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 });
  check_block(UINT32_MAX, UINT64_MAX,
              (uint32_t[]){ 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd });
  uint32_t pi[4] = { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 };
  philox(pi, 0x299f31d0a4093822);
  uint32_t want[4] = { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 };
  for (int i = 0; i < 4; i++)
    EXPECT_EQ(pi[i], want[i]);
}

/* Element i of a tensor is word i % 4 (or half i % 2) of block counter + i / 4 (or i / 2). */
Test(random_numbers, tensors_hold_the_blocks) {
  bam_context *context = fixture_context();
  bam_context_set_seed(context, 0x123456789abcdef0);
  bam_tensor *x = empty_tensor(BAM_F32, SHAPE(150)), *y = empty_tensor(BAM_I64, SHAPE(75));
  EXPECT_OK(bam_random_uniform(x, 0, 1));
  EXPECT_EQ(context->random_counter, 38);
  EXPECT_OK(bam_random_integers(y, INT64_MIN, INT64_MAX));
  EXPECT_EQ(context->random_counter, 38 + 38);
  for (uint32_t i = 0; i < 150; i++) {
    uint32_t c[4] = { i / 4, 0, 0, 0 }, d[4] = { 38 + i / 4, 0, 0, 0 };
    philox(c, context->seed);
    philox(d, context->seed);
    EXPECT_EQ(value_at(x, i), (double)(c[i % 4] >> 8) / 16777216);
    if (i % 2 == 0)
      EXPECT_EQ((uint64_t)integer_at(y, i / 2), d[i % 4] | (uint64_t)d[i % 4 + 1] << 32);
  }
  RELEASE(x, y);
}

/* ---- the same numbers, however they are made ---- */

typedef bam_status filler(bam_tensor *tensor);
static bam_status fill_uniform(bam_tensor *x) { return bam_random_uniform(x, -1, 2); }
static bam_status fill_normal(bam_tensor *x) { return bam_random_normal(x, 1, 2); }
static bam_status fill_integers(bam_tensor *x) { return bam_random_integers(x, 0, 100); }
static bam_status fill_bernoulli(bam_tensor *x) { return bam_random_bernoulli(x, 0.3); }
static filler *const fillers[] = { fill_uniform, fill_normal, fill_integers, fill_bernoulli };

Test(random_numbers, threads_do_not_matter) {
  bam_context *context = fixture_context();
  for (size_t i = 0; i < 4; i++) {
    bam_tensor *x = empty_tensor(BAM_F32, SHAPE(50021)), *y = empty_tensor(BAM_F32, SHAPE(50021));
    bam_random_state state = bam_random_get_state(context);
    bam_context_set_threads(context, 1);
    EXPECT_OK(fillers[i](x));
    bam_random_state after = bam_random_get_state(context);
    EXPECT_COMPARE(after.counter, >, state.counter);
    bam_random_set_state(context, state);
    bam_context_set_threads(context, 3);
    EXPECT_OK(fillers[i](y));
    EXPECT_EQ(bam_random_get_state(context).counter, after.counter);
    expect_equal(x, y, 0);
    RELEASE(x, y);
  }
}

Test(random_numbers, layout_does_not_matter) {
  bam_context *context = fixture_context();
  for (size_t i = 0; i < 4; i++) {
    bam_tensor *x = empty_tensor(BAM_F64, SHAPE(5, 7)), *strided = make_strided(x);
    bam_random_state state = bam_random_get_state(context);
    EXPECT_OK(fillers[i](x));
    bam_random_set_state(context, state);
    EXPECT_OK(fillers[i](strided));
    expect_equal(strided, x, 0);
    RELEASE(x, strided);
  }
}

/* A call goes on where the last one stopped. */
Test(random_numbers, calls_continue) {
  bam_tensor *x = empty_tensor(BAM_F32, SHAPE(8)), *y = empty_tensor(BAM_F32, SHAPE(8));
  EXPECT_OK(bam_random_uniform(x, 0, 1));
  EXPECT_OK(bam_random_uniform(y, 0, 1));
  int equal = 0;
  for (int i = 0; i < 8; i++)
    equal += value_at(x, i) == value_at(y, i);
  EXPECT_EQ(equal, 0);
  RELEASE(x, y);
}

/* ---- distributions ---- */

#define MANY 40000

/* Mean, variance and fourth central moment (in units of the squared variance) of `x`. */
static void moments(bam_tensor *x, double *mean, double *variance, double *fourth) {
  double sum = 0, square = 0, quad = 0, n = (double)bam_tensor_count(x);
  for (int64_t i = 0; i < bam_tensor_count(x); i++)
    sum += value_at(x, i);
  *mean = sum / n;
  for (int64_t i = 0; i < bam_tensor_count(x); i++) {
    double d = value_at(x, i) - *mean;
    square += d * d;
    quad += d * d * d * d;
  }
  *variance = square / n;
  *fourth = quad / n / (*variance * *variance);
}

static void check_moments(bam_tensor *x, double mean, double variance, double fourth) {
  double m, v, f;
  moments(x, &m, &v, &f);
  cr_assert(fabs(m - mean) < 5 * sqrt(variance / MANY), "the mean is %g, not %g", m, mean);
  cr_assert(fabs(v / variance - 1) < 0.03, "the variance is %g, not %g", v, variance);
  cr_assert(fabs(f - fourth) < 0.15, "the fourth moment is %g, not %g", f, fourth);
}

Test(random_numbers, moments) {
  for (int wide = 0; wide < 2; wide++) {
    bam_tensor *x = empty_tensor(wide ? BAM_F64 : BAM_F32, SHAPE(MANY));
    EXPECT_OK(bam_random_uniform(x, -1, 3));
    check_moments(x, 1, 16.0 / 12, 1.8);
    EXPECT_OK(bam_random_normal(x, 2, 3));
    check_moments(x, 2, 9, 3);
    EXPECT_OK(bam_random_integers(x, 1, 6));
    check_moments(x, 3.5, 35.0 / 12, 1.73);
    EXPECT_OK(bam_random_bernoulli(x, 0.5));
    check_moments(x, 0.5, 0.25, 1);
    bam_tensor_release(x);
  }
}

/* Both bounds occur and nothing beyond them. */
Test(random_numbers, bounds) {
  bam_tensor *x = empty_tensor(BAM_I32, SHAPE(1000)), *y = empty_tensor(BAM_F32, SHAPE(1000));
  EXPECT_OK(bam_random_integers(x, -2, 2));
  EXPECT_OK(bam_random_uniform(y, 1, 1.0000001)); /* neighbours: rounding would reach the bound */
  int count[5] = { 0 };
  for (int i = 0; i < 1000; i++) {
    int64_t v = integer_at(x, i);
    EXPECT_COMPARE(v, >=, -2);
    EXPECT_COMPARE(v, <=, 2);
    count[v + 2]++;
    EXPECT_COMPARE(value_at(y, i), >=, 1);
    EXPECT_COMPARE(value_at(y, i), <, 1.0000001);
  }
  for (int v = 0; v < 5; v++)
    cr_assert(count[v] > 130, "%d occurs %d times", v - 2, count[v]);
  RELEASE(x, y);
}

Test(random_numbers, certain_outcomes) {
  bam_tensor *x = empty_tensor(BAM_BOOL, SHAPE(100)), *y = empty_tensor(BAM_BOOL, SHAPE(100));
  EXPECT_OK(bam_random_bernoulli(x, 1));
  EXPECT_OK(bam_random_bernoulli(y, 0));
  for (int i = 0; i < 100; i++)
    cr_assert(integer_at(x, i) == 1 && integer_at(y, i) == 0);
  RELEASE(x, y);
}

Test(random_numbers, permutation) {
  bam_tensor *x = empty_tensor(BAM_I64, SHAPE(500)), *one = empty_tensor(BAM_I32, SHAPE(1));
  bam_tensor *none = empty_tensor(BAM_I64, SHAPE(0));
  bool seen[501] = { false };
  int at_home = 0;
  EXPECT_OK(bam_random_permutation(x));
  for (int i = 0; i < 500; i++) {
    int64_t v = integer_at(x, i);
    EXPECT_COMPARE(v, >=, 1);
    EXPECT_COMPARE(v, <=, 500);
    cr_assert(!seen[v]);
    seen[v] = true;
    at_home += v == i + 1;
  }
  EXPECT_COMPARE(at_home, <, 10); /* 1 on average */
  EXPECT_OK(bam_random_permutation(one));
  EXPECT_OK(bam_random_permutation(none));
  EXPECT_EQ(integer_at(one, 0), 1);
  RELEASE(x, one, none);
}

Test(random_numbers, half_precision_and_empty) {
  bam_tensor *x = empty_tensor(BAM_BF16, SHAPE(64)), *none = empty_tensor(BAM_F32, SHAPE(3, 0));
  EXPECT_OK(bam_random_normal(x, 0, 1));
  EXPECT_COMPARE(value_at(x, 0), !=, value_at(x, 1));
  uint64_t counter = fixture_context()->random_counter;
  EXPECT_OK(bam_random_normal(none, 0, 1));
  EXPECT_EQ(fixture_context()->random_counter, counter);
  RELEASE(x, none);
}

Test(random_numbers, errors) {
  bam_tensor *x = empty_tensor(BAM_F32, SHAPE(2, 2)), *u = empty_tensor(BAM_U8, SHAPE(4));
  uint64_t counter = fixture_context()->random_counter;
  EXPECT_ERROR(bam_random_uniform(u, 0, 1), "needs a float dtype, got u8");
  EXPECT_ERROR(bam_random_uniform(x, 1, 0), "ascending");
  EXPECT_ERROR(bam_random_uniform(x, 0, INFINITY), "finite");
  EXPECT_ERROR(bam_random_normal(x, 0, -1), "not negative");
  EXPECT_ERROR(bam_random_integers(u, 5, 4), "empty");
  EXPECT_ERROR(bam_random_integers(u, 0, 256), "does not fit u8");
  EXPECT_ERROR(bam_random_bernoulli(u, 1.5), "between 0 and 1");
  EXPECT_ERROR(bam_random_permutation(x), "1-dimensional");
  EXPECT_EQ(fixture_context()->random_counter, counter);
  RELEASE(x, u);
}
