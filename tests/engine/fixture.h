/* What every engine test stands on: one context per test, tensors made in one line, and assertions
   that show the engine's message. A suite says
     TestSuite(softmax, .init = fixture_open, .fini = fixture_close);
   and fixture_close fails the test when a tensor was left unreleased. Tensors are made on the
   device that the environment variable BAMLUA_TEST_DEVICE names ("cuda"), or else on the CPU: a
   test reads and writes elements through value_at, set_value and the like, never by address. */
#ifndef BAM_TEST_FIXTURE_H
#define BAM_TEST_FIXTURE_H

#include <criterion/criterion.h>

#include "../../engine/autograd/autograd.h"
#include "../../engine/ops/custom.h"
#include "../../engine/ops/ops.h"
#include "value_tests.h"

void fixture_open(void);
void fixture_close(void);

/* The context of this test, made on first use. */
bam_context *fixture_context(void);

/* Whether the device of the tests computes in `dtype`; it stores every one. */
bool device_computes(bam_dtype dtype);

/* How far from a number the nearest bf16 may be, in relation to it: bf16 has 8 significant bits. */
#define BF16_ROUNDING 0x1p-8

/* SHAPE(2, 3) is a bam_shape; SCALAR that of a 0-d tensor. */
#define SHAPE(...) \
  fixture_shape((int64_t[]){ __VA_ARGS__ }, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8))
#define SCALAR fixture_shape(NULL, 0)
bam_shape fixture_shape(const int64_t *sizes, int ndim);

/* ---- tensors; all are owned by the caller ---- */

/* Uniform in [low, high); integers are drawn from [low, high]. The numbers depend on the calls
   before. */
bam_tensor *make_random(bam_dtype dtype, bam_shape shape, double low, double high);

/* A leaf that requires a gradient, otherwise like make_random. */
bam_tensor *make_leaf(bam_dtype dtype, bam_shape shape, double low, double high);

/* Row-major `values`, as many as the shape has elements; VALUES(1, 2) writes them in place. */
bam_tensor *make_values(bam_dtype dtype, bam_shape shape, const double *values);
#define VALUES(...) ((double[]){ __VA_ARGS__ })

/* The same from elements as the dtype has them. */
bam_tensor *make_tensor(bam_dtype dtype, bam_shape shape, const void *data);

/* The plain numbers of a script: 0-d tensors that do not decide a result's dtype. */
bam_tensor *make_float(double value);
bam_tensor *make_integer(int64_t value);

/* Element `index`, row-major, of a tensor of any dtype and layout becomes `value`, converted. */
void set_value(bam_tensor *x, int64_t index, double value);

/* The same values as `x`, laid out transposed, with gaps and an offset: nothing about it is
   contiguous. */
bam_tensor *make_strided(bam_tensor *x);

/* ---- running ops; all inputs are borrowed, results owned ---- */

/* The defaults of `op`, to be changed by name with set_*; freed by the caller. */
bam_attr *make_attrs(const bam_op *op);
void set_integer(const bam_op *op, bam_attr *attrs, const char *name, int64_t value);
void set_float(const bam_op *op, bam_attr *attrs, const char *name, double value);
void set_list(const bam_op *op, bam_attr *attrs, const char *name, int count, const int64_t *list);

/* bam_op_apply in the context of the test, which notes the op for VALUES_TESTED. */
bam_status fixture_apply(const bam_op *op, bam_tensor *const *inputs, int n, const bam_attr *attrs,
                         bam_tensor **outputs);

/* The only output of an op, which must succeed. attrs may be NULL. */
bam_tensor *run(const bam_op *op, bam_tensor *const *inputs, int n, const bam_attr *attrs);
bam_tensor *run1(const bam_op *op, bam_tensor *x);
bam_tensor *run2(const bam_op *op, bam_tensor *a, bam_tensor *b);

/* The op must fail with a message that contains `words`. */
void expect_op_error(const char *words, const bam_op *op, bam_tensor *const *inputs, int n,
                     const bam_attr *attrs);

/* ---- assertions ---- */

/* `call` must succeed; its message is shown when not. */
#define EXPECT_OK(call)                                            \
  do {                                                             \
    if ((call) != BAM_OK)                                          \
      cr_assert_fail("%s: %s", #call, fixture_context()->message); \
  } while (0)

/* `call` must fail with a message that contains `words`. */
#define EXPECT_ERROR(call, words)                                                            \
  do {                                                                                       \
    if ((call) == BAM_OK)                                                                    \
      cr_assert_fail("%s: did not fail", #call);                                             \
    cr_assert(strstr(fixture_context()->message, (words)) != NULL,                           \
              "%s: \"%s\" is not about \"%s\"", #call, fixture_context()->message, (words)); \
  } while (0)

/* Two numbers are equal; an order holds: EXPECT_COMPARE(loss, <, 2). Both values are shown when not. */
#define EXPECT_EQ(got, want) EXPECT_COMPARE(got, ==, want)
#define EXPECT_COMPARE(got, order, bound)                                                         \
  do {                                                                                            \
    const __typeof__((got) + (bound)) got_ = (__typeof__(got_))(got),                             \
                                      bound_ = (__typeof__(got_))(bound);                         \
    cr_assert(got_ order bound_, "%s is %s, want " #order " %s", #got, SHOW(got_), SHOW(bound_)); \
  } while (0)

/* `got` is close to `want` (see is_close). */
#define EXPECT_CLOSE(got, want, tolerance)                                                     \
  do {                                                                                         \
    const double got_ = (double)(got), want_ = (double)(want);                                 \
    cr_assert(is_close(got_, want_, tolerance), "%s is %.17g, want %.17g", #got, got_, want_); \
  } while (0)

/* Two pointers are the same. */
#define EXPECT_SAME(got, want)                                        \
  do {                                                                \
    const void *got_ = (got), *want_ = (want);                        \
    cr_assert(got_ == want_, "%s is %p, want %p", #got, got_, want_); \
  } while (0)

/* `text` contains `words`. */
#define EXPECT_CONTAINS(text, words) \
  cr_assert(strstr(text, words) != NULL, "\"%s\" is not in \"%s\"", words, text)

/* A number of any type as text, in one of a few buffers used in turn. */
#define SHOW(x)                         \
  fixture_show(_Generic((x), float      \
                        : true, double  \
                        : true, default \
                        : false),       \
               (double)(x), (long long)(x))
const char *fixture_show(bool real, double number, long long integer);

/* Element `index`, row-major, of a tensor of any dtype and layout. Elements beside the last one
   read cost nothing: a tensor on a device is copied to the host as a whole. */
double value_at(bam_tensor *x, int64_t index);
int64_t integer_at(bam_tensor *x, int64_t index);

/* Every element of `got` is within `tolerance` (relative above 1, absolute below) of `want`; NaN
   equals NaN, infinities equal themselves. */
void expect_values(bam_tensor *got, const double *want, double tolerance);
void expect_equal(bam_tensor *got, bam_tensor *want, double tolerance);
void expect_shape(bam_tensor *got, bam_shape want);
void expect_dtype(bam_tensor *got, bam_dtype want);

/* The same comparison for one number. */
bool is_close(double got, double want, double tolerance);

/* Release several tensors: RELEASE(a, b, c). */
#define RELEASE(...)                               \
  fixture_release((bam_tensor *[]){ __VA_ARGS__ }, \
                  (int)(sizeof((bam_tensor *[]){ __VA_ARGS__ }) / sizeof(bam_tensor *)))
void fixture_release(bam_tensor *const *tensors, int n);

#endif
