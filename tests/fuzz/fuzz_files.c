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
#include "fuzz_input.h"
#include "fuzz_json.h"
#include "fuzz_text.h"
#include "random.h"

#define RUN_SECONDS 10 /* a longer run counts as a hang */

uint64_t random_state;
static uint64_t first_seed, run;
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
/* ---- inputs ---- */

/* Make an input. Compressed files are damaged before compression, after it, or both. */
static void make_input(void) {
  size_t times = one_in(50) ? 0 : 1 + below(one_in(2) ? 2 : 8);
  fuzz_make_valid((format)below(FORMATS));
  if (current.format != TEXT || one_in(2))
    fuzz_damage(times);
  if (current.format == TEXT) {
    if (!fuzz_text_pack(current.name, current.data, INPUT_BYTES, &current.size))
      current.valid = false;
    current.header_end = current.size;
    fuzz_damage(one_in(2) ? below(3) : 0);
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
