/* Fuzzing of the file readers: a seeded generator makes valid safetensors, npy, JSON and text files, which are damaged
   in several places and read. Every run must end with an error message, or with tensors or documents whose bytes can
   all be read, and leak nothing. Built with AddressSanitizer and UBSan.
     fuzz_files SECONDS [SEED]    the same seed gives the same runs; the input of a finding is saved
     fuzz_files -n RUNS [SEED]    do RUNS runs
     fuzz_files FILE...           read saved inputs again */
#include <fcntl.h>
#include <inttypes.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../engine/io/input_file.h"
#include "../../engine/io/npy.h"
#include "../../engine/io/safetensors.h"
#include "fuzz_json.h"
#include "fuzz_text.h"
#include "random.h"

#define INPUT_BYTES 16384
#define RUN_SECONDS 10 /* a longer run counts as a hang */

typedef enum format { SAFETENSORS, NPY, JSON, TEXT, FORMATS } format;

/* A generated file. */
typedef struct input {
  format format;
  const char *name; /* of a text file */
  bool valid;       /* not damaged yet */
  size_t size;
  size_t header_begin, header_end;
  unsigned char data[INPUT_BYTES];
} input;

uint64_t random_state;
static uint64_t first_seed, run;
static input current;
static bam_context *context;
static volatile unsigned sink; /* keeps reads from being optimized away */

/* ---- findings ---- */

static void save_input(void) {
  char name[80];
  snprintf(name, sizeof name, "finding-%" PRIu64 "-%" PRIu64 ".%s", first_seed, run,
           current.format == TEXT   ? current.name
           : current.format == JSON ? "json"
                                    : "bin");
  int file = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file >= 0 && write(file, current.data, current.size) == (ssize_t)current.size)
    fprintf(stderr, "fuzz: input of run %" PRIu64 " saved as %s\n", run, name);
}

static void finding(const char *what) {
  fprintf(stderr, "fuzz: %s (message: %s)\n", what, context->message);
  save_input();
  _exit(1);
}

static void on_signal(int signal_number) {
  finding(signal_number == SIGALRM ? "a run hangs" : "an assertion failed");
}

/* ---- one run ---- */

/* Check that a failure has set a new message. */
static void check_failure(void) {
  size_t length = strnlen(context->message, BAM_MESSAGE_SIZE);
  if (length == 0 || length == BAM_MESSAGE_SIZE)
    finding("a failure without a proper message");
}

static void read_tensor(bam_tensor *tensor) {
  bam_tensor *whole;
  if (bam_tensor_contiguous(tensor, &whole) != BAM_OK) {
    check_failure();
    return;
  }
  int64_t bytes = bam_tensor_count(whole) * bam_dtype_size(whole->dtype);
  const unsigned char *data = bam_tensor_data(whole);
  unsigned sum = 0;
  for (int64_t i = 0; i < bytes; i++) {
    sum += data[i];
    if (whole->dtype == BAM_BOOL && data[i] > 1)
      finding("a bool that is neither true nor false");
  }
  sink += sum;
  bam_tensor_release(whole);
}

static void read_entries(const bam_safetensors *file) {
  int64_t n;
  const bam_safetensors_entry *entries = bam_safetensors_entries(file, &n);
  for (int64_t i = 0; i < n; i++) {
    bam_tensor *tensor;
    if (bam_safetensors_find(file, entries[i].name) != i)
      finding("an entry is not found by its name");
    if (bam_safetensors_tensor(file, i, &tensor) != BAM_OK) {
      check_failure();
      continue;
    }
    if (!bam_shape_equal(&tensor->shape, &entries[i].shape) || tensor->dtype != entries[i].dtype)
      finding("a tensor differs from its entry");
    read_tensor(tensor);
    bam_tensor_release(tensor);
  }
  const bam_metadata *metadata = bam_safetensors_metadata(file, &n);
  for (int64_t i = 0; i < n; i++)
    sink += (unsigned)(strlen(metadata[i].key) + strlen(metadata[i].value));
}

static bam_status read_npy(const unsigned char *bytes) {
  bam_input_file *source;
  bam_tensor *tensor;
  bam_status status = bam_input_file_over(context, bytes, (int64_t)current.size, &source);
  if (status != BAM_OK)
    return status;
  status = bam_npy_parse(context, source, &tensor);
  bam_input_file_close(source);
  if (status != BAM_OK)
    return status;
  read_tensor(tensor);
  bam_tensor_release(tensor);
  return BAM_OK;
}

static bam_status read_safetensors(const unsigned char *bytes) {
  bam_input_file *source;
  bam_safetensors *file;
  bam_status status = bam_input_file_over(context, bytes, (int64_t)current.size, &source);
  if (status == BAM_OK)
    status = bam_safetensors_parse(context, source, &file);
  if (status != BAM_OK)
    return status;
  read_entries(file);
  bam_safetensors_close(file);
  return BAM_OK;
}

static bam_status read_bytes(const unsigned char *bytes) {
  switch (current.format) {
  case TEXT: return fuzz_text_read(context, current.name, bytes, current.size, finding);
  case JSON: return fuzz_json_read(context, bytes, current.size, finding);
  case NPY: return read_npy(bytes);
  default: return read_safetensors(bytes);
  }
}

/* Read `current` from a heap block of exactly its size (one more for JSON, whose parser may read that byte), so that
   the sanitizer detects reads beyond it. */
static bool run_once(bool failing_allocation) {
  unsigned char *bytes = calloc(current.size + (current.format == JSON), 1);
  memcpy(bytes, current.data, current.size);
  bam_memory *memory = &context->memory;
  int64_t live = memory->live_objects, live_bytes = memory->live_bytes;
  context->message[0] = '\0';
  memory->fail_at = failing_allocation ? memory->requests + 1 + (int64_t)below(8) : 0;
  alarm(RUN_SECONDS);
  bam_status status = read_bytes(bytes);
  alarm(0);
  if (status != BAM_OK)
    check_failure();
  if (status != BAM_OK && current.valid && !failing_allocation)
    finding("a valid file is refused");
  if (memory->live_objects != live || memory->live_bytes != live_bytes)
    finding("something was not released");
  free(bytes);
  return status == BAM_OK;
}

/* ---- valid files ---- */

static void append(const void *data, size_t size) {
  if (size <= INPUT_BYTES - current.size) {
    memcpy(current.data + current.size, data, size);
    current.size += size;
  }
}

static void append_text(const char *text) { append(text, strlen(text)); }

static void append_number(uint64_t number) {
  char text[24];
  snprintf(text, sizeof text, "%" PRIu64, number);
  append_text(text);
}

static void append_data(size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    append(&(unsigned char){ (unsigned char)below(2) }, 1); /* valid for bools too */
}

/* Store the header's length in the header. */
static void fix_length(void) {
  if (current.format == TEXT || current.format == JSON)
    return;
  size_t length = current.header_end - current.header_begin;
  int bytes = current.format == SAFETENSORS ? 8 : current.header_begin == 10 ? 2 : 4;
  unsigned char *at = current.data + current.header_begin - bytes;
  for (int i = 0; i < bytes; i++)
    at[i] = (unsigned char)(i < 8 ? length >> (8 * i) : 0);
}

/* Choose the sizes of a small tensor. Returns the number of elements. */
static size_t random_shape(size_t *sizes, size_t *ndim) {
  size_t count = 1;
  *ndim = one_in(20) ? 8 : below(4);
  for (size_t d = 0; d < *ndim; d++) {
    sizes[d] = one_in(12) ? 0 : 1 + below(*ndim == 8 ? 2 : 6);
    count *= sizes[d];
  }
  return count;
}

static void append_sizes(const size_t *sizes, size_t ndim) {
  for (size_t d = 0; d < ndim; d++) {
    if (d > 0)
      append_text(",");
    append_number(sizes[d]);
  }
}

/* Append "name":{...} for a tensor at `offset` in the data. Returns the end of its data. */
static size_t append_entry(size_t number, size_t offset) {
  static const char *const names[] = { "w", "model.layers.0.mlp", "\\u00e9\\n", "a\\\"b",
                                       "\xc3\xa9" };
  size_t sizes[8], ndim;
  bam_dtype dtype = (bam_dtype)below(BAM_DTYPES);
  size_t end = offset + random_shape(sizes, &ndim) * (size_t)bam_dtype_size(dtype);
  append_text("\"");
  append_text(CHOOSE(names));
  append_number(number);
  append_text("\":{\"dtype\":\"");
  append_text(bam_safetensors_dtype(dtype));
  append_text("\",\"shape\":[");
  append_sizes(sizes, ndim);
  append_text("],\"data_offsets\":[");
  append_number(offset);
  append_text(",");
  append_number(end);
  append_text("]}");
  return end;
}

static void make_safetensors(void) {
  size_t entries = below(6), end = 0;
  append("\0\0\0\0\0\0\0", 8);
  current.header_begin = 8;
  append_text("{");
  if (one_in(2))
    append_text(entries > 0 ? "\"__metadata__\":{\"format\":\"pt\"}," : "\"__metadata__\":{}");
  for (size_t i = 0; i < entries; i++) {
    end = append_entry(i, end);
    if (i + 1 < entries)
      append_text(",");
  }
  append_text("}");
  while (one_in(2))
    append_text(" ");
  current.header_end = current.size;
  append_data(end);
}

static void make_npy(void) {
  static const struct {
    const char *descr;
    size_t size;
  } types[] = { { "<f2", 2 }, { "<f4", 4 }, { "<f8", 8 }, { ">f4", 4 }, { ">f8", 8 }, { "<i4", 4 },
                { "<i8", 8 }, { ">i8", 8 }, { "|u1", 1 }, { "|b1", 1 }, { ">f2", 2 } };
  size_t sizes[8], ndim, count = random_shape(sizes, &ndim), type = below(11);
  unsigned char version = (unsigned char)(1 + below(3));
  append_text("\x93NUMPY");
  append((unsigned char[]){ version, 0, 0, 0, 0, 0 }, version == 1 ? 4 : 6);
  current.header_begin = current.size;
  append_text("{'descr': '");
  append_text(types[type].descr);
  append_text("', 'fortran_order': ");
  append_text(one_in(2) ? "True, 'shape': (" : "False, 'shape': (");
  append_sizes(sizes, ndim);
  append_text(ndim == 1 ? ",), }" : "), }");
  while (current.size % 64 != 63 && !one_in(30))
    append_text(" ");
  append_text("\n");
  current.header_end = current.size;
  append_data(count * types[type].size);
}

static void make_json(void) {
  fuzz_json_make(current.data, INPUT_BYTES, &current.size);
  current.header_begin = 0;
  current.header_end = current.size;
}

static void make_text(void) {
  current.name = fuzz_text_make(current.data, INPUT_BYTES, &current.size);
  current.header_begin = 0; /* all bytes are equally likely to be damaged */
  current.header_end = current.size;
}

static void make_valid(format kind) {
  static void (*const makers[])(void) = { make_safetensors, make_npy, make_json, make_text };
  current.format = kind;
  current.valid = true;
  current.size = 0;
  makers[kind]();
  fix_length();
}

/* ---- damage ---- */

/* Replace `gone` bytes at `at` by `size` others, and adjust the end of the header. */
static void replace(size_t at, size_t gone, const void *data, size_t size) {
  if (at + gone > current.size || current.size - gone + size > INPUT_BYTES)
    return;
  memmove(current.data + at + size, current.data + at + gone, current.size - at - gone);
  memcpy(current.data + at, data, size);
  current.size = current.size - gone + size;
  if (at + gone <= current.header_end)
    current.header_end = current.header_end - gone + size;
  else if (at < current.header_end)
    current.header_end = at + size;
}

/* A random position in the file, usually in its header. */
static size_t somewhere(void) {
  return one_in(4) ? below(current.size) : below(current.header_end);
}

static void flip_bit(void) { current.data[somewhere()] ^= (unsigned char)(1u << below(8)); }

static void set_byte(void) { current.data[somewhere()] = (unsigned char)random_next(); }

static void truncate_input(void) {
  current.size = 1 + below(current.size);
  if (current.header_end > current.size)
    current.header_end = current.size;
}

static void insert_bytes(void) {
  unsigned char bytes[64];
  size_t n = 1 + below(sizeof bytes);
  for (size_t i = 0; i < n; i++)
    bytes[i] = (unsigned char)random_next();
  replace(somewhere(), 0, bytes, n);
}

static void delete_range(void) {
  size_t at = somewhere(), n = 1 + below(32);
  if (at + n < current.size)
    replace(at, n, "", 0);
}

/* Copy a random piece of the file to another position. */
static void copy_range(void) {
  unsigned char piece[256];
  size_t from = somewhere(), n = 1 + below(sizeof piece);
  n = n < current.size - from ? n : current.size - from;
  memcpy(piece, current.data + from, n);
  replace(somewhere(), one_in(2) ? n : 0, piece, n);
}

/* Replace the tail of the file by that of another valid file. */
static void splice_other(void) {
  static unsigned char head[INPUT_BYTES];
  size_t at = somewhere(), rest, header_end = current.header_end, begin = current.header_begin;
  memcpy(head, current.data, at);
  make_valid(current.format);
  rest = somewhere();
  replace(0, rest, head, at);
  current.header_begin = begin;
  if (one_in(2) && header_end <= current.size)
    current.header_end = header_end;
}

static const char *const numbers[] = {
  "0",
  "1",
  "-1",
  "-0",
  "2",
  "7",
  "8",
  "9",
  "255",
  "65536",
  "2147483647",
  "2147483648",
  "4294967295",
  "4294967296",
  "4611686018427387904",
  "9223372036854775807",
  "9223372036854775808",
  "18446744073709551615",
  "18446744073709551616",
  "1e3",
  "1.0",
  "0.5",
  "1e400",
  "00",
  "007",
  "0x10",
};

static bool is_digit(size_t i) { return current.data[i] >= '0' && current.data[i] <= '9'; }

/* Replace a number by another, often off by one. */
static void edit_number(void) {
  size_t at = current.header_begin + below(current.header_end - current.header_begin), end;
  while (at < current.header_end && !is_digit(at))
    at++;
  for (end = at; end < current.header_end && end - at < 20 && is_digit(end);)
    end++;
  if (at >= current.header_end)
    return;
  char text[24] = { 0 };
  memcpy(text, current.data + at, end - at);
  if (one_in(2))
    snprintf(text, sizeof text, "%s", CHOOSE(numbers));
  else
    snprintf(text, sizeof text, "%" PRIu64,
             (uint64_t)strtoull(text, NULL, 10) + (one_in(2) ? 1 : UINT64_MAX));
  replace(at, end - at, text, strlen(text));
}

static const char *const tokens[] = {
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  "\"",
  "'",
  "(",
  ")",
  "\\",
  "\\u0000",
  "\\ud800",
  "\xff",
  "\xc3",
  "\x80",
  "null",
  "true",
  "{}",
  "[]",
  "\"\":",
  "\"a\":",
  "\"dtype\"",
  "\"shape\"",
  "\"data_offsets\"",
  "\"__metadata__\":{\"a\":\"b\"},",
  "\"dtype\":\"F8_E4M3\",",
  "\"BOOL\"",
  "\"U8\"",
  "\"F64\"",
  "'descr'",
  "'<f4'",
  "'|b1'",
  "'>f8'",
  "[('a', '<f4')]",
  "True",
  "False",
  "'shape': (1,), ",
  "(0,)",
  "[0,0]",
  "[[[[[[[[",
  "1,1,1,1,1,1,1,1,",
  " ",
  "\n",
  "\t",
};

static void edit_token(void) {
  const char *token = CHOOSE(tokens);
  size_t at = current.header_begin + below(current.header_end - current.header_begin);
  replace(at, one_in(2) ? strlen(token) : 0, token, strlen(token));
}

static void edit_length(void) {
  if (current.format == JSON)
    return;
  size_t at = current.format == NPY ? 6 + below(6) : below(8);
  if (at < current.size)
    current.data[at] = (unsigned char)(one_in(2) ? random_next()
                                                 : current.data[at] + 1 + below(2) * 254);
}

static void damage(void) {
  static void (*const kinds[])(void) = { flip_bit,     set_byte,   truncate_input, insert_bytes,
                                         delete_range, copy_range, splice_other,   edit_number,
                                         edit_number,  edit_token, edit_token,     edit_length };
  CHOOSE(kinds)();
  current.valid = false;
  if (!one_in(4) && current.header_end >= current.header_begin &&
      current.size >= current.header_begin)
    fix_length(); /* so that damage inside the header is reached */
}

/* Whether the file still has a header to edit. */
static bool can_damage(void) {
  return current.size > 0 && current.header_begin < current.header_end &&
         current.header_end <= current.size;
}

static void damage_some(size_t times) {
  for (; times > 0 && can_damage(); times--)
    damage();
}

/* Make an input. Compressed files are damaged before compression, after it, or both. */
static void make_input(void) {
  size_t times = one_in(50) ? 0 : 1 + below(one_in(2) ? 2 : 8);
  make_valid((format)below(FORMATS));
  if (current.format != TEXT || one_in(2))
    damage_some(times);
  if (current.format == TEXT) {
    if (!fuzz_text_pack(current.name, current.data, INPUT_BYTES, &current.size))
      current.valid = false;
    current.header_end = current.size;
    damage_some(one_in(2) ? below(3) : 0);
  }
}

/* ---- the loop ---- */

static double clock_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void fuzz(double seconds, uint64_t runs) {
  uint64_t accepted = 0;
  double begin = clock_seconds();
  do {
    random_state = first_seed * 0x2545f4914f6cdd1d + run; /* a run depends only on these */
    make_input();
    accepted += run_once(one_in(64));
    run++;
  } while (run < runs && clock_seconds() - begin < seconds);
  printf("fuzz: %" PRIu64 " runs in %.0f s with seed %" PRIu64 ", %" PRIu64
         " accepted, 0 findings\n",
         run, clock_seconds() - begin, first_seed, accepted);
}

static bool replay(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    return false;
  }
  current.size = fread(current.data, 1, INPUT_BYTES, file);
  fclose(file);
  current.format = current.size > 0 && current.data[0] == 0x93 ? NPY : SAFETENSORS;
  const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
  current.name = slash != NULL ? slash + 1 : path;
  if (dot != NULL && strcmp(dot, ".bin") != 0)
    current.format = strcmp(dot, ".json") == 0 ? JSON : TEXT;
  bool accepted = run_once(false);
  printf("fuzz: %s: %s\n", path, accepted ? "accepted" : context->message);
  return true;
}

int main(int argc, char **argv) {
  bam_context_options options = { .no_cache = true, .threads = 1 };
  bool counted = argc > 2 && strcmp(argv[1], "-n") == 0, fine = true;
  const char *limit = argc > 1 ? argv[1 + counted] : "";
  char *end;
  double number = strtod(limit, &end);
  if (argc < 2 || bam_context_create(&options, &context) != BAM_OK) {
    fprintf(stderr, "usage: fuzz_files SECONDS [SEED] | -n RUNS [SEED] | FILE...\n");
    return 2;
  }
  signal(SIGALRM, on_signal);
  signal(SIGABRT, on_signal);
  if (*end == '\0') {
    __sanitizer_set_death_callback(save_input);
    first_seed = argc > 2 + counted ? strtoull(argv[2 + counted], NULL, 10) : (uint64_t)time(NULL);
    fuzz(counted ? 1e12 : number, counted ? (uint64_t)number : UINT64_MAX);
  } else
    for (int i = 1; i < argc; i++)
      fine = replay(argv[i]) && fine;
  bam_context_destroy(context);
  return fine ? 0 : 1;
}
