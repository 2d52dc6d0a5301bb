/* The input that a run of fuzz_files reads: a valid file that is made from random numbers and then damaged. */
#ifndef BAM_FUZZ_INPUT_H
#define BAM_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#define INPUT_BYTES 16384

typedef enum format { SAFETENSORS, NPY, JSON, TEXT, FORMATS } format;

typedef struct input {
  format format;
  const char *name; /* of a text file */
  bool valid;       /* not damaged yet */
  size_t size;
  size_t header_begin, header_end;
  unsigned char data[INPUT_BYTES];
} input;

extern input current;

/* Make `current` a valid file. */
void fuzz_make_valid(format kind);

/* Store the header's length in the header. */
void fuzz_fix_length(void);

/* Damage `current` in some places, as long as it has a header to edit. */
void fuzz_damage(size_t times);

#endif
