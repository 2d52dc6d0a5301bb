/* The table of all ops. */
#include "ops.h"

#include <string.h>

#define ENTRY(name) &bam_op_##name,
static const bam_op *const ops[] = { BAM_OPS(ENTRY) NULL };
#undef ENTRY

const bam_op *bam_op_at(int i) {
  return i >= 0 && i < (int)(sizeof ops / sizeof ops[0]) ? ops[i] : NULL;
}

const bam_op *bam_op_find(const char *name) {
  for (int i = 0; ops[i] != NULL; i++)
    if (strcmp(ops[i]->name, name) == 0)
      return ops[i];
  return NULL;
}
