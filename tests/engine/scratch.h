/* Tests of files run in an empty directory of their own, which is removed afterwards:
     TestSuite(npy, .init = scratch_open, .fini = scratch_close); */
#ifndef BAM_TEST_SCRATCH_H
#define BAM_TEST_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

#include "fixture.h"

/* Like fixture_open and fixture_close, in that directory. */
void scratch_open(void);
void scratch_close(void);

/* Make a file with these bytes. */
void scratch_write(const char *name, const void *data, size_t bytes);

/* The whole contents of a file, to be freed, and their length. */
unsigned char *scratch_read(const char *name, size_t *bytes);

/* How many entries the directory has. */
int scratch_count(void);

/* Make a safetensors file of this header text and `data_bytes` bytes 0, 1, 2, ... */
void scratch_safetensors(const char *name, const char *header, size_t data_bytes);

/* Give up being root until the end of the test, for tests about permissions. */
void scratch_drop_root(void);

#endif
