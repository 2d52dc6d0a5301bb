#include "fixture.h"
#include "../../engine/core/devices.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a device held when it was last read. It still holds that when the storage has this version
   and the context has allocated nothing since, so that the storage is the same one. */
typedef struct {
  const bam_storage *storage;
  uint64_t version;
  int64_t requests;
  char *bytes;
} host_copy;

#define HOST_COPIES 8 /* how many tensors a test may read in turn without copying them again */

static bam_context *context;
static uint64_t random_state; /* not the engine's generator: that one is under test */
static host_copy host_copies[HOST_COPIES];
static int next_copy;

void fixture_open(void) {
  bam_context_options options = { .threads = 2 };
  const char *device = getenv("BAMLUA_TEST_DEVICE");
  random_state = 1;
  cr_assert_eq(bam_context_create(&options, &context), BAM_OK);
  EXPECT_OK(bam_context_device(context, device != NULL ? device : "cpu", &context->device));
}

bool device_computes(bam_dtype dtype) { return context->device->kernels[dtype] != NULL; }

static void forget_copies(void) {
  for (int i = 0; i < HOST_COPIES; i++) {
    free(host_copies[i].bytes);
    host_copies[i] = (host_copy){ 0 };
  }
}

static void fail_after_test(const char *what) {
#ifndef BAM_CASES
  fprintf(stderr, "%s\n", what);
  abort(); /* Criterion overlooks a failed assertion after the test, but not a crash */
#endif
  cr_assert_fail("%s", what);
}

void fixture_close(void) {
  char what[BAM_MESSAGE_SIZE] = "";
  long long left = context->memory.live_objects;
  if (bam_device_synchronize(context, context->device) != BAM_OK)
    memcpy(what, context->message, sizeof what);
  else if (left != 0)
    snprintf(what, sizeof what, "%lld objects were not released", left);
  const bam_op *missing = value_tests_end();
  if (missing != NULL && what[0] == '\0')
    snprintf(what, sizeof what, "the test names %s in VALUES_TESTED and does not apply it",
             missing->name);
  bam_context_destroy(context);
  context = NULL;
  forget_copies();
  if (what[0] != '\0')
    fail_after_test(what);
}

bam_context *fixture_context(void) {
  if (context == NULL)
    fixture_open();
  return context;
}

bam_shape fixture_shape(const int64_t *sizes, int ndim) {
  bam_shape shape = { .ndim = ndim };
  for (int d = 0; d < ndim; d++)
    shape.size[d] = sizes[d];
  return shape;
}

/* ---- tensors ---- */

/* splitmix64, as a number in [0, 1). */
static double next_random(void) {
  uint64_t z = random_state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

bam_tensor *make_random(bam_dtype dtype, bam_shape shape, double low, double high) {
  int64_t count;
  EXPECT_OK(bam_shape_count(fixture_context(), &shape, &count));
  double *values = malloc((size_t)(count + 1) * sizeof *values);
  bool real = bam_dtype_is_float(dtype);
  for (int64_t i = 0; i < count; i++)
    values[i] = real ? low + next_random() * (high - low)
                     : floor(low + next_random() * (high - low + 1));
  bam_tensor *x = make_values(dtype, shape, values);
  free(values);
  return x;
}

bam_tensor *make_leaf(bam_dtype dtype, bam_shape shape, double low, double high) {
  bam_tensor *x = make_random(dtype, shape, low, high);
  EXPECT_OK(bam_autograd_require(x, true));
  return x;
}

/* `x`, which is released, on the device. */
static bam_tensor *move_to_device(bam_tensor *x) {
  bam_tensor *there;
  EXPECT_OK(bam_tensor_to(x, context->device, &there));
  bam_tensor_release(x);
  return there;
}

bam_tensor *make_tensor(bam_dtype dtype, bam_shape shape, const void *data) {
  bam_tensor *x;
  EXPECT_OK(bam_tensor_from(fixture_context(), dtype, &shape, data, &x));
  return move_to_device(x);
}

bam_tensor *make_values(bam_dtype dtype, bam_shape shape, const double *values) {
  bam_tensor *wide, *x;
  EXPECT_OK(bam_tensor_from(fixture_context(), BAM_F64, &shape, values, &wide));
  EXPECT_OK(bam_tensor_convert(wide, dtype, &x));
  bam_tensor_release(wide);
  return move_to_device(x);
}

static bam_tensor *make_number(bam_dtype dtype, const void *value) {
  bam_tensor *x = make_tensor(dtype, SCALAR, value);
  x->is_number = true;
  return x;
}

bam_tensor *make_float(double value) { return make_number(BAM_F64, &value); }

bam_tensor *make_integer(int64_t value) { return make_number(BAM_I64, &value); }

/* Where element `index`, row-major, stands in x's storage. */
static int64_t element_place(const bam_tensor *x, int64_t index) {
  int64_t place = x->offset;
  cr_assert(index >= 0 && index < bam_tensor_count(x), "there is no element %lld",
            (long long)index);
  for (int d = x->shape.ndim - 1; d >= 0; d--) {
    place += index % x->shape.size[d] * x->stride[d];
    index /= x->shape.size[d];
  }
  return place * bam_dtype_size(x->dtype);
}

static const bam_loop one_element = { .ndim = 1, .size = { 1 } };

void set_value(bam_tensor *x, int64_t index, double value) {
  bam_device *device = bam_tensor_device(x);
  char raw[8], *to = (char *)x->storage->data + element_place(x, index);
  bam_cpu_convert(NULL, &one_element, raw, x->dtype, &value, BAM_F64);
  device->copy_in(device->stream, to, raw, bam_dtype_size(x->dtype));
  EXPECT_OK(bam_device_check(context, device));
  bam_tensor_changed(x);
}

bam_tensor *make_strided(bam_tensor *x) {
  bam_shape shape = x->shape, wide = { .ndim = x->shape.ndim };
  int64_t wide_stride[BAM_MAX_DIMS], stride[BAM_MAX_DIMS];
  for (int d = 0; d < shape.ndim; d++) /* dimensions reversed, each twice as long and one more */
    wide.size[shape.ndim - 1 - d] = 2 * shape.size[d] + 1;
  bam_shape_strides(&wide, wide_stride);
  for (int d = 0; d < shape.ndim; d++)
    stride[d] = 2 * wide_stride[shape.ndim - 1 - d];
  bam_tensor *storage, *view;
  EXPECT_OK(bam_tensor_zeros(x->context, bam_tensor_device(x), x->dtype, &wide, &storage));
  EXPECT_OK(bam_tensor_view(storage, &shape, stride, shape.ndim > 0 ? 1 : 0, &view));
  EXPECT_OK(bam_tensor_copy(view, x));
  bam_tensor_release(storage);
  return view;
}

/* ---- running ops ---- */

bam_attr *make_attrs(const bam_op *op) {
  bam_attr *attrs = calloc((size_t)bam_op_attr_count(op) + 1, sizeof *attrs);
  bam_op_default_attrs(op, attrs);
  return attrs;
}

static bam_attr *find_attr(const bam_op *op, bam_attr *attrs, const char *name) {
  for (int i = 0; i < bam_op_attr_count(op); i++)
    if (strcmp(op->attrs[i].name, name) == 0) {
      attrs[i].given = true;
      return &attrs[i];
    }
  cr_assert_fail("%s has no attribute %s", op->name, name);
  return NULL;
}

void set_integer(const bam_op *op, bam_attr *attrs, const char *name, int64_t value) {
  find_attr(op, attrs, name)->i = value;
}

void set_float(const bam_op *op, bam_attr *attrs, const char *name, double value) {
  find_attr(op, attrs, name)->f = value;
}

void set_list(const bam_op *op, bam_attr *attrs, const char *name, int count, const int64_t *list) {
  bam_attr *attr = find_attr(op, attrs, name);
  attr->count = count;
  for (int i = 0; i < count; i++)
    attr->list[i] = list[i];
}

bam_status fixture_apply(const bam_op *op, bam_tensor *const *inputs, int n, const bam_attr *attrs,
                         bam_tensor **outputs) {
  value_tests_applied(op);
  return bam_op_apply(fixture_context(), op, inputs, n, attrs, outputs);
}

bam_tensor *run(const bam_op *op, bam_tensor *const *inputs, int n, const bam_attr *attrs) {
  bam_tensor *output;
  if (fixture_apply(op, inputs, n, attrs, &output) != BAM_OK)
    cr_assert_fail("%s failed: %s", op->name, context->message);
  return output;
}

bam_tensor *run1(const bam_op *op, bam_tensor *x) { return run(op, &x, 1, NULL); }

bam_tensor *run2(const bam_op *op, bam_tensor *a, bam_tensor *b) {
  return run(op, (bam_tensor *[]){ a, b }, 2, NULL);
}

void expect_op_error(const char *words, const bam_op *op, bam_tensor *const *inputs, int n,
                     const bam_attr *attrs) {
  bam_tensor *outputs[BAM_MAX_OUTPUTS];
  EXPECT_ERROR(bam_op_apply(fixture_context(), op, inputs, n, attrs, outputs), words);
  cr_assert(strncmp(context->message, op->name, strlen(op->name)) == 0,
            "\"%s\" does not begin with %s", context->message, op->name);
}

/* ---- assertions ---- */

const char *fixture_show(bool real, double number, long long integer) {
  static char texts[4][32];
  static int next;
  char *text = texts[next++ % 4];
  if (real)
    snprintf(text, sizeof texts[0], "%.17g", number);
  else
    snprintf(text, sizeof texts[0], "%lld", integer);
  return text;
}

static bool is_current(const host_copy *copy, const bam_storage *storage) {
  return copy->storage == storage && copy->version == storage->version &&
         copy->requests == context->memory.requests;
}

/* What is in a storage of a device now. */
static const char *copy_to_host(const bam_storage *storage) {
  for (int i = 0; i < HOST_COPIES; i++)
    if (is_current(&host_copies[i], storage))
      return host_copies[i].bytes;
  host_copy *copy = &host_copies[next_copy++ % HOST_COPIES];
  bam_device *device = storage->device;
  free(copy->bytes);
  *copy = (host_copy){ storage, storage->version, context->memory.requests,
                       malloc((size_t)storage->bytes) };
  device->copy_out(device->stream, copy->bytes, storage->data, storage->bytes);
  EXPECT_OK(bam_device_check(context, device));
  return copy->bytes;
}

static void read_element(bam_tensor *x, int64_t index, double *real, int64_t *integer) {
  if (bam_tensor_device(x) == &context->cpu) {
    EXPECT_OK(bam_tensor_get(x, index, real, integer));
    return;
  }
  const char *raw = copy_to_host(x->storage) + element_place(x, index);
  bam_cpu_convert(NULL, &one_element, real, BAM_F64, raw, x->dtype);
  bam_cpu_convert(NULL, &one_element, integer, BAM_I64, raw, x->dtype);
}

double value_at(bam_tensor *x, int64_t index) {
  double real;
  int64_t integer;
  read_element(x, index, &real, &integer);
  return bam_dtype_is_float(x->dtype) ? real : (double)integer;
}

int64_t integer_at(bam_tensor *x, int64_t index) {
  double real;
  int64_t integer;
  read_element(x, index, &real, &integer);
  return integer;
}

bool is_close(double got, double want, double tolerance) {
  if (isnan(want) || isinf(want))
    return isnan(want) ? isnan(got) : got == want;
  return fabs(got - want) <= tolerance * fmax(1, fabs(want));
}

void expect_values(bam_tensor *got, const double *want, double tolerance) {
  for (int64_t i = 0; i < bam_tensor_count(got); i++) {
    double value = value_at(got, i);
    cr_assert(is_close(value, want[i], tolerance), "element %lld is %.17g, not %.17g", (long long)i,
              value, want[i]);
  }
}

void expect_equal(bam_tensor *got, bam_tensor *want, double tolerance) {
  expect_shape(got, want->shape);
  expect_dtype(got, want->dtype);
  for (int64_t i = 0; i < bam_tensor_count(got); i++)
    cr_assert(is_close(value_at(got, i), value_at(want, i), tolerance),
              "element %lld is %.17g, not %.17g", (long long)i, value_at(got, i),
              value_at(want, i));
}

void expect_shape(bam_tensor *got, bam_shape want) {
  char a[BAM_SHAPE_TEXT], b[BAM_SHAPE_TEXT];
  cr_assert(bam_shape_equal(&got->shape, &want), "the shape is %s, not %s",
            bam_shape_text(&got->shape, a), bam_shape_text(&want, b));
}

void expect_dtype(bam_tensor *got, bam_dtype want) {
  cr_assert(got->dtype == want, "the dtype is %s, not %s", bam_dtype_name(got->dtype),
            bam_dtype_name(want));
}

void fixture_release(bam_tensor *const *tensors, int n) {
  for (int i = 0; i < n; i++)
    bam_tensor_release(tensors[i]);
}
