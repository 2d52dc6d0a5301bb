/* Fuzzing of all parsers through Lua: parsers.lua has the targets. libFuzzer drives them where
   there is clang; else the plain mutator of mutate.c. */
#ifndef BAM_FUZZ_PARSERS_H
#define BAM_FUZZ_PARSERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Make the Lua state, in a new directory, which becomes the current one and is removed at exit.
   Ends the process when there is no such target. */
void parsers_open(const char *target);

/* The i-th seed of the target, or NULL: valid until the state is closed. */
const char *parsers_seed(int i, size_t *size);

/* The i-th word of its format, or NULL. */
const char *parsers_word(int i, size_t *size);

/* Feed an input. A finding ends the process. Was it accepted? */
bool parsers_run(const uint8_t *data, size_t size);

/* Release everything: what is left is a leak. */
void parsers_close(void);

#endif
