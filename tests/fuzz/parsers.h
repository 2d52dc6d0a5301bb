/* Fuzzing of all parsers through Lua. The targets are in parsers.lua. They are driven by libFuzzer if clang is
   installed, otherwise by the blind mutator of mutate.c. */
#ifndef BAM_FUZZ_PARSERS_H
#define BAM_FUZZ_PARSERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Make the Lua state, and change to a new directory, which is deleted at exit. Ends the process if the target does not
   exist. */
void parsers_open(const char *target);

/* The i-th seed of the target, or NULL. Valid until the state is closed. */
const char *parsers_seed(int i, size_t *size);

/* The i-th word of the target's dictionary, or NULL. */
const char *parsers_word(int i, size_t *size);

/* Feed an input, and return whether it was accepted. A finding ends the process. */
bool parsers_run(const uint8_t *data, size_t size);

/* Release everything, so that remaining memory is a leak. */
void parsers_close(void);

#endif
