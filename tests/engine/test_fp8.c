/* FP8: every code, every bf16 and a sample of f32 against a model of the formats in double precision (fp8_model.h), and
   linear layers in FP8 against products of what the model makes of their operands, in double precision. */
#include <stdint.h>
#include <stdlib.h>

#include "fixture.h"
#include "fp8_model.h"
#include "oracle.h"

TestSuite(fp8, .init = fixture_open, .fini = fixture_close);

static const bam_fp8_format FORMATS[] = { BAM_E4M3, BAM_E5M2 };

/* ---- numbers ---- */

static void check_code(uint32_t bits) {
  for (int f = 0; f < 2; f++) {
    const float x = bam_fp8_float(bits);
    const int got = bam_to_fp8(x, FORMATS[f]), want = fp8_model_code((double)x, FORMATS[f]);
    cr_assert(got == want, "format %d, bits %08x (%g): code %02x, not %02x", f, bits, (double)x,
              got, want);
  }
}

Test(fp8, every_code_is_its_number) {
  for (int f = 0; f < 2; f++)
    for (int code = 0; code < 256; code++) {
      const double got = (double)bam_from_fp8((uint8_t)code, FORMATS[f]),
                   want = fp8_model_value(code, FORMATS[f]);
      cr_assert(isnan(want) ? isnan(got) : got == want && signbit(got) == signbit(want),
                "format %d, code %02x: %g, not %g", f, code, got, want);
      if (isfinite(want)) /* and back */
        cr_assert(bam_to_fp8((float)got, FORMATS[f]) == code, "format %d, code %02x", f, code);
    }
}

Test(fp8, every_bf16_has_the_nearest_code) {
  for (uint32_t high = 0; high < 0x10000; high++)
    check_code(high << 16);
}

/* Low halves around the ties of both formats with every high half, and a step through all f32. */
Test(fp8, f32_have_the_nearest_code) {
  static const uint32_t lows[] = { 1, 0x7fff, 0x8000, 0xffff };
  for (uint32_t high = 0; high < 0x10000; high++)
    for (size_t i = 0; i < sizeof lows / sizeof lows[0]; i++)
      check_code(high << 16 | lows[i]);
  for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += 20011)
    check_code((uint32_t)bits);
}

Test(fp8, a_scale_is_the_largest_power_of_two) {
  for (uint32_t high = 0; high < 0x8000; high++)
    for (uint32_t low = 0; low < 2; low++)
      for (int f = 0; f < 2; f++) {
        const uint32_t amax = high << 16 | low;
        const float got = bam_fp8_scale(amax, FORMATS[f]);
        const double want = fp8_model_scale((double)bam_fp8_float(amax), FORMATS[f]);
        cr_assert((double)got == want, "format %d, amax %08x: %g, not %g", f, amax, (double)got,
                  want);
        cr_assert((double)bam_fp8_inverse(got) * (double)got == 1, "inverse of %g", (double)got);
      }
}

/* ---- linear layers ---- */

/* x [rows, in], W [out, in], b [out], of bf16; sizes are multiples of 16 and not of a tile. */
typedef struct layer {
  int64_t rows, in, out;
  bam_tensor *inputs[3];
  bam_attr *attrs;
} layer;

static bam_tensor *make_narrow(bam_shape shape, double size) {
  bam_tensor *wide = make_random(BAM_F64, shape, -size, size), *x;
  EXPECT_OK(bam_tensor_convert(wide, BAM_BF16, &x));
  EXPECT_OK(bam_autograd_require(x, true));
  bam_tensor_release(wide);
  return x;
}

static layer make_layer(int64_t rows, int64_t in, int64_t out) {
  layer l = { rows, in, out, { NULL }, make_attrs(&bam_op_linear) };
  l.inputs[0] = make_narrow(SHAPE(rows, in), 3);
  l.inputs[1] = make_narrow(SHAPE(out, in), 0.1);
  l.inputs[2] = make_narrow(SHAPE(out), 1);
  set_integer(&bam_op_linear, l.attrs, "fp8", 1);
  return l;
}

static void free_layer(layer *l) {
  RELEASE(l->inputs[0], l->inputs[1], l->inputs[2]);
  free(l->attrs);
}

/* Whether the device has no FP8; then the op says so. */
static bool is_refused(const layer *l) {
  if (device_computes(BAM_BF16))
    return false;
  expect_op_error("does not multiply in fp8", &bam_op_linear, l->inputs, 3, l->attrs);
  return true;
}

/* The elements as the model rounds them, with the scale of their tensor. */
static double *rounded_values(bam_tensor *x, bam_fp8_format format) {
  const int64_t n = bam_tensor_count(x);
  double *values = values_of(x), most = 0;
  for (int64_t i = 0; i < n; i++)
    most = fmax(most, fabs(values[i]));
  const double scale = fp8_model_scale(most, format);
  for (int64_t i = 0; i < n; i++)
    values[i] = fp8_model_round(values[i], scale, format);
  return values;
}

/* a [m, k] times b [n, k] transposed; either may be stored transposed. */
static double *multiply(const double *a, const double *b, int64_t m, int64_t n, int64_t k,
                        bool a_transposed, bool b_transposed) {
  double *c = zeros(m * n);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++)
      for (int64_t l = 0; l < k; l++)
        c[i * n + j] += a[a_transposed ? l * m + i : i * k + l] *
                        b[b_transposed ? l * n + j : j * k + l];
  return c;
}

/* Errors are measured against the largest element: a small one may be the difference of large ones. */
static void expect_near(bam_tensor *got, const double *want, double tolerance) {
  const int64_t n = bam_tensor_count(got);
  double most = 0;
  for (int64_t i = 0; i < n; i++)
    most = fmax(most, fabs(want[i]));
  for (int64_t i = 0; i < n; i++)
    cr_assert(fabs(value_at(got, i) - want[i]) <= tolerance * most, "element %lld: %.9g, not %.9g",
              (long long)i, value_at(got, i), want[i]);
}

/* What f32 sums of a few hundred products lose. A layer that is not rounded to FP8 differs a thousand times as much. */
#define SUMS 2e-6

Test(fp8, linear_values) {
  layer l = make_layer(80, 144, 48);
  if (!is_refused(&l)) {
    double *x = rounded_values(l.inputs[0], BAM_E4M3), *w = rounded_values(l.inputs[1], BAM_E4M3);
    double *want = multiply(x, w, l.rows, l.out, l.in, false, false);
    bam_tensor *plain = run(&bam_op_linear, l.inputs, 2, l.attrs);
    expect_dtype(plain, BAM_BF16);
    expect_near(plain, want, BF16_ROUNDING);
    for (int64_t i = 0; i < l.rows * l.out; i++)
      want[i] += value_at(l.inputs[2], i % l.out);
    set_integer(&bam_op_linear, l.attrs, "dtype", BAM_F32);
    bam_tensor *biased = run(&bam_op_linear, l.inputs, 3, l.attrs);
    expect_dtype(biased, BAM_F32);
    expect_near(biased, want, SUMS);
    RELEASE(plain, biased);
    free(x), free(w), free(want);
  }
  free_layer(&l);
}

/* Added to a residual in f32, and rounded once. */
Test(fp8, add_linear_values) {
  layer l = make_layer(80, 144, 48);
  if (!is_refused(&l)) {
    bam_attr *attrs = make_attrs(&bam_op_add_linear);
    bam_tensor *residual = make_random(BAM_BF16, SHAPE(l.rows, l.out), -3, 3);
    double *x = rounded_values(l.inputs[0], BAM_E4M3), *w = rounded_values(l.inputs[1], BAM_E4M3);
    double *want = multiply(x, w, l.rows, l.out, l.in, false, false);
    set_integer(&bam_op_add_linear, attrs, "fp8", 1);
    for (int64_t i = 0; i < l.rows * l.out; i++)
      want[i] += value_at(residual, i);
    bam_tensor *y = run(&bam_op_add_linear, (bam_tensor *[]){ l.inputs[0], l.inputs[1], residual },
                        3, attrs);
    expect_dtype(y, BAM_BF16);
    expect_near(y, want, BF16_ROUNDING);
    RELEASE(residual, y);
    free(x), free(w), free(want), free(attrs);
  }
  free_layer(&l);
}

/* Rounding is a step function, whose differences are 0 or a whole step: they say nothing about this gradient. It is
   defined as that of the product of the rounded operands, with rounding as the identity, and of dy rounded to E5M2. */
Test(fp8, linear_gradient) {
  layer l = make_layer(144, 80, 48);
  if (!is_refused(&l)) {
    bam_tensor *y = run(&bam_op_linear, l.inputs, 3, l.attrs), *dy = make_narrow(y->shape, 1e-4);
    double *x = rounded_values(l.inputs[0], BAM_E4M3), *w = rounded_values(l.inputs[1], BAM_E4M3);
    double *grad = rounded_values(dy, BAM_E5M2), *exact = values_of(dy), *db = zeros(l.out);
    double *dx = multiply(grad, w, l.rows, l.in, l.out, false, true);
    double *dw = multiply(grad, x, l.out, l.in, l.rows, true, true);
    for (int64_t i = 0; i < l.rows * l.out; i++)
      db[i % l.out] += exact[i];
    for (int round = 1; round <= 2; round++) { /* written, then added to */
      EXPECT_OK(bam_autograd_backward(y, dy, true));
      for (int i = 0; i < 3; i++)
        expect_dtype(l.inputs[i]->grad, BAM_F32);
      expect_near(l.inputs[0]->grad, dx, SUMS);
      expect_near(l.inputs[1]->grad, dw, SUMS);
      expect_near(l.inputs[2]->grad, db, BF16_ROUNDING); /* summed as without FP8 */
      add_scaled(dx, dx, 1, l.rows * l.in);
      add_scaled(dw, dw, 1, l.out * l.in);
      add_scaled(db, db, 1, l.out);
    }
    RELEASE(y, dy);
    free(x), free(w), free(grad), free(exact), free(db), free(dx), free(dw);
  }
  free_layer(&l);
}

/* ---- sizes, places and magnitudes ---- */

static void expect_same_bits(bam_tensor *a, bam_tensor *b) {
  expect_dtype(b, a->dtype);
  for (int64_t i = 0; i < bam_tensor_count(a); i++)
    cr_assert(value_at(a, i) == value_at(b, i), "element %lld: %.9g, %.9g", (long long)i,
              value_at(a, i), value_at(b, i));
}

/* A layer with a size that is not a multiple of 16 is one in bf16. */
Test(fp8, other_sizes_are_computed_in_bf16) {
  static const int64_t sizes[][3] = { { 17, 32, 48 }, { 16, 40, 48 }, { 16, 32, 8 } };
  for (int s = 0; s < 3; s++) {
    layer l = make_layer(sizes[s][0], sizes[s][1], sizes[s][2]);
    if (!is_refused(&l)) {
      bam_tensor *got = run(&bam_op_linear, l.inputs, 3, l.attrs),
                 *want = run(&bam_op_linear, l.inputs, 3, NULL);
      expect_same_bits(got, want);
      RELEASE(got, want);
    }
    free_layer(&l);
  }
}

/* Rows apart, and a place that is not a multiple of 16 bytes: as the same numbers elsewhere. */
Test(fp8, places_do_not_matter) {
  layer l = make_layer(48, 32, 80);
  bam_tensor *wide = make_narrow(SHAPE(48, 41), 3), *x, *y, *view, *same;
  if (!is_refused(&l)) {
    EXPECT_OK(bam_tensor_view(wide, &(bam_shape){ .ndim = 2, .size = { 48, 32 } },
                              (int64_t[]){ 41, 1 }, 3, &view));
    EXPECT_OK(bam_tensor_contiguous(view, &x));
    y = run(&bam_op_linear, (bam_tensor *[]){ x, l.inputs[1] }, 2, l.attrs);
    same = run(&bam_op_linear, (bam_tensor *[]){ view, l.inputs[1] }, 2, l.attrs);
    expect_same_bits(y, same);
    RELEASE(x, y, view, same);
  }
  bam_tensor_release(wide);
  free_layer(&l);
}

/* A scale is a power of two: a tensor times one has the same codes, and zeros have all of them. */
Test(fp8, magnitudes_do_not_matter) {
  static const double factors[] = { 0x1p-100, 0x1p-20, 1, 0x1p60, 0 };
  layer l = make_layer(16, 32, 16);
  if (!is_refused(&l)) {
    bam_tensor *one = run(&bam_op_linear, l.inputs, 2, l.attrs);
    for (int f = 0; f < 5; f++) {
      bam_tensor *x = make_narrow(SHAPE(16, 32), 1), *y;
      for (int64_t i = 0; i < 16 * 32; i++)
        set_value(x, i, value_at(l.inputs[0], i) * factors[f]);
      y = run(&bam_op_linear, (bam_tensor *[]){ x, l.inputs[1] }, 2, l.attrs);
      for (int64_t i = 0; i < 16 * 16; i++)
        EXPECT_EQ(value_at(y, i), value_at(one, i) * factors[f]);
      RELEASE(x, y);
    }
    bam_tensor_release(one);
  }
  free_layer(&l);
}

/* An infinity or a NaN must be seen: it spoils the elements that it goes into, and no others. */
Test(fp8, what_is_not_finite_becomes_nan) {
  static const double values[] = { INFINITY, -INFINITY, NAN };
  for (int v = 0; v < 3; v++) {
    layer l = make_layer(32, 32, 16);
    set_value(l.inputs[0], 5 * 32 + 7, values[v]);
    if (!is_refused(&l)) {
      bam_tensor *y = run(&bam_op_linear, l.inputs, 2, l.attrs);
      for (int64_t i = 0; i < 32 * 16; i++)
        cr_assert((i / 16 == 5) == !!isnan(value_at(y, i)), "element %lld: %g", (long long)i,
                  value_at(y, i));
      bam_tensor_release(y);
    }
    free_layer(&l);
  }
}

Test(fp8, operands_are_bf16) {
  layer l = make_layer(16, 16, 16);
  if (!is_refused(&l)) {
    bam_tensor *x = make_random(BAM_F32, SHAPE(16, 16), -1, 1);
    expect_op_error("with `fp8` inputs are bf16, not f32", &bam_op_linear,
                    (bam_tensor *[]){ x, l.inputs[1] }, 2, l.attrs);
    bam_tensor_release(x);
  }
  free_layer(&l);
}
