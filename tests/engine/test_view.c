/* Views and copies: which element of the input each element of the output is. */
#include <math.h>
#include <stdlib.h>

#include "fixture.h"

TestSuite(view, .init = fixture_open, .fini = fixture_close);

/* 0, 1, 2, ... in row-major order. */
static bam_tensor *make_count(bam_dtype dtype, bam_shape shape) {
  double values[64];
  for (int i = 0; i < 64; i++)
    values[i] = i;
  return make_values(dtype, shape, values);
}

/* Apply op to x and free the attributes. */
static bam_tensor *apply(const bam_op *op, bam_tensor *x, bam_attr *attrs) {
  bam_tensor *y = run(op, &x, 1, attrs);
  free(attrs);
  return y;
}

static bam_tensor *apply_list(const bam_op *op, bam_tensor *x, const char *name, int n,
                              const int64_t *list) {
  bam_attr *attrs = make_attrs(op);
  set_list(op, attrs, name, n, list);
  return apply(op, x, attrs);
}
#define APPLY_LIST(op, x, name, ...) \
  apply_list(op, x, name, sizeof((int64_t[]){ __VA_ARGS__ }) / 8, (int64_t[]){ __VA_ARGS__ })

Test(view, reshape_keeps_the_order) {
  VALUES_TESTED(&bam_op_reshape, &bam_op_view);
  bam_tensor *x = make_count(BAM_F32, SHAPE(3, 4)), *strided = make_strided(x);
  bam_tensor *y = APPLY_LIST(&bam_op_reshape, x, "sizes", 2, -1);
  bam_tensor *z = APPLY_LIST(&bam_op_reshape, strided, "sizes", 2, 6);
  bam_tensor *v = APPLY_LIST(&bam_op_view, x, "sizes", -1);
  bam_tensor *want = make_count(BAM_F32, SHAPE(2, 6)), *flat = make_count(BAM_F32, SHAPE(12));
  expect_equal(y, want, 0);
  expect_equal(z, want, 0);
  expect_equal(v, flat, 0);
  EXPECT_SAME(y->storage, x->storage);
  cr_assert_neq(z->storage, strided->storage);
  EXPECT_SAME(v->storage, x->storage);
  RELEASE(x, strided, y, z, v, want, flat);
}

Test(view, reshape_splits_a_strided_dimension_without_a_copy) {
  bam_tensor *x = make_count(BAM_F32, SHAPE(4, 6));
  bam_tensor *across = APPLY_LIST(&bam_op_permute, x, "dims", 1, 0);
  bam_tensor *split = APPLY_LIST(&bam_op_view, across, "sizes", 2, 3, 4);
  expect_values(
    split,
    VALUES(0, 6, 12, 18, 1, 7, 13, 19, 2, 8, 14, 20, 3, 9, 15, 21, 4, 10, 16, 22, 5, 11, 17, 23),
    0);
  EXPECT_SAME(split->storage, x->storage);
  RELEASE(x, across, split);
}

Test(view, permute) {
  VALUES_TESTED(&bam_op_permute);
  bam_tensor *x = make_count(BAM_I64, SHAPE(2, 3, 4));
  bam_tensor *y = APPLY_LIST(&bam_op_permute, x, "dims", 2, 0, -2);
  expect_shape(y, SHAPE(4, 2, 3));
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 2; j++)
      for (int k = 0; k < 3; k++)
        EXPECT_EQ(integer_at(y, (i * 2 + j) * 3 + k), (j * 3 + k) * 4 + i);
  RELEASE(x, y);
}

static bam_tensor *narrow(bam_tensor *x, int64_t dim, int64_t start, int64_t length) {
  bam_attr *attrs = make_attrs(&bam_op_narrow);
  set_integer(&bam_op_narrow, attrs, "dim", dim);
  set_integer(&bam_op_narrow, attrs, "start", start);
  set_integer(&bam_op_narrow, attrs, "length", length);
  return apply(&bam_op_narrow, x, attrs);
}

static bam_tensor *select_one(bam_tensor *x, int64_t dim, int64_t position) {
  bam_attr *attrs = make_attrs(&bam_op_select);
  set_integer(&bam_op_select, attrs, "dim", dim);
  set_integer(&bam_op_select, attrs, "position", position);
  return apply(&bam_op_select, x, attrs);
}

Test(view, narrow_and_select) {
  VALUES_TESTED(&bam_op_narrow, &bam_op_select);
  bam_tensor *x = make_count(BAM_F64, SHAPE(3, 4));
  bam_tensor *rows = narrow(x, 0, 1, 2), *columns = narrow(x, -1, -2, 2);
  bam_tensor *none = narrow(x, 0, 3, 0);
  bam_tensor *row = select_one(x, 0, -1), *column = select_one(x, 1, 2);
  bam_tensor *element = select_one(row, 0, 1);
  expect_values(rows, VALUES(4, 5, 6, 7, 8, 9, 10, 11), 0);
  expect_values(columns, VALUES(2, 3, 6, 7, 10, 11), 0);
  expect_shape(none, SHAPE(0, 4));
  expect_values(row, VALUES(8, 9, 10, 11), 0);
  expect_values(column, VALUES(2, 6, 10), 0);
  expect_shape(element, SCALAR);
  expect_values(element, VALUES(9), 0);
  RELEASE(x, rows, columns, none, row, column, element);
}

Test(view, expand) {
  VALUES_TESTED(&bam_op_expand);
  bam_tensor *x = make_count(BAM_F32, SHAPE(2, 1));
  bam_tensor *y = APPLY_LIST(&bam_op_expand, x, "sizes", 2, -1, 3);
  expect_shape(y, SHAPE(2, 2, 3));
  expect_values(y, VALUES(0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1), 0);
  EXPECT_SAME(y->storage, x->storage);
  RELEASE(x, y);
}

static bam_attr *sizes_attr(const bam_op *op, int n, const int64_t *sizes) {
  bam_attr *attrs = make_attrs(op);
  set_list(op, attrs, "sizes", n, sizes);
  return attrs;
}

static void expect_error(const char *words, const bam_op *op, bam_tensor *x, bam_attr *attrs) {
  expect_op_error(words, op, &x, 1, attrs);
  free(attrs);
}

Test(view, no_dimension_disappears_in_expand) {
  bam_tensor *x = make_count(BAM_F32, SHAPE(3)), *none = make_count(BAM_F32, SHAPE(0));
  bam_tensor *scalar = make_float(5), *one;
  bam_attr *empty = sizes_attr(&bam_op_expand, 0, NULL);
  expect_error("(3) does not expand to ()", &bam_op_expand, x, sizes_attr(&bam_op_expand, 0, NULL));
  expect_error("(0) does not expand to ()", &bam_op_expand, none,
               sizes_attr(&bam_op_expand, 0, NULL));
  one = run(&bam_op_expand, &scalar, 1, empty);
  expect_shape(one, SCALAR);
  free(empty);
  RELEASE(x, none, scalar, one);
}

Test(view, sizes_beside_0_do_not_overflow) {
  bam_tensor *none = make_count(BAM_F32, SHAPE(0));
  const int64_t big = 1LL << 62;
  expect_error("overflow", &bam_op_reshape, none,
               sizes_attr(&bam_op_reshape, 3, (int64_t[]){ 0, big, big }));
  expect_error("overflow", &bam_op_view, none,
               sizes_attr(&bam_op_view, 3, (int64_t[]){ 0, big, big }));
  RELEASE(none);
}

Test(view, copies) {
  VALUES_TESTED(&bam_op_contiguous, &bam_op_clone);
  bam_tensor *x = make_count(BAM_F32, SHAPE(3, 4)), *strided = make_strided(x);
  bam_tensor *same = run1(&bam_op_contiguous, x), *packed = run1(&bam_op_contiguous, strided);
  bam_tensor *copy = run1(&bam_op_clone, x);
  EXPECT_SAME(same->storage, x->storage);
  cr_assert_neq(copy->storage, x->storage);
  cr_assert(bam_tensor_is_contiguous(packed));
  expect_equal(packed, x, 0);
  expect_equal(copy, x, 0);
  RELEASE(x, strided, same, packed, copy);
}

static bam_tensor *convert(bam_tensor *x, bam_dtype dtype) {
  bam_attr *attrs = make_attrs(&bam_op_to);
  set_integer(&bam_op_to, attrs, "dtype", dtype);
  return apply(&bam_op_to, x, attrs);
}

static void expect_converted(bam_tensor *x, bam_dtype dtype, const double *want) {
  bam_tensor *y = convert(x, dtype), *strided = make_strided(x), *z = convert(strided, dtype);
  expect_dtype(y, dtype);
  expect_values(y, want, 0);
  expect_values(z, want, 0);
  RELEASE(y, strided, z);
}

Test(view, to_rounds_as_documented) {
  VALUES_TESTED(&bam_op_to);
  bam_tensor *x = make_values(BAM_F64, SHAPE(6), VALUES(-1.75, 0, 0.999, 1 + 0x1p-9, 300.5, 1e30));
  expect_converted(x, BAM_I64, VALUES(-1, 0, 0, 1, 300, 9223372036854775807.0));
  expect_converted(x, BAM_I32, VALUES(-1, 0, 0, 1, 300, 2147483647));
  expect_converted(x, BAM_U8, VALUES(0, 0, 0, 1, 255, 255));
  expect_converted(x, BAM_BOOL, VALUES(1, 0, 1, 1, 1, 1));
  expect_converted(x, BAM_F32, VALUES(-1.75, 0, (float)0.999, 1 + 0x1p-9, 300.5, (float)1e30));
  expect_converted(x, BAM_BF16, VALUES(-1.75, 0, 1, 1, 300, 0x1.94p+99));
  expect_converted(x, BAM_F16, VALUES(-1.75, 0, 0x1.ff8p-1, 1 + 0x1p-9, 300.5, (double)INFINITY));
  bam_tensor *same = convert(x, BAM_F64);
  EXPECT_SAME(same->storage, x->storage);
  RELEASE(x, same);
}

Test(view, to_rounds_halves_to_even) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(4),
                              VALUES(1 + 0x1p-8, 1 + 0x3p-8, 1 + 0x1p-11, 1 + 0x3p-11));
  bam_tensor *b = convert(x, BAM_BF16), *h = convert(x, BAM_F16);
  EXPECT_EQ(value_at(b, 0), 1);
  EXPECT_EQ(value_at(b, 1), 1 + 0x1p-6);
  EXPECT_EQ(value_at(h, 2), 1);
  EXPECT_EQ(value_at(h, 3), 1 + 0x1p-9);
  RELEASE(x, b, h);
}

/* Between two neighbours of f16 or bf16, `below` and `above`, of which the first is even when `even`:
   beside the middle the nearer is right, however little is on the nearer side. */
static void expect_nearest(bam_dtype dtype, double below, double above, bool even) {
  const double middle = below + (above - below) / 2;
  const double near[] = { nextafter(middle, below), middle, nextafter(middle, above),
                          -nextafter(middle, above) };
  const double want[] = { below, even ? below : above, above, -above };
  bam_tensor *x = make_values(BAM_F64, SHAPE(4), near);
  expect_converted(x, dtype, want);
  bam_tensor_release(x);
}

/* A detour through f32 would make ties of numbers that are none. */
Test(view, to_rounds_wide_numbers_once) {
  for (int e = -16; e < 16; e++)
    for (int odd = 0; odd < 2; odd++) {
      const double bf16 = ldexp(1 + odd * 0x1p-7, e), f16 = ldexp(1 + odd * 0x1p-10, e);
      expect_nearest(BAM_BF16, bf16, bf16 + ldexp(0x1p-7, e), !odd);
      if (e >= -14)
        expect_nearest(BAM_F16, f16, f16 + ldexp(0x1p-10, e), !odd);
    }
  expect_nearest(BAM_F16, 5 * 0x1p-24, 6 * 0x1p-24, false); /* subnormal */
  expect_nearest(BAM_F16, 0, 0x1p-24, true);
  expect_nearest(BAM_BF16, 4 * 0x1p-133, 5 * 0x1p-133, true);
  expect_nearest(BAM_BF16, 0, 0x1p-133, true);
  bam_tensor *top = make_values(BAM_F64, SHAPE(4), VALUES(65519.999999, 65520, 1e300, -1e300));
  expect_converted(top, BAM_F16, VALUES(65504, INFINITY, INFINITY, -INFINITY));
  bam_tensor_release(top);
}

Test(view, to_rounds_integers_once) {
  const int64_t tie = (1LL << 40) + (1LL << 32), big = (1LL << 62) + (1LL << 54);
  const int64_t whole[] = { tie - 1, tie, tie + 1, -tie - 1, big, big + 1, INT64_MAX, INT64_MIN };
  const double want[] = {
    0x1p40, 0x1p40, 0x1.02p40, -0x1.02p40, 0x1p62, 0x1.02p62, 0x1p63, -0x1p63
  };
  bam_tensor *x = make_tensor(BAM_I64, SHAPE(8), whole);
  expect_converted(x, BAM_BF16, want);
  const int32_t half[] = { (1 << 30) + (1 << 22) + 1, (1 << 30) + (1 << 22), 65519, 65520 };
  bam_tensor *y = make_tensor(BAM_I32, SHAPE(4), half);
  expect_converted(y, BAM_BF16, VALUES(0x1.02p30, 0x1p30, 65536, 65536));
  expect_converted(y, BAM_F16, VALUES(INFINITY, INFINITY, 65504, INFINITY));
  RELEASE(x, y);
}

/* Nothing has to be copied where nothing is. */
Test(view, empty_is_contiguous) {
  bam_tensor *x = make_count(BAM_F32, SHAPE(5, 2));
  const bam_shape shape = SHAPE(0, 2);
  bam_tensor *none;
  EXPECT_OK(bam_tensor_view(x, &shape, (int64_t[]){ 2, 7 }, 0, &none));
  cr_assert(bam_tensor_is_contiguous(none));
  bam_tensor *y = APPLY_LIST(&bam_op_view, none, "sizes", 2, 0, 4);
  expect_shape(y, SHAPE(2, 0, 4));
  RELEASE(x, none, y);
}

static bam_attr *list_attr(const bam_op *op, const char *name, int64_t a, int64_t b) {
  bam_attr *attrs = make_attrs(op);
  set_list(op, attrs, name, 2, (int64_t[]){ a, b });
  return attrs;
}

Test(view, errors) {
  bam_tensor *x = make_count(BAM_F32, SHAPE(3, 4)), *strided = make_strided(x);
  bam_attr *beyond = make_attrs(&bam_op_select);
  set_integer(&bam_op_select, beyond, "position", 3);
  expect_error("position 4 is out of range: dimension 1 has 3", &bam_op_select, x, beyond);
  expect_error("use x:reshape", &bam_op_view, strided, list_attr(&bam_op_view, "sizes", 2, 6));
  expect_error("(3, 4) has 12 elements and does not fit into (5, -1)", &bam_op_reshape, x,
               list_attr(&bam_op_reshape, "sizes", 5, -1));
  expect_error("only sizes of 1 can grow", &bam_op_expand, x,
               list_attr(&bam_op_expand, "sizes", 6, 4));
  expect_error("named twice", &bam_op_permute, x, list_attr(&bam_op_permute, "dims", 1, 1));
  RELEASE(x, strided);
}
