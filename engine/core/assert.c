/* The failure path of bam_assert: report and abort. */
#include "assert.h"

#include <stdio.h>
#include <stdlib.h>

void bam_assert_fail(const char *condition, const char *file, int line) {
  fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, condition);
  abort();
}
