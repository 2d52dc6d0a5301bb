/* Matrix products: all ranks, layouts and broadcasts, and the kernel below them. */
#include <math.h>
#include <stdlib.h>

#include "../../engine/core/devices.h"
#include "gradcheck.h"
#include "oracle.h"

TestSuite(matmul, .init = fixture_open, .fini = fixture_close);

/* ---- the oracle ---- */

static int64_t size_from_end(const bam_tensor *x, int d) {
  return d < x->shape.ndim ? x->shape.size[x->shape.ndim - 1 - d] : 1;
}

/* Row-major index in x's batch of entry `batch` of the broadcast batch. */
static int64_t batch_index(const bam_tensor *x, const bam_tensor *other, int64_t batch) {
  int64_t index = 0, step = 1;
  for (int d = 2; d < BAM_MAX_DIMS; d++) {
    int64_t own = size_from_end(x, d), wide = own > 1 ? own : size_from_end(other, d);
    index += own > 1 ? batch % wide * step : 0;
    batch /= wide;
    step *= own;
  }
  return index;
}

static int64_t rows_of(const bam_tensor *x, bool left) {
  return x->shape.ndim > 1 ? size_from_end(x, 1) : left ? 1 : size_from_end(x, 0);
}

static void check_product(bam_tensor *a, bam_tensor *b, double tolerance) {
  VALUES_TESTED(&bam_op_matmul);
  bam_tensor *c = run2(&bam_op_matmul, a, b);
  int64_t m = rows_of(a, true), k = size_from_end(a, 0),
          n = b->shape.ndim > 1 ? size_from_end(b, 0) : 1;
  for (int64_t i = 0; i < bam_tensor_count(c); i++) {
    int64_t batch = i / (m * n), row = i / n % m, column = i % n;
    double want = 0;
    for (int64_t p = 0; p < k; p++)
      want += value_at(a, (batch_index(a, b, batch) * m + row) * k + p) *
              value_at(b, (batch_index(b, a, batch) * k + p) * n + column);
    cr_assert(is_close(value_at(c, i), want, tolerance), "element %d is %.9g, not %.9g", (int)i,
              value_at(c, i), want);
  }
  bam_tensor_release(c);
}

static bam_tensor *transposed_view(bam_tensor *x) {
  bam_shape shape = x->shape;
  int64_t stride[BAM_MAX_DIMS];
  int last = shape.ndim - 1;
  for (int d = 0; d <= last; d++) {
    int from = d == last ? last - 1 : d == last - 1 ? last : d;
    shape.size[d] = x->shape.size[from];
    stride[d] = x->stride[from];
  }
  bam_tensor *view;
  EXPECT_OK(bam_tensor_view(x, &shape, stride, x->offset, &view));
  return view;
}

/* All layouts of both operands: as it is, a transposed view, gaps everywhere. `at` and `bt` are
   their transposed shapes. */
static void check_layouts(bam_shape as, bam_shape at, bam_shape bs, bam_shape bt) {
  bam_tensor *a[3] = { make_random(BAM_F32, as, -1, 1) },
             *b[3] = { make_random(BAM_F32, bs, -1, 1) };
  bam_tensor *raw_a = make_random(BAM_F32, at, -1, 1), *raw_b = make_random(BAM_F32, bt, -1, 1);
  a[1] = transposed_view(raw_a);
  b[1] = transposed_view(raw_b);
  a[2] = make_strided(a[0]);
  b[2] = make_strided(b[0]);
  for (int i = 0; i < 9; i++)
    check_product(a[i / 3], b[i % 3], 1e-5);
  fixture_release(a, 3);
  fixture_release(b, 3);
  RELEASE(raw_a, raw_b);
}

Test(matmul, small_matrices) { check_layouts(SHAPE(3, 5), SHAPE(5, 3), SHAPE(5, 4), SHAPE(4, 5)); }

Test(matmul, matrices) {
  check_layouts(SHAPE(17, 33), SHAPE(33, 17), SHAPE(33, 19), SHAPE(19, 33));
}

Test(matmul, single_rows_and_columns) {
  check_layouts(SHAPE(1, 65), SHAPE(65, 1), SHAPE(65, 33), SHAPE(33, 65));
  check_layouts(SHAPE(33, 65), SHAPE(65, 33), SHAPE(65, 1), SHAPE(1, 65));
  check_layouts(SHAPE(33, 1), SHAPE(1, 33), SHAPE(1, 35), SHAPE(35, 1));
}

Test(matmul, stacks) {
  check_layouts(SHAPE(3, 4, 5), SHAPE(3, 5, 4), SHAPE(3, 5, 2), SHAPE(3, 2, 5));
  check_layouts(SHAPE(2, 3, 9, 15), SHAPE(2, 3, 15, 9), SHAPE(2, 3, 15, 11), SHAPE(2, 3, 11, 15));
}

Test(matmul, broadcast_stacks) {
  check_layouts(SHAPE(2, 1, 4, 5), SHAPE(2, 1, 5, 4), SHAPE(3, 5, 2), SHAPE(3, 2, 5));
  check_layouts(SHAPE(4, 5), SHAPE(5, 4), SHAPE(3, 5, 2), SHAPE(3, 2, 5));
  check_layouts(SHAPE(2, 3, 4, 5), SHAPE(2, 3, 5, 4), SHAPE(5, 6), SHAPE(6, 5));
  check_layouts(SHAPE(2, 3, 4, 5), SHAPE(2, 3, 5, 4), SHAPE(2, 1, 5, 6), SHAPE(2, 1, 6, 5));
}

Test(matmul, vectors) {
  bam_shape shapes[][2] = { { SHAPE(7), SHAPE(7) },
                            { SHAPE(7), SHAPE(7, 3) },
                            { SHAPE(4, 7), SHAPE(7) },
                            { SHAPE(2, 4, 7), SHAPE(7) },
                            { SHAPE(7), SHAPE(2, 7, 3) } };
  bam_shape want[] = { SCALAR, SHAPE(3), SHAPE(4), SHAPE(2, 4), SHAPE(2, 3) };
  for (int i = 0; i < 5; i++) {
    bam_tensor *a = make_random(BAM_F64, shapes[i][0], -1, 1),
               *b = make_random(BAM_F64, shapes[i][1], -1, 1);
    bam_tensor *sa = make_strided(a), *sb = make_strided(b), *c = run2(&bam_op_matmul, a, b);
    expect_shape(c, want[i]);
    check_product(a, b, 1e-13);
    check_product(sa, sb, 1e-13);
    RELEASE(a, b, sa, sb, c);
  }
}

/* Large enough for several threads, and for sharing a batch among them. */
Test(matmul, large) {
  bam_tensor *a = make_random(BAM_F32, SHAPE(130, 70), -1, 1),
             *b = make_random(BAM_F32, SHAPE(70, 140), -1, 1);
  check_product(a, b, 1e-5);
  bam_tensor *c = make_random(BAM_F32, SHAPE(9, 20, 24), -1, 1),
             *d = make_random(BAM_F32, SHAPE(9, 24, 28), -1, 1);
  check_product(c, d, 1e-5);
  RELEASE(a, b, c, d);
}

Test(matmul, empty) {
  bam_shape shapes[][2] = { { SHAPE(0, 3), SHAPE(3, 2) },
                            { SHAPE(3, 0), SHAPE(0, 2) },
                            { SHAPE(0, 2, 3), SHAPE(3, 4) },
                            { SHAPE(0), SHAPE(0) } };
  bam_shape want[] = { SHAPE(0, 2), SHAPE(3, 2), SHAPE(0, 2, 4), SCALAR };
  for (int i = 0; i < 4; i++) {
    bam_tensor *a = make_leaf(BAM_F32, shapes[i][0], 0, 1),
               *b = make_leaf(BAM_F32, shapes[i][1], 0, 1);
    bam_tensor *c = run2(&bam_op_matmul, a, b);
    expect_shape(c, want[i]);
    bam_tensor *seed = make_random(BAM_F32, want[i], 1, 2);
    EXPECT_OK(bam_autograd_backward(c, seed, false));
    for (int64_t k = 0; k < bam_tensor_count(c); k++)
      EXPECT_EQ(value_at(c, k), 0);
    for (int64_t k = 0; k < bam_tensor_count(b); k++)
      EXPECT_EQ(value_at(b->grad, k), 0);
    RELEASE(a, b, c, seed);
  }
}

Test(matmul, refusals) {
  bam_tensor *a = make_random(BAM_F32, SHAPE(4, 768), 0, 1),
             *b = make_random(BAM_F32, SHAPE(1024, 768), 0, 1);
  bam_tensor *i = make_random(BAM_I64, SHAPE(4, 768), 0, 9),
             *d = make_random(BAM_F64, SHAPE(768, 2), 0, 1);
  bam_tensor *s = make_float(2), *x = make_random(BAM_F32, SHAPE(2, 2, 3), 0, 1);
  bam_tensor *y = make_random(BAM_F32, SHAPE(3, 3, 2), 0, 1);
  expect_op_error("matmul: inner sizes differ: (4, 768) x (1024, 768); transpose the second?",
                  &bam_op_matmul, (bam_tensor *[]){ a, b }, 2, NULL);
  expect_op_error("computes in f32 or f64, not i64; write x:to \"f32\"", &bam_op_matmul,
                  (bam_tensor *[]){ i, i }, 2, NULL);
  expect_op_error("f32 x f64; convert one: x:to \"f64\"", &bam_op_matmul, (bam_tensor *[]){ a, d },
                  2, NULL);
  expect_op_error("use a * b", &bam_op_matmul, (bam_tensor *[]){ d, s }, 2, NULL);
  expect_op_error("(2) and (3) do not broadcast", &bam_op_matmul, (bam_tensor *[]){ x, y }, 2,
                  NULL);
  RELEASE(a, b, i, d, s, x, y);
}

/* ---- gradients ---- */

Test(matmul, gradients) {
  bam_shape shapes[][2] = {
    { SHAPE(3, 4), SHAPE(4, 2) },       { SHAPE(4), SHAPE(4) },
    { SHAPE(4), SHAPE(4, 2) },          { SHAPE(3, 4), SHAPE(4) },
    { SHAPE(2, 3, 4), SHAPE(4, 2) },    { SHAPE(2, 3, 4), SHAPE(4) },
    { SHAPE(3, 4), SHAPE(2, 4, 2) },    { SHAPE(4), SHAPE(2, 4, 3) },
    { SHAPE(2, 3, 4), SHAPE(2, 4, 2) }, { SHAPE(2, 1, 3, 2), SHAPE(3, 2, 2) },
  };
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    bam_tensor *a = make_leaf(BAM_F64, shapes[i][0], -1, 1),
               *b = make_leaf(BAM_F64, shapes[i][1], -1, 1);
    check_gradient(&bam_op_matmul, (bam_tensor *[]){ a, b }, 2, NULL);
    bam_tensor *sa = make_strided(a), *sb = make_strided(b);
    EXPECT_OK(bam_autograd_require(sa, true));
    EXPECT_OK(bam_autograd_require(sb, true));
    check_gradient(&bam_op_matmul, (bam_tensor *[]){ sa, sb }, 2, NULL);
    RELEASE(a, b, sa, sb);
  }
}

/* The second backward adds to the gradients of the first, inside the GEMM. */
Test(matmul, gradients_accumulate) {
  bam_tensor *a = make_leaf(BAM_F64, SHAPE(2, 3, 4), -1, 1),
             *b = make_leaf(BAM_F64, SHAPE(4, 5), -1, 1);
  bam_tensor *seed = make_random(BAM_F64, SHAPE(2, 3, 5), -1, 1), *c = run2(&bam_op_matmul, a, b);
  EXPECT_OK(bam_autograd_backward(c, seed, true));
  bam_tensor *once_a = make_random(BAM_F64, a->shape, 0, 1),
             *once_b = make_random(BAM_F64, b->shape, 0, 1);
  EXPECT_OK(bam_tensor_copy(once_a, a->grad));
  EXPECT_OK(bam_tensor_copy(once_b, b->grad));
  EXPECT_OK(bam_autograd_backward(c, seed, false));
  for (int64_t i = 0; i < bam_tensor_count(a); i++)
    EXPECT_CLOSE(value_at(a->grad, i), 2 * value_at(once_a, i), 1e-14);
  for (int64_t i = 0; i < bam_tensor_count(b); i++)
    EXPECT_CLOSE(value_at(b->grad, i), 2 * value_at(once_b, i), 1e-14);
  RELEASE(a, b, seed, c, once_a, once_b);
}

/* One tensor on both sides receives both gradients. */
Test(matmul, gradient_of_a_square) {
  bam_tensor *x = make_leaf(BAM_F64, SHAPE(3, 3), -1, 1),
             *seed = make_random(BAM_F64, SHAPE(3, 3), -1, 1);
  double *values = values_of(x);
  bam_tensor *a = make_values(BAM_F64, SHAPE(3, 3), values), *b;
  free(values);
  EXPECT_OK(bam_tensor_alias(a, &b));
  EXPECT_OK(bam_autograd_require(a, true));
  EXPECT_OK(bam_autograd_require(b, true));
  bam_tensor *square = run2(&bam_op_matmul, x, x), *product = run2(&bam_op_matmul, a, b);
  EXPECT_OK(bam_autograd_backward(square, seed, false));
  EXPECT_OK(bam_autograd_backward(product, seed, false));
  for (int64_t i = 0; i < 9; i++)
    EXPECT_CLOSE(value_at(x->grad, i), value_at(a->grad, i) + value_at(b->grad, i), 1e-14);
  RELEASE(x, seed, a, b, square, product);
}

/* ---- the kernel ---- */

static void run_gemm(const bam_gemm *gemm, bam_tensor *c, bam_tensor *a, bam_tensor *b) {
  bam_device *device = bam_tensor_device(c);
  device->kernels[BAM_F32]->gemm(device->stream, gemm, bam_tensor_data(c), bam_tensor_data(a),
                                 bam_tensor_data(b));
  EXPECT_OK(bam_device_check(c->context, device));
  bam_tensor_changed(c);
}

/* beta = 0 overwrites whatever is there, a NaN too; k = 0 is a product too. */
Test(matmul, kernel_beta) {
  int64_t sizes[][3] = { { 2, 3, 4 }, { 20, 20, 20 }, { 1, 40, 40 }, { 40, 1, 40 }, { 3, 3, 0 } };
  bam_tensor *ones = make_random(BAM_F32, SHAPE(1600), 1, 1);
  bam_tensor *c = make_random(BAM_F32, SHAPE(1600), 0, 1);
  for (int s = 0; s < 5; s++) {
    int64_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
    bam_gemm gemm = { .m = m,
                      .n = n,
                      .k = k,
                      .lda = k ? k : 1,
                      .ldb = n,
                      .ldc = n,
                      .alpha = 2,
                      .batch = 1 };
    EXPECT_OK(bam_tensor_fill(c, (double)NAN));
    run_gemm(&gemm, c, ones, ones);
    for (int64_t i = 0; i < m * n; i++)
      EXPECT_EQ(integer_at(c, i), 2 * k);
    cr_assert(isnan(value_at(c, m * n)), "wrote past the end");
    gemm.beta = 3;
    run_gemm(&gemm, c, ones, ones);
    for (int64_t i = 0; i < m * n; i++)
      EXPECT_EQ(integer_at(c, i), 8 * k);
  }
  RELEASE(ones, c);
}
