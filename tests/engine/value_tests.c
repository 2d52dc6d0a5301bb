/* The section of named ops, and what the running test named and applied. */
#include "value_tests.h"

#define MOST 256 /* different ops */

typedef struct op_set {
  const bam_op *ops[MOST];
  size_t n;
} op_set;

extern const bam_op *__start_bam_values_tested[], *__stop_bam_values_tested[];

static op_set named, applied;

static bool contains(const op_set *set, const bam_op *op) {
  for (size_t i = 0; i < set->n; i++)
    if (set->ops[i] == op)
      return true;
  return false;
}

static void add(op_set *set, const bam_op *op) {
  if (set->n < MOST && !contains(set, op))
    set->ops[set->n++] = op;
}

bool value_tests_has(const bam_op *op) {
  for (const bam_op **p = __start_bam_values_tested; p < __stop_bam_values_tested; p++)
    if (*p == op) /* arrays may be padded with NULL */
      return op != NULL;
  return false;
}

void value_tests_name(const bam_op *const *ops, size_t n) {
  for (size_t i = 0; i < n; i++)
    add(&named, ops[i]);
}

void value_tests_applied(const bam_op *op) { add(&applied, op); }

const bam_op *value_tests_end(void) {
  const bam_op *missing = NULL;
  for (size_t i = 0; i < named.n && missing == NULL; i++)
    if (!contains(&applied, named.ops[i]))
      missing = named.ops[i];
  named.n = applied.n = 0;
  return missing;
}
