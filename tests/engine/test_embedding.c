/* Embedding: rows by token id, and gradients against sums in double precision and against differences. */
#include <math.h>

#include "gradcheck.h"

TestSuite(embedding, .init = fixture_open, .fini = fixture_close);

Test(embedding, values) {
  VALUES_TESTED(&bam_op_embedding);
  bam_tensor *weight = make_random(BAM_F32, SHAPE(7, 5), -1, 1);
  bam_tensor *ids = make_random(BAM_I32, SHAPE(3, 4), 0, 6);
  bam_tensor *strided[] = { make_strided(ids), make_strided(weight) };
  bam_tensor *y = run2(&bam_op_embedding, ids, weight);
  bam_tensor *z = run2(&bam_op_embedding, strided[0], strided[1]);
  expect_shape(y, SHAPE(3, 4, 5));
  for (int64_t i = 0; i < 12; i++)
    for (int64_t d = 0; d < 5; d++)
      EXPECT_EQ(value_at(y, i * 5 + d), value_at(weight, integer_at(ids, i) * 5 + d));
  expect_equal(z, y, 0);
  RELEASE(weight, ids, strided[0], strided[1], y, z);
}

Test(embedding, gradient) {
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(4, 70), -1, 1);
  bam_tensor *ids = make_random(BAM_I64, SHAPE(2, 9), 0, 3);
  check_gradient(&bam_op_embedding, (bam_tensor *[]){ ids, weight }, 2, NULL);
  RELEASE(weight, ids);
}

/* The gradient of element (id, d) is the sum of its tokens' dy. */
static void check_token_sums(bam_tensor *weight, bam_tensor *ids, bam_tensor *dy, int64_t width) {
  const double rounding = weight->dtype == BAM_F64 ? 0x1p-52
                                                   : 0x1p-23; /* gradients of bf16 are f32 */
  for (int64_t e = 0; e < bam_tensor_count(weight); e++) {
    double sum = 0, size = 0;
    for (int64_t t = 0; t < bam_tensor_count(ids); t++)
      if (integer_at(ids, t) == e / width) {
        sum += value_at(dy, t * width + e % width);
        size += fabs(value_at(dy, t * width + e % width));
      }
    cr_assert(fabs(value_at(weight->grad, e) - sum) <= 8 * rounding * size,
              "element %lld: %g, not %g", (long long)e, value_at(weight->grad, e), sum);
  }
}

/* Enough tokens that a device sums them in parts; rows that are whole packs, and others. */
Test(embedding, gradient_of_many_tokens) {
  const bam_dtype dtypes[] = { BAM_F32, BAM_F64, BAM_BF16 };
  for (int64_t width = 7; width <= 24; width += 17)
    for (int i = 0; i < 3; i++) {
      if (!device_computes(dtypes[i]))
        continue;
      bam_tensor *weight = make_leaf(dtypes[i], SHAPE(4, width), -1, 1);
      bam_tensor *ids = make_random(BAM_I64, SHAPE(1300), 0, 2);
      bam_tensor *y = run2(&bam_op_embedding, ids, weight);
      bam_tensor *dy = make_random(dtypes[i], SHAPE(1300, width), -1, 1);
      EXPECT_OK(bam_autograd_backward(y, dy, false));
      check_token_sums(weight, ids, dy, width);
      RELEASE(weight, ids, y, dy);
    }
}

Test(embedding, accumulates) {
  bam_tensor *weight = make_leaf(BAM_F32, SHAPE(3, 2), -1, 1);
  bam_tensor *ids = make_values(BAM_I64, SHAPE(3), VALUES(0, 2, 0));
  for (int time = 0; time < 2; time++) {
    bam_tensor *y = run2(&bam_op_embedding, ids, weight), *sum = run1(&bam_op_sum, y);
    EXPECT_OK(bam_autograd_backward(sum, NULL, false));
    RELEASE(y, sum);
  }
  expect_values(weight->grad, VALUES(4, 4, 0, 0, 2, 2), 0);
  RELEASE(weight, ids);
}

Test(embedding, empty) {
  bam_tensor *weight = make_leaf(BAM_F64, SHAPE(3, 2), -1, 1);
  bam_tensor *ids = make_random(BAM_I64, SHAPE(0, 4), 0, 2);
  check_gradient(&bam_op_embedding, (bam_tensor *[]){ ids, weight }, 2, NULL);
  RELEASE(weight, ids);
}

Test(embedding, errors) {
  bam_tensor *weight = make_random(BAM_F32, SHAPE(3, 2), -1, 1);
  bam_tensor *ids = make_values(BAM_I64, SHAPE(2, 2), VALUES(0, 1, 3, -1));
  bam_tensor *real = make_random(BAM_F32, SHAPE(2), 0, 1);
  expect_op_error("token id 3 (element 3 of `ids`) is outside 0 .. 2", &bam_op_embedding,
                  (bam_tensor *[]){ ids, weight }, 2, NULL);
  expect_op_error("token ids are integers (i64), and `ids` is f32", &bam_op_embedding,
                  (bam_tensor *[]){ real, weight }, 2, NULL);
  expect_op_error("must be [tokens, width]", &bam_op_embedding, (bam_tensor *[]){ ids, real }, 2,
                  NULL);
  RELEASE(weight, ids, real);
}
