/* The parser fuzzer without clang: seeds are mutated blindly, several times, and fed to the target.
     fuzz_parsers TARGET RUNS [SEED]    the same seed gives the same inputs
     fuzz_parsers TARGET FILE           feed a saved input again
   The input of a finding is saved. */
#include <fcntl.h>
#include <inttypes.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parsers.h"
#include "random.h"

#define INPUT_BYTES 65536
#define RUN_SECONDS 120 /* a longer run counts as a hang */
#define MOST 64         /* maximum number of seeds, and of words */

uint64_t random_state;

typedef struct text {
  const char *bytes;
  size_t size;
} text;

static text seeds[MOST], words[MOST];
static size_t seed_count, word_count, size;
static unsigned char input[INPUT_BYTES];
static const char *target;
static uint64_t seed = 1, run;
static int home; /* the directory in which inputs of findings are saved */

static void save_input(void) {
  char name[100];
  snprintf(name, sizeof name, "finding-%s-%" PRIu64 "-%" PRIu64, target, seed, run);
  int file = openat(home, name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file >= 0 && write(file, input, size) == (ssize_t)size)
    fprintf(stderr, "fuzz: input saved as %s\n", name);
}

static void on_signal(int signal_number) {
  fprintf(stderr, signal_number == SIGALRM ? "fuzz: a run hangs\n" : "fuzz: a finding\n");
  save_input();
  _exit(1);
}

static void replace(size_t at, size_t gone, const void *bytes, size_t count) {
  if (size - gone + count > INPUT_BYTES)
    return;
  memmove(input + at + count, input + at + gone, size - at - gone);
  memcpy(input + at, bytes, count);
  size = size - gone + count;
}

static void put_word(void) {
  if (word_count == 0)
    return;
  text word = words[below(word_count)];
  size_t at = below(size + 1), gone = one_in(2) ? below(word.size + 1) : 0;
  replace(at, gone < size - at ? gone : size - at, word.bytes, word.size);
}

/* Insert a piece of a seed. */
static void insert_piece(void) {
  text other = seeds[below(seed_count)];
  size_t from = below(other.size), count = below(other.size - from) + 1, at = below(size + 1);
  if (other.size > 0)
    replace(at, one_in(2) ? below(size - at + 1) : 0, other.bytes + from,
            count < 4000 ? count : 4000);
}

static void damage(void) {
  size_t at = below(size);
  unsigned char byte = (unsigned char)random_next();
  switch (size == 0 ? 5 : below(8)) {
  case 0: input[at] ^= (unsigned char)(1u << below(8)); break;
  case 1: input[at] = byte; break;
  case 2: replace(at, 0, &byte, 1); break;
  case 3: replace(at, below(size - at < 16 ? size - at : 16), "", 0); break;
  case 4: size = at; break;
  case 5: insert_piece(); break;
  default: put_word();
  }
}

static void take_seed(size_t i) {
  size = seeds[i].size < INPUT_BYTES ? seeds[i].size : INPUT_BYTES;
  memcpy(input, seeds[i].bytes, size);
}

static void make_input(void) {
  take_seed(below(seed_count));
  for (size_t times = one_in(50) ? 0 : 1 + below(one_in(2) ? 3 : 12); times > 0; times--)
    damage();
}

/* Feed a copy in a block of its exact size, so that reads beyond it are detected. */
static bool feed(void) {
  unsigned char *copy = malloc(size);
  memcpy(copy, input, size);
  alarm(RUN_SECONDS);
  bool accepted = parsers_run(copy, size);
  free(copy);
  return accepted;
}

static void collect(void) {
  while (seed_count < MOST &&
         (seeds[seed_count].bytes = parsers_seed((int)seed_count, &seeds[seed_count].size)))
    seed_count++;
  while (word_count < MOST &&
         (words[word_count].bytes = parsers_word((int)word_count, &words[word_count].size)))
    word_count++;
}

/* Check that the target accepts its own seeds; otherwise it would test nothing. */
static void check_seeds(void) {
  for (size_t i = 0; i < seed_count; i++) {
    take_seed(i);
    if (!feed()) {
      fprintf(stderr, "fuzz: %s: seed %zu is refused\n", target, i);
      abort();
    }
  }
}

static void search(uint64_t runs) {
  uint64_t accepted = 0;
  signal(SIGALRM, on_signal);
  signal(SIGABRT, on_signal);
  __sanitizer_set_death_callback(save_input);
  collect();
  check_seeds();
  for (run = 0; run < runs; run++) {
    random_state = (seed * 0x2545f4914f6cdd1d + run) * 0x9e3779b97f4a7c15;
    make_input();
    accepted += feed();
  }
  printf("fuzz_parsers: %s: %" PRIu64 " runs with seed %" PRIu64 ", %" PRIu64
         " accepted, 0 findings\n",
         target, run, seed, accepted);
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: fuzz_parsers TARGET RUNS [SEED] | TARGET FILE\n");
    return 2;
  }
  char *end;
  target = argv[1];
  uint64_t runs = strtoull(argv[2], &end, 10);
  FILE *file = *end != '\0' ? fopen(argv[2], "r") : NULL;
  seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
  home = open(".", O_RDONLY | O_DIRECTORY);
  parsers_open(target);
  if (file != NULL) {
    size = fread(input, 1, sizeof input, file);
    fclose(file);
    feed();
  } else
    search(runs);
  parsers_close();
  return 0;
}
