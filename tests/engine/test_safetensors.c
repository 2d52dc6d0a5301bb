/* Safetensors: what is written, byte for byte; what is read back; every way a header can lie. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/io/atomic_file.h"
#include "../../engine/io/safetensors.h"
#include "scratch.h"

TestSuite(safetensors, .init = scratch_open, .fini = scratch_close);

/* The tensor called `name` in the file, or a failed test. */
static bam_tensor *load(const char *path, const char *name) {
  bam_safetensors *file;
  bam_tensor *x;
  EXPECT_OK(bam_safetensors_open(fixture_context(), path, &file));
  int64_t i = bam_safetensors_find(file, name);
  cr_assert(i >= 0, "no tensor %s", name);
  EXPECT_OK(bam_safetensors_tensor(file, i, &x));
  bam_safetensors_close(file);
  return x;
}

static bam_status save(const char *path, const bam_named_tensor *tensors, int64_t n) {
  return bam_safetensors_write(fixture_context(), path, tensors, n, NULL, 0);
}

static void expect_bytes(const char *path, const char *want, size_t n) {
  size_t bytes;
  unsigned char *data = scratch_read(path, &bytes);
  EXPECT_EQ(bytes, n);
  EXPECT_EQ(memcmp(data, want, n), 0);
  free(data);
}

/* ---- what is written ---- */

/* The same bytes as Python's safetensors.numpy.save writes for these two arrays. */
static const char python[] =
  "\x90\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2],"
  "\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]}}      "
  "\0\0\x80?\0\0\x80?\0\x01\x02";

Test(safetensors, bytes_are_those_of_python) {
  bam_tensor *b = make_values(BAM_U8, SHAPE(3), VALUES(0, 1, 2));
  bam_tensor *a = make_values(BAM_F32, SHAPE(2), VALUES(1, 1));
  EXPECT_OK(save("x", (bam_named_tensor[]){ { "b", b }, { "a", a } }, 2));
  expect_bytes("x", python, sizeof python - 1);
  RELEASE(a, b);
}

Test(safetensors, file_of_python_is_read) {
  scratch_write("x", python, sizeof python - 1);
  bam_tensor *a = load("x", "a"), *b = load("x", "b");
  expect_dtype(a, BAM_F32);
  expect_shape(a, SHAPE(2));
  expect_values(a, VALUES(1, 1), 0);
  expect_dtype(b, BAM_U8);
  expect_values(b, VALUES(0, 1, 2), 0);
  RELEASE(a, b);
}

/* Readers that map files want every tensor at a multiple of its dtype's size. */
static void expect_aligned(const char *path) {
  bam_safetensors *file;
  size_t bytes;
  int64_t n;
  unsigned char *data = scratch_read(path, &bytes);
  EXPECT_EQ(data[0] % 8, 0);
  free(data);
  EXPECT_OK(bam_safetensors_open(fixture_context(), path, &file));
  const bam_safetensors_entry *entries = bam_safetensors_entries(file, &n);
  for (int64_t i = 0; i < n; i++)
    cr_assert(entries[i].begin == entries[i].end ||
                entries[i].begin % bam_dtype_size(entries[i].dtype) == 0,
              "%s is not aligned", entries[i].name);
  bam_safetensors_close(file);
}

Test(safetensors, every_dtype_and_shape_comes_back_aligned) {
  const bam_shape shapes[] = { SCALAR,   SHAPE(0),    SHAPE(5, 0, 3),
                               SHAPE(3), SHAPE(5, 7), SHAPE(1, 2, 1, 2, 1, 2, 1, 3) };
  enum { SHAPES = sizeof shapes / sizeof *shapes, N = SHAPES * BAM_DTYPES };
  bam_named_tensor tensors[N];
  char names[N][16];
  for (int i = 0; i < N; i++) {
    bam_tensor *wide = make_random(BAM_F32, shapes[i % SHAPES], 0, 2);
    EXPECT_OK(bam_tensor_convert(wide, (bam_dtype)(i / SHAPES), &tensors[i].tensor));
    snprintf(names[i], sizeof names[i], "%d", i);
    tensors[i].name = names[i];
    bam_tensor_release(wide);
  }
  EXPECT_OK(save("x", tensors, N));
  expect_aligned("x");
  for (int i = 0; i < N; i++) {
    bam_tensor *x = load("x", names[i]), *want = tensors[i].tensor;
    expect_dtype(x, want->dtype);
    expect_shape(x, want->shape);
    for (int64_t k = 0; k < bam_tensor_count(x); k++)
      EXPECT_EQ(value_at(x, k), value_at(want, k));
    RELEASE(x, want);
  }
}

Test(safetensors, entries_are_sorted_by_name) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(1), VALUES(1));
  bam_named_tensor tensors[] = { { "b", x }, { "", x }, { "a \"q\"\n\xc3\xa9", x }, { "a", x } };
  EXPECT_OK(save("x", tensors, 4));
  bam_safetensors *file;
  EXPECT_OK(bam_safetensors_open(fixture_context(), "x", &file));
  int64_t n;
  const bam_safetensors_entry *entries = bam_safetensors_entries(file, &n);
  EXPECT_EQ(n, 4);
  cr_assert_str_eq(entries[0].name, "");
  cr_assert_str_eq(entries[1].name, "a");
  cr_assert_str_eq(entries[2].name, "a \"q\"\n\xc3\xa9");
  cr_assert_str_eq(entries[3].name, "b");
  cr_assert_eq(bam_safetensors_find(file, "b"), 3);
  cr_assert_eq(bam_safetensors_find(file, "c"), -1);
  bam_safetensors_close(file);
  bam_tensor_release(x);
}

Test(safetensors, metadata_come_back) {
  bam_metadata given[] = { { "step", "12" }, { "format", "np" }, { "\xc3\xa9", "\"\n" } };
  EXPECT_OK(bam_safetensors_write(fixture_context(), "x", NULL, 0, given, 3));
  bam_safetensors *file;
  int64_t n;
  EXPECT_OK(bam_safetensors_open(fixture_context(), "x", &file));
  bam_safetensors_entries(file, &n);
  EXPECT_EQ(n, 0);
  cr_assert_eq(bam_safetensors_find(file, "x"), -1);
  const bam_metadata *got = bam_safetensors_metadata(file, &n);
  EXPECT_EQ(n, 3);
  cr_assert_str_eq(got[0].key, "format");
  cr_assert_str_eq(got[0].value, "np");
  cr_assert_str_eq(got[1].key, "step");
  cr_assert_str_eq(got[1].value, "12");
  cr_assert_str_eq(got[2].key, "\xc3\xa9");
  cr_assert_str_eq(got[2].value, "\"\n");
  bam_safetensors_close(file);
}

Test(safetensors, loaded_file_can_be_replaced_while_in_use) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(3), VALUES(1, 2, 3));
  EXPECT_OK(save("x", &(bam_named_tensor){ "a", x }, 1));
  bam_tensor *loaded = load("x", "a");
  EXPECT_OK(bam_tensor_fill(x, 5));
  EXPECT_OK(save("x", &(bam_named_tensor){ "a", x }, 1));
  expect_values(loaded, VALUES(1, 2, 3), 0);
  EXPECT_OK(save("x", &(bam_named_tensor){ "a", loaded }, 1));
  bam_tensor *again = load("x", "a");
  expect_values(again, VALUES(1, 2, 3), 0);
  RELEASE(x, loaded, again);
}

Test(safetensors, what_cannot_be_written_is_named) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(1), VALUES(1));
  bam_tensor *y = make_values(BAM_U8, SHAPE(1), VALUES(1));
  bam_metadata bad = { "k", "\xff" };
  EXPECT_ERROR(save("x", (bam_named_tensor[]){ { "a", x }, { "b", x }, { "a", y } }, 3),
               "two tensors are named \"a\"");
  EXPECT_ERROR(save("x", &(bam_named_tensor){ "__metadata__", x }, 1), "cannot be named");
  EXPECT_ERROR(save("x", &(bam_named_tensor){ "\xff", x }, 1), "is not UTF-8 text");
  EXPECT_ERROR(bam_safetensors_write(fixture_context(), "x", NULL, 0, &bad, 1),
               "metadata \"k\" is not UTF-8 text");
  EXPECT_ERROR(save("no/x", &(bam_named_tensor){ "a", x }, 1), "cannot write \"no/x\"");
  EXPECT_EQ(scratch_count(), 0);
  RELEASE(x, y);
}

/* ---- what is read ---- */

Test(safetensors, unaligned_tensors_are_read) {
  scratch_safetensors("x",
                      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                      "\"b\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[1,5]}}   \t\n",
                      5);
  bam_tensor *b = load("x", "b");
  EXPECT_EQ(integer_at(b, 0), 0x04030201);
  EXPECT_EQ((uintptr_t)bam_tensor_data(b) % 4, 0);
  bam_tensor_release(b);
}

typedef struct lie {
  const char *header;
  size_t data_bytes;
  const char *words;
} lie;

#define F32(shape, offsets) "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const lie lies[] = {
  { "", 2, "does not begin with '{'" },
  { " {}", 0, "does not begin with '{'" },
  { "[]", 0, "does not begin with '{'" },
  { "{", 0, "malformed JSON at byte" },
  { "{}x", 0, "malformed JSON at byte 3" },
  { "{\"a\":", 0, "malformed JSON" },
  { "{\"\xff\":1}", 0, "malformed JSON" },
  { "{\"a\\u0000\":1}", 0, "the name of tensor 1 contains a zero byte" },
  { "{\"a\":[[[[1]]]]}", 0, "JSON nested deeper than 3 at byte 8" },
  { "{\"a\":" F32("[0]", "[0,0]") ",\"a\":" F32("[0]", "[0,0]") "}", 0,
    "tensor \"a\": the name occurs twice" },
  { "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "tensor \"a\": it has a duplicate dtype" },
  { "{\"a\":{\"dtype\":\"F32\",\"\\u0064type\":\"F32\"}}", 0, "it has a duplicate dtype" },
  { "{}", 1, "the tensors take 0 bytes, but 1 bytes of data follow" },
  { "{\"a\":1}", 0, "tensor \"a\": its description is not an object" },
  { "{\"a\":{}}", 0, "tensor \"a\": its dtype is missing" },
  { "{\"a\":{\"dtype\":1}}", 0, "its dtype is missing or not a string" },
  { "{\"a\":{\"dtype\":\"F8_E4M3\"}}", 0,
    "tensor \"a\": dtype \"F8_E4M3\" is not supported; convert" },
  { "{\"a\":{\"dtype\":\"F32\"}}", 0, "its shape is missing" },
  { "{\"a\":" F32("{}", "[0,0]") "}", 0, "its shape is missing or not a list" },
  { "{\"a\":" F32("[-1]", "[0,0]") "}", 0, "size 1 of its shape is not a nonnegative integer" },
  { "{\"a\":" F32("[1,1.0]", "[0,4]") "}", 4, "size 2 of its shape is not a nonnegative integer" },
  { "{\"a\":" F32("[1e0]", "[0,4]") "}", 4, "size 1 of its shape is not a nonnegative integer" },
  { "{\"a\":" F32("[\"1\"]", "[0,4]") "}", 4, "is not a nonnegative integer" },
  { "{\"a\":" F32("[9223372036854775808]", "[0,4]") "}", 4, "is not a nonnegative integer" },
  { "{\"a\":" F32("[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "9 dimensions" },
  { "{\"a\":" F32("[4294967296,4294967296]", "[0,0]") "}", 0, "overflows" },
  { "{\"a\":" F32("[4611686018427387904,2]", "[0,0]") "}", 0, "overflows" },
  { "{\"a\":" F32("[0,4611686018427387904,4611686018427387904]", "[0,0]") "}", 0, "overflows" },
  { "{\"a\":" F32("[1]", "[0]") "}", 4, "data_offsets are missing or not two integers" },
  { "{\"a\":" F32("[1]", "[0,4,4]") "}", 4, "not two integers" },
  { "{\"a\":" F32("[1]", "[0,4.0]") "}", 4, "not two integers" },
  { "{\"a\":" F32("[1]", "[-4,0]") "}", 4, "data_offsets -4 to 0 are not within the 4 bytes" },
  { "{\"a\":" F32("[1]", "[4,0]") "}", 4, "data_offsets 4 to 0 are not within" },
  { "{\"a\":" F32("[1]", "[0,4]") "}", 3, "data_offsets 0 to 4 are not within the 3 bytes" },
  { "{\"a\":" F32("[1]", "[0,9223372036854775807]") "}", 4, "are not within" },
  { "{\"a\":" F32("[2]", "[0,4]") "}", 4,
    "shape (2) of F32 needs 8 bytes, its data_offsets give 4" },
  { "{\"a\":" F32("[1]", "[1,5]") "}", 5,
    "tensor \"a\": it begins at byte 1 of the data instead of byte 0" },
  { "{\"a\":" F32("[1]", "[0,4]") ",\"b\":" F32("[1]", "[0,4]") "}", 4, "it begins at byte 0" },
  { "{\"a\":" F32("[1]", "[0,4]") ",\"b\":" F32("[1]", "[8,12]") "}", 12,
    "tensor \"b\": it begins" },
  { "{\"a\":" F32("[1]", "[0,4]") "}", 5, "take 4 bytes, but 5 bytes of data follow" },
  { "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}", 0,
    "a newer format?" },
  { "{\"__metadata__\":1}", 0, "__metadata__ is not an object" },
  { "{\"__metadata__\":{\"k\":1}}", 0, "__metadata__ \"k\" is not a string" },
  { "{\"__metadata__\":{\"k\":\"a\",\"k\":\"b\"}}", 0, "__metadata__ \"k\" occurs twice" },
  { "{\"__metadata__\":{\"k\":\"a\"},\"__metadata__\":{}}", 0, "__metadata__ occurs twice" },
  { "{\"__metadata__\":{\"k\":\"\\u0000\"}}", 0, "__metadata__ \"k\" contains a zero byte" },
  { "{\"__metadata__\":{\"\\u0000\":\"a\"}}", 0, "has a key that contains a zero byte" },
};

Test(safetensors, every_lie_of_a_header_is_named) {
  bam_safetensors *file;
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    scratch_safetensors("x", lies[i].header, lies[i].data_bytes);
    cr_assert_neq(bam_safetensors_open(fixture_context(), "x", &file), BAM_OK, "%s",
                  lies[i].header);
    const char *message = fixture_context()->message;
    cr_assert(strstr(message, lies[i].words) != NULL, "%s: %s", lies[i].header, message);
    cr_assert(strncmp(message, "\"x\": ", 5) == 0, "%s", message);
  }
}

Test(safetensors, announced_header_must_fit) {
  bam_safetensors *file;
  scratch_write("x", "\x02\0\0\0\0\0\0", 7);
  EXPECT_ERROR(bam_safetensors_open(fixture_context(), "x", &file),
               "not a safetensors file: it has 7");
  scratch_write("x", "\x03\0\0\0\0\0\0\0{}", 10);
  EXPECT_ERROR(bam_safetensors_open(fixture_context(), "x", &file),
               "it declares a header of 3 bytes, but 2");
  scratch_write("x", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
  EXPECT_ERROR(bam_safetensors_open(fixture_context(), "x", &file),
               "a header of 18446744073709551615");
  EXPECT_ERROR(bam_safetensors_open(fixture_context(), "no", &file), "cannot read \"no\"");
}

Test(safetensors, bools_are_checked) {
  bam_safetensors *file;
  bam_tensor *x;
  scratch_safetensors("x", "{\"m\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[0,3]}}", 3);
  EXPECT_OK(bam_safetensors_open(fixture_context(), "x", &file));
  EXPECT_ERROR(bam_safetensors_tensor(file, 0, &x),
               "\"x\": tensor \"m\": element 3 of a bool tensor is 2");
  bam_safetensors_close(file);
}

Test(safetensors, every_truncation_is_an_error) {
  bam_safetensors *file;
  for (size_t n = 1; n < sizeof python - 1; n++) {
    scratch_write("x", python, n);
    cr_assert_eq(bam_safetensors_open(fixture_context(), "x", &file), BAM_ERROR_FILE, "%zu bytes",
                 n);
  }
}

/* Escapes in names and fields mean what they stand for. */
Test(safetensors, escaped_names) {
  scratch_safetensors("x",
                      "{\"\\u005f_metadata__\":{\"\\u00e9\":\"\\ud83d\\ude00\"},\"\\u0061\\n\":"
                      "{\"d\\u0074ype\":\"U\\u0038\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                      1);
  bam_safetensors *file;
  int64_t n;
  EXPECT_OK(bam_safetensors_open(fixture_context(), "x", &file));
  cr_assert_eq(bam_safetensors_find(file, "a\n"), 0);
  const bam_metadata *metadata = bam_safetensors_metadata(file, &n);
  EXPECT_EQ(n, 1);
  cr_assert_str_eq(metadata->key, "\xc3\xa9");
  cr_assert_str_eq(metadata->value, "\xf0\x9f\x98\x80");
  bam_safetensors_close(file);
}

/* ---- much ---- */

/* Make a file whose header describes `n` tensors without elements, or with as many metadata. */
static void make_many(const char *path, int64_t n, bool metadata) {
  size_t room = (size_t)n * 80 + 100, used = 0;
  char *header = malloc(room);
  used += (size_t)sprintf(header, metadata ? "{\"__metadata__\":{" : "{");
  for (int64_t i = 0; i < n; i++)
    used += (size_t)sprintf(header + used,
                            metadata ? "%s\"%lld\":\"\"" : "%s\"%lld\":" F32("[0]", "[0,0]"),
                            i > 0 ? "," : "", (long long)i);
  strcpy(header + used, metadata ? "}}" : "}");
  scratch_safetensors(path, header, 0);
  free(header);
}

/* As many tensors as the largest models have cost their header and an entry each. */
Test(safetensors, many_tensors_are_read_in_little_memory) {
  bam_safetensors *file;
  int64_t n;
  make_many("x", 100000, false);
  EXPECT_OK(bam_safetensors_open(fixture_context(), "x", &file));
  bam_safetensors_entries(file, &n);
  cr_assert(n == 100000 && bam_safetensors_find(file, "99999") >= 0);
  cr_assert_eq(bam_safetensors_find(file, "100000"), -1);
  bam_safetensors_close(file);
}

Test(safetensors, too_many_tensors_are_refused_before_memory_is_taken) {
  bam_memory *memory = &fixture_context()->memory;
  bam_safetensors *file;
  make_many("x", BAM_SAFETENSORS_MAX_ENTRIES + 1, false);
  int64_t requests = memory->requests;
  EXPECT_ERROR(bam_safetensors_open(fixture_context(), "x", &file),
               "\"x\": its header describes 1000001 tensors, above the limit of 1000000");
  EXPECT_COMPARE(memory->requests - requests, <=,
                 4); /* the handle, the input, its path, the header */
  make_many("x", BAM_SAFETENSORS_MAX_ENTRIES + 1, true);
  EXPECT_ERROR(bam_safetensors_open(fixture_context(), "x", &file),
               "its header describes 1000001 strings of metadata, above the limit of 1000000");
}

/* ---- memory ---- */

static bam_status save_and_load(bam_tensor *x) {
  bam_safetensors *file;
  bam_tensor *loaded;
  bam_status status = save("x", (bam_named_tensor[]){ { "a", x }, { "b", x } }, 2);
  if (status == BAM_OK)
    status = bam_safetensors_open(fixture_context(), "x", &file);
  if (status != BAM_OK)
    return status;
  status = bam_safetensors_tensor(file, 1, &loaded);
  bam_safetensors_close(file);
  if (status == BAM_OK)
    bam_tensor_release(loaded);
  return status;
}

Test(safetensors, every_failing_allocation_is_an_error) {
  bam_memory *memory = &fixture_context()->memory;
  bam_tensor *whole = make_random(BAM_F32, SHAPE(9, 5), 0, 1), *x = make_strided(whole);
  EXPECT_OK(save_and_load(x)); /* whatever is kept for the next time is kept now */
  int64_t live = memory->live_objects, bytes = memory->live_bytes, failed = 0;
  bam_status status;
  do {
    memory->fail_at = memory->requests + ++failed;
    status = save_and_load(x);
    cr_assert(status == BAM_OK || status == BAM_ERROR_MEMORY);
    EXPECT_EQ(memory->live_objects, live);
    EXPECT_EQ(memory->live_bytes, bytes);
    EXPECT_EQ(scratch_count(), 1);
  } while (memory->requests >= memory->fail_at); /* until there was none to fail */
  memory->fail_at = 0;
  EXPECT_EQ(status, BAM_OK);
  EXPECT_COMPARE(failed, >, 5);
  RELEASE(whole, x);
}
