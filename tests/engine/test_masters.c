/* Masters of bf16 parameters in two halves: dividing and joining them loses nothing, and updates of halves are updates
   of the masters, to the bit. */
#include "../../engine/optim/optim.h"
#include "../exhaustive/master_oracle.h"
#include "fixture.h"

TestSuite(masters, .init = fixture_open, .fini = fixture_close);

static void check_halves(uint32_t bits) {
  const char *fault = find_master_fault(bits, bam_master_split);
  cr_assert(fault == NULL, "%08x: %s", bits, fault);
}

/* A sample of make check-masters: every high half with the low ones around those where rounding turns, and every low
   half with some high ones. */
Test(masters, are_divided_and_joined) {
  static const uint32_t lows[] = {
    0, 1, 2, 0x3fff, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff
  };
  static const uint32_t highs[] = { 0,      1,      0x7f,   0x80,   0x3f80, 0x7f7e,
                                    0x7f7f, 0x7f80, 0x8000, 0xbf80, 0xff7f };
  for (uint32_t high = 0; high < 0x10000; high++)
    for (size_t i = 0; i < sizeof lows / sizeof lows[0]; i++)
      check_halves(high << 16 | lows[i]);
  for (uint32_t low = 0; low < 0x10000; low++)
    for (size_t i = 0; i < sizeof highs / sizeof highs[0]; i++)
      check_halves(highs[i] << 16 | low);
}

/* ---- tensors ---- */

static bam_tensor *make_empty(bam_dtype dtype, bam_shape shape) {
  bam_tensor *x;
  EXPECT_OK(bam_tensor_zeros(fixture_context(), fixture_context()->device, dtype, &shape, &x));
  return x;
}

/* Parameters with f32 masters, and the same in halves. */
typedef struct halves {
  bam_tensor *masters, *param, *low;
} halves;

static halves make_halves(bam_shape shape) {
  halves h = { make_random(BAM_F32, shape, -1, 1), make_empty(BAM_BF16, shape), NULL };
  h.low = make_empty(BAM_U8, SHAPE(2 * bam_tensor_count(h.masters)));
  EXPECT_OK(bam_optim_split(h.masters, h.param, h.low));
  return h;
}

static void expect_same_bits(const halves *h) {
  bam_tensor *joined;
  EXPECT_OK(bam_optim_join(h->param, h->low, &joined));
  expect_dtype(joined, BAM_F32);
  expect_shape(joined, h->masters->shape);
  for (int64_t i = 0; i < bam_tensor_count(joined); i++)
    cr_assert(value_at(joined, i) == value_at(h->masters, i), "element %lld: %.9g, not %.9g",
              (long long)i, value_at(joined, i), value_at(h->masters, i));
  bam_tensor_release(joined);
}

static void release_halves(halves *h) { RELEASE(h->masters, h->param, h->low); }

Test(masters, are_kept_in_tensors) {
  halves h = make_halves(SHAPE(7, 300));
  expect_same_bits(&h);
  for (int64_t i = 0; i < bam_tensor_count(h.param); i++)
    EXPECT_CLOSE(value_at(h.param, i), value_at(h.masters, i), BF16_ROUNDING);
  release_halves(&h);
}

Test(masters, refuses_what_does_not_fit) {
  halves h = make_halves(SHAPE(6));
  bam_tensor *odd = make_empty(BAM_U8, SHAPE(11)), *wide = make_empty(BAM_F32, SHAPE(6)), *joined;
  const bam_lion lion = { 0.1, 0.9, 0.9, 0 };
  EXPECT_ERROR(bam_optim_join(h.param, odd, &joined), "two for each");
  EXPECT_ERROR(bam_optim_join(wide, h.low, &joined), "bf16");
  EXPECT_ERROR(bam_optim_split(h.param, h.param, h.low), "masters");
  EXPECT_ERROR(bam_optim_lion(wide, h.low, wide, wide, NULL, &lion), "only bf16 parameters");
  EXPECT_ERROR(bam_optim_lion(h.param, NULL, wide, wide, NULL, &lion), "bf16");
  EXPECT_ERROR(bam_optim_lion(h.param, h.low, h.param, wide, NULL, &lion),
               device_computes(BAM_BF16) ? "the gradient is bf16" : "does not compute in bf16");
  RELEASE(odd, wide);
  release_halves(&h);
}

#define STEPS 5

/* Steps of f32 on the masters, and the same on their halves. */
typedef void update(bam_tensor *param, bam_tensor *low, bam_tensor *grad, bam_tensor *const *state,
                    bam_tensor *clip, int64_t step);

static void compare_updates(update *apply, int64_t size) {
  if (!device_computes(BAM_BF16))
    return; /* refused, as above */
  halves h = make_halves(SHAPE(size));
  bam_tensor *clip = make_float(0.7);
  bam_tensor *one[2] = { make_empty(BAM_F32, SHAPE(size)), make_empty(BAM_F32, SHAPE(size)) };
  bam_tensor *two[2] = { make_empty(BAM_F32, SHAPE(size)), make_empty(BAM_F32, SHAPE(size)) };
  for (int64_t step = 1; step <= STEPS; step++) {
    bam_tensor *grad = make_random(BAM_F32, SHAPE(size), -2, 2);
    apply(h.masters, NULL, grad, one, clip, step);
    apply(h.param, h.low, grad, two, clip, step);
    bam_tensor_release(grad);
  }
  expect_same_bits(&h);
  expect_equal(two[0], one[0], 0);
  expect_equal(two[1], one[1], 0);
  RELEASE(clip, one[0], one[1], two[0], two[1]);
  release_halves(&h);
}

static void adamw(bam_tensor *param, bam_tensor *low, bam_tensor *grad, bam_tensor *const *state,
                  bam_tensor *clip, int64_t step) {
  const bam_adamw s = { 1e-3, 0.9, 0.95, 1e-8, 0.1, step };
  EXPECT_OK(bam_optim_adamw(param, low, grad, state[0], state[1], clip, &s));
}

static void lion(bam_tensor *param, bam_tensor *low, bam_tensor *grad, bam_tensor *const *state,
                 bam_tensor *clip, int64_t step) {
  (void)step;
  const bam_lion s = { 1e-4, 0.9, 0.99, 0.1 };
  EXPECT_OK(bam_optim_lion(param, low, grad, state[0], clip, &s));
}

static void sgd(bam_tensor *param, bam_tensor *low, bam_tensor *grad, bam_tensor *const *state,
                bam_tensor *clip, int64_t step) {
  const bam_sgd s = { 1e-3, 0.9, 0.1, true, step };
  EXPECT_OK(bam_optim_sgd(param, low, grad, state[0], clip, &s));
}

static void plain_sgd(bam_tensor *param, bam_tensor *low, bam_tensor *grad,
                      bam_tensor *const *state, bam_tensor *clip, int64_t step) {
  const bam_sgd s = { 1e-3, 0, 0.1, false, step };
  (void)state;
  EXPECT_OK(bam_optim_sgd(param, low, grad, NULL, clip, &s));
}

Test(masters, are_updated_to_the_bit) {
  compare_updates(adamw, 1000);
  compare_updates(adamw, 40001);
  compare_updates(lion, 1000);
  compare_updates(sgd, 1000);
  compare_updates(plain_sgd, 1000);
}
