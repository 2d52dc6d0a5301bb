/* npy files: byte for byte what NumPy writes, in every version, order and byte order. */
#include <stdlib.h>
#include <string.h>

#include "../../engine/io/atomic_file.h"
#include "../../engine/io/npy.h"
#include "scratch.h"

TestSuite(npy, .init = scratch_open, .fini = scratch_close);

static bam_tensor *load(const char *path) {
  bam_tensor *x;
  EXPECT_OK(bam_npy_read(fixture_context(), path, &x));
  return x;
}

/* Make a file of version `major` with this header text, unpadded, and these data. */
static void make_npy(int major, const char *header, const void *data, size_t data_bytes) {
  unsigned char file[1024] = "\x93NUMPY";
  size_t length = strlen(header), start = major == 1 ? 10 : 12;
  file[6] = (unsigned char)major;
  file[8] = (unsigned char)length;
  file[9] = (unsigned char)(length >> 8);
  memcpy(file + start, header, length);
  memcpy(file + start + length, data, data_bytes);
  scratch_write("x", file, start + length + data_bytes);
}

#define HEADER(descr, order, shape) \
  "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }"

/* numpy.save of arange(6, dtype='<f4').reshape(2, 3) */
static const char numpy[] =
  "\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
  "                                                          \n"
  "\0\0\0\0\0\0\x80?\0\0\0@\0\0@@\0\0\x80@\0\0\xa0@";

Test(npy, bytes_are_those_of_numpy) {
  bam_tensor *x = make_values(BAM_F32, SHAPE(2, 3), VALUES(0, 1, 2, 3, 4, 5));
  EXPECT_OK(bam_npy_write(fixture_context(), "x", x));
  size_t bytes;
  unsigned char *data = scratch_read("x", &bytes);
  EXPECT_EQ(bytes, sizeof numpy - 1);
  EXPECT_EQ(memcmp(data, numpy, bytes), 0);
  free(data);
  bam_tensor_release(x);
}

Test(npy, file_of_numpy_is_read) {
  scratch_write("x", numpy, sizeof numpy - 1);
  bam_tensor *x = load("x");
  expect_dtype(x, BAM_F32);
  expect_shape(x, SHAPE(2, 3));
  expect_values(x, VALUES(0, 1, 2, 3, 4, 5), 0);
  bam_tensor_release(x);
}

/* numpy.lib.format.write_array(..., version=(2, 0)) of a big-endian i4 array in Fortran order */
Test(npy, big_endian_fortran_array_of_numpy) {
  static const char file[] =
    "\x93NUMPY\x02\x00t\0\0\0{'descr': '>i4', 'fortran_order': True, 'shape': (2, 3), }"
    "                                                         \n"
    "\0\0\0\0\0\0\0\x03\0\0\0\x01\0\0\0\x04\0\0\0\x02\0\0\0\x05";
  scratch_write("x", file, sizeof file - 1);
  bam_tensor *x = load("x");
  expect_dtype(x, BAM_I32);
  expect_shape(x, SHAPE(2, 3));
  expect_values(x, VALUES(0, 1, 2, 3, 4, 5), 0);
  size_t bytes;
  unsigned char *now = scratch_read("x", &bytes);
  cr_assert(memcmp(now, file, bytes) == 0, "swapping changed the file");
  free(now);
  bam_tensor_release(x);
}

/* the same with version=(3, 0) of array(True) */
Test(npy, scalar_bool_of_numpy) {
  static const char file[] =
    "\x93NUMPY\x03\x00t\0\0\0{'descr': '|b1', 'fortran_order': False, 'shape': (), }"
    "                                                            \n\x01";
  scratch_write("x", file, sizeof file - 1);
  bam_tensor *x = load("x");
  expect_dtype(x, BAM_BOOL);
  expect_shape(x, SCALAR);
  EXPECT_EQ(integer_at(x, 0), 1);
  bam_tensor_release(x);
}

Test(npy, every_dtype_and_shape_comes_back) {
  const bam_shape shapes[] = { SCALAR,   SHAPE(0),    SHAPE(5, 0, 3),
                               SHAPE(3), SHAPE(5, 7), SHAPE(1, 2, 1, 2, 1, 2, 1, 3) };
  for (int i = 0; i < 6 * BAM_DTYPES; i++) {
    bam_tensor *wide = make_random(BAM_F32, shapes[i % 6], 0, 2), *x;
    EXPECT_OK(bam_tensor_convert(wide, (bam_dtype)(i / 6), &x));
    if (x->dtype == BAM_BF16) {
      EXPECT_ERROR(bam_npy_write(fixture_context(), "x", x), "the npy format has no bf16; convert");
      RELEASE(wide, x);
      continue;
    }
    bam_tensor *strided = make_strided(x);
    EXPECT_OK(bam_npy_write(fixture_context(), "x", strided));
    bam_tensor *again = load("x");
    expect_dtype(again, x->dtype);
    expect_shape(again, x->shape);
    for (int64_t k = 0; k < bam_tensor_count(x); k++)
      EXPECT_EQ(value_at(x, k), value_at(again, k));
    RELEASE(wide, x, strided, again);
  }
}

Test(npy, every_byte_order) {
  static const struct {
    const char *descr, *data;
    size_t size;
    double value;
  } rows[] = {
    { "<f2", "\0\x3e", 2, 1.5 },
    { ">f2", "\x3e\0", 2, 1.5 },
    { "<f8", "\0\0\0\0\0\0\xf8\x3f", 8, 1.5 },
    { ">f8", "\x3f\xf8\0\0\0\0\0\0", 8, 1.5 },
    { "=i8", "\x02\x01\0\0\0\0\0\0", 8, 258 },
    { ">i8", "\xff\xff\xff\xff\xff\xff\xff\xfe", 8, -2 },
    { "|u1", "\xff", 1, 255 },
    { ">u1", "\x01", 1, 1 },
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char header[] = HEADER("<f2", "False", "(1,)");
    memcpy(strchr(header, '<'), rows[i].descr, 3);
    make_npy(1, header, rows[i].data, rows[i].size);
    bam_tensor *x = load("x");
    cr_assert_eq(value_at(x, 0), rows[i].value, "%s", rows[i].descr);
    bam_tensor_release(x);
  }
}

Test(npy, dictionary_in_any_order_and_spacing) {
  static const char *headers[] = {
    "{\"shape\":(2,),\"fortran_order\":True,\"descr\":\"|u1\"}",
    "  {  'fortran_order'  :  False  ,  'shape'  :  (  2  ,  )  ,  'descr'  :  '|u1'  ,  }  \n",
    "{'descr':'|u1','shape':(2,),'fortran_order':False,}\n\n",
  };
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
    make_npy(1 + (int)i, headers[i], "\x01\x02", 2);
    bam_tensor *x = load("x");
    expect_values(x, VALUES(1, 2), 0);
    bam_tensor_release(x);
  }
}

static const struct {
  const char *header;
  size_t data_bytes;
  const char *words;
} damaged[] = {
  { "", 0, "a dictionary expected" },
  { "{}", 0, "the npy header lacks descr" },
  { "{'descr': '<f4', 'shape': (), }", 4, "lacks fortran_order" },
  { "{'descr': '<f4', 'fortran_order': True}", 4, "lacks shape" },
  { HEADER("<f4", "False", "()") "x", 4, "the end expected at \"x\"" },
  { "{'descr': '<f4', 'descr': '<f4'}", 0, "duplicate or unknown key \"descr\"" },
  { "{'dtype': '<f4'}", 0, "a duplicate or unknown key \"dtype\"" },
  { "{'descr' '<f4'}", 0, "a colon expected" },
  { "{'descr: 1}", 0, "a shorter string expected" },
  { "{descr: 1}", 0, "a string expected" },
  { "{'descr': '<f4' 'shape': ()}", 0, "a comma expected" },
  { "{'descr': [('a', '<f4')]}", 0, "a structured dtype is not supported" },
  { HEADER("<c8", "False", "()"), 8, "dtype \"<c8\" is not supported; convert the array to" },
  { HEADER("|O", "False", "()"), 8, "dtype \"|O\" is not supported" },
  { HEADER("f4", "False", "()"), 4, "dtype \"f4\" is not supported" },
  { HEADER("", "False", "()"), 4, "dtype \"\" is not supported" },
  { HEADER("<f4", "false", "()"), 4, "True or False expected" },
  { HEADER("<f4", "False", "3"), 12, "a tuple expected" },
  { HEADER("<f4", "False", "(3)"), 12, "a comma before the )" },
  { HEADER("<f4", "False", "(3 4)"), 12, "a comma expected" },
  { HEADER("<f4", "False", "(,)"), 4, "a size expected" },
  { HEADER("<f4", "False", "(-1,)"), 4, "a size expected" },
  { HEADER("<f4", "False", "(9223372036854775808,)"), 4, "overflows" },
  { HEADER("<f4", "False", "(4294967296,4294967296)"), 4, "overflows" },
  { HEADER("<f4", "False", "(0,4611686018427387904,2)"), 0, "overflows" },
  { HEADER("<f4", "False", "(1,1,1,1,1,1,1,1,1)"), 4, "more than 8 dimensions" },
  { HEADER("<f4", "False", "(2,)"), 7,
    "shape (2) of f32 needs 8 bytes of data, the file has 7; it is" },
  { HEADER("<f4", "False", "(2,)"), 9, "the file has 9; save one array per file" },
  { HEADER("|b1", "False", "(3,)"), 3, "element 3 of a bool tensor is 2" },
};

Test(npy, every_damaged_header_is_named) {
  const char *data = "\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b";
  bam_tensor *x;
  for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
    make_npy(1, damaged[i].header, data, damaged[i].data_bytes);
    cr_assert_neq(bam_npy_read(fixture_context(), "x", &x), BAM_OK, "%s", damaged[i].header);
    const char *message = fixture_context()->message;
    cr_assert(strstr(message, damaged[i].words) != NULL, "%s: %s", damaged[i].header, message);
    cr_assert(strncmp(message, "\"x\": ", 5) == 0, "%s", message);
  }
}

Test(npy, wrong_magic_version_and_length_are_named) {
  bam_tensor *x;
  bam_context *context = fixture_context();
  scratch_write("x", "\x93NUMPX\x01\0\0\0\0\0", 12);
  EXPECT_ERROR(bam_npy_read(context, "x", &x), "not an npy file");
  scratch_write("x", "\x93NUMPY", 6);
  EXPECT_ERROR(bam_npy_read(context, "x", &x), "not an npy file");
  scratch_write("x", "\x93NUMPY\x04\0\0\0\0\0", 12);
  EXPECT_ERROR(bam_npy_read(context, "x", &x), "npy version 4.0 is not supported");
  scratch_write("x", "\x93NUMPY\x01\0\x03\0{}", 12);
  EXPECT_ERROR(bam_npy_read(context, "x", &x),
               "its header is truncated: 3 bytes are declared, 2 follow");
  scratch_write("x", "\x93NUMPY\x02\0\0\0\0", 11);
  EXPECT_ERROR(bam_npy_read(context, "x", &x), "its header is truncated");
  scratch_write("x", "\x93NUMPY\x02\0\xff\xff\xff\xff", 12);
  EXPECT_ERROR(bam_npy_read(context, "x", &x), "its header is truncated: 4294967295 bytes");
}

Test(npy, every_truncation_is_an_error) {
  bam_tensor *x;
  for (size_t n = 1; n < sizeof numpy - 1; n++) {
    scratch_write("x", numpy, n);
    cr_assert_eq(bam_npy_read(fixture_context(), "x", &x), BAM_ERROR_FILE, "%zu bytes", n);
  }
}
