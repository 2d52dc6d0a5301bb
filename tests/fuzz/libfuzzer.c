/* The entry points of libFuzzer. FUZZ_TARGET names the target of parsers.lua; FUZZ_SEEDS, if set, is a directory to
   which its seeds are written. */
#include <stdio.h>
#include <stdlib.h>

#include "parsers.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_seed(const char *directory, int i, const char *text, size_t size) {
  char path[500];
  snprintf(path, sizeof path, "%s/seed-%d", directory, i);
  FILE *file = fopen(path, "w");
  if (file == NULL || fwrite(text, 1, size, file) != size || fclose(file) != 0) {
    perror(path);
    exit(2);
  }
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  const char *target = getenv("FUZZ_TARGET"), *directory = getenv("FUZZ_SEEDS"), *text;
  size_t size;
  parsers_open(target != NULL ? target : "json");
  for (int i = 0; directory != NULL && (text = parsers_seed(i, &size)) != NULL; i++)
    write_seed(directory, i, text, size);
  atexit(parsers_close);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  parsers_run(data, size);
  return 0;
}
