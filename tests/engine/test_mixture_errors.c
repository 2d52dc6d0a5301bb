/* What the soft mixture of attention experts refuses. */
#include <stdlib.h>

#include "oracle_mixture.h"

TestSuite(mixture_errors, .init = fixture_open, .fini = fixture_close);

/* The input `i` of a call that is right but for it. */
static void expect_failure(const char *words, int i, bam_tensor *wrong, int64_t heads,
                           int64_t kv_heads) {
  sizes s = { .B = 2, .T = 5, .D = 3, .N = 2, .H = 4, .G = 2, .K = 2, .E = 6 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(heads, kv_heads);
  mixture_inputs(BAM_F32, &s, in);
  bam_tensor_release(in[i]);
  in[i] = wrong;
  expect_op_error(words, &bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* A call of these shapes is right: the others fail for what is wrong in them. */
Test(mixture_errors, shapes_that_are_right) {
  sizes s = { .B = 2, .T = 5, .D = 3, .N = 2, .H = 4, .G = 2, .K = 2, .E = 6 };
  mixture_check(BAM_F32, s, 2e-5);
}

static bam_tensor *real(bam_shape shape) { return make_random(BAM_F32, shape, -1, 1); }
static bam_tensor *ids(bam_shape shape) { return make_random(BAM_I64, shape, 0, 1); }

Test(mixture_errors, errors_of_shapes) {
  expect_failure("", X, real(SHAPE(5, 3)), 4, 2);
  expect_failure("", X, real(SCALAR), 4, 2);
  expect_failure("qkv", X, real(SHAPE(2, 5, 4)), 4, 2);
  expect_failure("qkv", QKV, real(SHAPE(24, 4)), 4, 2);
  expect_failure("qkv", QKV, real(SHAPE(26, 3)), 4, 2);
  expect_failure("qkv", QKV, real(SHAPE(72)), 4, 2);
  expect_failure("qkv", QKV, real(SHAPE(16, 3)), 4, 2);
  expect_failure("out", OUT, real(SHAPE(6, 15)), 4, 2);
  expect_failure("out", OUT, real(SHAPE(16)), 4, 2);
  expect_failure("gates", GATES, real(SHAPE(2, 4, 2)), 4, 2);
  expect_failure("gates", GATES, real(SHAPE(10, 2)), 4, 2);
  expect_failure("gates", GATES, real(SHAPE(2, 5, 0)), 4, 2);
  expect_failure("documents", DOCUMENTS, ids(SHAPE(5)), 4, 2);
  expect_failure("documents", DOCUMENTS, ids(SHAPE(2, 4)), 4, 2);
  expect_failure("positions", POSITIONS, ids(SHAPE(4)), 4, 2);
  expect_failure("positions", POSITIONS, ids(SHAPE(5, 2)), 4, 2);
}

Test(mixture_errors, errors_of_heads) {
  expect_failure("heads", DOCUMENTS, NULL, 4, 3);
  expect_failure("heads", DOCUMENTS, NULL, 0, 2);
  expect_failure("heads", DOCUMENTS, NULL, 4, 0);
  expect_failure("heads", DOCUMENTS, NULL, -4, 2);
  expect_failure("heads", DOCUMENTS, NULL, 4, -2);
  expect_failure("out", DOCUMENTS, NULL, 12, 2);
}

/* Heads of odd width cannot be rotated, nor can any by a negative base. */
Test(mixture_errors, errors_of_rotation) {
  for (int64_t K = 2; K <= 3; K++) {
    sizes s = { .B = 2, .T = 5, .D = 3, .N = 2, .H = 4, .G = 2, .K = K, .E = 6 };
    bam_tensor *in[INPUTS];
    bam_attr *attrs = mixture_attrs(s.H, s.G);
    mixture_inputs(BAM_F32, &s, in);
    if (K == 2)
      set_float(&bam_op_mixture_of_attention, attrs, "rope_base", -1);
    expect_op_error(K == 2 ? "base" : "", &bam_op_mixture_of_attention, in, INPUTS, attrs);
    fixture_release(in, INPUTS);
    free(attrs);
  }
}

Test(mixture_errors, errors_of_dtypes) {
  expect_failure("convert one", QKV, make_random(BAM_F64, SHAPE(24, 3), -1, 1), 4, 2);
  expect_failure("convert one", OUT, make_random(BAM_F64, SHAPE(6, 16), -1, 1), 4, 2);
  expect_failure("convert one", GATES, make_random(BAM_F64, SHAPE(2, 5, 2), -1, 1), 4, 2);
  expect_failure("", X, ids(SHAPE(2, 5, 3)), 4, 2);
  expect_failure("", GATES, ids(SHAPE(2, 5, 2)), 4, 2);
  expect_failure("documents", DOCUMENTS, real(SHAPE(2, 5)), 4, 2);
  expect_failure("positions", POSITIONS, real(SHAPE(5)), 4, 2);
}
