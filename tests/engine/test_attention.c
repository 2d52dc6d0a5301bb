/* Attention against its definition in double precision, with the whole T x T matrix; gradients
   against the definition's derivative and against differences. */
#include <math.h>
#include <stdlib.h>

#include "gradcheck.h"
#include "oracle.h"

TestSuite(attention, .init = fixture_open, .fini = fixture_close);

typedef struct {
  int64_t B, T, H, G, K, window; /* window 0: all */
  double scale;
  double *q, *k, *v, *dy;  /* row-major */
  const double *documents; /* NULL: one */
  double *o, *dq, *dk, *dv;
} oracle;

/* One query row: result and gradients. */
static void oracle_row(oracle *x, int64_t b, int64_t i, int64_t h) {
  int64_t g = h / (x->H / x->G), row = ((b * x->T + i) * x->H + h) * x->K;
  double *p = zeros(x->T), max = -(double)INFINITY, sum = 0, delta = 0;
#define KV(j) (((b * x->T + (j)) * x->G + g) * x->K)
  for (int64_t j = 0; j <= i; j++) {
    bool same = x->documents == NULL || x->documents[b * x->T + i] == x->documents[b * x->T + j];
    p[j] = same && (x->window == 0 || i - j < x->window)
             ? x->scale * dot(x->q + row, x->k + KV(j), x->K)
             : -(double)INFINITY;
    max = fmax(max, p[j]);
  }
  for (int64_t j = 0; j <= i; j++)
    sum += p[j] = exp(p[j] - max);
  for (int64_t j = 0; j <= i; j++)
    add_scaled(x->o + row, x->v + KV(j), p[j] /= sum, x->K);
  delta = dot(x->o + row, x->dy + row, x->K);
  for (int64_t j = 0; j <= i; j++) {
    double ds = p[j] * (dot(x->dy + row, x->v + KV(j), x->K) - delta) * x->scale;
    add_scaled(x->dq + row, x->k + KV(j), ds, x->K);
    add_scaled(x->dk + KV(j), x->q + row, ds, x->K);
    add_scaled(x->dv + KV(j), x->dy + row, p[j], x->K);
  }
#undef KV
  free(p);
}

static void run_oracle(oracle *x) {
  for (int64_t b = 0; b < x->B; b++)
    for (int64_t i = 0; i < x->T; i++)
      for (int64_t h = 0; h < x->H; h++)
        oracle_row(x, b, i, h);
}

/* Compare the op on leaves q, k, v (any layout) with the oracle. */
static void compare_window(bam_tensor *const in[3], bam_tensor *documents, int64_t window,
                           double tolerance) {
  VALUES_TESTED(&bam_op_attention);
  const int64_t *size = in[0]->shape.size;
  oracle x = { size[0],
               size[1],
               size[2],
               in[1]->shape.size[2],
               size[3],
               window,
               1 / sqrt((double)size[3]),
               values_of(in[0]),
               values_of(in[1]),
               values_of(in[2]),
               NULL,
               NULL,
               NULL,
               NULL,
               NULL,
               NULL };
  bam_tensor *dy = make_random(in[0]->dtype, in[0]->shape, -1, 1);
  int64_t n = bam_tensor_count(in[0]), m = bam_tensor_count(in[1]);
  double *ids = documents != NULL ? values_of(documents) : NULL;
  x.dy = values_of(dy);
  x.documents = ids;
  x.o = zeros(n);
  x.dq = zeros(n);
  x.dk = zeros(m);
  x.dv = zeros(m);
  run_oracle(&x);
  bam_attr *attrs = make_attrs(&bam_op_attention);
  set_integer(&bam_op_attention, attrs, "window", window);
  bam_tensor *o = run(&bam_op_attention, (bam_tensor *[]){ in[0], in[1], in[2], documents }, 4,
                      attrs);
  free(attrs);
  expect_values(o, x.o, tolerance);
  EXPECT_OK(bam_autograd_backward(o, dy, false));
  expect_values(in[0]->grad, x.dq, tolerance * 4);
  expect_values(in[1]->grad, x.dk, tolerance * 4);
  expect_values(in[2]->grad, x.dv, tolerance * 4);
  RELEASE(o, dy);
  double *all[] = { x.q, x.k, x.v, x.dy, x.o, x.dq, x.dk, x.dv, ids };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    free(all[i]);
}

static void compare(bam_tensor *const in[3], bam_tensor *documents, double tolerance) {
  compare_window(in, documents, 0, tolerance);
}

static void check_window(bam_dtype dtype, bam_shape q, int64_t G, bam_tensor *documents,
                         int64_t window, double tolerance) {
  bam_shape kv = SHAPE(q.size[0], q.size[1], G, q.size[3]);
  bam_tensor *in[] = { make_leaf(dtype, q, -2, 2), make_leaf(dtype, kv, -2, 2),
                       make_leaf(dtype, kv, -2, 2) };
  compare_window(in, documents, window, tolerance);
  fixture_release(in, 3);
}

static void check(bam_dtype dtype, bam_shape q, int64_t G, bam_tensor *documents,
                  double tolerance) {
  check_window(dtype, q, G, documents, 0, tolerance);
}

/* Around every edge of the tiles: rows, vectors and blocks of either pass. */
Test(attention, values_f32) {
  const int64_t times[] = { 1, 2, 11, 13, 31, 64, 95, 97, 130 };
  for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
    check(BAM_F32, SHAPE(2, times[i], 4, 8), 2, NULL, 4e-6);
    check(BAM_F32, SHAPE(1, times[i], 3, 19), 1, NULL, 4e-6);
  }
}

Test(attention, values_f64) {
  check(BAM_F64, SHAPE(2, 37, 4, 5), 4, NULL, 1e-13);
  check(BAM_F64, SHAPE(1, 101, 2, 33), 1, NULL, 1e-13);
}

Test(attention, values_long) { check(BAM_F32, SHAPE(1, 801, 2, 16), 1, NULL, 4e-6); }
Test(attention, values_wide) { check(BAM_F32, SHAPE(1, 40, 2, 144), 2, NULL, 4e-6); }
Test(attention, values_narrow) { check(BAM_F32, SHAPE(2, 40, 6, 1), 3, NULL, 4e-6); }

/* Head widths that CUDA computes on tensor cores, beside others. What is rounded to bf16 on the way is compared closely
   in tests/gpu/attention_mma.cu. */
Test(attention, values_bf16) {
  const int64_t widths[] = { 8, 64, 128 };
  double ids[140];
  for (int i = 0; i < 140; i++)
    ids[i] = i % 70 / 50;
  if (!device_computes(BAM_BF16)) {
    bam_tensor *x = make_random(BAM_BF16, SHAPE(1, 2, 1, 8), -1, 1);
    expect_op_error("f32", &bam_op_attention, (bam_tensor *[]){ x, x, x }, 3, NULL);
    bam_tensor_release(x);
    return;
  }
  bam_tensor *documents = make_tensor(BAM_I64, SHAPE(2, 70), ids);
  for (int i = 0; i < 3; i++) {
    check(BAM_BF16, SHAPE(1, 1, 2, widths[i]), 1, NULL, 0x1p-6);
    check(BAM_BF16, SHAPE(2, 70, 4, widths[i]), 2, documents, 0x1p-6);
    check_window(BAM_BF16, SHAPE(1, 131, 2, widths[i]), 1, NULL, 40, 0x1p-6);
  }
  bam_tensor_release(documents);
}

Test(attention, documents_in_runs) {
  int64_t ids[260];
  for (int64_t i = 0; i < 260; i++)
    ids[i] = i % 130 < 3 ? 7 : i % 130 < 101 ? 1LL << 40 : -4;
  bam_tensor *documents = make_tensor(BAM_I64, SHAPE(2, 130), ids);
  check(BAM_F32, SHAPE(2, 130, 4, 8), 2, documents, 4e-6);
  bam_tensor_release(documents);
}

/* An id that comes again after another: the tokens between must not be seen. */
Test(attention, documents_mixed) {
  bam_tensor *i32 = make_random(BAM_I32, SHAPE(2, 110), 0, 2);
  bam_tensor *i64 = make_random(BAM_I64, SHAPE(1, 500), 0, 9);
  check(BAM_F32, SHAPE(2, 110, 2, 8), 1, i32, 4e-6);
  check(BAM_F64, SHAPE(1, 500, 1, 3), 1, i64, 1e-13);
  RELEASE(i32, i64);
}

/* The first token with the same id; and attention that takes the result gives the same bits. */
Test(attention, document_starts) {
  VALUES_TESTED(&bam_op_document_starts);
  bam_tensor *in[] = { make_leaf(BAM_F32, SHAPE(2, 70, 2, 8), -2, 2),
                       make_leaf(BAM_F32, SHAPE(2, 70, 1, 8), -2, 2),
                       make_leaf(BAM_F32, SHAPE(2, 70, 1, 8), -2, 2) };
  bam_tensor *documents = make_random(BAM_I64, SHAPE(2, 70), -2, 3);
  bam_tensor *starts = run(&bam_op_document_starts, &documents, 1, NULL);
  EXPECT_EQ(starts->dtype, BAM_I32);
  for (int64_t t = 0; t < 140; t++) {
    int64_t first = t / 70 * 70;
    while (value_at(documents, first) != value_at(documents, t))
      first++;
    EXPECT_EQ(value_at(starts, t), (double)(first - t / 70 * 70));
  }
  bam_tensor *a = run(&bam_op_attention, (bam_tensor *[]){ in[0], in[1], in[2], documents }, 4,
                      NULL);
  bam_tensor *b = run(&bam_op_attention, (bam_tensor *[]){ in[0], in[1], in[2], starts }, 4, NULL);
  for (int64_t i = 0; i < bam_tensor_count(a); i++)
    EXPECT_EQ(value_at(a, i), value_at(b, i));
  fixture_release(in, 3);
  RELEASE(documents, starts, a, b);
}

/* Starts that were changed are documents again: here token 1's starts a document of its own. */
Test(attention, document_starts_changed) {
  bam_tensor *documents = make_tensor(BAM_I64, SHAPE(1, 3), (int64_t[]){ 5, 5, 5 });
  bam_tensor *starts = run(&bam_op_document_starts, &documents, 1, NULL);
  bam_tensor *row = make_tensor(BAM_I64, SHAPE(1, 3), (int64_t[]){ 9, 8, 9 });
  cr_assert(bam_facts_have_starts(starts));
  EXPECT_OK(bam_tensor_copy(starts, row));
  cr_assert(!bam_facts_have_starts(starts));
  bam_tensor *in[] = { make_leaf(BAM_F32, SHAPE(1, 3, 1, 2), -2, 2),
                       make_leaf(BAM_F32, SHAPE(1, 3, 1, 2), -2, 2),
                       make_leaf(BAM_F32, SHAPE(1, 3, 1, 2), -2, 2) };
  compare(in, starts, 4e-6);
  fixture_release(in, 3);
  RELEASE(documents, starts, row);
}

/* A key block of its own documents only: rows that see none of a block. */
Test(attention, documents_far) {
  int64_t ids[900];
  for (int64_t i = 0; i < 900; i++)
    ids[i] = i == 5 || i == 890 ? 1 : i;
  bam_tensor *documents = make_tensor(BAM_I64, SHAPE(1, 900), ids);
  check(BAM_F32, SHAPE(1, 900, 1, 8), 1, documents, 4e-6);
  bam_tensor_release(documents);
}

/* Windows around the edges of tiles, and longer than the sequence. */
Test(attention, windows) {
  const int64_t times[] = { 1, 13, 64, 97, 130, 210 },
                windows[] = { 1, 2, 11, 63, 64, 65, 96, 129, 500 };
  for (int t = 0; t < 6; t++)
    for (int w = 0; w < 9; w++)
      check_window(BAM_F32, SHAPE(1, times[t], 4, 8), 2, NULL, windows[w], 4e-6);
  check_window(BAM_F64, SHAPE(2, 101, 2, 33), 1, NULL, 17, 1e-13);
  check_window(BAM_F32, SHAPE(1, 801, 2, 16), 1, NULL, 100, 4e-6);
  check_window(BAM_F32, SHAPE(1, 801, 2, 16), 1, NULL, 500, 4e-6);
}

Test(attention, windows_and_documents) {
  bam_tensor *mixed = make_random(BAM_I32, SHAPE(2, 110), 0, 2);
  check_window(BAM_F32, SHAPE(2, 110, 2, 8), 1, mixed, 7, 4e-6);
  check_window(BAM_F64, SHAPE(2, 110, 2, 3), 2, mixed, 70, 1e-13);
  bam_tensor_release(mixed);
}

/* q, k and v as slices of one product, and with nothing contiguous. */
Test(attention, strided) {
  bam_tensor *qkv = make_random(BAM_F32, SHAPE(2, 50, 8, 12), -2, 2), *in[3];
  int64_t heads[] = { 4, 2, 2 }, first[] = { 0, 4, 6 };
  for (int i = 0; i < 3; i++) {
    bam_shape shape = SHAPE(2, 50, heads[i], 12);
    EXPECT_OK(bam_tensor_view(qkv, &shape, qkv->stride, first[i] * 12, &in[i]));
    EXPECT_OK(bam_autograd_require(in[i], true));
  }
  compare(in, NULL, 4e-6);
  fixture_release(in, 3);
  for (int i = 0; i < 3; i++) {
    bam_tensor *plain = make_random(BAM_F32, SHAPE(2, 20, heads[i], 6), -2, 2);
    in[i] = make_strided(plain);
    EXPECT_OK(bam_autograd_require(in[i], true));
    bam_tensor_release(plain);
  }
  compare(in, NULL, 4e-6);
  fixture_release(in, 3);
  bam_tensor_release(qkv);
}

Test(attention, gradient) {
  bam_tensor *q = make_leaf(BAM_F64, SHAPE(1, 5, 4, 3), -2, 2);
  bam_tensor *k = make_leaf(BAM_F64, SHAPE(1, 5, 2, 3), -2, 2);
  bam_tensor *v = make_leaf(BAM_F64, SHAPE(1, 5, 2, 3), -2, 2);
  bam_tensor *documents = make_values(BAM_I64, SHAPE(1, 5), VALUES(0, 0, 1, 0, 1));
  bam_attr *attrs = make_attrs(&bam_op_attention);
  check_gradient(&bam_op_attention, (bam_tensor *[]){ q, k, v, documents }, 4, attrs);
  set_float(&bam_op_attention, attrs, "scale", 0.3);
  attrs[0].given = true;
  check_gradient(&bam_op_attention, (bam_tensor *[]){ q, k, v }, 3, attrs);
  set_integer(&bam_op_attention, attrs, "window", 2);
  check_gradient(&bam_op_attention, (bam_tensor *[]){ q, k, v, documents }, 4, attrs);
  RELEASE(q, k, v, documents);
  free(attrs);
}

/* Gradients are added to what is there; inputs that want none are left alone. */
Test(attention, accumulates) {
  bam_tensor *q = make_random(BAM_F64, SHAPE(1, 9, 2, 4), -2, 2);
  bam_tensor *kv = make_leaf(BAM_F64, SHAPE(1, 9, 1, 4), -2, 2);
  bam_tensor *twice = NULL;
  for (int time = 1; time <= 3; time++) {
    bam_tensor *o = run(&bam_op_attention, (bam_tensor *[]){ q, kv, kv }, 3, NULL);
    bam_tensor *sum = run1(&bam_op_sum, o);
    EXPECT_OK(bam_autograd_backward(sum, NULL, false));
    RELEASE(o, sum);
    if (time == 1)
      twice = run2(&bam_op_add, kv->grad, kv->grad);
    if (time == 2)
      expect_equal(kv->grad, twice, 1e-13);
  }
  EXPECT_SAME(q->grad, NULL);
  RELEASE(q, kv, twice);
}

/* The bits do not depend on the number of threads. */
Test(attention, deterministic) {
  bam_tensor *in[] = { make_leaf(BAM_F32, SHAPE(2, 200, 4, 16), -2, 2),
                       make_leaf(BAM_F32, SHAPE(2, 200, 2, 16), -2, 2),
                       make_leaf(BAM_F32, SHAPE(2, 200, 2, 16), -2, 2) };
  bam_tensor *o[2], *grad[2];
  for (int k = 0; k < 2; k++) {
    bam_context_set_threads(fixture_context(), 1 + 2 * k);
    o[k] = run(&bam_op_attention, in, 3, NULL);
    EXPECT_OK(bam_autograd_backward(o[k], o[0], false));
    grad[k] = bam_tensor_retain(in[1]->grad);
    EXPECT_OK(bam_autograd_set_grad(in[1], NULL));
  }
  expect_equal(o[0], o[1], 0);
  expect_equal(grad[0], grad[1], 0);
  RELEASE(o[0], o[1], grad[0], grad[1], in[0], in[1], in[2]);
}

/* A large score must not overflow; a NaN must not vanish. */
Test(attention, extremes) {
  bam_tensor *q = make_values(BAM_F32, SHAPE(1, 3, 1, 1), VALUES(1e4, 1e4, 1e4));
  bam_tensor *k = make_values(BAM_F32, SHAPE(1, 3, 1, 1), VALUES(1, 3e4, -1));
  bam_tensor *v = make_values(BAM_F32, SHAPE(1, 3, 1, 1), VALUES(5, 6, 7));
  bam_tensor *o = run(&bam_op_attention, (bam_tensor *[]){ q, k, v }, 3, NULL);
  expect_values(o, VALUES(5, 6, 6), 1e-6);
  bam_tensor *bad = make_values(BAM_F32, SHAPE(1, 3, 1, 1), VALUES(1, (double)NAN, 1));
  bam_tensor *p = run(&bam_op_attention, (bam_tensor *[]){ q, bad, v }, 3, NULL);
  expect_values(p, VALUES(5, (double)NAN, (double)NAN), 1e-6);
  RELEASE(q, k, v, o, bad, p);
}

/* Backward's weights of a query sum to 1, however large its scores are. With a gradient of ones, dv
   is the sum of the weights that each key gets, and the sum of that the number of queries. */
Test(attention, weights_of_large_scores_sum_to_one) {
  const int64_t T = 48;
  bam_tensor *q = make_random(BAM_F32, SHAPE(1, T, 1, 4), 60, 61);
  bam_tensor *k = make_random(BAM_F32, SHAPE(1, T, 1, 4), 60, 60.1);
  bam_tensor *v = make_leaf(BAM_F32, SHAPE(1, T, 1, 4), -1, 1);
  bam_tensor *ones = make_random(BAM_F32, SHAPE(1, T, 1, 4), 1, 1);
  bam_tensor *y = run(&bam_op_attention, (bam_tensor *[]){ q, k, v }, 3, NULL);
  EXPECT_OK(bam_autograd_backward(y, ones, false));
  double sum = 0;
  for (int64_t i = 0; i < T; i++)
    sum += value_at(v->grad, 4 * i);
  cr_assert(fabs(sum / (double)T - 1) <= 0x1p-22, "%g", sum / (double)T - 1);
  RELEASE(q, k, v, ones, y);
}

Test(attention, empty) {
  bam_tensor *q = make_leaf(BAM_F64, SHAPE(2, 0, 4, 3), -1, 1);
  bam_tensor *k = make_leaf(BAM_F64, SHAPE(2, 0, 2, 3), -1, 1);
  bam_tensor *none = make_leaf(BAM_F64, SHAPE(2, 3, 0, 3), -1, 1);
  bam_tensor *some = make_leaf(BAM_F64, SHAPE(2, 3, 2, 3), -1, 1);
  check_gradient(&bam_op_attention, (bam_tensor *[]){ q, k, k }, 3, NULL);
  check_gradient(&bam_op_attention, (bam_tensor *[]){ none, some, some }, 3, NULL);
  RELEASE(q, k, none, some);
}

Test(attention, errors) {
  bam_tensor *q = make_random(BAM_F32, SHAPE(1, 5, 4, 3), -1, 1);
  bam_tensor *k = make_random(BAM_F32, SHAPE(1, 5, 3, 3), -1, 1);
  bam_tensor *short_k = make_random(BAM_F32, SHAPE(1, 4, 4, 3), -1, 1);
  bam_tensor *k64 = make_random(BAM_F64, SHAPE(1, 5, 4, 3), -1, 1);
  bam_tensor *ids = make_random(BAM_I64, SHAPE(5), 0, 1);
  bam_tensor *real = make_random(BAM_F32, SHAPE(1, 5), 0, 1);
  expect_op_error("4 query heads do not share 3 key heads evenly", &bam_op_attention,
                  (bam_tensor *[]){ q, k, k }, 3, NULL);
  expect_op_error("batch, time and head width must agree", &bam_op_attention,
                  (bam_tensor *[]){ q, short_k, short_k }, 3, NULL);
  expect_op_error("`v` is (1, 5, 3, 3); it must be (1, 5, 4, 3), the shape of k", &bam_op_attention,
                  (bam_tensor *[]){ q, q, k }, 3, NULL);
  expect_op_error("convert one: k:to \"f32\"", &bam_op_attention, (bam_tensor *[]){ q, k64, q }, 3,
                  NULL);
  expect_op_error("`documents` is (5); it must be (1, 5), one id per token", &bam_op_attention,
                  (bam_tensor *[]){ q, q, q, ids }, 4, NULL);
  expect_op_error("documents are integers", &bam_op_attention, (bam_tensor *[]){ q, q, q, real }, 4,
                  NULL);
  expect_op_error("needs q [B, T, H, K]", &bam_op_attention, (bam_tensor *[]){ ids, q, q }, 3,
                  NULL);
  bam_attr *attrs = make_attrs(&bam_op_attention);
  set_integer(&bam_op_attention, attrs, "window", -1);
  expect_op_error("a window of -1 tokens", &bam_op_attention, (bam_tensor *[]){ q, q, q }, 3,
                  attrs);
  free(attrs);
  RELEASE(q, k, short_k, k64, ids, real);
}
